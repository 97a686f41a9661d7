"""Backbones: a library's network without its last, class-producing layer, with its blocks and its preprocess."""

import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import timm.data
import torch
import torchvision
from huggingface_hub import constants, try_to_load_from_cache
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_builder, get_model_weights, list_models

from ft_lightning import weights as files
from ft_lightning.errors import UserError
from ft_lightning.preprocess import Preprocess

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_TINY = 0.002  # a share of the parameters too small to be a block of its own: a lone norm, a stem


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
    _check_name(source, name)
    own_file = weights is not None and (weights == "embedded" or Path(weights).suffix != "" and Path(weights).is_file())
    build = _torchvision_network if source == "torchvision" else _timm_network
    network, preprocess = build(name, None if own_file else weights, arguments)
    last_layers = take_off_last_layer(network)
    if weights == "embedded":
        files.fill(network, files.embedded_lite0(network), last_layers, weights)
    elif own_file:
        files.fill(network, files.read_state_dict(Path(weights)), last_layers, weights)
    label = "random" if weights is None else Path(weights).name
    return _backbone(network, preprocess, Identity(source, name, arguments, label))


def build_backbone(identity: dict[str, Any], preprocess: dict[str, Any]) -> Backbone:
    """The network that `identity` and `preprocess` of model.json describe, with random values and without a download.

    Raises:
        UserError: a source or name that is not on the libraries' own lists.
    """
    known = Identity(**identity)
    _check_name(known.source, known.name)
    build = _torchvision_network if known.source == "torchvision" else _timm_network
    network, _ = build(known.name, None, known.arguments)
    take_off_last_layer(network)
    return _backbone(network, Preprocess.from_dict(preprocess), known)


def _backbone(network: nn.Module, preprocess: Preprocess, identity: Identity) -> Backbone:
    try:
        blocks, feature_dim = trace(network, preprocess.crop)
    except RuntimeError as error:
        raise UserError(
            f"model.name={identity.name} cannot be a backbone: its classes do not come from one last layer ({error})."
        ) from error
    return Backbone(network, blocks, feature_dim, preprocess, identity)


def take_off_last_layer(network: nn.Module) -> list[str]:
    """Replace the layer that produces classes by Identity; returns its name (several: a distilled model's).

    A network that was published without such a layer stays as it is.
    """
    names = _last_layers(network)
    for name in names:
        network.set_submodule(name, nn.Identity())
    return names


def trace(network: nn.Module, crop: tuple[int, int]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """(blocks, feature_dim) as one forward pass of a single picture shows them.

    Containers and modules that hold most of the parameters are opened; what is inside is ordered by its first call,
    because a few networks register their modules in another order. Small neighbours share a block.
    """
    sizes = dict(_open(network, "", sum(p.numel() for p in network.parameters())))
    called: dict[str, None] = {}
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: called.setdefault(name)) for name in sizes
    ]
    with torch.inference_mode():
        features = network.eval()(torch.zeros(1, 3, *crop)).flatten(1)
    for hook in hooks:
        hook.remove()
    never_called = [name for name in sizes if name not in called]
    total = sum(sizes.values())
    blocks: list[list[str]] = []
    for name in [*never_called, *called]:
        # A stem of a few small layers is one block, and a lone norm belongs to the block before it.
        if blocks and sizes[name] < _TINY * total:
            blocks[-1].append(name)
        else:
            blocks.append([name])
    return tuple(tuple(block) for block in blocks), features.shape[1]


def _open(module: nn.Module, prefix: str, total: int) -> Iterator[tuple[str, int]]:
    for name, child in module.named_children():
        size = sum(p.numel() for p in child.parameters())
        if not child.state_dict():
            continue
        opens = isinstance(child, _CONTAINERS) or size > total / 2
        if opens and any(grandchild.state_dict() for grandchild in child.children()):
            yield from _open(child, f"{prefix}{name}.", total)
        else:
            yield f"{prefix}{name}", size


def _last_layers(network: nn.Module) -> list[str]:
    names = {module: name for name, module in network.named_modules()}
    if not hasattr(network, "get_classifier"):  # torchvision: the last layer of all
        return [[name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]]
    classifiers = network.get_classifier()
    classifiers = classifiers if isinstance(classifiers, tuple) else (classifiers,)
    if hasattr(network, "aux_head"):  # adds its answer to the classifier's
        classifiers = (*classifiers, network.aux_head)
    found = []
    for classifier in classifiers:
        layers = [module for module in classifier.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        found += [names[layers[-1]]] if layers else []
    return found


def _torchvision_network(name: str, weights: str | None, arguments: dict[str, Any]) -> tuple[nn.Module, Preprocess]:
    published = get_model_weights(name)
    chosen: WeightsEnum | None = None
    if weights is not None:
        if weights not in published.__members__:
            raise UserError(
                f"model.weights={weights}: {name} has {', '.join(published.__members__)}, and no file of that name exists."
            )
        chosen = published[weights]
        files.fetch(chosen.url)
    with files.tensors_only():
        network = get_model_builder(name)(weights=chosen, progress=False, **_quiet_arguments(name, chosen), **arguments)
    for auxiliary in ("aux1", "aux2", "AuxLogits"):  # classifiers that only help training from scratch
        if hasattr(network, auxiliary):
            network.aux_logits = False
            setattr(network, auxiliary, None)
    return network, Preprocess.from_torchvision((chosen or published.DEFAULT).transforms())


def _quiet_arguments(name: str, weights: WeightsEnum | None) -> dict[str, Any]:
    # These two warn about a change of their random initialisation, and initialise for a minute, unless told.
    return {"init_weights": False} if name in ("googlenet", "inception_v3") and weights is None else {}


def _timm_network(name: str, weights: str | None, arguments: dict[str, Any]) -> tuple[nn.Module, Preprocess]:
    architecture = name.partition(".")[0]
    full_name = name if weights in (None, "DEFAULT") else f"{architecture}.{weights}"
    tags = timm.list_pretrained(architecture) if hasattr(timm, "list_pretrained") else timm.list_models(f"{architecture}.*", pretrained=True)
    if weights is not None:
        if weights != "DEFAULT" and full_name not in tags:
            raise UserError(f"model.weights={weights}: {architecture} has {', '.join(tag.partition('.')[2] for tag in tags)}, and no file of that name exists.")
        _check_hub(full_name)
    with files.tensors_only():
        network = timm.create_model(full_name, pretrained=weights is not None, **arguments)
    return network, Preprocess.from_timm(timm.data.resolve_data_config(model=network), name)


def _check_name(source: str, name: str) -> None:
    if source == "torchvision":
        known, listed = list_models(module=torchvision.models), name
    elif source == "timm":
        known, listed = timm.list_models(), name.partition(".")[0]
    else:
        raise UserError(f"model.source={source} is unknown: use torchvision or timm.")
    if listed not in known:
        close = ", ".join(get_close_matches(listed, known)) or f"{source}.list_models() lists all {len(known)}"
        raise UserError(f"model.name={name} is not a model of {source}: did you mean {close}?")


def _check_hub(full_name: str) -> None:
    """Fail at once where the hub cannot be reached, instead of after a minute of retries."""
    config = timm.get_pretrained_cfg(full_name)
    if config is None or not config.hf_hub_id:
        return
    names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, name), str) for name in names):
        return
    url = f"{constants.ENDPOINT}/{config.hf_hub_id}"
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10).close()
    except OSError as error:
        raise UserError(
            f"Cannot download {names[0]} of {url} ({error}). Fetch that file elsewhere and say where it is: "
            f"model.weights=/path/to/{names[0]}. {files.OFFLINE}"
        ) from error


def _is_convolutional(network: nn.Module) -> bool:
    """Whether it convolves features over space, not only cuts the picture into patches: channels_last makes that fast."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(module.in_channels > 3 and max(module.kernel_size) > 1 for module in convolutions)
