"""Files have the mode that the umask says, whatever the library that writes them thinks."""

import os
import platform
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ft_lightning.features.store import FeatureStore
from ft_lightning.system import files
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import claimed, replacing, sweep, write_json


@pytest.fixture(params=[0o022, 0o027, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="no modes")
def test_every_file_has_the_mode_of_the_umask(umask: int, tmp_path: Path) -> None:
    with replacing(tmp_path / "x.safetensors") as temporary:
        save_file({"x": torch.zeros(1)}, temporary)
    with replacing(tmp_path / "model") as temporary:
        temporary.mkdir()
        save_file({"x": torch.zeros(1)}, temporary / "x.safetensors")
        write_json(temporary / "model.json", {})
    write_json(tmp_path / "metrics.json", {})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"x.safetensors", "model.json", "metrics.json"}
    for path in files:
        assert oct(mode(path)) == oct(0o666 & ~umask), path.name
    assert oct(mode(tmp_path / "model")) == oct(0o777 & ~umask)


@pytest.mark.skipif(os.name != "posix", reason="no modes")
def test_the_feature_store_stays_private(umask: int, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cache", {"a": 1})
    with store.appending() as appender:
        appender.add(["0" * 64], torch.zeros(1, 4))
    assert oct(mode(store.folder)) == oct(0o700 & ~umask)


def test_what_a_killed_process_leaves_is_swept_and_nothing_else(tmp_path: Path) -> None:
    dead, alive, here = 2**22 + 1, os.getpid(), platform.node()  # more than any system numbers
    gone = [f".x.{dead}@{here}.tmp", f"..x.{dead}@{here}.tmp.{dead}@{here}.tmp", f".a@b.{dead}@{here}.tmp"]
    kept = [f".x.{alive}@{here}.tmp", f"..x.{dead}@{here}.tmp.{alive}@{here}.tmp", f".x.{dead}@another.tmp", ".x.tmp"]
    for name in (*gone, *kept, "x.safetensors"):
        (tmp_path / name).touch()
    old = tmp_path / f".old.{dead}@another.tmp"
    old.touch()
    os.utime(old, (time.time() - 25 * 60 * 60,) * 2)
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "x.safetensors"}


@pytest.mark.skipif(os.name != "posix", reason="no modes")
def test_a_process_killed_while_it_gives_a_file_its_mode_leaves_what_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "getpid", lambda: 2**22 + 1)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # it does not get so far
    with replacing(tmp_path / "x.safetensors") as temporary:
        temporary.touch(mode=0o600)
    monkeypatch.undo()
    assert any(path.name.startswith("..x") for path in tmp_path.iterdir())
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="no locks")
def test_a_folder_is_of_one_process_and_the_next_may_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    def wait() -> None:
        with claimed(tmp_path, wait="Waiting for the other one."):
            order.append("second")

    with claimed(tmp_path):
        with pytest.raises(UserError, match="is in use by another process"), claimed(tmp_path):
            pass
        waiting = threading.Thread(target=wait)
        waiting.start()
        until = time.monotonic() + 60
        while "Waiting for the other one." not in caplog.text and time.monotonic() < until:
            time.sleep(0.001)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    with claimed(tmp_path):
        pass
