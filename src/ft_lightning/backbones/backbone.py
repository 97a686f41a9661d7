"""The original network without its last layer, and how to build it again."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.readers.sample import Reader

VERSION = 1  # of how a network is built and what `prepare` and `forward` do; raised with them, which empties stores


@dataclass(frozen=True)
class Identity:
    """How to build the same network again; plain values, kept in model.json."""

    source: str
    name: str
    arguments: dict[str, Any]
    weights: str  # where the pretrained values came from, for people


class Backbone(Protocol):
    """A pretrained network without its last layer; an nn.Module.

    `features = backbone(backbone.prepare(inputs))`, where inputs are a batch as its reader makes them.
    """

    network: nn.Module
    blocks: tuple[tuple[str, ...], ...]  # names in `network`, in forward order: where the cut can be
    feature_dim: int  # D
    identity: Identity  # how to build it again
    reader: Reader  # what makes an input of a sample

    def prepare(self, inputs: Any) -> Any:
        """A batch as loaded -> what the network takes."""

    def __call__(self, prepared: Any) -> Tensor:
        """Features (B, D)."""

    # Of nn.Module, which a Protocol cannot inherit from.
    def eval(self) -> Any: ...

    def to(self, device: torch.device) -> Any: ...

    def state_dict(self) -> dict[str, Tensor]: ...


class ImageBackbone(nn.Module):
    """The original network with only its last, class-producing layer taken off; a `Backbone` of images.

    Args:
        network: the network, its last layer replaced by `nn.Identity`.
        blocks: names of modules in `network`, in forward order; several names together are one block.
        feature_dim: D of the features (B, D).
        preprocess: what makes pixels of an image; its mean and std are applied here.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        blocks: tuple[tuple[str, ...], ...],
        feature_dim: int,
        preprocess: Preprocess,
        identity: Identity,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if _is_convolutional(network) else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.blocks = blocks
        self.feature_dim = feature_dim
        self.preprocess = preprocess
        self.reader: Reader = ImageReader(preprocess)
        self.identity = identity
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std).view(-1, 1, 1), persistent=False)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Pixels uint8 (B, 3, H, W) -> what the network takes, float32."""
        # Dividing first and then normalising is what the libraries do; folding both into one step differs by 2.4e-7.
        pixels = inputs.float().div(255).sub(self.mean).div(self.std)
        return pixels.contiguous(memory_format=self.memory_format)

    def forward(self, inputs: Tensor) -> Tensor:
        """Prepared pixels (B, 3, H, W) -> features (B, D)."""
        return self.network(inputs).flatten(1)


def _is_convolutional(network: nn.Module) -> bool:
    """Whether it convolves features over space, which is faster in channels_last, and not only cuts out patches."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(module.in_channels > 3 and max(module.kernel_size) > 1 for module in convolutions)
