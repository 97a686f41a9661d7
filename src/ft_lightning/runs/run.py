"""A run's directory: the only module that knows its file names."""

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ft_lightning.runs.names import saved, setting_in
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import damaged, matches, read_json, write_json
from ft_lightning.tasks.registry import Score, finite, score_of, task_name

if TYPE_CHECKING:
    import pandas as pd

CARD = "model.json"  # in the model directory, which `deploy` writes; pages and comparisons read it without torch
# All other tables are in report_data/, where a task may add its own for the page.
_TABLES = ("metrics", "split", "predictions", "issues", "trials", "leaderboard", "multirun")
_RECORDS = {name: f"{name}.json" for name in ("metrics", "outcome", "problems", "check")}
_RECORDS |= {"model": f"model/{CARD}", "heads": "report_data/heads.json", "base": "report_data/base.json"}

_DEPTH = 2  # levels searched for runs below a folder: outputs/train holds multiruns, which hold runs


class Run:
    """The directory of a run, a check, a search or a comparison, whose files are read on access.

    `command`, `config`, `metrics`, `outcome` and `card` never fail: they are empty if missing or damaged. The methods
    raise a UserError that names the file if it is missing, damaged, without a requested column or not writable. A run
    is path-like: pass it wherever a path is expected.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.log = self.path / "log.txt"
        self.page = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"  # the model directory, the deliverable
        self.previews = self.path / "report_data/previews"  # of the samples on the page
        self.study = self.path / "study.db"  # of a search
        self.best = self.path / "best.yaml"  # a search's winner, as an experiment of train

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def command(self) -> list[str]:
        """The command of the run, word by word; empty for a run made in Python."""
        try:
            head = self.config_text().partition("\n")[0]
            return shlex.split(head.removeprefix("# ")) if head.startswith("# python ") else []
        except (OSError, ValueError, UserError):
            return []

    @property
    def verb(self) -> str:
        """The command's name, such as "train" or "evaluate"; empty for a run made in Python."""
        return "".join(self.command[2:3]).rpartition(".")[2]

    @property
    def config(self) -> dict[str, Any]:
        """config.yaml, with references to the environment, `${oc.env:NAME}`, unresolved."""
        try:
            return self.saved_config()
        except UserError:
            return {}

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: shares from 0 to 1, losses in nats, times in seconds."""
        return self._record_or_empty("metrics")

    @property
    def outcome(self) -> dict[str, Any]:
        """outcome.json: how a job ended."""
        return self._record_or_empty("outcome")

    @property
    def card(self) -> dict[str, Any]:
        """model.json of the trained model, or the description of the evaluated one in metrics.json."""
        card = self._record_or_empty("model") or self.metrics.get("model")
        return card if isinstance(card, dict) else {}

    @property
    def task(self) -> str:
        """The name of its task, such as multiclass."""
        return task_name(self.card or (self.config if self.metrics else {}))  # parsing a config takes 10 ms

    @property
    def finished(self) -> bool:
        """Whether there is a score on test; a run that failed or is still running has none."""
        test, score = self.metrics.get("test"), self.score("test")
        if isinstance(test, dict) and score.metric in test and finite(test.get("n")):
            return True  # its metric may be undefined, as where no sample of test has a label
        return score.value is not None

    @property
    def monitored(self) -> str | None:
        """The metric on val that chose its epoch, from `monitor`; None if unknown."""
        split, _, metric = self._setting("monitor").partition("/")
        return metric if split == "val" and metric else None

    def score(self, split: str, metric: str | None = None) -> Score:
        """Return the run's score on val or test by a metric, its task's if None, with a 95 % interval if it has one."""
        mode = self._setting("monitor_mode") if metric else None
        return score_of(self.metrics.get(split), self.task, metric, mode)

    def saved_config(self) -> dict[str, Any]:
        """Read config.yaml; raise UserError if it is missing or damaged."""
        return saved(self.config_file)

    def config_text(self) -> str:
        """Read config.yaml as text, with the command in its first line; empty if there is no file."""
        try:
            return self.config_file.read_text(encoding="utf-8") if self.config_file.is_file() else ""
        except ValueError as error:
            raise damaged(self.config_file, error) from error

    def record(self, name: str) -> dict[str, Any]:
        """Read a JSON file: "metrics", "outcome", "check", "heads", "model" (the model's model.json)."""
        return read_json(self.record_path(name))

    def table(self, name: str, columns: Sequence[str] | None = None, missing_ok: bool = False) -> "pd.DataFrame":
        """Read a CSV file, all cells as text: "split", "predictions", "metrics" (a row an epoch), "issues" (of check),
        "trials" (of a search), "leaderboard", "multirun", or one of the page's tables, such as "pairs".

        Args:
            columns: read only these.
            missing_ok: return an empty table without columns if there is no such file.
        """
        import pandas as pd  # here, because --help must not wait for it

        from ft_lightning.system.tables import read_table

        path = self.table_path(name)
        return pd.DataFrame() if missing_ok and not path.is_file() else read_table(path, columns)

    def write(self, name: str, content: "pd.DataFrame | dict[str, Any] | list[Any]") -> Path:
        """Write a table, or a dict or list as a record, whole or not at all; return its path."""
        if isinstance(content, dict | list):
            write_json(path := self.record_path(name), content)
        else:
            from ft_lightning.system.tables import write_table

            write_table(content, path := self.table_path(name))
        return path

    def record_path(self, name: str) -> Path:
        return self.path / _RECORDS[name]

    def table_path(self, name: str) -> Path:
        return (self.path if name in _TABLES else self.path / "report_data") / f"{name}.csv"

    def traces(self) -> list[str]:
        """List the names in the directory, except the files of a command that was refused at its start, and Hydra's."""
        refused = {self.config_file, self.log, self.record_path("outcome"), self.record_path("problems")}
        return sorted(path.name for path in self.path.iterdir() if path not in refused and not _is_of_hydra(path))

    def trained_on(self) -> set[str] | None:
        """Return the digests of the samples in its train split; None if unknown."""
        split = self.table("split", ["split", "excluded", "digest"], missing_ok=True)
        if split.columns.empty:
            return None
        return set(split.loc[(split["split"] == "train") & (split["excluded"] == ""), "digest"])

    def data_folder(self) -> str | None:
        """Return the folder at which the paths in split.csv start; None if unknown."""
        data, used = self.config.get("data") or {}, (self.metrics.get("data") or {}).get("location")
        given = {key: str(place) for key, place in data.items() if place and "${" not in str(place)}
        if root := given.get("root"):
            return root
        if table := given.get("table") or given.get("csv"):
            return self.folder_of(table) or str(Path(table).parent)
        return str(used) if used and Path(str(used)).is_dir() else None

    @classmethod
    def folder_of(cls, table: str) -> str | None:
        """Return the dataset's folder if a table is split.csv of a run; None if it is not, or the folder is unknown."""
        run = cls(Path(str(table)).expanduser().parent)
        return run.data_folder() if Path(str(table)).name == run.table_path("split").name else None

    @classmethod
    def of_model(cls, place: str | os.PathLike[str]) -> "Run":
        """Return the run of a model directory, as a user names it; `place` may be the run itself."""
        path = Path(str(place)).expanduser()
        return cls(path.parent if (path / CARD).is_file() else path)

    @classmethod
    def find(cls, patterns: str | Sequence[str], but: Path | None = None) -> tuple[list["Run"], list[Path]]:
        """Find the finished runs that globs of directories match or hold, and the other paths they match or hold.

        A directory may be a run or hold runs, such as that of a multirun or a search.

        Args:
            but: real path of a directory to leave out.
        """
        runs: dict[Path, Run] = {}  # by real path, because two globs may match the same run
        others: dict[Path, Path] = {}
        globs = [patterns] if isinstance(patterns, str) else patterns
        for place in (place for pattern in globs for place in matches(Path(pattern).expanduser())):
            try:
                found = list(_runs_below(cls(place), _DEPTH))
            except OSError:  # a folder cannot be listed
                found = []
            for run, finished in found or [(cls(place), False)]:
                if (real := run.path.resolve()) == but:
                    continue
                if finished:
                    runs.setdefault(real, run)
                else:
                    others.setdefault(real, run.path)
        return list(runs.values()), list(others.values())

    def _setting(self, key: str) -> str:
        """Return a value at the top level of config.yaml; empty if unknown."""
        try:
            return setting_in(self.config_text(), key)
        except (OSError, UserError):
            return ""

    def _record_or_empty(self, name: str) -> dict[str, Any]:
        try:
            return self.record(name)
        except UserError:
            return {}


def _is_of_hydra(path: Path) -> bool:
    """Return whether Hydra itself writes this: a log (hydra/job_logging), or the config (hydra.output_subdir)."""
    return path.suffix == ".log" or (path / "overrides.yaml").is_file()


def _runs_below(run: Run, depth: int) -> Iterator[tuple[Run, bool]]:
    """Yield each run at or below a directory, and whether it is finished."""
    if run.finished:
        yield run, True
        return
    inside = sorted(run.path.iterdir()) if depth and run.path.is_dir() else []
    folders = [path for path in inside if not path.name.startswith(".") and path.is_dir()]
    below = [found for folder in folders for found in _runs_below(Run(folder), depth - 1)]
    if run.config_file.is_file() and not any(finished for _, finished in below):
        below = [(run, False)]
    yield from below
