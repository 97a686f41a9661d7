"""A run's directory: every file by its name, empty or an error by name where one is missing or damaged."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ft_lightning.pages import comparison
from ft_lightning.runs import write as runs_write
from ft_lightning.runs.config import write_config
from ft_lightning.runs.leaderboard import leaderboard
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table, write_table

DAMAGED = ["", "{", "[]", "3", "null", "[" * 100_000, '{"a": ' * 100_000, "\xff", "1" * 10_000]


def run_with(folder: Path, **files: object) -> Run:
    """A directory with these JSON files."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return Run(folder)


def test_a_run_is_a_path_wherever_one_is_expected(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", metrics={"n": 1})
    assert Path(run) == Path(str(run)) == Path(os.fspath(run)) == Run(run).path == tmp_path / "run"
    assert os.listdir(run) == ["metrics.json"]  # noqa: PTH208 (it takes a path of any kind)
    assert repr(Run("a b")) == "Run('a b')"


def test_files_have_the_names_that_design_lists(tmp_path: Path) -> None:
    run = Run(tmp_path)
    places = (run.config_file, run.log, run.page, run.checkpoints, run.model, run.previews, run.study, run.best)
    assert [path.relative_to(tmp_path).as_posix() for path in places] == [
        *("config.yaml", "log.txt", "report.html", "checkpoints", "model", "report_data/previews"),
        *("study.db", "best.yaml"),
    ]
    for name in ("metrics", "split", "predictions", "issues", "trials", "leaderboard", "multirun"):
        assert run.table_path(name) == tmp_path / f"{name}.csv"
    for name in ("val_predictions", "reliability", "neighbours", "pairs"):
        assert run.table_path(name) == tmp_path / "report_data" / f"{name}.csv"
    for name in ("metrics", "outcome", "problems", "check"):
        assert run.record_path(name) == tmp_path / f"{name}.json"
    assert run.record_path("model") == tmp_path / "model/model.json"
    with pytest.raises(KeyError):
        run.record("metric")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = Run(tmp_path)
    table = pd.DataFrame({"path": ["=a", "b"], "n": [1, 2]})
    assert run.write("neighbours", table) == tmp_path / "report_data/neighbours.csv"
    assert run.table("neighbours").to_dict("list") == {"path": ["=a", "b"], "n": ["1", "2"]}
    assert run.table("neighbours", ["n"]).columns.tolist() == ["n"]
    assert run.write("metrics", {"test": {"accuracy": 0.5}}) == tmp_path / "metrics.json"
    run.write("metrics", table)
    assert run.metrics == run.record("metrics") == {"test": {"accuracy": 0.5}}, "metrics.csv is another file"
    run.write("problems", [{"path": "a"}])
    assert json.loads((tmp_path / "problems.json").read_text()) == [{"path": "a"}]
    with pytest.raises(ValueError, match="JSON compliant"):
        run.write("metrics", {"test": {"accuracy": math.nan}})
    assert run.metrics == {"test": {"accuracy": 0.5}}, "whole or not at all"
    run.write("metrics", {"test": {"accuracy": 0.75}})
    assert run.metrics["test"]["accuracy"] == 0.75, "read anew each time"


def test_what_is_missing_is_empty_or_named(tmp_path: Path) -> None:
    run = Run(tmp_path / "nowhere")
    assert (run.metrics, run.outcome, run.card, run.config, run.command) == ({}, {}, {}, {}, [])
    assert (run.verb, run.finished, run.config_text(), run.trained_on()) == ("", False, "", None)
    assert run.table("split", ["path"], missing_ok=True).empty
    for read, name in (
        (lambda: run.record("metrics"), "metrics.json"),
        (lambda: run.record("check"), "check.json"),
        (lambda: run.table("predictions"), "predictions.csv"),
        (run.saved_config, "config.yaml"),
    ):
        with pytest.raises(UserError, match=f"nowhere/{re.escape(name)}: no such file"):
            read()


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_what_is_damaged_is_empty_or_named(content: str, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.model.mkdir()
    for name in ("metrics", "outcome", "model"):
        run.record_path(name).write_bytes(content.encode("latin-1"))
    assert (run.metrics, run.outcome, run.card) == ({}, {}, {})
    assert not run.finished
    for name in ("metrics", "outcome", "model"):
        with pytest.raises(UserError, match=f"{name}.json is damaged"):
            run.record(name)


@pytest.mark.parametrize("content", ["a: [b", "- a", "a: &x [*x]", "3", "? [a]\n: b", "[" * 100_000])
def test_a_config_that_is_none_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    assert Run(tmp_path).config == {}
    with pytest.raises(UserError, match=r"config\.yaml is damaged"):
        Run(tmp_path).saved_config()


def test_missing_is_ok_only_where_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("path,class\na,b\n")
    with pytest.raises(UserError, match=r"split\.csv"):
        Run(tmp_path).table("split", ["path", "digest"], missing_ok=True)


def test_the_command_is_word_by_word_and_says_the_verb(tmp_path: Path) -> None:
    typed = ["python", "-m", "ft_lightning.check", "data.root=/a b", "x='"]
    write_config(OmegaConf.create({"seed": "${oc.env:SEED}"}), tmp_path, typed)
    run = Run(tmp_path)
    assert (run.command, run.verb) == (typed, "check")
    assert run.config == {"seed": "${oc.env:SEED}"}, "and nothing is looked up"
    assert run.config_text() == (tmp_path / "config.yaml").read_text()
    for head in ("# python -m 'unbalanced", "# of a person", "#python -m x"):
        (tmp_path / "config.yaml").write_text(f"{head}\nseed: 0\n")
        assert (run.command, run.verb) == ([], "")
    (tmp_path / "config.yaml").write_text("# python -m\n")
    assert run.verb == ""


def test_a_card_is_of_the_model_or_of_the_one_that_was_evaluated(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", metrics={"model": {"backbone": {"name": "scored"}}})
    assert run.card["backbone"]["name"] == "scored"
    run_with(run.model, model={"backbone": {"name": "trained"}})
    assert run.card["backbone"]["name"] == "trained"
    assert run_with(tmp_path / "odd", metrics={"model": 3}).card == {}


def test_the_run_of_a_model_directory_is_the_one_that_holds_it(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", metrics={})
    run_with(run.model, model={})
    assert Run.of_model(run.model).path == Run.of_model(run.path).path == run.path


def test_trained_on_is_what_was_in_train_and_not_left_out(tmp_path: Path) -> None:
    rows = [("1", "train", ""), ("2", "train", "damaged"), ("3", "test", ""), ("4", "train", "")]
    write_table(pd.DataFrame(rows, columns=["digest", "split", "excluded"]), tmp_path / "split.csv")
    assert Run(tmp_path).trained_on() == {"1", "4"}
    write_table(pd.DataFrame(rows[2:3], columns=["digest", "split", "excluded"]), tmp_path / "split.csv")
    assert Run(tmp_path).trained_on() == set(), "which is known"


def test_a_command_that_was_refused_leaves_no_trace(tmp_path: Path) -> None:
    for name in ("config.yaml", "log.txt", "outcome.json", "problems.json"):
        (tmp_path / name).touch()
    assert Run(tmp_path).traces() == []
    (tmp_path / "split.csv").touch()
    (tmp_path / "a").touch()
    assert Run(tmp_path).traces() == ["a", "split.csv"]


def test_a_folder_that_cannot_be_listed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(tmp_path / "good", metrics={"test": {"accuracy": 1}})
    (tmp_path / "closed").mkdir()
    listed = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    runs, others = Run.find([str(tmp_path / "*")])
    assert (list(map(str, runs)), others) == ([str(tmp_path / "good")], [tmp_path / "closed"])


def test_hidden_folders_and_links_in_a_circle_hold_no_runs(tmp_path: Path) -> None:
    run_with(tmp_path / "out", note={})
    run_with(tmp_path / "out/.hidden", metrics={"test": {"accuracy": 1}})
    (tmp_path / "out/round").symlink_to(tmp_path / "out")
    (tmp_path / "out/itself").symlink_to(tmp_path / "out/itself")
    assert Run.find([str(tmp_path / "out")]) == ([], [tmp_path / "out"])


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400)
ODD = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
KEYS = (
    "accuracy",
    "accuracy_ci95",
    "f1_macro",
    "loss",
    "ece",
    "n",
    "trained_on",
    "location",
    "total_s",
    "name",
    "mode",
)
PART = ODD | st.dictionaries(st.sampled_from(KEYS), ODD)
PARTS = ("val", "test", "data", "timing", "model", "backbone", "finetune", "test.accuracy")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metrics=st.dictionaries(st.sampled_from(PARTS), PART), card=ODD | st.dictionaries(st.sampled_from(PARTS), PART))
def test_odd_json_breaks_no_comparison(metrics: dict[str, Any], card: Any, tmp_path: Path) -> None:
    test = metrics.get("test")
    metrics["test"] = {**(test if isinstance(test, dict) else {}), "accuracy": 0.5}
    run = run_with(tmp_path / "odd", metrics=metrics)
    run_with(run.model, model=card)
    other = run_with(tmp_path / "plain", metrics={"test": {"accuracy": 0.25, "accuracy_ci95": [0, 1], "n": 4}})
    runs, _ = Run.find([str(tmp_path / "*")])
    board = leaderboard([run, other])
    assert (len(runs), len(board), board["test accuracy"].tolist()) == (2, 2, [0.5, 0.25])
    comparison.write(Run(tmp_path / "out"), board, [], "*")
    assert len(read_table(tmp_path / "out/leaderboard.csv")) == 2


def test_metrics_too_deep_to_walk_are_compared_all_the_same(tmp_path: Path) -> None:
    run = run_with(tmp_path / "deep", metrics={})
    deep = '{"a": ' * 900 + "1" + "}" * 900
    (run.path / "metrics.json").write_text(f'{{"test": {{"accuracy": 0.5, "f1_macro": {deep}}}, "data": {deep}}}')
    assert leaderboard([run])["test accuracy"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("runs.run", {"torch", "lightning", "PIL", "pandas"}),
        *((f"pages.{name}", {"torch", "lightning"}) for name in ("page", "figures", "run", "check", "comparison")),
        ("pages.run", {"scipy"}),
    ],
)
def test_reading_a_run_and_making_its_page_load_nothing_heavy(module: str, unwanted: set[str]) -> None:
    script = f"import sys, ft_lightning.{module}; print({unwanted!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_runs_are_found_two_levels_below_and_no_further(tmp_path: Path) -> None:
    for place in ("a", "b/c", "b/d/e", "f/g"):
        (tmp_path / place).mkdir(parents=True)
        run_with(tmp_path / place, metrics={"test": {"accuracy": 1}})
    runs, others = Run.find(str(tmp_path))
    assert [Path(run).relative_to(tmp_path).as_posix() for run in runs] == ["a", "b/c", "f/g"]
    assert others == []


def test_the_folder_of_the_data_is_that_of_the_config_or_of_its_table(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for data, folder in (
        ({"root": "/a", "csv": None}, "/a"),
        ({"root": "/a", "csv": "/b/labels.csv"}, "/a"),
        ({"root": None, "csv": "/b/labels.csv"}, "/b"),
        ({"root": None, "csv": str(tmp_path / "earlier/split.csv")}, "/images"),
        ({"root": None, "csv": None, "table": "/b/labels.csv"}, "/b"),
        ({"root": None, "csv": str(tmp_path / "nobody/split.csv")}, str(tmp_path / "nobody")),
        ({"root": "${oc.env:HOME}", "csv": None}, None),
        ({}, None),
    ):
        (tmp_path / "earlier").mkdir(exist_ok=True)
        (tmp_path / "earlier/config.yaml").write_text("data: {root: /images}")
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml({"data": data}))
        assert run.data_folder() == folder, data


def test_a_stopwatch_gives_each_phase_its_seconds_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 103.0, 104.5, 110.0])
    monkeypatch.setattr(runs_write.time, "perf_counter", lambda: next(ticks))
    clock = runs_write.Stopwatch()
    for phase in ("setup_s", "features_s", "fit_s"):
        clock.lap(phase)
    assert clock.seconds == {"setup_s": 3.0, "features_s": 1.5, "fit_s": 5.5, "total_s": 10.0}
    timing = clock.timing(176, found=7, computed=3)
    assert timing["images_per_s"] == 176 / 5.5
    assert timing["cache"] == {"hits": 7, "computed": 3}
