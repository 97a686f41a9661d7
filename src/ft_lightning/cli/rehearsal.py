"""Tries what a config names on a blank sample, so that a value that is refused late is refused before time is spent."""

import inspect
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ft_lightning.cli.objects import blaming, make
from ft_lightning.cli.solver import solves_head
from ft_lightning.system.errors import UserError, number_of, with_article
from ft_lightning.system.kinds import parameters_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ft_lightning.data.protocol import Data
    from ft_lightning.module import FineTuner
    from ft_lightning.readers.sample import Reader
    from ft_lightning.tasks.task import Task

_TRIES = 3  # of a random augmentation
_STEPS = 100.0  # of a schedule
_MOST = 256  # different targets, as a metric may want one of each class


def augmentation(cfg: DictConfig, reader: "Reader") -> Any:
    """Make the augmentation around a reader's preprocess, and try it on a blank sample."""
    import torch

    partial, preprocess, blank = make(cfg, "augment"), reader.preprocess, reader.blank()
    if blank is None and not _leaves(partial, preprocess):
        raise UserError(f"augment: it changes images, which {reader.kind}s are not: use augment=none.")
    with blaming(cfg, "augment"), torch.random.fork_rng(devices=[]):
        augment = partial(preprocess)
        if augment is preprocess:
            return augment
        made = [augment(blank) for _ in range(_TRIES)]
    plain: Any = preprocess(blank)
    if strange := [each for each in made if not _is_like(each, plain)]:
        raise UserError(
            f"augment: {cfg.augment._target_} makes {_described(strange[0])} of an image, which has to be like "
            f"{_described(plain)}."
        )
    return augment


def _is_like(value: object, plain: object) -> bool:
    """Return whether a value has the type of another, or a subclass as torchvision's images are, and its dimensions."""
    return isinstance(value, type(plain)) and len(getattr(value, "shape", ())) == len(getattr(plain, "shape", ()))


def _described(value: object) -> str:
    """Return a value's type and shape in words."""
    shape = getattr(value, "shape", None)
    return with_article(type(value).__name__) + ("" if shape is None else f" of shape {tuple(shape)}")


def _leaves(augmentation: Callable[[Any], Any], preprocess: Any) -> bool:
    """Return whether an augmentation leaves a preprocess as it is; one that is not made for it may fail."""
    try:
        return augmentation(preprocess) is preprocess
    except Exception:  # of any type
        return False


def rehearse(cfg: DictConfig, module: "FineTuner", data: "Data") -> None:
    """Call head, task, mix, loss, optimizer and schedule once, without a step; raise UserError for what they refuse."""
    import torch

    from ft_lightning.module import FineTuner

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        outputs = _rehearse_head(cfg, module, data.task)
        if not data.task.generates:
            _rehearse_task(cfg, data.task, outputs[0], data.targets("train"))
        _refuse_other_parameters(module, outputs)
        if module.mix:
            _rehearse_mix(cfg, module, data)
        if type(module).loss_of is FineTuner.loss_of:  # one of the user's own may call it in another way
            _rehearse_loss(cfg, module.loss, outputs, data)
    if solves_head(cfg) and cfg.finetune.mode != "frozen":  # said with what it trains on
        return
    _rehearse_schedule(cfg, module)
    _refuse_parts_of_an_epoch(
        cfg, {split: math.ceil(len(data.splits[split]) / cfg.data.batch_size) for split in data.splits}
    )


def _rehearse_head(cfg: DictConfig, module: "FineTuner", task: "Task") -> "Tensor":
    """Return the head's outputs (2, C) for two blank samples; raise UserError if they have another shape."""
    import torch

    from ft_lightning.heads import outputs_of

    with blaming(cfg, "head"):
        outputs = outputs_of(module.classifier.head, torch.zeros(2, module.classifier.backbone.feature_dim))
    if outputs.shape != (2, task.width):
        raise UserError(
            f"head: {cfg.head.get('name', cfg.head._target_)} gives {_described(outputs)} for two samples: make it "
            f"{task.width} outputs each, its num_classes."
        )
    return outputs


def _rehearse_schedule(cfg: DictConfig, module: "FineTuner") -> None:
    """Make optimizer and schedule; raise UserError if Lightning cannot use the schedule."""
    from ft_lightning.optim import build_optimizer

    trainable = [(name, p) for name, p in module.classifier.named_parameters() if p.requires_grad]
    with blaming(cfg, "optimizer"):
        optimizer = build_optimizer(module.optimizer, trainable, module.backbone_lr_factor)
    with blaming(cfg, "scheduler"):
        schedule = module.scheduler(optimizer, _STEPS)
    stepped = schedule.get("scheduler") if isinstance(schedule, dict) else schedule
    if not (hasattr(stepped, "step") and hasattr(stepped, "optimizer")):  # what Lightning takes for a schedule
        raise UserError(
            f"scheduler: {cfg.scheduler._target_} makes {_described(stepped)}: make it a schedule of torch, or "
            'Lightning\'s dictionary of one, {"scheduler": ..., "interval": ...}; scheduler=constant for none.'
        )
    metrics = [f"val/{name}" for name in module.task.directions]
    if isinstance(schedule, dict) and schedule.get("monitor", metrics[0]) not in metrics:
        raise UserError(f"scheduler.monitor={schedule['monitor']} is not measured: use one of {', '.join(metrics)}.")


def _refuse_other_parameters(module: "FineTuner", outputs: "Tensor") -> None:
    """Raise UserError if a module's loss_of takes something else than batch and outputs."""
    try:
        inspect.signature(module.loss_of).bind({}, outputs)
    except TypeError as error:
        raise UserError(f"module: {type(module).__name__}.loss_of is called with batch and outputs: {error}.") from None


def _rehearse_mix(cfg: DictConfig, module: "FineTuner", data: "Data") -> None:
    """Mix two blank samples; raise UserError for what a training step cannot use."""
    inputs, target = module.classifier.backbone.example(2), data.targets("train")[:2]
    with blaming(cfg, "mix"):
        mixed = module.mix(inputs, target)  # type: ignore[misc]  # not None
    if not (isinstance(mixed, tuple | list) and len(mixed) == 2 and _is_like(mixed[0], inputs)):
        raise UserError(
            f"mix: {cfg.mix._target_} makes {_described(mixed)} of a batch and its targets: have it return both, "
            f"mixed, the batch as {_described(inputs)}."
        )


def _rehearse_loss(cfg: DictConfig, loss: "nn.Module", outputs: "Tensor", data: "Data") -> None:
    """Call a loss for two samples, with their weights if they have any; raise UserError for what a run cannot use."""
    import torch

    target, weights = data.targets("train")[:2], data.weights("train")
    with blaming(cfg, "loss"):
        value = loss(outputs, target)
    if not isinstance(value, torch.Tensor) or value.ndim:
        raise UserError(
            f"loss: {cfg.loss._target_} gives {_described(value)} for two samples: make it their mean, a tensor "
            "without dimensions."
        )
    if weights is None:
        return
    known, others = parameters_of(getattr(loss, "forward", loss))
    if len(known) < 3 and not others:
        raise UserError(
            f"data.weight={cfg.data.weight}: {cfg.loss._target_} makes a loss that takes no weights of samples: give "
            "its forward a third parameter, weights (B,), or leave data.weight out."
        )
    with blaming(cfg, "loss"):
        loss(outputs, target, weights[:2])


def _rehearse_task(cfg: DictConfig, task: "Task", output: "Tensor", targets: "Tensor") -> None:
    """Call for some samples the members of a task that are called after training; raise UserError if one fails."""
    import torch

    target = torch.cat([targets[:2], targets.unique(dim=0)[:_MOST]])
    outputs = output.expand(len(target), -1)
    calls: dict[str, Callable[[], Tensor]] = {
        "rows": lambda: task.rows(outputs, target),
        "constant": lambda: task.constant().expand(len(target), -1),
        "vote": lambda: task.vote(torch.stack([target, target], 1), torch.ones(len(target), 2)),
    }
    for name, call in calls.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = call()
                score = measured = task.score(rows, target)
                task.sums(outputs, target)
                with suppress(Exception):  # a metric may need more samples
                    measured = task.metrics(rows, target, full=False)[task.monitor]
        except Exception as error:
            who = type(task).__name__
            raise UserError(
                f"task={cfg.task.name}: {who}.{name}, or {who}.score of what it returns, fails for {len(target)} "
                f"samples: {type(error).__name__}: {error}"
            ) from error
        known = measured is not None and math.isfinite(measured - score)
        if known and not math.isclose(score, measured, rel_tol=1e-3, abs_tol=1e-6):
            raise UserError(
                f"task={cfg.task.name}: {type(task).__name__}.score gives {score:g} where its metric {task.monitor}, "
                f"which decides, is {measured:g}: have score return the same."
            )


def _refuse_parts_of_an_epoch(cfg: DictConfig, counts: dict[str, int]) -> None:
    """Raise UserError for a share of an epoch without a batch, or for more batches than it has; `counts` by split."""
    for split, count in counts.items():
        limit = cfg.trainer.get(f"limit_{split}_batches")
        if isinstance(limit, float) and count * limit < 1:
            raise UserError(
                f"trainer.limit_{split}_batches={limit}: of {number_of(count, 'batch', 'batches')} this leaves none; "
                "use more."
            )
    interval, batches = cfg.trainer.get("val_check_interval"), counts["train"]
    if isinstance(interval, int) and interval > batches:
        raise UserError(
            f"trainer.val_check_interval={interval}: an epoch has {number_of(batches, 'batch', 'batches')}: use as "
            "many or less, or trainer.check_val_every_n_epoch."
        )
