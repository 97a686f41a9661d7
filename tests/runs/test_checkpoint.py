"""Checkpoints are written whole or not at all, and only what was written is read."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from conftest import ROOT, files_below
from faults import failing_write
from ft_lightning.runs.checkpoint import DamagedCheckpointError, SealedCheckpointIO, newest_whole
from ft_lightning.system.files import UnwritableError

STATE = {"state_dict": {"w": torch.arange(5000.0)}, "epoch": 3, "callbacks": {"x": {"rows": [{"epoch": 0}]}}}


def test_what_was_written_is_read_by_us_and_by_torch(tmp_path: Path) -> None:
    path = tmp_path / "new/last.ckpt"
    SealedCheckpointIO().save_checkpoint(STATE, path)
    for found in (SealedCheckpointIO().load_checkpoint(path), torch.load(path, weights_only=True)):
        assert torch.equal(found["state_dict"]["w"], STATE["state_dict"]["w"])
        assert found["callbacks"] == STATE["callbacks"]
    assert files_below(tmp_path) == {"new/last.ckpt"}


@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "another seal", "empty", "never sealed"])
def test_a_changed_checkpoint_is_refused_and_the_one_before_it_is_used(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        SealedCheckpointIO().save_checkpoint(STATE, tmp_path / name)
    path = tmp_path / "last.ckpt"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "truncate":
        del content[-1000:]
    elif damage == "append":
        content += b"\0"
    elif damage == "another seal":
        content[-3:] = b"000"
    elif damage == "empty":
        content.clear()
    if damage == "never sealed":
        torch.save(STATE, path)
    else:
        path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r"last\.ckpt is damaged"):
        SealedCheckpointIO().load_checkpoint(path)
    assert newest_whole(tmp_path) == tmp_path / "best.ckpt"
    assert "last.ckpt is damaged and not used" in caplog.text


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    SealedCheckpointIO().save_checkpoint({"epoch": 1}, path)
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(DamagedCheckpointError, match="no checkpoint that is whole"):
            newest_whole(tmp_path)


def test_a_moved_run_finds_its_best_checkpoint_where_it_is_now(tmp_path: Path) -> None:
    state = {
        "dirpath": "/old",
        "best_model_path": "/old/best.ckpt",
        "best_k_models": {"/old/best.ckpt": torch.tensor(0.5)},
        "kth_best_model_path": "/old/best.ckpt",
        "last_model_path": "",
    }
    SealedCheckpointIO().save_checkpoint({"callbacks": {"ModelCheckpoint": state}}, tmp_path / "last.ckpt")
    found = SealedCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")["callbacks"]["ModelCheckpoint"]
    here = str(tmp_path / "best.ckpt")
    assert (found["dirpath"], found["best_model_path"], found["last_model_path"]) == (str(tmp_path), here, "")
    assert list(found["best_k_models"]) == [here]


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
def test_whichever_operation_fails_the_last_checkpoint_stays_and_nothing_is_left_over(
    fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    SealedCheckpointIO().save_checkpoint({"epoch": 0}, path)
    for number in range(1, 20):
        with failing_write(number, fault, tmp_path) as operations, suppress(UnwritableError):
            SealedCheckpointIO().save_checkpoint({"epoch": number}, path)
        epoch = SealedCheckpointIO().load_checkpoint(path)["epoch"]
        assert files_below(tmp_path) == {"last.ckpt"}
        if operations() < number:
            break
    assert number > 4
    assert epoch == number


def test_a_disk_that_is_full_within_a_write_is_told_as_such(tmp_path: Path) -> None:
    script = f"""
import resource, torch
from pathlib import Path
from ft_lightning.runs.checkpoint import SealedCheckpointIO
from ft_lightning.system.files import UnwritableError
path = Path({str(tmp_path)!r}) / "last.ckpt"
SealedCheckpointIO().save_checkpoint({{"epoch": 0}}, path)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    SealedCheckpointIO().save_checkpoint({{"w": torch.zeros(10**6)}}, path)
except UnwritableError as error:
    print(error)
print(SealedCheckpointIO().load_checkpoint(path))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "last.ckpt cannot be written (File too large)" in done.stdout
    assert "{'epoch': 0}" in done.stdout
    assert files_below(tmp_path) == {"last.ckpt"}


KILLS = """
import os, random, sys, time, torch
from pathlib import Path
from faults import failing_write
from ft_lightning.runs.checkpoint import LAST, SealedCheckpointIO, newest_whole
folder = Path(sys.argv[1])
random.seed(0)
io = SealedCheckpointIO()
io.save_checkpoint({"number": 0}, folder / LAST)
seen, leftovers = [], 0
for kill in range(1, 51):
    child = os.fork()
    if child == 0:
        with failing_write(kill if kill <= 15 else 0, "kill", folder):  # the first ones at each operation in turn
            for number in range(10**6):
                io.save_checkpoint({"number": kill * 10**6 + number, "w": torch.full((20000,), number)}, folder / LAST)
    if kill > 15:
        time.sleep(random.uniform(0.005, 0.06))
        os.kill(child, 9)
    status = os.waitpid(child, 0)[1]
    assert os.WTERMSIG(status) == 9, status
    leftovers += len(list(folder.glob(".*.tmp")))
    assert newest_whole(folder) == folder / LAST
    found = io.load_checkpoint(folder / LAST)
    if "w" in found:
        assert (found["w"] == found["number"] % 10**6).all()
    seen.append(found["number"])
    assert sorted(p.name for p in folder.iterdir()) == [LAST], "left-overs are swept"
assert seen == sorted(seen)
print(len(seen), leftovers)
"""


@pytest.mark.promise(23)
def test_fifty_kills_while_saving_leave_a_checkpoint_that_loads_and_nothing_else(tmp_path: Path) -> None:
    other = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}
    environment = os.environ | other | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kills, leftovers = map(int, done.stdout.split())
    assert kills == 50
    assert leftovers > 10, "the kills came while a file was being written"
