"""The feature store: what is read is what was written, whatever happens to processes, disks and bytes."""

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from conftest import ROOT, Command, Commands, patience
from ft_lightning.features import rows as rows_module
from ft_lightning.features import store as module
from ft_lightning.features.rows import Rows
from ft_lightning.features.store import FeatureStore

D = 24


def digest(i: int) -> str:
    return sha256(str(i).encode()).hexdigest()


def row(i: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(D, generator=torch.Generator().manual_seed(i)).to(dtype)


def fill(store: FeatureStore, numbers: range, batch: int = 16) -> None:
    with store.appending() as appender:
        for start in range(numbers.start, numbers.stop, batch):
            some = range(start, min(start + batch, numbers.stop))
            appender.add([digest(i) for i in some], torch.stack([row(i) for i in some]))


def read(store: FeatureStore, numbers: list[int]) -> Tensor:
    return store.locate([digest(i) for i in numbers]).compacted()[torch.arange(len(numbers))]


def expected(numbers: list[int]) -> Tensor:
    return torch.stack([row(i) for i in numbers])


def shards(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bytes_in_memory", [0, 10**9])
def test_rows_come_back_in_any_order(
    dtype: torch.dtype, bytes_in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_IN_MEMORY", bytes_in_memory)
    first = FeatureStore(tmp_path, {"a": 1})
    for start in (0, 5, 12):
        first.write(
            [digest(i) for i in range(start, start + 7)], torch.stack([row(i, dtype) for i in range(start, start + 7)])
        )
    for store in (first, FeatureStore(tmp_path, {"a": 1})):
        order = [18, 3, 3, 11, 0, 6]
        rows = store.locate([digest(i) for i in order]).compacted()
        for positions in ([0, 1, 2, 3, 4, 5], [5, 0], [2], []):
            batch = rows[torch.tensor(positions, dtype=torch.long)]
            assert batch.dtype == torch.float32
            wanted = [row(order[p], dtype).float() for p in positions]
            assert torch.equal(batch, torch.stack(wanted) if wanted else torch.empty(0, D))
        assert store.locate([digest(i) for i in (0, 99, 18, 100)]).missing == [1, 3]


def test_a_store_is_found_by_what_shapes_its_features_and_says_so(tmp_path: Path) -> None:
    description = {"weights": "abc", "preprocess": {"resize": [8]}}
    fill(FeatureStore(tmp_path, description), range(3))
    assert FeatureStore(tmp_path, dict(reversed(description.items()))).locate([digest(1)]).missing == []
    other = FeatureStore(tmp_path, description | {"weights": "abd"})
    assert other.locate([digest(1)]).missing == [0]
    (card,) = (path for path in tmp_path.glob("*/key.json") if json.loads(path.read_text()) == description)
    assert card.parent.stat().st_mode & 0o777 == 0o700


def test_shards_hold_512_rows_or_30_seconds_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path, {})
    fill(store, range(1100), batch=100)
    assert [len(store.locate([digest(i)]).missing) for i in (0, 511, 1099)] == [0, 0, 0]
    assert len(shards(store)) == 3
    assert (module.SHARD_ROWS, module.SHARD_SECONDS) == (512, 30)
    monkeypatch.setattr(time, "monotonic", iter(range(0, 10**6, 31)).__next__)
    fill(store, range(2000, 2020), batch=5)
    assert len(shards(store)) == 3 + 4


def test_what_was_computed_is_kept_when_filling_is_stopped(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, {})

    def fill_until_stopped() -> None:
        with store.appending() as appender:
            appender.add([digest(0)], row(0)[None])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_until_stopped()
    assert torch.equal(read(FeatureStore(tmp_path, {}), [0]), expected([0]))


@pytest.mark.promise(29)
def test_a_flipped_byte_anywhere_is_never_read_and_is_healed_by_computing_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = list(range(40))
    FeatureStore(tmp_path, {}).write([digest(i) for i in numbers], expected(numbers))
    (shard,) = shards(FeatureStore(tmp_path, {}))
    whole = shard.read_bytes()
    noticed = 0
    for at in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        shard.write_bytes(damaged)
        store = FeatureStore(tmp_path, {})
        missing = store.locate([digest(i) for i in numbers]).missing
        intact = [i for i in numbers if i not in missing]
        if intact:
            assert torch.equal(read(store, intact), expected(intact)), f"byte {at}"
        noticed += bool(missing)
    assert noticed > len(range(0, len(whole), 97)) * 0.9
    assert str(shard) in caplog.text
    store = FeatureStore(tmp_path, {})  # with the last of the damages
    missing = store.locate([digest(i) for i in numbers]).missing
    store.write([digest(i) for i in missing], expected(missing))
    for again in (store, FeatureStore(tmp_path, {})):
        assert torch.equal(read(again, numbers), expected(numbers))


@pytest.mark.promise(19)
@pytest.mark.parametrize("content", [b"", b"not a shard", "half", "pickle", "fewer digests", "flat"])
def test_what_is_no_shard_is_passed_over_and_named(
    content: bytes | str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FeatureStore(tmp_path, {})
    fill(store, range(5))
    (shard,) = shards(store)
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (canary,)

    tensors = load_file(shard)
    made = {
        "half": shard.read_bytes()[:200],
        "pickle": pickle.dumps(Payload()),
        "fewer digests": save(tensors | {"digests": tensors["digests"][:2].clone()}),
        "flat": save(tensors | {"features": tensors["features"].flatten()[:5].clone()}),
    }
    shard.write_bytes(content if isinstance(content, bytes) else made[content])
    again = FeatureStore(tmp_path, {})
    assert again.locate([digest(0)]).missing == [0]
    assert f"{shard} is damaged" in caplog.text
    assert not canary.exists()
    fill(again, range(5))
    assert torch.equal(read(FeatureStore(tmp_path, {}), [0, 4]), expected([0, 4]))


def test_digests_that_begin_alike_or_end_in_zeros_are_told_apart(tmp_path: Path) -> None:
    alike = ["ab" * 8 + end for end in ("00" * 24, "00" * 23 + "01", "ff" * 24)]
    store = FeatureStore(tmp_path, {})
    store.write([alike[0]], row(0)[None])
    assert store.locate(alike).missing == [1, 2]
    assert torch.equal(store.locate(alike[:1])[torch.tensor([0])], row(0)[None])


@pytest.mark.parametrize("found", ["at the start", "while writing"])
def test_without_a_place_to_write_rows_stay_in_memory(
    found: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "store"
    if found == "at the start":
        root.write_text("a file where the folder should be")
        store = FeatureStore(root, {})
        fill(store, range(600))
    else:
        store = FeatureStore(root, {})
        fill(store, range(100))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            fill(store, range(100, 600))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert [path.name for path in root.rglob("*.tmp")] == []
    assert "kept in memory and lost after this run" in caplog.text
    assert torch.equal(read(store, list(range(600))), expected(list(range(600))))


def test_a_disabled_store_leaves_no_trace(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store", {}, on_disk=False)
    fill(store, range(20))
    assert torch.equal(read(store, [19, 0]), expected([19, 0]))
    assert not (tmp_path / "store").exists()


def test_rows_that_are_missing_are_never_served() -> None:
    rows = Rows([torch.zeros(1, D)], torch.tensor([0, -1]), torch.tensor([0, 0]))
    with pytest.raises(AssertionError, match="1 sample has no features"):
        rows.compacted()


FILLER = """
import sys
sys.path.insert(0, sys.argv[1])
from features.test_store import *
store = FeatureStore(Path(sys.argv[2]), {})
numbers = list(range(int(sys.argv[3])))
missing = store.locate([digest(i) for i in numbers]).missing
print(len(missing), flush=True)
with store.appending() as appender:
    for i in missing:
        appender.add([digest(i)], row(i)[None])
        if i % 20 == 19:
            appender.flush()
"""


@pytest.fixture
def filler(commands: Commands, tmp_path: Path) -> Callable[[int], Command]:
    """Starts a process that fills the store in tmp_path/store with that many rows."""
    (tmp_path / "fill.py").write_text(FILLER)

    def start(n: int) -> Command:
        return commands.start("fill", str(ROOT / "tests"), str(tmp_path / "store"), str(n), cwd=tmp_path)

    return start


def missing_of(process: Command) -> int:
    """How many rows it has found missing, as soon as it says so."""
    deadline = time.monotonic() + patience(60)
    while "\n" not in process.stdout:
        assert process.poll() is None, process.stderr
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return int(process.stdout)


def test_killed_again_and_again_it_ends_with_the_same_rows(filler: Callable[[int], Command], tmp_path: Path) -> None:
    n, left, kills = 3000, 3000, 0
    while left:
        process = filler(n)
        missing = missing_of(process)
        assert missing <= left, "what an earlier process had finished is there"
        left = missing
        if kills < 4:
            time.sleep(0.05 + 0.05 * kills)
            process.kill()
            kills += 1
        process.wait()
    store = FeatureStore(tmp_path / "store", {})
    assert torch.equal(read(store, list(range(n))), expected(list(range(n))))
    assert list(store.folder.glob(".*.tmp")) == [], "left-overs of the killed are swept"


@pytest.mark.promise(28)
def test_four_processes_fill_one_store_and_one_of_them_is_killed(
    filler: Callable[[int], Command], tmp_path: Path
) -> None:
    killed, *others = [filler(400) for _ in range(4)]
    missing_of(killed)
    killed.kill()
    assert [process.wait() for process in others] == [0, 0, 0]
    store = FeatureStore(tmp_path / "store", {})
    assert torch.equal(read(store, list(range(400))), expected(list(range(400))))


def test_only_the_left_overs_of_the_dead_are_swept(tmp_path: Path) -> None:
    folder = FeatureStore(tmp_path, {}).folder
    host = os.uname().nodename
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {
        "dead": f".a.safetensors.{dead.pid}@{host}.tmp",
        "alive": f".b.safetensors.{os.getpid()}@{host}.tmp",
        "elsewhere": f".c.safetensors.{dead.pid}@another-{host}.tmp",
        "old": f".d.safetensors.{dead.pid}@another-{host}.tmp",
    }
    for name in names.values():
        (folder / name).write_bytes(b"half")
    os.utime(folder / names["old"], (0, 0))
    FeatureStore(tmp_path, {})
    assert {path.name for path in folder.glob(".*.tmp")} == {names["alive"], names["elsewhere"]}


def test_another_type_in_a_shard_s_header_is_damage(tmp_path: Path) -> None:
    FeatureStore(tmp_path, {}).write([digest(0)], row(0)[None])
    (shard,) = shards(FeatureStore(tmp_path, {}))
    shard.write_bytes(shard.read_bytes().replace(b'"F32"', b'"I32"'))
    store = FeatureStore(tmp_path, {})
    assert store.locate([digest(0)]).missing == [0]
    store.write([digest(0)], row(0)[None])
    assert torch.equal(read(store, [0]), expected([0]))


def test_a_whole_copy_is_found_behind_a_damaged_newer_one(tmp_path: Path) -> None:
    for _ in range(2):
        FeatureStore(tmp_path, {}).write([digest(0), digest(1)], expected([0, 1]))
    newer = shards(FeatureStore(tmp_path, {}))[-1]
    content = bytearray(newer.read_bytes())
    at = content.find(row(0).numpy().tobytes())
    content[at] ^= 1
    newer.write_bytes(content)
    assert torch.equal(read(FeatureStore(tmp_path, {}), [0, 1]), expected([0, 1]))


def test_left_overs_that_vanish_while_they_are_swept_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path, {})
    fill(store, range(3))
    left = store.folder / f".a.{os.getpid()}@elsewhere.tmp"
    left.write_bytes(b"half")
    glob = Path.glob

    def and_then_it_is_gone(self: Path, pattern: str) -> list[Path]:
        found = list(glob(self, pattern))
        if pattern.endswith(".tmp"):
            left.unlink()
        return found

    monkeypatch.setattr(Path, "glob", and_then_it_is_gone)
    again = FeatureStore(tmp_path, {})
    assert again.on_disk
    assert again.locate([digest(0)]).missing == []


def test_a_folder_that_is_pruned_while_it_is_used_is_made_again_whole(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, {"a": 1})
    fill(store, range(3))
    shutil.rmtree(store.folder)
    fill(store, range(3, 6))
    assert torch.equal(read(store, list(range(6))), expected(list(range(6)))), "what is mapped stays readable"
    again = FeatureStore(tmp_path, {"a": 1})
    assert again.locate([digest(i) for i in range(6)]).missing == [0, 1, 2]
    assert json.loads((store.folder / "key.json").read_text()) == {"a": 1}
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_rows_that_fit_are_copied_into_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_IN_MEMORY", 3 * 5 * 2)
    shards = [torch.arange(10).reshape(2, 5).bfloat16(), torch.arange(20, 30).reshape(2, 5).bfloat16()]

    def of(*places: tuple[int, int]) -> Rows:
        shard, row = (torch.tensor(numbers) for numbers in zip(*places, strict=True))
        return Rows(shards, shard, row)

    three, four = of((1, 1), (0, 0), (1, 0)), of((1, 1), (0, 0), (1, 0), (0, 1))
    assert len(three.compacted()._tensors) == 1
    assert len(four.compacted()._tensors) == 2, "30 bytes are the limit"
    for some in (three, four):
        everything = torch.arange(len(some))
        assert torch.equal(some.compacted()[everything], some[everything])
    nothing = Rows([], torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64))
    assert nothing.compacted() is nothing


def test_a_shard_is_laid_out_as_in_earlier_versions(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, {})
    fill(store, range(3))
    (file,) = store.folder.glob("*.safetensors")
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in load_file(file).items()}
    assert shapes == {
        "features": ((3, D), torch.float32), "digests": ((3, 32), torch.uint8), "checksums": ((3, 8), torch.uint8),
    }  # fmt: skip
