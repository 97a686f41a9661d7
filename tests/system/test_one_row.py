# ruff: noqa: T201 (what is printed is what they are about)
"""While a job of a multirun works, a terminal shows one row of it; its log has everything."""

import io
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress

from ft_lightning.system import one_row as module
from ft_lightning.system import streams
from ft_lightning.system.one_row import aloud, one_row


@pytest.fixture(autouse=True)
def nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_said", set())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_in(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, log: Path) -> str:
    """What a job's output looks like there."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with one_row("job 3  lr=1"), streams.guarded():
        streams.log_to(log)
        console = Console(force_terminal=True, width=70, color_system="standard")
        print("samples 8")
        with Progress(console=console, auto_refresh=False) as bar:
            bar.update(bar.add_task("Epoch 1/2", total=2), advance=1, refresh=True)
        print("a warning", file=sys.stderr)
        print("done")
    assert sys.stdout is stream
    return stream.getvalue()


def test_a_terminal_shows_the_last_row_and_nothing_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = shown_in(Terminal(), monkeypatch, tmp_path / "log")
    rows = shown.split("\r\x1b[K")
    assert rows[1] == "job 3  lr=1  samples 8"
    assert any(row.startswith("job 3  lr=1  Epoch 1/2") and "50%" in row and "━" not in row for row in rows)
    assert "a warning\n" in rows, "an error or a warning is a line of its own"
    assert rows[-2:] == ["job 3  lr=1  done", ""]
    assert all("\n" not in row for row in rows if row != "a warning\n")
    alone = ["samples 8", "Epoch 1/2", "a warning", "done"]
    log = (tmp_path / "log").read_text().splitlines()
    assert [line[: len(word)] for line, word in zip(log, alone, strict=True)] == alone


def test_without_a_terminal_only_errors_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert shown_in(io.StringIO(), monkeypatch, tmp_path / "log") == "a warning\n"
    assert "samples 8" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("said", ["x" * 500, "猫" * 500, "b" * 78])
def test_a_long_row_is_cut_before_it_wraps(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    with one_row("job 3"):
        print(said)
    assert max(map(cell_len, stream.getvalue().split("\r\x1b[K"))) == 79


def test_what_several_jobs_say_aloud_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    for finding in ("9 copies", "9 copies", "8 copies"):
        with one_row("job"):
            print("hidden")
            with aloud(finding):
                print(finding)
            print("hidden")
    assert stream.getvalue() == "9 copies\n8 copies\n"
    with aloud("9 copies"):
        print("alone all is shown")
    assert stream.getvalue().endswith("alone all is shown\n")


def test_a_warning_that_jobs_repeat_is_shown_once_and_an_error_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    for job in range(2):
        with one_row("job"), streams.guarded():
            streams.log_to(tmp_path / f"{job}.txt")
            for text in ("30 files are not used", "30 files are not used", f"of job {job}", "error: same in both"):
                print(text, file=sys.stderr)
            sys.stderr.write("Traceback (most recent call last):\n  here\nValueError\n")
    traceback = ["Traceback (most recent call last):", "  here", "ValueError"]
    twice = ["30 files are not used"] * 2
    first = [*twice, "of job 0", "error: same in both", *traceback]
    second = [*twice, "of job 1", "error: same in both", *traceback]
    assert stream.getvalue().splitlines() == [*first, *second[2:]]
    assert (tmp_path / "1.txt").read_text().splitlines() == second
