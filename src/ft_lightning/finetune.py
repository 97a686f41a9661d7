"""Freeze plans: which parts of a classifier train under each finetune mode, and which stay fixed."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ft_lightning.system.errors import UserError, number_of

if TYPE_CHECKING:
    from ft_lightning.backbones.backbone import Backbone

MODES = ("frozen", "partial", "full", "lora")


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FreezePlan:
    """Which parameters and modules train: the single source for the rest of the package.

    Names are those of `model.Classifier`: "backbone.network.<...>", "adapters.<...>" and "head.<...>".
    """

    mode: str
    trainable: frozenset[str]  # parameters that the optimizer gets
    held: frozenset[str]  # modules that stay in eval mode even if train() is called
    trained_blocks: tuple[str, ...]  # the blocks after the cut, each by its first module's name

    def trains(self, name: str) -> bool:
        """Whether training may change this entry of the classifier's state: a parameter or a moving statistic."""
        return name in self.trainable or name.rpartition(".")[0] not in self.held

    def trained_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the part of a classifier's state dict that a checkpoint has to hold."""
        return {name: value for name, value in state.items() if self.trains(name)}

    def frozen_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the part that training must not change by a single bit."""
        return {name: value for name, value in state.items() if not self.trains(name)}


def freeze_plan(
    backbone: "Backbone", head: nn.Module, mode: str, k: int | None, freeze_bn: bool, adapters: Iterable[str] = ()
) -> FreezePlan:
    """Place the cut: after the last block (frozen, lora), before the last `k` (partial), before everything (full).

    A module that holds both frozen and trained parts stays in eval mode, because its own forward code may belong to
    the frozen part. A parameter that both sides share is frozen. `freeze_bn` also fixes the BatchNorm statistics after
    the cut (their weights and biases still train). `adapters` names the parameters that train beside a frozen
    backbone (lora); there modules without values of their own that compute their inside again in the backward pass are
    not held, because transformers does that in train mode only.
    """
    network: nn.Module = backbone.network
    modules = dict(network.named_modules())
    trained = _blocks_after_the_cut(backbone.blocks, mode, k)
    live = set(modules) if mode == "full" else _live_modules(list(modules), backbone.blocks, trained)
    frozen = {id(p) for name in modules.keys() - live for p in modules[name].parameters(recurse=False)}
    held = {
        name for name, module in modules.items() if name not in live or (freeze_bn and isinstance(module, _BatchNorm))
    }
    if mode == "lora":
        held -= {name for name in held if _recomputes(modules[name])}
    if any(isinstance(modules[name], _BatchNorm) for name in held & live) and backbone.identity.weights == "random":
        log.warning(
            "finetune=%s trains random weights (model.weights=null) with BatchNorm fixed at its initial statistics: "
            "set finetune.freeze_bn=false, so that it follows your data.",
            mode,
        )
    trainable = {f"backbone.network.{name}" for name, p in network.named_parameters() if id(p) not in frozen}
    return FreezePlan(
        mode=mode,
        trainable=frozenset(
            trainable | {f"head.{name}" for name, _ in head.named_parameters()} | {f"adapters.{x}" for x in adapters}
        ),
        held=frozenset(f"backbone.network.{name}".rstrip(".") for name in held),
        trained_blocks=tuple(block[0] for block in trained),
    )


def _recomputes(module: nn.Module) -> bool:
    return getattr(module, "gradient_checkpointing", False) and not (module._parameters or module._buffers)


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, types, shapes and bytes of parameters and buffers, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _blocks_after_the_cut(blocks: tuple[tuple[str, ...], ...], mode: str, k: int | None) -> tuple[tuple[str, ...], ...]:
    if mode not in MODES:
        raise UserError(f"finetune.mode={mode} is unknown: use one of {', '.join(MODES)}.")
    if mode != "partial":
        if k is not None:
            raise UserError(f"finetune.k={k} has no meaning for finetune={mode}: say finetune=partial too.")
        return blocks if mode == "full" else ()
    if k is None or not 1 <= k <= len(blocks):
        listing = ", ".join(block[0] for block in blocks)
        raise UserError(
            f"finetune.k={k} does not fit: this backbone has {number_of(len(blocks), 'block')} ({listing}); "
            f"use 1 to {len(blocks)}."
        )
    return blocks[-k:]


def _live_modules(
    names: list[str], blocks: tuple[tuple[str, ...], ...], trained: tuple[tuple[str, ...], ...]
) -> set[str]:
    """Return the modules after the cut: trained blocks and modules registered after their start, such as a dropout."""
    if not trained:
        return set()
    frozen_roots = {name for block in blocks[: len(blocks) - len(trained)] for name in block}
    trained_roots = {name for block in trained for name in block}
    start = min(names.index(name) for name in trained_roots)

    def live(position: int, name: str) -> bool:
        if any(_inside(name, root) for root in trained_roots):
            return True
        touches_frozen = any(_inside(name, root) or _inside(root, name) for root in frozen_roots)
        return position > start and not touches_frozen

    return {name for position, name in enumerate(names) if live(position, name)}


def _inside(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.") or root == ""
