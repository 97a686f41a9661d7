"""A task whose metric is the lower the better and whose answers are no classes: what must not know classes does not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import pytest

from ft_lightning.cli import multirun
from ft_lightning.pages.comparison import write
from ft_lightning.report import show
from ft_lightning.runs.leaderboard import leaderboard
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table, write_table
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.registry import TASKS, task_class


class Distance:
    """Answers are numbers, farther from the label or nearer."""

    name: ClassVar[str] = "distance"
    monitor: ClassVar[str] = "mae"
    directions: ClassVar[Mapping[str, str]] = {"mae": "min", "r2": "max"}
    headline: ClassVar[Mapping[str, str]] = {"mae": "mean error", "r2": "R²"}
    columns: ClassVar[Mapping[str, str]] = {"mae": "mean error", "r2": "R²"}
    answer: ClassVar[str | None] = None

    @classmethod
    def resampled(cls, answers: pd.DataFrame, draws: np.ndarray) -> None:
        return None

    def abstaining(self, below: float) -> Self:
        raise UserError(f"abstain_below={below}: an answer of the task {self.name} has no probability; leave it out.")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "distance", Distance)


def run_of(folder: Path, val: float, test: float) -> Run:
    (folder / "model").mkdir(parents=True)
    scores = {"val": {"mae": val}, "test": {"mae": test, "mae_ci95": [test - 1, test + 1], "r2": 0.25, "n": 2}}
    (folder / "metrics.json").write_text(json.dumps(scores))
    (folder / "model/model.json").write_text('{"task": {"name": "distance"}}')
    table = pd.DataFrame({"path": ["a", "b"], "label": [1.5, 2.5], "value": [1.0, 2.0]})
    write_table(table, folder / "predictions.csv")
    return Run(folder)


def test_its_runs_are_compared_by_its_own_metric_the_lowest_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run_of(tmp_path / name, val, 3.5) for name, val in (("far", 9.0), ("near", 2.0), ("between", 4.0))]
    assert all(run.finished for run in runs)
    board = leaderboard(runs)
    assert board.columns.tolist() == [
        *("run", "val mean error", "test mean error", "low", "high", "test set", "model", "finetune", "overrides"),
        *("R²", "n", "trained on", "seconds", "data"),
    ]
    assert [Path(run).name for run in board["run"]] == ["near", "between", "far"]
    assert (board[["low", "high"]] == [2.5, 4.5]).all(axis=None)
    assert board["test set"].tolist() == ["A", "A", "A"]
    out = Run(tmp_path / "out")
    out.path.mkdir()
    assert write(out, board, [], "*") == "", "no answer is just right or wrong: nothing to count"
    html = out.page.read_text()
    assert "By mean error on val" in html
    assert "accuracy" not in html
    assert read_table(out.table_path("leaderboard"))["val mean error"].astype(float).tolist() == [2, 4, 9]
    show(board)
    assert "2.5000 to 4.5000" in capsys.readouterr().out


def test_a_multirun_lists_the_lowest_first_and_failures_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multirun, "_plans", [multirun.Plan(tmp_path, [["a=1"], ["a=2"], ["a=3"]])])
    for name, val, code in (("0", 9.0, 0), ("1", 1.0, 3), ("2", 2.0, 0)):
        outcome = {
            "exit_code": code,
            "overrides": [f"a={int(name) + 1}"],
            "error": "not finite\nat all" if code else "",
        }
        run_of(tmp_path / name, val, 3.5).write("outcome", outcome)
    assert multirun.conclude() == 3
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()[2:5]]
    assert rows == [["best", "2", "a=3", "2.0000"], ["0", "a=1", "9.0000"], ["1", "a=2", "not", "finite"]]
    assert said.count("3.5000") == 1, "only the winner's number on test is shown"
    table = read_table(tmp_path / "multirun.csv")
    assert table["val_mae"].tolist() == ["9.0", "", "2.0"]
    assert table["error"].tolist() == ["", "not finite", ""]


@pytest.mark.parametrize("card", [{}, {"task": {}}, {"task": {"name": None}}, {"task": "words"}, {"task": {"name": 3}}])
def test_a_run_that_names_no_task_is_one_of_classes(card: dict[str, object], tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", 1.0, 1.0).path
    (folder / "model/model.json").write_text(json.dumps(card))
    assert Run(folder).task == "multiclass"


def test_a_run_of_an_unknown_task_is_named(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", 1.0, 1.0).path
    (folder / "model/model.json").write_text('{"task": {"name": "ordinal"}}')
    with pytest.raises(UserError, match=r"the task 'ordinal' of .*run is unknown here: leave those runs out"):
        leaderboard([Run(folder)])


def test_runs_of_two_tasks_are_not_compared(tmp_path: Path) -> None:
    other = run_of(tmp_path / "classes", 0.5, 0.5)
    (other.path / "model/model.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"different tasks. Name the runs of one .*distance: .*/near; multiclass: .*/cl"
    ):
        leaderboard([run_of(tmp_path / "near", 2.0, 2.0), other])


def test_a_run_that_left_no_model_knows_its_task_from_its_config(tmp_path: Path) -> None:
    run = run_of(tmp_path / "stopped", 2.0, 3.0)
    (run.path / "model/model.json").unlink()
    assert (run.task, run.finished) == ("multiclass", False)
    (run.path / "config.yaml").write_text("task: {name: distance}\n")
    assert (run.task, run.score("test").metric, run.score("test").value) == ("distance", "mae", 3.0)
    (run.path / "model/model.json").write_text('{"class_names": []}')
    assert run.task == "multiclass", "a model that names no task is older than tasks"


def test_what_a_comparison_shows_begins_with_what_runs_are_chosen_by() -> None:
    for name in ("multiclass", "distance"):
        task = task_class(name)
        assert next(iter(task.columns)) == task.monitor == next(iter(task.headline))
        assert task.monitor in task.directions


def test_an_answer_is_uncertain_only_where_it_has_a_probability() -> None:
    with pytest.raises(UserError, match=r"abstain_below=0.8: an answer of the task distance has no probability"):
        Distance().abstaining(0.8)
    assert MultiClass(["a", "b"], []).abstaining(0.8).abstain_below == 0.8
