# ruff: noqa: T201 (what is printed is what they are about)
"""Nothing that is printed ends the work, and log.txt has what a terminal showed in the end."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress

from ft_lightning.system import streams

ENCODINGS = ("ascii", "cp932", "cp1252", "cp437", "koi8-r", "utf-8", "utf-16", "iso2022_jp")
OURS = "samples    train 24 · val 8\nкот, 猫, naïve … ≥ 0.5 \udcff"


def stream_in(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding)


def bytes_of(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue()


@pytest.mark.promise(36)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_an_encoding_lacks_is_escaped_and_the_rest_is_as_it_was(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = stream_in(encoding), stream_in(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with streams.guarded():
        print(OURS)
        print(OURS, file=sys.stderr)
        Console(highlight=False).print(OURS, soft_wrap=True)
    assert sys.stdout is out
    shown = bytes_of(out).decode(encoding)
    assert "train 24" in shown
    assert "\\udcff" in shown
    assert shown.count("\n") == 4
    assert bytes_of(err).decode(encoding) == "".join(shown.splitlines(keepends=True)[:2])


@pytest.mark.promise(36)
@settings(max_examples=100)
@given(text=st.text(), encoding=st.sampled_from(ENCODINGS))
@example(text="0\x80§", encoding="iso2022_jp")
@example(text="猫\x80", encoding="iso2022_jp")
def test_no_text_in_no_encoding_raises(text: str, encoding: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out = stream_in(encoding)
        patch.setattr(sys, "stdout", out)
        with streams.guarded():
            sys.stdout.write(text)
            sys.stdout.writelines([text, "\n"])
            print("after it", flush=True)
        assert "after it" in bytes_of(out).decode(encoding)


class Broken(io.StringIO):
    """A stream that fails as a closed pipe or a full disk does."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.promise(36)
@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left"), ValueError("I/O on closed file")])
def test_a_stream_that_fails_loses_its_text_and_nothing_else(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(error))
    with streams.guarded():
        streams.log_to(tmp_path / "log.txt")
        print("lost")
        Console().print("lost too")
        sys.stdout.flush()
    assert (tmp_path / "log.txt").read_text() == "lost\nlost too\n"


def test_a_stream_that_was_closed_before_the_start_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with streams.guarded():
        print("nowhere")
        assert not sys.stdout.isatty()
    assert sys.stdout is None


PRINTS = """
import sys
from ft_lightning.system import streams
with streams.guarded(whole_process=True):
    for number in range(100_000):
        print("line", number)
    open(sys.argv[1], "w").close()
sys.exit(3)
"""


@pytest.mark.promise(36)
@pytest.mark.skipif(os.name != "posix", reason="a shell's pipes and redirections")
@pytest.mark.parametrize("to", ["| head -n 1", "> /dev/full", ">&- 2>&-", "2>&1 | head -n 1"])
def test_a_reader_that_has_gone_ends_nothing_and_nothing_complains(to: str, tmp_path: Path) -> None:
    script = tmp_path / "prints.py"
    script.write_text(PRINTS)
    # The exit code of the first command of a pipe, which is Python's.
    line = f"set -o pipefail; {sys.executable} {script} {tmp_path / 'end'} {to}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert done.stderr == ""
    assert (tmp_path / "end").exists()


def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *writes: str, terminal: bool = True) -> str:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    with streams.guarded():
        streams.log_to(tmp_path / "log.txt")
        for text in writes:
            sys.stdout.write(text)
    return (tmp_path / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("writes", "kept"),
    [
        (["a\nb"], "a\nb\n"),
        (["1 %", "\r2 %", "\r100 %\n", "done\n"], "100 %\ndone\n"),  # tqdm
        (["one\ntwo", "\r\x1b[2K\x1b[1A\x1b[2K", "three\nfour\n"], "three\nfour\n"),  # rich, a bar of two rows
        (["\x1b[1mbold\x1b[0m \x1b[31mred\x1b[0m\n"], "bold red\n"),
        (["\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n"], "link\n"),
        (["\x1b[?25l", "x   \n", "\x1b[?25h"], "x\n"),
        (["a\n" * 40, "\x1b[99A", "b\n"], "a\n" * 30 + "b\n" + "a\n" * 9),
        (["\udcff é\n"], "\\udcff é\n"),
        ([], ""),
    ],
)
def test_the_log_has_what_a_terminal_shows_in_the_end(
    writes: list[str], kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert logged(tmp_path, monkeypatch, *writes) == kept


def test_a_progress_bar_is_one_line_of_the_log_and_what_was_printed_above_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", out)
    with streams.guarded():
        streams.log_to(tmp_path / "log.txt")
        console = Console(force_terminal=True, width=80)
        with Progress(console=console, auto_refresh=False) as progress:
            bar = progress.add_task("Features", total=5)
            for number in range(5):
                progress.advance(bar)
                progress.refresh()
                print("sample", number)
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("sample")] == [f"sample {number}" for number in range(5)]
    assert sum("Features" in line for line in lines) == 1
    assert "100%" in lines[-1]


def test_lines_reach_the_file_at_once_where_nothing_is_redrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with streams.guarded():
        streams.log_to(tmp_path / "log.txt")
        print("first")
        assert (tmp_path / "log.txt").read_text() == "first\n"


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.txt").mkdir()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with streams.guarded():
        streams.log_to(tmp_path / "log.txt")
        print("x")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_prints_but_does_not_log(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from ft_lightning.system import streams\n"
        "with streams.guarded():\n"
        "    streams.log_to(Path(sys.argv[1]))\n"
        "    if os.fork() == 0:\n        print('child', flush=True); os._exit(0)\n"
        "    os.wait(); print('parent')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "log.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["child", "parent"]
    assert (tmp_path / "log.txt").read_text() == "parent\n"


@pytest.mark.parametrize("before", [None, "an earlier run\n"])
def test_a_log_can_be_taken_back(before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.txt"
    if before:
        log.write_text(before)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with streams.guarded():
        streams.log_to(log)
        print("refused")
        streams.drop_log()
        print("error: why")
    assert (log.read_text() if log.exists() else None) == before


def test_a_log_that_there_is_not_is_dropped_too() -> None:
    streams.drop_log()
    with streams.guarded():
        streams.drop_log()
