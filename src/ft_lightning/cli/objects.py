"""Makes what a config names; what its constructor, or a later call, refuses is an error that names the keys."""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.job import typed_overrides
from ft_lightning.cli.known_errors import is_refusal, shortage, typed_error
from ft_lightning.cli.values import written
from ft_lightning.system.errors import UserError, with_article
from ft_lightning.system.kinds import parameters_of

if TYPE_CHECKING:
    from ft_lightning.readers.sample import Reader
    from ft_lightning.tasks.task import Task


_LATER = {"Data": ("layout", "reader", "divided")}  # some have no layout, `connect` sets the reader, folds divide
_MADE = ("model", "head", "data", "augment", "module", "loss", "optimizer", "scheduler", "task", "trainer")


def make(
    cfg: DictConfig,
    key: str,
    kind: type | None = None,
    /,
    *,
    over: Collection[str] = (),
    but: Collection[str] = (),
    **given: Any,
) -> Any:
    """Instantiate what a key of the config names, with arguments that the command itself gives.

    Args:
        kind: class or protocol of what has to be made.
        over: arguments that may be in the config too; the given ones are used.
        but: keys of the config that are no arguments.

    Raises:
        UserError: the config has one of the given arguments, which would be ignored; the constructor refuses; or it
            makes something of another kind.
    """
    node = OmegaConf.select(cfg, key)
    if not (isinstance(node, DictConfig) and "_target_" in node):
        raise UserError(f"{key}={node}: it needs a _target_, the function or class that makes it.")
    refuse_given(cfg, key, given.keys() - set(over))
    own = OmegaConf.masked_copy(node, [str(name) for name in node if name not in but])
    own._set_parent(node._get_parent())  # for its interpolations
    if own.get("_convert_") not in ("partial", "object"):
        given["_convert_"] = "all"  # a ListConfig or DictConfig would crash or slow down what it is given to
    with blaming(cfg, key):
        made = instantiate(own, **given)
    if kind:
        refuse_others(made, kind, f"{key}: {node._target_}")
    return made


def refuse_others(made: object, kind: type, maker: str) -> None:
    """Raise UserError for what is not of a class, or lacks members of a protocol; `maker` is its key and function."""
    if not getattr(kind, "_is_protocol", False):
        fault = "" if isinstance(made, kind) else f"which is no {kind.__name__} of {kind.__module__.partition('.')[0]}"
    else:
        members = [*kind.__annotations__, *(name for name in vars(kind) if not name.startswith("_"))]
        later = _LATER.get(kind.__name__, ())
        lacking = [name for name in members if not hasattr(made, name) and name not in later]
        fault = f"which is no {kind.__name__}: it has no {', '.join(lacking[:6])}" if lacking else ""
    if fault:
        raise UserError(f"{maker} makes {with_article(type(made).__name__)}, {fault}.")


def check_targets(cfg: DictConfig) -> None:
    """Raise UserError for a choice that names nothing to be made, as where its file lacks a line."""
    for group in _MADE:
        node = OmegaConf.select(cfg, group)
        if isinstance(node, str):
            raise UserError(
                f"{group}={node} is written as a value: write `- override /{group}: {node}` below defaults."
            )
        if not (isinstance(node, DictConfig) and node.get("_target_")):
            raise UserError(
                f"{group}: its file has no _target_, the function or class that makes it, and no `defaults:` with a "
                "file that has one."
            )
    for group, without in (("callback", "none"), ("logger", "csv")):
        if cfg.get(group) is None:
            raise UserError(f"{group}: it is missing; {group}={without} adds none.")
        if "_target_" in cfg[group]:
            raise UserError(f"{group}: in its file, write _target_ and what follows below a name, indented.")
        for name, node in cfg[group].items():
            if not (isinstance(node, DictConfig) and node.get("_target_")):
                raise UserError(f"{group}.{name}: it has no _target_, the class that makes it.")


def takes(cfg: DictConfig, key: str, argument: str) -> bool:
    """Return whether what a key of the config names takes an argument."""
    named, others = parameters_of(get_object(OmegaConf.select(cfg, key)._target_))
    return argument in named or others is not None


def make_loss(cfg: DictConfig, of_task: dict[str, Any]) -> Any:
    """Make the loss with what the task gives it; raise UserError for one that is of another task."""
    from torch.nn import Module

    made = get_object(cfg.loss._target_)
    known, others = parameters_of(made)
    unknown = sorted(of_task.keys() - known)
    bare = isinstance(made, type) and getattr(made, "__init__") is Module.__init__  # noqa: B009  # takes nothing
    if unknown and (bare or (known and not others)):
        raise UserError(
            f"loss: {cfg.loss._target_} takes no {' and no '.join(unknown)}, so is no loss for task={cfg.task.name}: "
            f"leave it out, and the task chooses its own. A loss of yours has to take {' and '.join(unknown)}."
        )
    needed = {name for name, parameter in known.items() if parameter.default is Parameter.empty}
    if lacking := sorted(needed - of_task.keys() - set(map(str, cfg.loss))):
        raise UserError(
            f"loss: {cfg.loss._target_} wants {' and '.join(lacking)}, which neither its keys nor task={cfg.task.name} "
            "give: leave loss out, and the task chooses its own."
        )
    loss = make(cfg, "loss", **of_task)
    if not callable(loss):
        raise UserError(f"loss: {cfg.loss._target_} returned a {type(loss).__name__}: make it return a loss, a module.")
    return loss


def make_scheduler(cfg: DictConfig) -> Any:
    """Make the schedule, (optimizer, total steps) -> Lightning's configuration; one of torch steps once an epoch."""
    from torch.optim.lr_scheduler import LRScheduler

    made, named = make(cfg, "scheduler"), get_object(cfg.scheduler._target_)
    if not (isinstance(named, type) and issubclass(named, LRScheduler)):
        return made
    return lambda optimizer, _: {"scheduler": made(optimizer), "interval": "epoch"}


def make_mix(cfg: DictConfig, task: "Task", reader: "Reader") -> Any:
    """Make what mixes images and their targets; raise UserError if inputs or targets cannot be mixed."""
    mix = make(cfg, "mix", num_classes=task.width)
    if mix is not None and reader.blank() is None:
        raise UserError(f"mix: {cfg.mix._target_} blends images, which {reader.kind}s are not: use mix=none.")
    if mix is not None and task.answer is None:
        raise UserError(f"mix: {cfg.mix._target_} mixes classes, which task={task.name} does not have: use mix=none.")
    if mix is not None and cfg.data.get("weight"):
        raise UserError(
            f"mix: {cfg.mix._target_} makes an image of two, whose weights differ (data.weight={cfg.data.weight}): use "
            "mix=none, or leave data.weight out."
        )
    return mix


def refuse_given(cfg: DictConfig, key: str, given: Iterable[str]) -> None:
    """Raise UserError if the config has an argument that the command itself gives, and that would be ignored."""
    node = OmegaConf.select(cfg, key)
    for name in sorted(given):
        if name in node and not name.startswith("_"):
            raise UserError(f"{key}.{name}={written(node, name)}: the command sets it itself; leave it out.")


@contextmanager
def blaming(cfg: DictConfig, key: str) -> Iterator[None]:
    """Turn an error of what the key names, as of a wrong value, into a UserError that names its keys and values."""
    try:
        yield
    except Exception as error:
        wrapped = isinstance(error, InstantiationException)
        cause = (error.__cause__ or error) if wrapped else error
        refused = is_refusal(cause) or _is_about_a_value(cause, OmegaConf.select(cfg, key))
        # Hydra's own error, without a cause, is about a name that cannot be imported.
        if not (wrapped or refused) or (error.__cause__ and not refused):
            raise
        raise typed_error(error) or shortage(cause) or _refused(cfg, key, cause) from error


def _is_about_a_value(error: BaseException, node: DictConfig) -> bool:
    """Return whether a file that cannot be opened is one that the config names."""
    return isinstance(error, OSError) and error.filename is not None and str(error.filename) in map(str, node.values())


def _refused(cfg: DictConfig, key: str, error: BaseException) -> UserError:
    """Blame the values that the error names, those of them that were typed, or all that were typed; else all."""
    node = OmegaConf.select(cfg, key)
    words = [word.lstrip("+").partition("=") for word in typed_overrides() or ()]
    typed = {name: value for name, _, value in words if name.startswith(f"{key}.")}
    names = [str(name) for name in node if not str(name).startswith("_")]
    values = {f"{key}.{name}": written(node, name) for name in names} | typed
    named = {name for name in values if re.search(rf"\b{name.rpartition('.')[2]}\b", str(error))}
    blamed = typed.keys() & named or named or typed or values
    settings = " ".join(f"{name}={value}" for name, value in values.items() if name in blamed)
    reason = " ".join(str(error).split())[:300].rstrip(".")
    lacks_partial = "required positional argument" in reason and "_partial_" not in node
    fix = " Does its file lack the line `_partial_: true`?" if lacks_partial else ""
    return UserError(f"{settings or key}: {node['_target_']} refuses this: {reason or type(error).__name__}.{fix}")
