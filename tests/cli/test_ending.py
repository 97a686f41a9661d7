"""What a command that ended early leaves behind, and what it says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import ft_lightning
from conftest import files_below, patience
from ft_lightning.cli import command
from ft_lightning.cli.ending import kept, predict_line, remove_refused
from ft_lightning.cli.job import Verb
from ft_lightning.runs import resume
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ft_lightning.system.console._START", tmp_path)
    return tmp_path


def run_in(home: Path, *files: str) -> Path:
    folder = home / "outputs/train/a b"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("files", "gone"),
    [
        (["config.yaml", "outcome.json", "log.txt"], True),
        (["outcome.json"], True),
        (["config.yaml", "outcome.json", "problems.json"], False),  # what the message points to
        (["config.yaml", "outcome.json", "checkpoints/last.ckpt"], False),
        (["config.yaml", "notes.txt"], False),
    ],
)
def test_a_refused_command_leaves_no_folder_but_every_result(files: list[str], gone: bool, home: Path) -> None:
    remove_refused(run_in(home, *files))
    assert files_below(home) == (set() if gone else {f"outputs/train/a b/{name}" for name in files})
    assert (home / "outputs").exists() != gone


def test_other_runs_and_folders_elsewhere_stay(home: Path) -> None:
    folder = run_in(home, "config.yaml")
    (home / "outputs/train/other").mkdir()
    remove_refused(folder)
    assert [path.name for path in (home / "outputs/train").iterdir()] == ["other"]
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    os.chdir(home / "outputs")
    remove_refused(elsewhere)
    assert elsewhere.is_dir()


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["data.root=/none"], set()),
        (["data.root=/none", "hydra.run.dir=named"], {"named/config.yaml", "named/outcome.json", "named/log.txt"}),
    ],
)
def test_only_a_directory_that_nobody_has_named_goes(words: list[str], files: set[str], home: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        ft_lightning.run("train", *words)
    assert files_below(home) == files
    assert {path.name for path in home.iterdir()} == ({"named"} if files else set())


@pytest.mark.parametrize(
    ("verb", "files", "said"),
    [
        ("train", ["config.yaml", "checkpoints/last.ckpt"], "has all up to its last checkpoint"),
        ("train", ["config.yaml"], "there is no checkpoint yet"),
        ("tune", ["config.yaml"], "finished trials are kept in outputs/train/a b"),
        ("predict", ["config.yaml"], "start the same command again"),
        ("check", ["config.yaml", "report.html"], "outputs/train/a b has what was found so far; to finish, start the"),
        ("train", ["outcome.json"], "start the same command again"),
    ],
)
def test_ctrl_c_says_what_is_kept_and_what_to_type(verb: str, files: list[str], said: str, home: Path) -> None:
    folder = run_in(home, *files)
    told = kept(verb, folder, signal.SIGINT)
    assert told.startswith("Interrupted: ")
    assert said in told
    line = "python -m ft_lightning.train 'resume=\"outputs/train/a b\"'"
    assert told.endswith(f"\n{line}") == (verb == "train" and "config.yaml" in files)
    if line in told:
        assert resume.run_directory(['resume="outputs/train/a b"']) == Path("outputs/train/a b")


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_signal_is_told_once_on_the_terminal_and_in_the_log(
    error: BaseException, code: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(*_: object) -> dict[str, object]:
        raise error

    folder = home / "run"
    folder.mkdir()
    cfg = OmegaConf.create({"resume": None})
    with pytest.raises(type(error)), command.streams.guarded():
        command._report(Verb("train", job), cfg, folder, ["a=1"], several=False)
    told = capsys.readouterr().err
    assert told.count("To go on:\npython -m ft_lightning.train resume=run\n") == 1
    assert "error" not in told
    assert (folder / "log.txt").read_text() == told


ENDS = """
import atexit, sys, threading, time
from pathlib import Path
from ft_lightning.cli.ending import leave

class Cycle:
    pass

cycle = Cycle()
cycle.itself, cycle.file = cycle, open("unclosed", "w")  # as a callback of one's own may leave it
cycle.file.write("written")
atexit.register(lambda: Path("registered").touch())
threading.Thread(target=lambda: (time.sleep(0.2), Path("thread").touch())).start()
print("said")
leave(eval(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("code", "number", "errors"), [("0", 0, ""), ("None", 0, ""), ("3", 3, ""), ("'why'", 1, "why\n")]
)
def test_a_process_that_leaves_has_written_all_waited_and_called_what_was_registered(
    code: str, number: int, errors: str, tmp_path: Path
) -> None:
    done = subprocess.run([sys.executable, "-c", ENDS, code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (number, "said\n", errors)
    assert (tmp_path / "unclosed").read_text() == "written"
    assert files_below(tmp_path) == {"unclosed", "registered", "thread"}


ENDLESS = """
import sys, threading
from ft_lightning.cli.ending import leave

threading.Thread(target=threading.Event().wait).start()
leave(int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_whose_library_was_starting_an_endless_thread(number: int) -> None:
    code = 128 + number  # Optuna's heartbeat is such a thread: a signal between its start and the trial orphans it
    done = subprocess.run([sys.executable, "-c", ENDLESS, str(code)], check=False, timeout=patience(60))
    assert done.returncode == code


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("image", "null", "input=FOLDER"),
        ("text", "null", "text=TEXT"),
        ("text", "body", "text=TEXT"),
        ("text", "[body]", "text=TEXT"),
        ("text", "[title, the body]", """input=TABLE 'column=[title,"the body"]'"""),
    ],
)
def test_the_command_that_asks_a_model_fits_what_it_reads(kind: str, text: str, words: str, home: Path) -> None:
    (home / "run/model").mkdir(parents=True)
    (home / "run/model/model.json").write_text(json.dumps({"preprocess": {"kind": kind}}))
    (home / "run/config.yaml").write_text(f"data:\n  text: {text}\n")
    assert predict_line(Run(home / "run")) == f"python -m ft_lightning.predict model_dir=run {words}"
