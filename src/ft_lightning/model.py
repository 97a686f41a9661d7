"""The classifier: a backbone and a head that obey a freeze plan."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from ft_lightning.backbones.backbone import Backbone
from ft_lightning.finetune import FreezePlan
from ft_lightning.readers.sample import Inputs


class Classifier(nn.Module):
    """`logits = head(backbone(prepare(inputs)))`, where what the plan holds never moves.

    Args:
        backbone: an nn.Module too.
        plan: names its parameters and modules as this class does; see `finetune.freeze_plan`.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, plan: FreezePlan) -> None:
        super().__init__()
        self.backbone: Any = backbone  # an nn.Module, which a Protocol cannot say
        self.head = head
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
        if self.plan.mode != "frozen":  # else all of it is held, and a cached epoch takes less time than telling it so
            self.backbone.train(mode)
        self._hold()
        return self

    def features(self, inputs: Inputs) -> Tensor:
        """Features (B, D) of a batch as the loader gives it, for images uint8 (B, 3, H, W)."""
        # Again here, because train() may have been called on a part of the backbone instead of on this module.
        self._hold()
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.plan.mode != "frozen"):
            return self.backbone(self.backbone.prepare(inputs))

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, C) of a batch as the loader gives it."""
        return self.classify(self.features(inputs))

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, C) of features (B, D), both the head's work and its result in float32.

        Half precision would save nothing on a head and round logits to three digits.
        """
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def _hold(self) -> None:
        for module in self._held:
            if module.training:  # looking is ten times as fast as setting
                module.training = False
