"""Remembers the digests of files and the verdicts on images, so that a known dataset is not read again.

One SQLite file for all datasets and runs. Only speed depends on it: if it fails, a warning says so and the run goes on
without it. Each call opens it anew, so that a memo may be copied and passed to other processes.
"""

import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_cache_path

from ft_lightning.readers.images import decoder
from ft_lightning.readers.sample import Inspection
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import sha256

NOT_A_FILE = "not a file"  # a folder, a named pipe, a socket or a device
_SETTLED = 2 * 10**9  # ns: on coarse file systems a younger file can change without its time changing
_TIMEOUT = 10  # seconds to wait for another process that writes
_AT_ONCE = 500  # values of a query; older builds of SQLite take 999
_FILES_AT_ONCE = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pictures (
    digest BLOB, reader TEXT, width INTEGER, height INTEGER, mode TEXT, error TEXT, PRIMARY KEY (digest, reader)
) WITHOUT ROWID;
"""

log = logging.getLogger(__name__)
T = TypeVar("T")


def open_memo(enabled: bool, root: str | None, verify: str) -> "Memo | None":
    """Open the memo in a cache directory (None: the user's); returns None if caching is off."""
    if verify not in ("stat", "content"):
        raise UserError(f"cache.verify={verify} is unknown: use one of stat, content.")
    folder = Path(str(root)).expanduser() if root else user_cache_path("ft_lightning")
    return Memo(folder / "memo.sqlite", trust_stat=verify == "stat") if enabled else None


class Memo:
    """Digests of files by path, size and time; verdicts of a full decode by digest and decoder version.

    Args:
        trust_stat: take a file with known path, size and time as unchanged; otherwise every file is read again.
    """

    def __init__(self, path: Path, trust_stat: bool) -> None:
        self.path = path
        self.trust_stat = trust_stat
        self._usable = True

    def digest_of(self, paths: Sequence[str]) -> dict[str, tuple[int, int, str]]:
        """Return size, time and digest of each remembered file."""
        if not self.trust_stat:
            return {}
        rows = self._select("SELECT path, size, mtime_ns, digest FROM files WHERE path IN (%s)", paths)
        return {path: (size, mtime_ns, digest.hex()) for path, size, mtime_ns, digest in rows if _is_digest(digest)}

    def remember_files(self, files: Iterable[tuple[str, int, int, str]]) -> None:
        """Store path, size, time and digest of files."""
        rows = [(path, size, mtime_ns, bytes.fromhex(digest)) for path, size, mtime_ns, digest in files]
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def forget_files(self, paths: Iterable[str]) -> None:
        """Forget these files, whose content was not what the memo said; the next run reads them again."""
        self._write("DELETE FROM files WHERE path = ?", [(path,) for path in paths])

    def inspections(self, digests: Iterable[str]) -> dict[str, Inspection]:
        """Return the verdicts of this decoder version, by digest, on images decoded before."""
        query = "SELECT digest, width, height, mode, error FROM pictures WHERE digest IN (%s) AND reader = ?"
        rows = self._select(query, [bytes.fromhex(digest) for digest in digests], decoder())
        return {
            digest.hex(): Inspection(width, height, mode, error, True)
            for digest, width, height, mode, error in rows
            if _is_digest(digest) and isinstance(width, int) and isinstance(height, int) and isinstance(error, str)
        }

    def remember_inspections(self, found: dict[str, Inspection]) -> None:
        """Store verdicts by digest, if they depend on nothing but the bytes."""
        now = decoder()
        rows = [
            # A decoder may quote bytes that are not text.
            (bytes.fromhex(digest), now, *one[:3], one.error.encode("utf-8", "backslashreplace").decode())
            for digest, one in found.items()
            if one.lasting
        ]
        self._write("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _select(self, query: str, values: Sequence[Any], *more: object) -> list[tuple]:
        def work(database: sqlite3.Connection) -> list[tuple]:
            found: list[tuple] = []
            ordered = sorted(values)  # neighbours share a page of the file
            for start in range(0, len(ordered), _AT_ONCE):
                part = ordered[start : start + _AT_ONCE]
                found += database.execute(query % ",".join("?" * len(part)), (*part, *more))
            return found

        return self._try(work, []) if values else []

    def _write(self, statement: str, rows: Sequence[tuple]) -> None:
        if rows:
            self._try(lambda database: database.executemany(statement, rows), None)

    def _try(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Run `work` in one transaction; after the first failure always return `otherwise`."""
        if not self._usable:
            return otherwise
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.path.exists():
                self.path.touch(mode=0o600)  # file names may be private
            with closing(sqlite3.connect(self.path, timeout=_TIMEOUT)) as database, database:
                database.executescript(_SCHEMA)
                return work(database)
        except (sqlite3.Error, OSError) as error:
            self._usable = False
            log.warning(
                "%s cannot be used (%s): every file is read again. Make room or delete it if it is damaged, "
                "or name another place: cache.dir=/a/folder.",
                self.path,
                error,
            )
            return otherwise


def digest_files(paths: Sequence[str], memo: Memo | None) -> list[tuple[str, str]]:
    """Return (digest, error) of each file, one of them empty; files that the memo knows are not read."""
    found: list[tuple[str, str]] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _FILES_AT_ONCE):  # an interrupted run keeps the parts that are done
            part = paths[start : start + _FILES_AT_ONCE]
            known = memo.digest_of(part) if memo else {}
            fresh: list[tuple[str, int, int, str]] = []
            found += pool.map(lambda path, known=known, fresh=fresh: _digest(path, known.get(path), fresh), part)
            if memo:
                memo.remember_files(fresh)
    return found


def _digest(path: str, known: tuple[int, int, str] | None, fresh: list[tuple[str, int, int, str]]) -> tuple[str, str]:
    """Return (digest, error) of one file; add an entry for the memo to `fresh` if the file is settled."""
    try:
        before, now = os.stat(path), time.time_ns()  # noqa: PTH116 (a Path a file costs more than the call)
        if not stat.S_ISREG(before.st_mode):  # reading a pipe would wait for ever
            return "", NOT_A_FILE
        state = (before.st_size, before.st_mtime_ns)
        if before.st_size == 0:
            return "", "an empty file"
        if known and known[:2] == state:
            return known[2], ""
        digest, after = sha256(path), os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return "", "a link that leads to nothing" if Path(path).is_symlink() else "no such file"
    except (OSError, ValueError) as error:  # ValueError: a table can hold text that is no valid path
        return "", f"cannot be read ({getattr(error, 'strerror', error)})"
    if state == (after.st_size, after.st_mtime_ns) and 0 <= after.st_mtime_ns < now - _SETTLED:
        fresh.append((path, *state, digest))
    return digest, ""


def _is_digest(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32
