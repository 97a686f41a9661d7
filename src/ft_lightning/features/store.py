"""The feature store: computes each feature once for all runs; finds it by the sample's digest and what shapes it.

Each key has a folder with `key.json`, which describes it, and immutable shards of up to 512 rows. Any number of
processes read and append at the same time without locks: two may compute a row twice, none can damage another's.
"""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ft_lightning.features.rows import Rows
from ft_lightning.system.errors import number_of
from ft_lightning.system.files import replacing, sweep, write_json

SHARD_ROWS = 512  # a killed process loses at most this many samples,
SHARD_SECONDS = 30  # or this much work, whichever is less
_DIGEST, _CHECKSUM = 32, 8  # bytes per row

log = logging.getLogger(__name__)


class FeatureStore:
    """Features (D,) of one key, by a sample's digest.

    Args:
        root: holds a folder for each key; None: the user's cache directory.
        description: everything that shapes a feature, as plain values; its digest is the key.
        on_disk: False keeps rows in memory, for this object alone; so does an unwritable folder.
    """

    def __init__(self, root: Path | None, description: dict[str, Any], on_disk: bool = True) -> None:
        text = json.dumps(description, sort_keys=True)
        root = root or user_cache_path("ft_lightning") / "features"
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.on_disk = on_disk
        self._description = description
        self._shards: dict[str, _Shard] = {}  # by name, which starts with the time of writing
        if on_disk:
            try:
                self._prepare()
            except OSError as error:
                self._stay_in_memory(error)

    @property
    def size(self) -> int:
        """Size of all rows in bytes."""
        return sum(shard.features.nbytes for shard in self._shards.values())

    def refresh(self) -> None:
        """Load the shards that other processes have appended."""
        if not self.on_disk:
            return
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self._shards:
                try:
                    self._shards[path.name] = _Shard.open(path)
                except (SafetensorError, OSError, RuntimeError) as error:
                    log.warning("%s is damaged (%s); delete it. Its features are computed again.", path, error)

    def locate(self, digests: Sequence[str]) -> "Rows":
        """Find the rows of samples by their sha256; a row with a wrong checksum counts as missing."""
        shards = [self._shards[name] for name in sorted(self._shards)]
        wanted = np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(-1, _DIGEST)
        shard, row = _look_up([shard.digests for shard in shards], wanted)
        while sum(shards[i].drop_damaged() for i in np.unique(shard[shard >= 0])):
            shard, row = _look_up([shard.digests for shard in shards], wanted)  # an older copy may be intact
        return Rows([shard.features for shard in shards], torch.from_numpy(shard), torch.from_numpy(row))

    @contextmanager
    def appending(self) -> Iterator["Appender"]:
        """Yield an appender; its rows are in the store when the block ends, even by an exception."""
        appender = Appender(self)
        try:
            yield appender
        finally:
            appender.flush()

    def write(self, digests: list[str], features: Tensor) -> None:
        """Append a shard with one row of features (N, D) for each digest."""
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex[:8]}.safetensors"
        keys = np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(-1, _DIGEST)
        shard = _Shard(self.folder / name, features, keys, _checksums(keys, features))
        if self.on_disk:
            tensors = {
                "features": features,
                "digests": torch.from_numpy(keys.copy()),
                "checksums": torch.from_numpy(shard.checksums),
            }
            try:
                if not self.folder.exists():  # pruned meanwhile
                    self._prepare()
                with replacing(shard.path) as temporary:
                    save_file(tensors, temporary)
                shard = _Shard.open(shard.path)  # memory-mapped in place of the copy in memory
            except (OSError, SafetensorError) as error:  # a full disk raises the second
                self._stay_in_memory(error)
        self._shards[name] = shard

    def _prepare(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(exist_ok=True, mode=0o700)  # private: features reveal something of the images
        self.refresh()
        sweep(self.folder)
        card = self.folder / "key.json"
        if not card.exists():
            write_json(card, self._description)

    def _stay_in_memory(self, error: Exception) -> None:
        self.on_disk = False
        log.warning(
            "%s cannot be written to (%s): features are kept in memory and lost after this run. "
            "Make room, or name another place: cache.dir=/a/folder.",
            self.folder,
            error,
        )


class Appender:
    """Collects rows and writes them as shards."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._digests: list[str] = []
        self._features: list[Tensor] = []
        self._since = time.monotonic()

    def add(self, digests: list[str], features: Tensor) -> None:
        """Add rows of features (N, D), at most a shard's."""
        if len(self._digests) + len(digests) > SHARD_ROWS:
            self.flush()
        self._digests += digests
        self._features.append(features)
        if len(self._digests) == SHARD_ROWS or time.monotonic() - self._since > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._digests:
            self._store.write(self._digests, torch.cat(self._features))
        self._digests, self._features, self._since = [], [], time.monotonic()


@dataclass
class _Shard:
    path: Path
    features: Tensor  # (N, D)
    digests: np.ndarray  # (N, 32) uint8
    checksums: np.ndarray  # (N, 8) uint8, of all rows in the file
    verified: bool = False

    @classmethod
    def open(cls, path: Path) -> "_Shard":
        with safe_open(path, "pt") as file:
            features = file.get_tensor("features")  # a view of the mapped file
            digests, checksums = (file.get_tensor(name) for name in ("digests", "checksums"))
        n = features.shape[0] if features.ndim == 2 else 0
        if n == 0 or (digests.shape, checksums.shape) != ((n, _DIGEST), (n, _CHECKSUM)):
            raise SafetensorError(f"features {tuple(features.shape)} with digests {tuple(digests.shape)}")
        if digests.dtype != torch.uint8 or checksums.dtype != torch.uint8:
            raise SafetensorError(f"digests of type {digests.dtype}")
        return cls(path, features, digests.numpy().copy(), checksums.numpy().copy())

    def drop_damaged(self) -> int:
        """Verify the checksums, once; drop damaged rows and return their number."""
        if self.verified:
            return 0
        self.verified = True
        intact = (_checksums(self.digests, self.features) == self.checksums).all(1)
        if damaged := int((~intact).sum()):
            log.warning("%s: %s damaged and not used.", self.path, number_of(damaged, "row is", "rows are"))
            self.features, self.digests = self.features[torch.from_numpy(intact)], self.digests[intact]
        return damaged


def _checksums(digests: np.ndarray, features: Tensor) -> np.ndarray:
    """Compute the first bytes (N, 8) of sha256(type + digest + row) for each row (N, D)."""
    kind = str(features.dtype).encode()
    rows = features.contiguous().view(torch.uint8).numpy()
    sums = [
        hashlib.sha256(kind + digest.tobytes() + row.tobytes()).digest()[:_CHECKSUM]
        for digest, row in zip(digests, rows, strict=True)
    ]
    return np.frombuffer(b"".join(sums), dtype=np.uint8).reshape(-1, _CHECKSUM).copy()


def _look_up(shards: list[np.ndarray], wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (shard, row) of each wanted digest (N, 32): the newest of several, shard -1 if there is none.

    Sorts by the first 8 bytes: a million digests take a tenth of a second, a tenth of what a dictionary takes.
    """
    shard, row = np.full(len(wanted), -1), np.zeros(len(wanted), dtype=np.int64)
    if not sum(map(len, shards)):
        return shard, row
    digests = np.concatenate(shards)
    first = digests[:, :8].copy().view(np.uint64).ravel()
    order = np.argsort(first, kind="stable")
    at = np.searchsorted(first[order], wanted[:, :8].copy().view(np.uint64).ravel(), side="right") - 1
    candidate = order[at]  # at == -1 selects the last one, which does not match either
    found = (digests[candidate] == wanted).all(1)
    starts = np.cumsum([0, *(len(rows) for rows in shards)])
    shard[found] = np.searchsorted(starts, candidate[found], side="right") - 1
    row[found] = candidate[found] - starts[shard[found]]
    return shard, row
