"""A pretrained network without its last layer, and how to rebuild it."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.readers.sample import Reader

VERSION = 1  # raise it when building a network, `prepare` or `forward` changes; empties stores


@dataclass(frozen=True)
class Identity:
    """How to rebuild the same network; plain values, kept in model.json."""

    source: str
    name: str
    arguments: dict[str, Any]
    weights: str  # source of the pretrained values, for people


class Backbone(Protocol):
    """A pretrained network without its last layer; an nn.Module.

    `features = backbone(backbone.prepare(inputs))`, where inputs are a batch from its reader.
    """

    network: nn.Module
    blocks: tuple[tuple[str, ...], ...]  # module names in `network`, in forward order; a cut lies between blocks
    feature_dim: int  # D
    identity: Identity  # how to rebuild it
    reader: Reader  # turns a sample into an input

    def prepare(self, inputs: Any) -> Any:
        """Turn a loaded batch into the network's input."""

    def __call__(self, prepared: Any) -> Tensor:
        """Compute features (B, D)."""

    def example(self, n: int) -> Any:
        """Return a blank batch of n samples, as its reader collates them."""

    # Methods of nn.Module, from which a Protocol cannot inherit.
    def eval(self) -> Any: ...

    def to(self, device: torch.device) -> Any: ...

    def state_dict(self) -> dict[str, Tensor]: ...


class ImageBackbone(nn.Module):
    """The original network without its last, class-producing layer; a `Backbone` of images.

    Args:
        network: the network, its last layer replaced by `nn.Identity`.
        blocks: names of modules in `network`, in forward order; several names together are one block.
        feature_dim: D of the features (B, D).
        preprocess: turns an image into pixels; its mean and std are applied here.
        reader: as model.json describes it; None: one that decodes exactly.
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
        reader: Reader | None = None,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if _is_convolutional(network) else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.blocks = blocks
        self.feature_dim = feature_dim
        self.preprocess = preprocess
        self.reader: Reader = reader or ImageReader(preprocess)
        self.identity = identity
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std).view(-1, 1, 1), persistent=False)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Normalise pixels uint8 (B, 3, H, W) -> float32 (B, 3, H, W)."""
        # Divide first, then normalise, as the libraries do; a single folded step would differ by 2.4e-7.
        pixels = inputs.float().div(255).sub(self.mean).div(self.std)
        return pixels.contiguous(memory_format=self.memory_format)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute features: prepared pixels (B, 3, H, W) -> (B, D)."""
        return self.network(inputs).flatten(1)

    def example(self, n: int) -> Tensor:
        """Return n black images, uint8 (n, 3, H, W)."""
        return torch.zeros(n, 3, *self.preprocess.crop, dtype=torch.uint8)


def _is_convolutional(network: nn.Module) -> bool:
    """Return whether the network convolves feature maps, which is faster in channels_last, not only cuts patches."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(module.in_channels > 3 and max(module.kernel_size) > 1 for module in convolutions)
