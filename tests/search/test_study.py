"""A study has exactly as many outcomes as wanted, however many processes work on it, and whichever of them die."""

import collections
import contextlib
import multiprocessing
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import sqlalchemy
from optuna.trial import TrialState

from conftest import patience
from ft_lightning.search.results import ranked_trials, ties, winner
from ft_lightning.search.space import read_space, suggest
from ft_lightning.search.study import (
    Plan,
    TrialFailed,
    _is_dead,
    fail_dead_trials,
    has_outcome,
    is_of_defaults,
    open_study,
    work,
)
from ft_lightning.system.errors import UserError

# Forks of a process that has imported most of what they need.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["hydra", "optuna", "pandas", "PIL.Image", "psutil", "pytest", "sqlalchemy", "torch"])
SPACE = read_space({"x": {"low": -1.0, "high": 1.0}})
GRID = read_space({"a": {"choices": ["p", "q"]}, "b": {"low": 1, "high": 3}})


def plan(**values: Any) -> Plan:
    given = {"space": SPACE, "trials": 12, "sampler": "tpe", "prune_after": None, "direction": "maximize", "seed": 0}
    return Plan(**given | values)


def search(folder: Path, wanted: Plan, seconds: float = 0.0, **objective: Any) -> optuna.Study:
    study = open_study(folder, None, "s", wanted)
    work(study, wanted, lambda trial: value(trial, wanted, seconds, **objective), folder, lambda trials: None)
    return study


def value(trial: optuna.Trial, wanted: Plan, seconds: float, die_at: int | None = None) -> float:
    values = suggest(trial, wanted.space)
    time.sleep(seconds)
    if trial.number == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return -(values.get("x", 0.0) ** 2)


def outcomes(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if has_outcome(trial)]


def test_a_search_goes_on_where_it_stopped_as_if_it_had_not(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    at_once = search(whole, plan(trials=14))
    search(parts, plan(trials=5))
    later = search(parts, plan(trials=14))
    assert [trial.params for trial in later.trials] == [trial.params for trial in at_once.trials]
    assert len({trial.params["x"] for trial in later.trials}) == 14, "nothing is tried twice"
    assert len(search(parts, plan(trials=14)).trials) == 14, "there is nothing left to do"
    assert not [file for file in psutil.Process().open_files() if Path(file.path).name == "study.db"]


def test_a_killed_process_s_trial_is_lost_and_another_takes_its_place(tmp_path: Path) -> None:
    process = CONTEXT.Process(target=search, args=(tmp_path, plan()), kwargs={"die_at": 4})
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    study = search(tmp_path, plan())
    states = collections.Counter(trial.state for trial in study.trials)
    assert states == {TrialState.COMPLETE: 12, TrialState.FAIL: 1}
    lost = study.trials[4]
    assert lost.state == TrialState.FAIL
    assert (lost.user_attrs["host"], lost.user_attrs["pid"]) == (platform.node(), process.pid)


def test_processes_share_the_work_and_end_with_exactly_what_is_wanted(tmp_path: Path) -> None:
    processes = [CONTEXT.Process(target=search, args=(tmp_path, plan(trials=21), 0.02)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
        assert process.exitcode == 0
    study = open_study(tmp_path, None, "s", plan())
    assert len(outcomes(study)) == 21
    shares = collections.Counter(trial.user_attrs["pid"] for trial in outcomes(study))
    assert len(shares) == 3, "each did some of it"
    assert len({trial.params["x"] for trial in outcomes(study)}) == 21, "no two tried the same"


def test_processes_try_each_combination_of_a_grid_once_and_again_only_what_was_lost(tmp_path: Path) -> None:
    wanted = plan(space=GRID, trials=None, sampler="grid")
    killed = CONTEXT.Process(target=search, args=(tmp_path, wanted), kwargs={"die_at": 2})
    killed.start()
    killed.join(120)
    processes = [CONTEXT.Process(target=search, args=(tmp_path, wanted, 0.05)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
        assert process.exitcode == 0
    done = [tuple(trial.params.values()) for trial in outcomes(open_study(tmp_path, None, "s", wanted))]
    assert sorted(done) == [(a, b) for a in "pq" for b in (1, 2, 3)]


def test_of_a_grid_as_many_as_wanted(tmp_path: Path) -> None:
    study = search(tmp_path, plan(space=GRID, trials=2, sampler="grid"))
    assert [trial.params for trial in study.trials] == [{"a": "p", "b": 1}, {"a": "p", "b": 2}]


def of_defaults(study: optuna.Study) -> list[int]:
    return [trial.number for trial in study.trials if is_of_defaults(trial)]


@pytest.mark.promise(31)
@pytest.mark.parametrize("defaults", [{}, {"x": 0.5}])
@pytest.mark.parametrize("trials", [1, 4])
def test_the_defaults_are_the_first_trial_and_one_of_those_wanted(
    defaults: dict[str, Any], trials: int, tmp_path: Path
) -> None:
    study = search(tmp_path, plan(trials=trials, defaults=defaults))
    assert of_defaults(study) == [0]
    assert len(study.trials) == trials
    if defaults:
        assert study.trials[0].params == defaults
    assert of_defaults(search(tmp_path, plan(trials=trials + 3, defaults=defaults))) == [0], "once"
    assert len(study.trials) == trials + 3


@pytest.mark.promise(31)
def test_a_search_that_began_without_its_defaults_and_a_grid_go_on_without(tmp_path: Path) -> None:
    for name in ("old", "grid", "lost"):
        (tmp_path / name).mkdir()
    search(tmp_path / "old", plan(trials=2))
    assert of_defaults(search(tmp_path / "old", plan(trials=4, defaults={"x": 0.5}))) == []
    assert of_defaults(search(tmp_path / "grid", plan(space=GRID, sampler="grid", trials=None, defaults={}))) == []
    process = CONTEXT.Process(
        target=search, args=(tmp_path / "lost", plan(trials=3, defaults={"x": 0.5})), kwargs={"die_at": 0}
    )
    process.start()
    process.join()
    lost = search(tmp_path / "lost", plan(trials=3, defaults={"x": 0.5}))
    assert of_defaults(lost) == [0, 1], "the first one died with its process"
    assert lost.trials[1].params == {"x": 0.5}
    assert len(outcomes(lost)) == 3


@pytest.mark.promise(31)
def test_equal_trials_are_ranked_by_loss_and_counted(tmp_path: Path) -> None:
    found = [(0.9, 0.1), (1.0, 0.5), (1.0, 0.2), (1.0, None), (1.0, 0.2)]

    def scripted(trial: optuna.Trial) -> float:
        value, loss = found[trial.number]
        suggest(trial, SPACE)
        trial.set_user_attr("loss", loss)
        return value

    study = open_study(tmp_path, None, "s", plan())
    work(study, plan(trials=5), scripted, tmp_path, lambda trials: None)
    assert [trial.number for trial in ranked_trials(study.trials, "maximize")] == [2, 4, 1, 3, 0]
    assert winner(study).number == 2
    assert ties(study, "val/accuracy") == "4 of 5 share the best val/accuracy: val cannot tell them apart"
    alone = open_study(tmp_path, None, "alone", plan(direction="minimize"))
    work(alone, plan(trials=3, direction="minimize"), scripted, tmp_path, lambda trials: None)
    assert ties(alone, "val/loss") == ""
    assert winner(alone).number == 0


def test_a_trial_that_fails_for_its_own_reason_counts_and_says_why(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "s", plan())

    def objective(trial: optuna.Trial) -> float:
        if trial.number % 2:
            raise TrialFailed("no luck")
        return 1.0

    work(study, plan(trials=6), objective, tmp_path, lambda trials: None)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"] * 3
    assert study.trials[1].user_attrs["error"] == "no luck"


def test_any_other_error_ends_the_work_and_its_trial_is_run_again(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "s", plan())

    def objective(trial: optuna.Trial) -> float:
        raise UserError("the data is gone")

    with pytest.raises(UserError, match="the data is gone"):
        work(study, plan(trials=3), objective, tmp_path, lambda trials: None)
    assert len(outcomes(search(tmp_path, plan(trials=3)))) == 3


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_live_process_s_trial_is_left_alone_and_a_reused_pid_is_not_taken_for_it(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "s", plan())
    me = psutil.Process()
    for started, host in ((me.create_time(), platform.node()), (me.create_time() - 60, platform.node()), (0.0, "else")):
        trial = study.ask()
        for name, known in {"host": host, "pid": me.pid, "started": started}.items():
            trial.set_user_attr(name, known)
    study.ask()  # begun this moment, without a name yet
    fail_dead_trials(study)
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL", "RUNNING", "RUNNING"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_what_is_beyond_the_wanted_number_is_not_run(tmp_path: Path) -> None:
    """Two processes that look at the same moment both begin a trial, of which one is too many."""
    study = open_study(tmp_path, None, "s", plan())
    run: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        run.append(trial.number)
        if trial.number == 0:  # meanwhile, another process takes the last one
            other = study.ask()
            for name, known in {"host": "else", "pid": 1, "started": 0.0}.items():
                other.set_user_attr(name, known)
            from ft_lightning.search.study import _claim_and_run, _Surplus

            late = study.ask()
            with pytest.raises(_Surplus):
                _claim_and_run(study, late, objective, plan(trials=2))
            study.tell(late, state=TrialState.FAIL)
            study.tell(other, 0.0)
        return 1.0

    work(study, plan(trials=2), objective, tmp_path, lambda trials: None)
    assert run == [0]
    assert len(outcomes(study)) == 2


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_silent_trial_of_another_machine_is_run_again(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "s", plan())
    trial = study.ask()
    for name, known in {"host": "else", "pid": 1, "started": 0.0}.items():
        trial.set_user_attr(name, known)
    study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        database.execute("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'")
    work(study, plan(trials=1), lambda trial: 1.0, tmp_path, lambda trials: None)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]


def test_a_process_that_was_taken_for_dead_goes_on(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "s", plan())

    def objective(trial: optuna.Trial) -> float:
        if trial.number < 2:  # another process buries it while this one sleeps
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.number == 1:
            trial.report(0.0, 0)
        return 1.0

    work(study, plan(trials=2), objective, tmp_path, lambda trials: None)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]


def test_a_value_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "s", plan())
    work(study, plan(trials=2), lambda trial: float("nan"), tmp_path, lambda trials: None)
    assert [trial.user_attrs["error"] for trial in study.trials] == ["its value is nan"] * 2


def test_a_child_that_nobody_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    known = {"host": platform.node(), "pid": child.pid, "started": process.create_time()}
    deadline = time.monotonic() + patience(30)
    while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _is_dead(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=known))
    child.wait()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sampler": "best"}, r"tune\.sampler=best is unknown"),
        ({"trials": 0}, r"tune\.trials=0"),
        ({"trials": None}, r"tune\.trials=null: a search without end"),
        ({"prune_after": -1}, r"tune\.prune_after=-1"),
        ({"prune_after": 1.5}, r"tune\.prune_after=1\.5"),
        ({"prune_after": True}, r"tune\.prune_after=True"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan(**values)


def test_a_storage_that_leads_nowhere_is_told_without_its_password(tmp_path: Path) -> None:
    for url in ("nonsense", "oracle9://me:secret@host/x", f"sqlite:///{tmp_path}/no/such/place.db"):
        with pytest.raises(UserError, match=r"tune\.storage=") as raised:
            open_study(tmp_path, url, "s", plan())
        assert "secret" not in str(raised.value)


def test_a_folder_of_any_name_holds_a_study(tmp_path: Path) -> None:
    folder = tmp_path / "100% odd? näme #1"
    folder.mkdir()
    search(folder, plan(trials=1))
    assert (folder / "study.db").is_file()


@pytest.mark.promise(25)
def test_ctrl_c_within_a_transaction_waits_for_its_end_and_locks_nobody_out(tmp_path: Path) -> None:
    study = open_study(tmp_path, None, "s", plan())
    with pytest.warns(UserWarning, match="Heartbeat"):
        trial = study.ask()
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "after_cursor_execute", lambda *args: signal.raise_signal(signal.SIGINT), once=True)
    with pytest.raises(KeyboardInterrupt):
        trial.set_user_attr("a", 1)
    assert study.get_trials()[0].user_attrs == {"a": 1}
    study.tell(trial, 0.5)
    assert study.best_value == 0.5
    sqlalchemy.event.listen(engine, "after_cursor_execute", lambda *args: signal.raise_signal(signal.SIGINT), once=True)
    with pytest.raises(KeyboardInterrupt):  # a private method, which Optuna's cache calls
        study.get_trials()
    assert len(study.get_trials()) == 1
