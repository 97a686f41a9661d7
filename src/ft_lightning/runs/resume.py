"""`resume=<run directory>`: continues a run in its own directory with its own config."""

import re
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ft_lightning.runs.config import DEFAULTS
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError, name_few, number_of

if TYPE_CHECKING:
    import pandas as pd

# Keys that may change when a run is resumed, with all keys below: how long and where it trains, and where files are.
CHANGEABLE = ("trainer", "cache", "data.root", "data.csv", "data.table", "data.num_workers", "model.weights")
_WHERE = ("accelerator", "devices", "strategy", "num_nodes")  # all that another trainer=... changes


def run_directory(arguments: list[str]) -> Path | None:
    """Return the run that a command line resumes, before Hydra makes a new directory; None for a new run."""
    given = [argument for argument in arguments if re.match(r"\+{0,2}resume=", argument)]
    value = OverridesParser.create().parse_override(given[-1]).value() if given else None
    if value in (None, ""):
        return None
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("resume=... continues in one directory, a multirun makes new ones: leave out -m.")
    # str: Hydra parses a folder name such as 2024 as a number
    folder = Path(str(OmegaConf.create({"resume": value}).resume)).expanduser()
    if not Run(folder).config_file.is_file():
        raise UserError(f"resume={folder}: no run is there, which would have a config.yaml; see outputs/train/.")
    return folder


def refuse_other_directory(arguments: list[str]) -> None:
    """Raise UserError if a command line names another directory for a resumed run."""
    if run_directory(arguments) and any(argument.startswith("hydra.run.dir=") for argument in arguments):
        raise UserError("hydra.run.dir: a resumed run continues in its own directory; leave it out.")


def config_of(run_dir: Path, composed: DictConfig, overrides: list[str]) -> DictConfig:
    """Return the saved config of a run, changed by the overrides beside `resume`.

    Args:
        composed: the config made from the overrides alone, which holds their values.
        overrides: of the command line.
    """
    if not Run(run_dir).config_file.is_file():
        raise UserError(f"resume={composed.resume}: give it on the command line, because it also sets the directory.")
    saved = Run(run_dir).saved_config()
    config = OmegaConf.merge({key: composed[key] for key in composed if key not in saved}, saved)
    assert isinstance(config, DictConfig)
    for key, value in DEFAULTS.items():  # keys that older configs lack
        target = f"{key.partition('.')[0]}._target_"
        same = OmegaConf.select(config, target) == OmegaConf.select(composed, target)
        if same and OmegaConf.select(config, key) is None:
            OmegaConf.update(config, key, value, force_add=True)
    written: Any = OmegaConf.to_container(composed, resolve=False)  # keeps references to the environment
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if key == "resume":
            continue
        changeable = any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE)
        if not changeable and "." in key and OmegaConf.select(config, key) == OmegaConf.select(composed, key):
            continue  # the value is unchanged
        if override.is_delete() or not changeable:
            raise UserError(
                f"{override.input_line} cannot change when a run goes on: leave it out, or start a new run without "
                f"resume. {', '.join(CHANGEABLE)} can."
            )
        names = [f"trainer.{name}" for name in _WHERE] if key == "trainer" else [key]
        for name in names:
            value = reduce(lambda node, part: node[part], name.split("."), written)
            OmegaConf.update(config, name, value, force_add=True)
    config.resume = str(run_dir)
    return config


def refuse_other_data(table: "pd.DataFrame", run: Run) -> None:
    """Raise UserError if the dataset (path, class, split, digest, weight) differs from the run's split.csv."""
    columns = ["path", "class", "split", "digest"]
    saved = run.table("split", missing_ok=True)
    if saved.columns.empty:  # the run stopped before it had scanned its data
        return
    if lacking := sorted(set(columns) - set(saved.columns)):
        raise UserError(f"{run.table_path('split')}: no column {lacking[0]!r}.")
    if "weight" in saved.columns:  # older runs did not write it
        columns.append("weight")
    before, now = (set(map(tuple, rows[columns].to_numpy().tolist())) for rows in (saved, table))
    if changed := sorted({path for path, *_ in before ^ now}):
        raise UserError(
            f"{run}: {number_of(len(changed), 'file of the dataset is', 'files of the dataset are')} new, gone, "
            f"changed, in another split or of another weight since it began: {name_few(changed)}. Restore them, or "
            "start a new run in another directory."
        )
