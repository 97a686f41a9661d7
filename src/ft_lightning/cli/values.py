"""Checks config values that would otherwise fail late or be ignored silently."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.auto_head import check_auto
from ft_lightning.cli.finetuning import check_finetune
from ft_lightning.cli.keys import nearest
from ft_lightning.cli.meanings import comment_on
from ft_lightning.cli.monitor import settle_direction
from ft_lightning.system.errors import UserError
from ft_lightning.system.kinds import (
    Count,
    Natural,
    NotNegative,
    Parameter,
    Range,
    Seed,
    Share,
    as_text,
    parameters_of,
    words,
)

_Batches = Count | Annotated[float, Range(0, 1)] | None
_Text = str | None

# What fits a key that is no argument of a `_target_`, or of which a library's annotation says too little. The others
# have the annotation of the argument.
_KINDS: dict[str, Any] = {
    "abstain_below": Share | None,
    "batch_size": Count,
    "cache.dir": _Text,
    "cache.enabled": bool,
    "cache.verify": str,
    "checkpoint_minutes": NotNegative,
    "column": str | list[str] | None,
    "data.case_sensitive": bool,
    "data.csv": _Text,
    "data.empty_label": Literal["error", "skip", "none"] | None,
    "data.find._target_": _Text,  # null: the model's own
    "data.label": str | list[str] | None,
    "data.label_sep": _Text,  # null: of an evaluation, as in training
    "data.learn": Literal["answers", "last"] | None,
    "data.max_length": Count | None,
    "data.max_pixels": Count,
    "data.on_too_long": Literal["error", "skip", "cut_prompt"] | None,
    "data.root": _Text,
    "data.split": _Text,
    "data.table": _Text,
    "data.text": str | list[str] | None,
    "data.truncate": Literal["head", "head_tail", "windows"] | None,
    "data.weight": _Text,
    "device": str,
    "dtype": Literal["float32", "bfloat16", "float16"],
    "features": bool,
    "finetune.alpha": NotNegative | None,
    "finetune.backbone_lr_factor": NotNegative,
    "finetune.dropout": Share | None,
    "finetune.freeze_bn": bool,
    "finetune.k": Count | None,
    "finetune.mode": str,
    "finetune.rank": Count | None,
    "finetune.rank_stabilised": bool | None,
    "finetune.targets": str | list[str] | None,
    "folds": Count,
    "format": Literal["hf"],
    "generate": Natural | None,
    "head.init": Literal["random", "probe"],
    "init_from": _Text,
    "input": str | list[str] | None,
    "max_pixels": Count,
    "max_new_tokens": Count | None,
    "model_dir": str,
    "monitor": str,
    "num_workers": Natural | None,
    "output": _Text,
    "precision": Literal["auto", "32-true", "bf16-mixed", "16-mixed"],
    "repeats": Count,
    "resume": _Text,
    "run": _Text,
    "runs": str | list[str] | None,
    "seed": Seed,
    "stop": str | list[str] | None,
    "system": _Text,
    "task.generate": Natural,
    "task.max_new_tokens": Count,
    "temperature": NotNegative,
    "text": str | list[str | list[str]] | None,
    "threshold": Share | None,
    "top_p": Share,
    "trainer.accumulate_grad_batches": Count,
    "trainer.check_val_every_n_epoch": Count,
    "trainer.enable_progress_bar": bool,
    "trainer.gradient_clip_val": NotNegative | None,
    "trainer.limit_predict_batches": _Batches,
    "trainer.limit_test_batches": _Batches,
    "trainer.limit_train_batches": _Batches,
    "trainer.limit_val_batches": _Batches,
    "trainer.log_every_n_steps": Natural,
    "trainer.max_epochs": Annotated[int, Range(-1)] | None,
    "trainer.max_steps": Annotated[int, Range(-1)],
    "trainer.min_epochs": Natural | None,
    "trainer.num_nodes": Count,
    "trainer.num_sanity_val_steps": Annotated[int, Range(-1)],
    "trainer.strategy.use_orig_params": bool,
    "trainer.use_distributed_sampler": Literal[False],  # the samplers are distributed already
    "trainer.val_check_interval": _Batches,
    "tune.name": str,
    "tune.storage": _Text,
}

_OF_HYDRA = {"_partial_": bool, "_recursive_": bool, "_convert_": Literal["none", "partial", "object", "all"]}

# Arguments of the Trainer that a run sets itself, and what to say in their place.
_SET_ELSEWHERE = {
    "barebones": "A run keeps its checkpoints and its table of epochs.",
    "callbacks": "Say callback=..., or +callback.NAME._target_=... for one more.",
    "default_root_dir": "Say hydra.run.dir=/another/place.",
    "enable_checkpointing": "best.ckpt is what is tested and delivered, last.ckpt what resume goes on from.",
    "logger": "Say logger=..., or +logger.NAME._target_=... for one more.",
    "overfit_batches": "Say trainer.limit_train_batches=5, or data.limit=10.",
    "plugins": "It holds what seals checkpoints.",
    "precision": "Say precision=32-true, or see --help.",
}

_GROUPS = {key.partition(".")[0] for key in _KINDS if "." in key} | {"callback", "logger"}


def check_kinds(cfg: DictConfig, typed: Sequence[str] = ()) -> None:
    """Raise UserError for a value of another kind than its key takes, and for a key that its `_target_` does not have.

    A number where only text fits is the text that was typed, such as a folder's name: it becomes text in `cfg`. As
    YAML, the folder 2024_01 is the number 202401.

    "What fits" is the words of the annotation and the comment in conf/.
    """
    for group in _GROUPS & set(map(str, cfg)):
        if not isinstance(cfg[group], DictConfig):
            raise UserError(f"{group}={shown(plain(cfg[group]))}: it holds other keys; see --cfg job.")
    find = cfg.get("data", {}).get("find", {})
    if not isinstance(find, DictConfig | dict):
        raise UserError(
            f"data.find={shown(find)}: use a _target_, data.find._target_=... (null: what the model reads)."
        )
    for name in _SET_ELSEWHERE.keys() & (cfg.get("trainer") or {}).keys():
        raise UserError(f"trainer.{name}: every run sets it itself. {_SET_ELSEWHERE[name]}")
    for key, node, parameter in _leaves(cfg, ""):
        name = key.rpartition(".")[2]
        value = plain(node[name])
        if isinstance(value, str) and not value.strip() and not key.startswith(("callback.", "logger.")):
            raise UserError(f"{key} is empty: give it a value, or leave it out.")
        if value is None and OmegaConf.is_interpolation(node, name):  # ${monitor_mode}: its metric's, written later
            continue
        made = isinstance(value, dict) and (key in _KINDS or "_target_" not in node)  # where a plain value belongs
        if made or not parameter.takes(value):
            comment = comment_on(key, str(node.get("_target_")))
            hint = f" ({comment})" if comment else ""
            raise UserError(f"{key}={written(node, name)}: use {words(parameter.kind) or 'another value'}{hint}.")
        text = as_text(value, parameter.kind)
        if text != value and "oc.env" not in written(node, name):  # which stays out of files
            node[name] = (isinstance(text, str) and _as_typed(key, value, typed)) or text


def _as_typed(key: str, value: Any, typed: Sequence[str]) -> str:
    """Return the text after `key=` in the last of these overrides that gives this number; empty if none does."""
    words = [word for word in reversed(typed) if word.partition("=")[0].lstrip("+") == key]
    read = OverridesParser.create().parse_override
    return next((word.partition("=")[2] for word in words if read(word).value() == value), "")


def _leaves(node: DictConfig, prefix: str) -> Iterator[tuple[str, DictConfig, Parameter]]:
    """Yield each key whose kind is known, the node that holds it and its parameter."""
    target, (known, others) = _parameters(node, prefix)
    for name in map(str, node):
        key = f"{prefix}{name}"
        if key in ("hydra", "tune.space") or name in ("_target_", "_args_"):
            continue
        if OmegaConf.is_missing(node, name):  # said before, where the job needs it
            continue
        value = node[name]
        kind = _KINDS.get(key) or _OF_HYDRA.get(name)
        parameter = Parameter(kind, inspect.Parameter.empty) if kind else known.get(name, others)
        if isinstance(value, DictConfig) and key not in _KINDS and ("_target_" in value or target is None):
            yield from _leaves(value, f"{key}.")
        elif parameter:
            yield key, node, parameter
        elif target:
            near = nearest(name, known)
            meant = f"did you mean {prefix}{near}?" if near else f"it takes {', '.join(known) or 'none'}."
            raise UserError(f"{key}: {target} has no argument {name}: {meant}")


def _parameters(node: DictConfig, prefix: str) -> tuple[str | None, Any]:
    """Return the `_target_` of a node and its parameters; without one, any key may be there."""
    target = node.get("_target_")
    if "_target_" not in node or (target is None and f"{prefix}_target_" in _KINDS):
        return None, ({}, None)
    if not isinstance(target, str):
        raise UserError(f"{prefix}_target_={shown(plain(target))}: use the name of a function or class.")
    try:
        return target, parameters_of(get_object(target))
    except Exception as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(f"{prefix}_target_={target}: it cannot be imported: {reason}") from error


def written(node: DictConfig, name: str) -> str:
    """Return a value as it was written: a reference to the environment is not resolved, as it may be a secret."""
    raw = next(value for key, value in node.items_ex(resolve=False) if key == name)
    return shown(OmegaConf.to_container(raw, resolve=False) if OmegaConf.is_config(raw) else raw)


def plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def shown(value: Any) -> str:
    """Write a value as a person types it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def check_values(cfg: DictConfig) -> None:
    """Raise UserError for a value that would fail late or be ignored silently; settle `monitor_mode`."""
    check_kinds(cfg)
    settle_direction(cfg)
    check_auto(cfg)
    check_finetune(cfg)
    if cfg.seed + cfg.repeats > 2**32:
        raise UserError(f"seed={cfg.seed}: repeats={cfg.repeats} trains with this seed and the next ones: use less.")
    if cfg.folds > 1 and cfg.repeats > 1:
        raise UserError(f"folds={cfg.folds} repeats={cfg.repeats}: set one of them, the other to 1.")
    for key in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if cfg.trainer[key] == 0:
            raise UserError(f"trainer.{key}=0 leaves nothing to train or to choose the best epoch by: use 1 or more.")
    if cfg.trainer.get("val_check_interval") == 0:
        raise UserError(
            "trainer.val_check_interval=0: use a number of batches from 1, or a share of an epoch such as 0.5."
        )
