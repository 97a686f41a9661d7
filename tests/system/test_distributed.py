"""Which process is the main one, and who works on what."""

from types import SimpleNamespace

import pytest

from ft_lightning.system.distributed import Processes, is_main_process


@pytest.mark.parametrize(
    ("environment", "main"),
    [
        ({}, True),
        ({"RANK": "0"}, True),
        ({"RANK": "1"}, False),
        ({"RANK": "0", "SLURM_PROCID": "3", "LOCAL_RANK": "1"}, True),
        ({"RANK": "2", "SLURM_PROCID": "0", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "4"}, False),
    ],
    ids=str,
)
def test_the_main_process_is_the_first_of_whoever_started_them(
    environment: dict[str, str], main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() == main


def test_one_process_is_the_main_one_and_shares_with_nobody() -> None:
    alone = Processes()
    assert (alone.rank, alone.size, alone.local_rank, alone.local_size) == (0, 1, 0, 1)
    assert alone.is_main
    assert alone.gather("x") == ["x"]
    assert alone.shares() == [(0, 1)]


def test_work_is_shared_by_all_then_on_each_machine_then_done_alone() -> None:
    trainer = SimpleNamespace(global_rank=5, world_size=8, local_rank=1, num_devices=4)
    fifth = Processes.of(trainer)  # type: ignore[arg-type]
    assert not fifth.is_main
    assert fifth.shares() == [(5, 8), (1, 4), (0, 1)]
