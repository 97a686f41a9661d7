"""Backbones: a library's network without its last, class-producing layer, with its blocks and its preprocess."""

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import timm
import timm.data
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.models import get_model_builder, get_model_weights, list_models

from ft_lightning.backbones import weights as files
from ft_lightning.backbones.blocks import take_off_last_layer, trace
from ft_lightning.backbones.downloads import fetch, fetch_from_hub
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.system.errors import UserError

_OURS = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "weights",
    "progress",
    "num_classes",
}


@dataclass(frozen=True)
class Identity:
    """How to build the same network again; plain values, kept in model.json."""

    source: str
    name: str
    arguments: dict[str, Any]
    weights: str  # where the pretrained values came from, for people


class Backbone(nn.Module):
    """The original network with only its last, class-producing layer taken off.

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


def load_backbone(source: str, name: str, weights: str | None, arguments: dict[str, Any]) -> Backbone:
    """A pretrained backbone by its name on the library's own list.

    Args:
        source: torchvision or timm.
        weights: DEFAULT, the library's name of other weights, the path of a state dict, "embedded" (those of
            tf_efficientnet_lite0 from an installed package), or None for random values.
        arguments: more keyword arguments of the library's builder.

    Raises:
        UserError: an unknown source, name or weights; weights that cannot be had, are damaged or do not fit.
    """
    path = files.own_file(weights)
    embedded = weights == files.EMBEDDED
    if embedded and name != files.EMBEDDED_NAME:
        raise UserError(f"model.weights={weights} are those of {files.EMBEDDED_NAME}, not of {name}: use DEFAULT.")
    network, preprocess, identity = _build(source, name, None if path or embedded else weights, arguments)
    last_layers = take_off_last_layer(network)
    if embedded:
        files.fill(network, files.embedded_lite0(network), last_layers, files.EMBEDDED)
    elif path:
        files.fill(network, files.read_state_dict(path), last_layers, str(path))
    label = path.name if path else weights if embedded else identity.weights
    return _backbone(network, preprocess, Identity(**{**asdict(identity), "weights": label}))


def build_backbone(identity: dict[str, Any], preprocess: dict[str, Any]) -> Backbone:
    """The network that `identity` and `preprocess` of model.json describe, with random values and without a download.

    Raises:
        UserError: a source or name that is not on the libraries' own lists.
    """
    known = Identity(**identity)
    network, *_ = _build(known.source, known.name, None, known.arguments)
    take_off_last_layer(network)
    prepared = Preprocess.from_dict(preprocess)
    prepared(Image.new("RGB", (1, 1)))  # values that mean nothing show here, not in the first batch
    return _backbone(network, prepared, known)


def _backbone(network: nn.Module, preprocess: Preprocess, identity: Identity) -> Backbone:
    try:
        blocks, feature_dim = trace(network, preprocess.crop)
    except (RuntimeError, AssertionError, AttributeError) as error:
        raise UserError(
            f"model.name={identity.name} with model.arguments={identity.arguments} does not turn pictures of "
            f"{preprocess.crop[0]} x {preprocess.crop[1]} into one row of features each: {error}"
        ) from error
    return Backbone(network, blocks, feature_dim, preprocess, identity)


def _build(
    source: str, name: str, weights: str | None, arguments: dict[str, Any]
) -> tuple[nn.Module, Preprocess, Identity]:
    """The library's whole network, its classes still there; `weights` is None or the library's name of them."""
    _check(source, name, arguments)
    build = _torchvision_network if source == "torchvision" else _timm_network
    try:
        with files.tensors_only():
            return build(name, weights, arguments)
    except (TypeError, ValueError) as error:
        if not arguments:
            raise
        raise UserError(f"model.arguments={arguments}: {name} cannot be built with them: {error}") from error


def _torchvision_network(
    name: str, weights: str | None, arguments: dict[str, Any]
) -> tuple[nn.Module, Preprocess, Identity]:
    published, passing = get_model_weights(name), _of(arguments)
    chosen = published.DEFAULT if weights == "DEFAULT" else None
    if weights is not None and chosen is None:
        if weights not in published.__members__:
            raise files.unknown_weights(weights, name, list(published.__members__))
        chosen = published[weights]
    preprocess = Preprocess.from_torchvision((chosen or published.DEFAULT).transforms())
    # The weights decide these; as arguments they also build the network that goes with this preprocess without weights.
    if name in ("googlenet", "inception_v3"):
        arguments = {"transform_input": True, "init_weights": False} | arguments
    elif name.startswith("vit_"):
        arguments = {"image_size": preprocess.crop[0]} | arguments
    if chosen is None:
        network = get_model_builder(name)(weights=None, **arguments)
    else:
        path = fetch(chosen.url)
        with files.reading(path, passing):
            network = get_model_builder(name)(weights=chosen, progress=False, **arguments)
    for auxiliary in ("aux1", "aux2", "AuxLogits"):  # classifiers that only help training from scratch
        if hasattr(network, auxiliary):
            network.aux_logits = False
            setattr(network, auxiliary, None)
    return network, preprocess, Identity("torchvision", name, arguments, chosen.name if chosen else "random")


def _timm_network(name: str, weights: str | None, arguments: dict[str, Any]) -> tuple[nn.Module, Preprocess, Identity]:
    architecture, _, tag = name.partition(".")
    tag = weights if weights not in (None, "DEFAULT") else tag
    tags = [known.partition(".")[2] for known in timm.list_pretrained(architecture)]
    if (tag and tag not in tags) or (weights is not None and not tags):
        raise files.unknown_weights(tag or "DEFAULT", architecture, tags)
    config: Any = timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
    # The tag decides sizes too, and which one is an architecture's default may change with timm's version.
    full_name = f"{architecture}.{config.tag}" if config and config.tag else architecture
    if weights is None:
        network = timm.create_model(full_name, **arguments)
    else:
        path = fetch_from_hub(config.hf_hub_id) if config.hf_hub_id else fetch(config.url)
        overlay = {"file": str(path)}  # timm renames and resizes what older files hold
        with files.reading(path, _of(arguments)):
            network = timm.create_model(full_name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    preprocess = Preprocess.from_timm(timm.data.resolve_data_config(arguments, model=network), full_name)
    return network, preprocess, Identity("timm", full_name, arguments, config.tag if weights else "random")


def _of(arguments: dict[str, Any]) -> tuple[type[Exception], ...]:
    """What a builder raises over its arguments; where none are given it is about the file."""
    return (TypeError, ValueError) if arguments else ()


def _check(source: str, name: str, arguments: dict[str, Any]) -> None:
    if source == "torchvision":
        known, listed = list_models(module=torchvision.models), name
    elif source == "timm":
        known, listed = timm.list_models(), name.partition(".")[0]
    else:
        raise UserError(f"model.source={source} is unknown: use torchvision or timm.")
    if listed not in known:
        close = get_close_matches(listed, known)
        hint = f"did you mean {', '.join(close)}?" if close else f"{source}.list_models() names all {len(known)}."
        raise UserError(f"model.name={name} is not a model of {source}: {hint}")
    if refused := sorted(_OURS & arguments.keys()):
        raise UserError(f"model.arguments.{refused[0]} is not for you to set: use model.name and model.weights.")


def _is_convolutional(network: nn.Module) -> bool:
    """Whether it convolves features over space, which is faster in channels_last, and not only cuts out patches."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(module.in_channels > 3 and max(module.kernel_size) > 1 for module in convolutions)
