"""The names of the files that a run leaves stand in runs/ alone."""

import ast
from pathlib import Path

import pytest

from conftest import ROOT
from ft_lightning.runs.run import Run

PACKAGE = ROOT / "src/ft_lightning"
FILES = {
    *("config.yaml", "outcome.json", "log.txt", "problems.json", "metrics.csv", "metrics.json", "split.csv"),
    *("predictions.csv", "report_data", "val_predictions.csv", "reliability.csv", "neighbours.csv", "pairs.csv"),
    *("previews", "report.html", "check.json", "issues.csv", "trials.csv", "best.yaml", "study.db"),
    *("leaderboard.csv", "multirun.csv", "model.json", "model.safetensors"),
}
FOLDERS = {"model", "checkpoints"}  # these words mean other things too, but not to the right of a slash
# Below runs/, or not about a run.
ELSEWHERE = {
    "deploy/weights.py": {"model.safetensors"},  # only deploy knows what is in a model directory
    "backbones/after_pooling.py": {"model.safetensors"},  # of sentence-transformers
    "backbones/downloads.py": {"checkpoints", "model.safetensors"},  # of torch.hub and of huggingface
    "backbones/snapshots.py": {"model", "model.safetensors"},  # of a package of weights
    "backbones/text_weights.py": {"model.safetensors"},  # of transformers
}


def names_in(source: str) -> set[str]:
    """Which of these names a source has as a string of its own or as the last part of a path."""
    nodes = list(ast.walk(ast.parse(source)))
    slashed = {id(node.right) for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)}
    found = set()
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            parts = node.value.split("/")
            found |= (FILES & set(parts)) | (FOLDERS & set(parts) if id(node) in slashed else set())
    return found


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("runs/")])
def test_a_file_of_a_run_is_named_in_runs_alone(name: str) -> None:
    assert names_in((PACKAGE / name).read_text(encoding="utf-8")) <= ELSEWHERE.get(name, set())


def test_the_look_at_the_source_sees_each_of_them() -> None:
    for name in FILES:
        assert names_in(f"x = folder / {name!r}") == names_in(f"open(f'{{folder}}/{name}')") == {name}
    for name in FOLDERS:
        assert names_in(f"x = folder / {name!r}") == {name}
        assert names_in(f"x = cfg[{name!r}]") == set()
    assert names_in("'''Writes metrics.json of a run.'''\nlog.info('see metrics.json')") == set()


def test_the_list_of_names_is_that_of_a_run() -> None:
    run = Run(Path("run"))
    source = (PACKAGE / "runs/run.py").read_text(encoding="utf-8")
    assert run.record_path("metrics").name in FILES
    for path in (run.config_file, run.log, run.page, run.previews, run.study, run.best):
        assert set(path.parts[1:]) <= FILES
    assert names_in(source) >= {"config.yaml", "log.txt", "report.html", "report_data", "study.db", "best.yaml"}
