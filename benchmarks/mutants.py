"""How much of the code its tests guard: changes a line of a module at a time and runs the tests of that module.

    python benchmarks/mutants.py                                  # three changes a module: two hours on two cores
    python benchmarks/mutants.py --changes 1 data/split.py loss.py

A change replaces a comparison, an operator, a condition or a number, drawn from all of a module's, the same ones each
time. A module's tests are the test file of its name, or, where it has none, those of its room. Prints the changes that
no test noticed, and their share; writes mutants.json into --out. Docstrings and messages are never changed.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ft_lightning.system.files import write_json

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/ft_lightning")
SWAPPED: dict[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_SECONDS = 300


class Change(NamedTuple):
    """A piece of source, and what takes its place."""

    line: int
    before: str
    after: str
    start: int  # in the module's bytes
    end: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="below src/ft_lightning; default: all")
    parser.add_argument("--changes", type=int, default=3, help="of each module")
    parser.add_argument("--out", type=Path, default=Path("outputs/mutants"))
    options = parser.parse_args()
    chosen = options.modules or sorted(p.relative_to(ROOT / PACKAGE).as_posix() for p in (ROOT / PACKAGE).rglob("*.py"))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(shutil.copytree(ROOT, Path(folder) / "tree", ignore=shutil.ignore_patterns(".*", "outputs")))
        for module in chosen:
            if not passes(clone, tests_of(clone, module)):
                raise SystemExit(
                    f"{module}: its tests fail, or take longer than {_SECONDS} s, before anything changes."
                )
            changes = list(changes_of((clone / PACKAGE / module).read_text(encoding="utf-8")))
            drawn = random.Random(module).sample(changes, min(options.changes, len(changes)))
            for change in drawn:
                noticed = is_noticed(clone, module, change)
                rows.append({"module": module, **change._asdict(), "noticed": noticed})
                place = f"{module}:{change.line}: {change.before} -> {change.after}"
                print("noticed  " if noticed else "UNNOTICED", place, flush=True)
                write_json(options.out / "mutants.json", rows)
    print(f"{sum(row['noticed'] for row in rows)} of {len(rows)} changes were noticed")


def changes_of(source: str) -> Iterator[Change]:
    """Yield every change that the module's code offers."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.expr) and (changed := _changed(node)):
            assert node.end_lineno
            assert node.end_col_offset
            start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            yield Change(node.lineno, ast.unparse(node), f"({ast.unparse(changed)})", start, end)


def _changed(node: ast.AST) -> ast.expr | None:
    """Return a changed copy of an expression, None if there is none to make."""
    match node:
        case ast.Compare(left, [op, *ops], compared) if type(op) in SWAPPED:
            changed: ast.expr | None = ast.Compare(left, [SWAPPED[type(op)](), *ops], compared)
        case ast.BinOp(left, op, right) if type(op) in SWAPPED and not _is_text(left, right):
            changed = ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.BoolOp(op, values):
            changed = ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.UnaryOp(ast.Not(), operand):
            changed = operand
        case ast.IfExp(test, body, otherwise):
            changed = ast.IfExp(test, otherwise, body)
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            changed = ast.Constant(value + 1)
        case _:
            changed = None
    return changed


def _is_text(*sides: ast.expr) -> bool:
    return any(isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str) for side in sides)


def tests_of(clone: Path, module: str) -> list[str]:
    """Return the test files of a module."""
    path = Path(module)
    own = [clone / "tests" / path.parent / f"test_{path.name}"]
    if not own[0].is_file():
        own = (
            sorted((clone / "tests" / path.parent).glob("test_*.py"))
            if path.parent.name
            else [clone / "tests/test_build.py"]
        )
    return [str(file.relative_to(clone)) for file in own]


def is_noticed(clone: Path, module: str, change: Change) -> bool:
    """Run the module's tests with the change in place."""
    place = clone / PACKAGE / module
    whole = place.read_bytes()
    place.write_bytes(whole[: change.start] + change.after.encode() + whole[change.end :])
    try:
        return not passes(clone, tests_of(clone, module))
    finally:
        place.write_bytes(whole)


def passes(clone: Path, tests: list[str]) -> bool:
    """Return whether these tests pass; not if they take too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(clone / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    main()
