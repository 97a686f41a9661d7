"""PROMISES.md names the tests that hold each promise; this holds PROMISES.md to them."""

import ast
import re
from collections.abc import Iterator

import pytest

from conftest import ROOT

TESTS = ROOT / "tests"
ROW = re.compile(r"\| (\d+) [^|]*\|([^|]*)\|([^|]*)\|")


def marked(source: str) -> Iterator[tuple[str, int]]:
    """(test, number) of each `@pytest.mark.promise(number)` on a test, or on the class or module that holds it."""
    tree = ast.parse(source)
    whole = [
        number
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["pytestmark"]
        for number in _numbers([node.value])
    ]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            tests = [(f"{node.name}::{test.name}", test) for test in node.body if _is_test(test)]
            more = _numbers(node.decorator_list)
        else:
            tests, more = [(node.name, node)] if _is_test(node) else [], []
        for name, test in tests:
            yield from ((name, number) for number in {*whole, *more, *_numbers(test.decorator_list)})


def _is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")


def _numbers(nodes: list[ast.expr]) -> list[int]:
    calls = [call for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.promise"]
    return [ast.literal_eval(mark.args[0]) for mark in marks]


def table() -> list[tuple[int, list[str]]]:
    """(number, tests as "tests/test_x.py::test_name") of each row."""
    rows = ROW.findall((TESTS / "PROMISES.md").read_text(encoding="utf-8"))
    return [(int(number), re.findall(r"`([^`]+)`", tests)) for number, tests, _ in rows]


def test_every_promise_has_one_row_with_a_test() -> None:
    rows = table()
    numbers = [number for number, _ in rows]
    assert numbers == sorted(set(numbers))
    assert {*range(1, 35), 35, 36, 37, 38, 39, 40, 42} <= set(numbers)
    assert [number for number, tests in rows if not tests] == []


def test_the_table_names_exactly_the_tests_that_bear_a_number() -> None:
    bearing = {
        (f"tests/{path.relative_to(TESTS).as_posix()}::{name}", number)
        for path in TESTS.rglob("test_*.py")
        for name, number in marked(path.read_text(encoding="utf-8"))
    }
    named = [(test, number) for number, tests in table() for test in tests]
    assert len(named) == len(set(named)), "a test stands once in a row"
    assert sorted(set(named) - bearing) == [], "tests that do not exist or do not bear the number of their row"
    assert sorted(bearing - set(named)) == [], "tests whose number is not in the table"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("@pytest.mark.promise(3)\ndef test_a(): ...", [("test_a", 3)]),
        ("@pytest.mark.promise(3)\n@pytest.mark.slow\n@pytest.mark.promise(4)\ndef test_a(): ...",
         [("test_a", 3), ("test_a", 4)]),
        ("@pytest.mark.promise(3)\nclass TestX:\n    def test_a(self): ...", [("TestX::test_a", 3)]),
        ("pytestmark = [pytest.mark.promise(3)]\ndef test_a(): ...\ndef help(): ...", [("test_a", 3)]),
        ("# @pytest.mark.promise(3)\n@pytest.mark.slow\ndef test_a(): ...", []),
    ],
)  # fmt: skip
def test_marks_are_found(source: str, found: list[tuple[str, int]]) -> None:
    assert sorted(marked(source)) == found
