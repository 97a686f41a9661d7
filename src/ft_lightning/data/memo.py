"""What earlier looks at files and images found, so that the next look at a dataset is cheap.

One SQLite file for all datasets and runs. Nothing depends on it but speed: whatever is wrong with it, a warning says so
and the run goes on without. Each call opens it anew, so that a memo may be copied, and passed to other processes.
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

_SETTLED = 2 * 10**9  # ns: a younger file can still change without its time changing, which has coarse ticks somewhere
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
    """The memo in a cache directory, None for the user's; no memo where nothing is to be kept."""
    if verify not in ("stat", "content"):
        raise UserError(f"cache.verify={verify} is unknown: use one of stat, content.")
    folder = Path(str(root)).expanduser() if root else user_cache_path("ft_lightning")
    return Memo(folder / "memo.sqlite", trust_stat=verify == "stat") if enabled else None


class Memo:
    """Digests by a file's path, size and time; what a full decode found, by digest and by what decodes.

    Args:
        trust_stat: take a file of known path, size and time for the one it was; else every file is read again.
    """

    def __init__(self, path: Path, trust_stat: bool) -> None:
        self.path = path
        self.trust_stat = trust_stat
        self._usable = True

    def digest_of(self, paths: Sequence[str]) -> dict[str, tuple[int, int, str]]:
        """Size, time and digest of each file that was looked at before; of all others nothing."""
        if not self.trust_stat:
            return {}
        rows = self._select("SELECT path, size, mtime_ns, digest FROM files WHERE path IN (%s)", paths)
        return {path: (size, mtime_ns, digest.hex()) for path, size, mtime_ns, digest in rows if _is_digest(digest)}

    def remember_files(self, files: Iterable[tuple[str, int, int, str]]) -> None:
        """Keep path, size, time and digest."""
        rows = [(path, size, mtime_ns, bytes.fromhex(digest)) for path, size, mtime_ns, digest in files]
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def forget_files(self, paths: Iterable[str]) -> None:
        """Read these files again the next time: they are not what they were taken for."""
        self._write("DELETE FROM files WHERE path = ?", [(path,) for path in paths])

    def inspections(self, digests: Iterable[str]) -> dict[str, Inspection]:
        """What this version's reader found in each image that it has decoded before."""
        query = "SELECT digest, width, height, mode, error FROM pictures WHERE digest IN (%s) AND reader = ?"
        rows = self._select(query, [bytes.fromhex(digest) for digest in digests], decoder())
        return {
            digest.hex(): Inspection(width, height, mode, error, True)
            for digest, width, height, mode, error in rows
            if _is_digest(digest) and isinstance(width, int) and isinstance(height, int) and isinstance(error, str)
        }

    def remember_inspections(self, found: dict[str, Inspection]) -> None:
        """Keep what a full decode found, by digest, where it depends on nothing but the bytes."""
        now = decoder()
        rows = [
            # A decoder may quote bytes that are no text.
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
                some = ordered[start : start + _AT_ONCE]
                found += database.execute(query % ",".join("?" * len(some)), (*some, *more))
            return found

        return self._try(work, []) if values else []

    def _write(self, statement: str, rows: Sequence[tuple]) -> None:
        if rows:
            self._try(lambda database: database.executemany(statement, rows), None)

    def _try(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` gives in one transaction; `otherwise` if that fails, from the first failure on."""
        if not self._usable:
            return otherwise
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.path.exists():
                self.path.touch(mode=0o600)  # names of images are nobody else's business
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
    """(digest, error) of each file, one of them empty; what the memo knows is not read."""
    found: list[tuple[str, str]] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _FILES_AT_ONCE):  # what is stopped half way keeps the first half
            some = paths[start : start + _FILES_AT_ONCE]
            known = memo.digest_of(some) if memo else {}
            fresh: list[tuple[str, int, int, str]] = []
            found += pool.map(lambda path, known=known, fresh=fresh: _digest(path, known.get(path), fresh), some)
            if memo:
                memo.remember_files(fresh)
    return found


def _digest(path: str, known: tuple[int, int, str] | None, fresh: list[tuple[str, int, int, str]]) -> tuple[str, str]:
    """As `digest_files`; adds to `fresh` what can be remembered."""
    try:
        before, now = os.stat(path), time.time_ns()  # noqa: PTH116 (a Path a file costs more than the call)
        if not stat.S_ISREG(before.st_mode):  # reading a pipe would wait for ever
            return "", "not a file"
        state = (before.st_size, before.st_mtime_ns)
        if before.st_size == 0:
            return "", "an empty file"
        if known and known[:2] == state:
            return known[2], ""
        digest, after = sha256(path), os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return "", "a link that leads to nothing" if Path(path).is_symlink() else "no such file"
    except (OSError, ValueError) as error:  # a table can name what no file can be called
        return "", f"cannot be read ({getattr(error, 'strerror', error)})"
    if state == (after.st_size, after.st_mtime_ns) and 0 <= after.st_mtime_ns < now - _SETTLED:
        fresh.append((path, *state, digest))
    return digest, ""


def _is_digest(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32
