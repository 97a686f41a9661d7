"""Loads backbones: a library's network without its last, class-producing layer, with its blocks and preprocess."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from ft_lightning.backbones.after_pooling import NAME
from ft_lightning.backbones.backbone import Backbone, Identity, ImageBackbone
from ft_lightning.backbones.blocks import take_off_last_layer, trace
from ft_lightning.backbones.embedded import EMBEDDED, EMBEDDED_NAME, embedded_lite0
from ft_lightning.backbones.libraries import build_network
from ft_lightning.backbones.load_text import SOURCE, build_text_backbone
from ft_lightning.backbones.weights import load_values, own_file, read_state_dict, refuse_broken
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.system.errors import UserError


def load_backbone(source: str, name: str, weights: str | None, arguments: dict[str, Any]) -> ImageBackbone:
    """Load a pretrained backbone by the library's own name.

    Args:
        source: torchvision or timm.
        weights: DEFAULT, the library's name of other weights, the path of a state dict, "embedded" (those of
            tf_efficientnet_lite0 from an installed package), or None for random values.
        arguments: further keyword arguments of the library's builder.
    """
    path = own_file(weights)
    embedded = weights == EMBEDDED
    if embedded and name != EMBEDDED_NAME:
        raise UserError(f"model.weights={weights} are those of {EMBEDDED_NAME}, not of {name}: use DEFAULT.")
    network, preprocess, identity = build_network(source, name, None if path or embedded else weights, arguments)
    last_layers = take_off_last_layer(network)
    if embedded:
        load_values(network, embedded_lite0(network), last_layers, EMBEDDED)
    elif path:
        load_values(network, read_state_dict(path), last_layers, str(path))
    refuse_broken(network, f"model.weights={weights}")
    label = path.name if path else EMBEDDED if embedded else identity.weights
    return _backbone(network, preprocess, replace(identity, weights=label))


def build_backbone(identity: dict[str, Any], preprocess: dict[str, Any]) -> Backbone:
    """Build the network that `identity` and `preprocess` of model.json describe: random values, no download."""
    known = Identity(**identity)
    if known.source == SOURCE:
        return build_text_backbone(known, preprocess)
    network, *_ = build_network(known.source, known.name, None, known.arguments)
    take_off_last_layer(network)
    reader = ImageReader.from_dict(preprocess)
    reader.preprocess(Image.new("RGB", (1, 1)))  # invalid values fail here, not in the first batch
    return _backbone(network, reader.preprocess, known, reader)


def names(model: Any, identity: dict[str, Any]) -> bool:
    """Return whether the keys of conf/model name the network of an identity, whatever its weights."""
    given, known = model["arguments"], identity["arguments"]
    if model["source"] != identity["source"]:
        return False
    if model["source"] == SOURCE:  # whose arguments are those of its config
        fits = all(known["config"].get(name) == value for name, value in given.items())
        if model["pooling"] != "auto":  # one that is named has nothing after it; a language model has none
            fits = fits and model["pooling"] == known.get("pooling", model["pooling"]) and NAME not in known
        return fits and Path(model["name"]).name == Path(identity["name"]).name
    # In a timm name the part after the dot only selects weights.
    return given == known and model["name"].partition(".")[0] == identity["name"].partition(".")[0]


def said(described: dict[str, Any]) -> str:
    """Say which network an identity has, or the keys of conf/model ask for, in a message."""
    arguments = described["arguments"]
    of_text = f"pooling {described.get('pooling') or arguments['pooling']}" if described["source"] == SOURCE else ""
    return f"{described['name']} of {described['source']} with {of_text or f'arguments {arguments}'}"


def _backbone(
    network: nn.Module, preprocess: Preprocess, identity: Identity, reader: ImageReader | None = None
) -> ImageBackbone:
    try:
        blocks, feature_dim = trace(network, preprocess.crop)
    except (RuntimeError, AssertionError, AttributeError) as error:
        raise UserError(
            f"model.name={identity.name} with model.arguments={identity.arguments} does not turn images of "
            f"{preprocess.crop[0]} x {preprocess.crop[1]} into one row of features each: {error}"
        ) from error
    return ImageBackbone(network, blocks, feature_dim, preprocess, identity, reader)
