"""The classifier: a backbone and a head under a freeze plan."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from ft_lightning.backbones.backbone import Backbone
from ft_lightning.finetune import FreezePlan
from ft_lightning.lora import Adapters
from ft_lightning.readers.sample import Inputs


class Classifier(nn.Module):
    """`logits = head(backbone(prepare(inputs)))`, whose frozen part never changes.

    Args:
        backbone: also an nn.Module.
        plan: names parameters and modules as this class does; see `finetune.freeze_plan`.
        adapters: beside layers of the backbone; see `lora.adapt`.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, plan: FreezePlan, adapters: Adapters | None = None) -> None:
        super().__init__()
        self.backbone: Any = backbone  # also an nn.Module, which a Protocol cannot express
        self.head = head
        self.adapters = adapters
        self.plan = plan
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in plan.trainable)
        if plan.mode == "frozen":
            backbone.eval()
        self._held = [module for name, module in self.named_modules() if name in plan.held]
        self.train()

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        self.head.train(mode)
        if self.adapters is not None:
            self.adapters.train(mode)
        if self.plan.mode != "frozen":  # else all of it is held; setting its mode would take longer than a cached epoch
            self.backbone.train(mode)
        self._hold()
        return self

    def features(self, inputs: Inputs) -> Tensor:
        """Return features (B, D) of a batch from the loader; images are uint8 (B, 3, H, W)."""
        # Again here, because train() may have been called on a part of the backbone instead of on this module.
        self._hold()
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.plan.mode != "frozen"):
            return self.backbone(self.backbone.prepare(inputs))

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits (B, C) of a batch from the loader."""
        return self.classify(self.features(inputs))

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (B, C) of features (B, D); the head computes in float32.

        Half precision would save nothing on a head, and would round logits to three digits.
        """
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def merged_state(self) -> dict[str, Tensor]:
        """Return the state of the same classifier without adapters, which are added to the backbone's weights."""
        state = self.state_dict()
        if self.adapters is None:
            return state
        merged = self.adapters.merged(state, "backbone.network.")
        return {name: value for name, value in merged.items() if not name.startswith("adapters.")}

    def _hold(self) -> None:
        for module in self._held:
            if module.training:  # reading is ten times as fast as setting
                module.training = False
