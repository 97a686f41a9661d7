"""config.yaml of a run, and the keys that identify a search."""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc
from yaml.reader import Reader

from ft_lightning.runs import names
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import claimed, replacing, sweep
from ft_lightning.tasks.registry import direction_of

# Keys that may differ between commands of one study or configs of one run: how much, where, how fast.
_MAY_DIFFER = ("tune.trials", "tune.storage", "cache", "data.num_workers", "trainer.enable_progress_bar", "logger")

# Keys that older configs lack, with the value that older versions used: a config without them is the same.
DEFAULTS = {
    "folds": 1,
    "task._target_": f"{names.PACKAGE}.tasks.registry.make_task",
    "task._partial_": True,
    "task.name": "multiclass",
    "data.find._target_": f"{names.PACKAGE}.data.sources.find_images",
    "data.find._partial_": True,
    "data.table": None,
    "data.label": None,
    "data.label_sep": ";",
    "data.empty_label": None,
    "data.weight": None,
    "data.sampler": "shuffle",
    "data.decode": "exact",
    "finetune.rank": None,
    "finetune.alpha": None,
    "finetune.targets": None,
    "finetune.dropout": None,
    "finetune.rank_stabilised": None,
    "module._target_": f"{names.PACKAGE}.module.FineTuner",
}


def write_config(cfg: DictConfig, run_dir: Path, typed: list[str] | None = None) -> None:
    """Write config.yaml of a run: resolved except for the environment's values, and usable from any folder.

    Args:
        typed: the command word by word, for the first line; None keeps that of the existing file.
    """
    run = Run(run_dir)
    # One line without characters that YAML refuses: otherwise the whole file could not be read.
    command = Reader.NON_PRINTABLE.sub("\ufffd", " ".join(shlex.join(typed or run.command).splitlines()))
    head = f"# {command}\n" if command else ""
    with replacing(run.config_file) as temporary:
        temporary.write_text(head + OmegaConf.to_yaml(_content(cfg)), encoding="utf-8")


def study_name(cfg: DictConfig) -> str:
    """Return a search's name, made of its space and a digest of everything that a trial's value depends on."""
    return f"{cfg.tune.name}_{study_digest(cfg)}"


def study_digest(cfg: DictConfig) -> str:
    """Return a hexadecimal digest that is equal for all commands of one study."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    text = json.dumps(sorted(_identity(_content(own)).items()), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def refuse_other_study(cfg: DictConfig, folder: Path) -> None:
    """Raise UserError if a directory holds another search, or something else."""
    with claimed(folder, wait=True):
        sweep(folder)
        if Run(folder).config_file.is_file():
            _refuse_other_config(cfg, folder)
        elif others := Run(folder).traces():
            raise UserError(f"hydra.run.dir={folder} holds something else ({others[0]}): name another.")


def join_study(cfg: DictConfig, folder: Path) -> None:
    """Write the config of a search into its directory; raise UserError if another search's config is there.

    Only once its study is open: the config says where the trials are.
    """
    with claimed(folder, wait=True):
        if Run(folder).config_file.is_file():
            _refuse_other_config(cfg, folder)
        write_config(cfg, folder)


def _refuse_other_config(cfg: DictConfig, folder: Path) -> None:
    before, content = Run(folder).saved_config(), _content(cfg)
    then, now = ({**_identity(one), "tune.storage": one["tune"]["storage"]} for one in (before, content))
    if changed := sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key)):
        key = changed[0]
        raise UserError(
            f"hydra.run.dir={folder} holds a search with {key}={then.get(key)}, not {now.get(key)}: its trials would "
            "not be comparable. Name another hydra.run.dir."
        )


def refuse_other_run(cfg: DictConfig, folder: Path) -> None:
    """Raise UserError if a directory holds a run of another config."""
    run = Run(folder)
    if run.config_file.is_file() and _identity(run.saved_config()) != _identity(_content(cfg)):
        raise UserError(f"{folder} holds a run of another config: move it away, and start again.")


def without_password(url: str) -> str:
    """Return a database URL with its password masked."""
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*:).*@", r"\1***@", url))


def _content(cfg: DictConfig) -> dict[str, Any]:
    content = _without_secrets(_with_direction(cfg))
    if "resume" in content:
        content["resume"] = None  # config.yaml describes the whole run
    data = [("data", key) for key in ("root", "csv", "table", "exclude")]
    for group, key in (*data, ("cache", "dir"), ("model", "weights"), ("", "init_from")):
        node = content.get(group, {}) if group else content
        place = node.get(key)
        named = key == "weights" and not Path(str(place)).expanduser().is_file()  # DEFAULT
        if place is not None and "${" not in str(place) and not named:
            node[key] = str(Path(str(place)).expanduser().absolute())
    if storage := content.get("tune", {}).get("storage"):
        content["tune"]["storage"] = without_password(storage)
    return content


def flat(cfg: DictConfig) -> dict[str, Any]:
    """Return the values of config.yaml by dotted key."""
    return dict(_flat(_content(cfg)))


def _with_direction(cfg: DictConfig) -> DictConfig:
    """Return a config whose `monitor_mode` holds the direction of `monitor` if it is null and the direction known."""
    if "monitor_mode" not in cfg or cfg.monitor_mode is not None:
        return cfg
    own = cfg.copy()
    own.monitor_mode = direction_of(str(cfg.monitor), str(OmegaConf.select(cfg, "task.name")))
    return own


def _identity(content: dict[str, Any]) -> dict[str, Any]:
    """Return the values by dotted key, without the keys that may differ."""
    return {
        key: names.oldest(value)
        for key, value in _flat(content)
        if not any(key == ignored or key.startswith(f"{ignored}.") for ignored in _MAY_DIFFER)
        and (key not in DEFAULTS or value != DEFAULTS[key])
    }


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _without_secrets(cfg: DictConfig) -> Any:
    """Resolve a config, but keep references to the environment: `${oc.env:NAME}`."""
    OmegaConf.register_new_resolver(
        "oc.env", lambda *args: f"${{oc.env:{','.join('null' if a is None else str(a) for a in args)}}}", replace=True
    )
    try:
        return OmegaConf.to_container(cfg, resolve=True)
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, use_cache=False, replace=True)
