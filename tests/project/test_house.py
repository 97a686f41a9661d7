"""Every module of ours stands in a layer, and none is larger than a person reads in one go."""

import re
import tomllib
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "src/ft_lightning"
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
# The public face, what is run by its own name, and the names that config files of users have.
IN_NO_LAYER = {"__main__.py", "rename.py", "digits.py", "preprocess.py"}


def layers() -> set[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (one,) = [contract for contract in contracts if contract["type"] == "layers"]
    return {name.strip() for layer in one["layers"] for name in layer.split("|")}


def test_every_module_is_in_a_layer_and_every_layer_is_a_module_or_a_room() -> None:
    here = {
        path.parts[0].removesuffix(".py") for path in MODULES if path.name not in IN_NO_LAYER or len(path.parts) > 1
    }
    assert here == layers()
    assert {name for name in IN_NO_LAYER if (PACKAGE / name).is_file()} == IN_NO_LAYER


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.as_posix())
def test_no_module_is_longer_than_250_lines(path: str) -> None:
    assert len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) <= 250


def test_rooms_import_nothing_at_their_door() -> None:
    for init in PACKAGE.glob("*/__init__.py"):
        source = init.read_text(encoding="utf-8")
        assert not source or "__getattr__ = lazily(" in source, f"{init.parent.name}: empty or lazy, for --help's sake"


# What one task knows: its answers and its metrics. The others ask the task.
OF_A_TASK = re.compile(
    r"accurac|class_name|class_count|multi_?class|predicted|argmax\(|[\"']probability|uncertain", re.I
)
# By module: the words that it may know, and why.
KNOWN_ELSEWHERE = {
    "backbones/causal.py": {"argmax("},  # whether the next token was the most probable
    "callbacks/best_epoch.py": {"accurac"},  # an example of a metric in a comment
    "data/scan.py": {"class_name"},  # folders of a dataset, whatever a task makes of them
    "deploy/hf.py": {"argmax("},  # whether a rounded model still takes the same token
    "deploy/predictor.py": {"predicted", "uncertain"},  # examples of columns in the docstring of `predict`
    "features/tfidf.py": {"multiclass"},  # a module of scikit-learn
    "loss.py": {"class_count"},  # a loss of one task, chosen in its conf
    "runs/config.py": {"multiclass"},  # what configs mean that are older than tasks
    "runs/run.py": {"multiclass"},  # an example
}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.parts[0] not in ("tasks", "pages", "issues")], ids=str
)
def test_what_a_task_knows_stands_in_tasks_and_on_pages(path: Path) -> None:
    words = {match.lower() for match in OF_A_TASK.findall((PACKAGE / path).read_text(encoding="utf-8"))}
    assert words <= KNOWN_ELSEWHERE.get(path.as_posix(), set())
