"""What a job leaves in its directory, and what its errors mean."""

import json
import signal
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli import command
from ft_lightning.cli.job import Verb, carry_out
from ft_lightning.cli.processes import FailedElsewhereError
from ft_lightning.runs.config import write_config
from ft_lightning.system import streams
from ft_lightning.system.errors import UserError

WORDS = ["a=1"]


def verb(error: BaseException | None, shared: bool = False) -> Verb:
    def job(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
        if error:
            raise error
        return {}

    return Verb("train", job, shared=shared)


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "outcome.json").read_text())


def during(signal_s: BaseException, error: BaseException) -> BaseException:
    """An error that a library raised while it handled what a signal raised."""
    try:
        try:
            raise signal_s
        except BaseException:
            raise error  # noqa: B904
    except BaseException as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "meant", "code"),
    [
        (during(KeyboardInterrupt(), SystemExit(1)), KeyboardInterrupt, 130),  # Lightning
        (during(KeyboardInterrupt(), UnboundLocalError("x")), KeyboardInterrupt, 130),  # Optuna
        (during(SystemExit(143), UnboundLocalError("x")), SystemExit, 143),
        (SIGTERMException(), SystemExit, 143),  # Lightning, of a SIGTERM whose exception Python could only ignore
        (ValueError("a bug"), ValueError, 1),
    ],
)
def test_a_signal_counts_whatever_a_library_makes_of_it(
    error: BaseException, meant: type[BaseException], code: int, tmp_path: Path
) -> None:
    with pytest.raises(meant):
        carry_out(verb(error), OmegaConf.create({"a": 1}), tmp_path, WORDS)
    assert outcome(tmp_path)["exit_code"] == code


@pytest.mark.parametrize("late", [False, True])
def test_a_run_that_went_on_and_ended_late_keeps_its_log_and_says_how(late: bool, tmp_path: Path) -> None:
    def job(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
        print("this attempt")  # noqa: T201
        if late:  # as train does when it begins to train
            write_config(cfg, run_dir)
        raise UserError("the disk is full")

    with streams.guarded(), pytest.raises(KeyboardInterrupt):
        carry_out(verb(KeyboardInterrupt()), OmegaConf.create({"a": 1, "resume": None}), tmp_path, WORDS)
    (tmp_path / "log.txt").write_text("the first attempt\n")
    again = OmegaConf.create({"a": 1, "resume": str(tmp_path)})
    with streams.guarded(), pytest.raises(UserError, match="the disk is full"):
        carry_out(Verb("train", job), again, tmp_path, [f"resume={tmp_path}"])
    assert (tmp_path / "log.txt").read_text() == "the first attempt\n" + "this attempt\n" * late
    assert outcome(tmp_path)["exit_code"] == (2 if late else 130)


def test_a_run_that_cannot_go_on_keeps_the_outcome_it_has(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"a": 1, "resume": None})
    with pytest.raises(KeyboardInterrupt):
        carry_out(verb(KeyboardInterrupt()), cfg, tmp_path, WORDS)
    again = OmegaConf.create({"a": 1, "resume": str(tmp_path)})
    with pytest.raises(FailedElsewhereError):
        carry_out(verb(FailedElsewhereError(2)), again, tmp_path, [f"resume={tmp_path}"])
    assert outcome(tmp_path)["exit_code"] == 130


@pytest.mark.parametrize(("rank", "shared"), [("1", False), ("0", True)])
def test_a_process_that_writes_no_outcome_does_not_look_into_the_directory(
    rank: str, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    carry_out(verb(None, shared), OmegaConf.create({}), tmp_path / "gone meanwhile", WORDS)


@pytest.mark.parametrize(
    ("ignored", "said"), [(KeyboardInterrupt(), "2"), (SystemExit(143), "15"), (SystemExit(1), ""), (ValueError(), "")]
)
def test_a_signal_that_python_could_only_ignore_comes_again(
    ignored: BaseException, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Thing:
        pass

    def fail(reference: object) -> None:
        raise ignored

    came: list[str] = []
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, lambda number, frame: came.append(str(number))) for number in numbers]
    try:
        monkeypatch.setattr(sys, "__unraisablehook__", lambda unraisable: None)
        monkeypatch.setattr(sys, "unraisablehook", command._signal_again)
        thing = Thing()
        reference = weakref.ref(thing, fail)
        del thing
        time.sleep(0.5)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert reference() is None
    assert "".join(came) == said
