"""What the terminal shows: numbers, aligned names, a line for each trial where there is no bar."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from ft_lightning.system import console as module
from ft_lightning.system.console import TrialBar, interval, number, pairs, short


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a file gets, which is no terminal."""
    text = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=text, width=100, highlight=False, markup=False))
    return text


@pytest.mark.parametrize("bar", [False, True])
def test_without_a_terminal_each_trial_of_this_run_is_a_line(bar: bool, shown: io.StringIO) -> None:
    trials = TrialBar(9, bar)
    trials.watch({0: "of an earlier run", 1: "failed then"}, "")
    trials.watch({0: "of an earlier run", 1: "failed then", 2: "third", 3: "fourth failed"}, "")
    trials.watch({0: "of an earlier run", 1: "failed then", 2: "third", 3: "fourth failed", 4: "fifth"}, "")
    assert shown.getvalue() == "third\nfourth failed\nfifth\n"


def test_beside_a_bar_only_what_failed_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=text, width=100, force_terminal=True))
    trials = TrialBar(9, True)
    trials.watch({}, "")
    trials.watch({0: "first", 1: "second failed"}, "")
    assert text.getvalue() == "second failed\n"


def test_all_blocks_of_names_align(shown: io.StringIO) -> None:
    pairs(run="a")
    pairs(trainable="b", backbone="c\x1b[2J")
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert "\n".join(lines) == "run        a\n\ntrainable  b\nbackbone   c\\x1b[2J\n"


def test_numbers_and_intervals() -> None:
    assert [number(value) for value in (None, 0.5, 3, "x")] == ["-", "0.5000", "3", "x"]
    assert interval((0.25, 1)) == "0.2500 to 1.0000"
    assert interval(None) == ""
    assert [number(value) for value in (0.0, -0.0007, 4e-5, 123456.25, 1.29e11)] == [
        "0.0000", "-0.0007", "4e-05", "123456.2500", "1.29e+11",
    ]  # fmt: skip
    assert interval((-1.5e-19, 2e-19)) == "-1.5e-19 to 2e-19"


def test_a_path_below_the_working_directory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short(tmp_path / "a") == tmp_path / "a", "somebody has left where the command began"
    monkeypatch.setattr(module, "_START", tmp_path)
    assert short(tmp_path / "a/b") == Path("a/b")
    assert short(tmp_path.parent) == tmp_path.parent


@pytest.mark.parametrize(
    ("finished", "now", "said"), [(None, 12.3, "12 samples/s"), (8.6, 3, "9 samples/s"), (None, None, "")]
)
def test_the_rate_is_that_of_the_whole_once_it_is_known(finished: float | None, now: float | None, said: str) -> None:
    task = SimpleNamespace(finished_speed=finished, speed=now)
    assert module._Rate().render(task).plain == said  # type: ignore[arg-type]


def test_a_search_counts_epochs_from_one_as_a_training_does() -> None:
    bar = TrialBar(4, shown=False)
    bar.report(3, 0, 0.5)
    assert bar._progress.tasks[0].fields["now"] == " · trial 3, epoch 1: 0.5000"
    bar.report(3, 9, 0.5)
    assert "epoch 10:" in bar._progress.tasks[0].fields["now"]
