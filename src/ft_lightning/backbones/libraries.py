"""Builds networks of torchvision and timm by the libraries' own names."""

from difflib import get_close_matches
from typing import Any

import torchvision
from torch import nn
from torchvision.models import get_model_builder, get_model_weights, list_models

from ft_lightning.backbones.backbone import Identity
from ft_lightning.backbones.downloads import fetch, fetch_from_hub, remember
from ft_lightning.backbones.weights import reading, tensors_only, unknown_weights
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


def build_network(
    source: str, name: str, weights: str | None, arguments: dict[str, Any]
) -> tuple[nn.Module, Preprocess, Identity]:
    """Build the library's whole network, with its classes; `weights` is None or the library's name of weights."""
    _check(source, name, arguments)
    build = _torchvision_network if source == "torchvision" else _timm_network
    try:
        with tensors_only():
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
            raise unknown_weights(weights, name, list(published.__members__))
        chosen = published[weights]
    preprocess = Preprocess.from_torchvision((chosen or published.DEFAULT).transforms())
    # The weights decide these; given as arguments, the network fits this preprocess without weights too.
    if name in ("googlenet", "inception_v3"):
        arguments = {"transform_input": True, "init_weights": False} | arguments
    elif name.startswith("vit_"):
        arguments = {"image_size": preprocess.crop[0]} | arguments
    if chosen is None:
        network = get_model_builder(name)(weights=None, **arguments)
    else:
        path = fetch(chosen.url)
        with reading(path, passing=passing):
            network = get_model_builder(name)(weights=chosen, progress=False, **arguments)
        remember(path)
    for auxiliary in ("aux1", "aux2", "AuxLogits"):  # classifiers that only help training from scratch
        if hasattr(network, auxiliary):
            network.aux_logits = False
            setattr(network, auxiliary, None)
    return network, preprocess, Identity("torchvision", name, arguments, chosen.name if chosen else "random")


def _timm_network(name: str, weights: str | None, arguments: dict[str, Any]) -> tuple[nn.Module, Preprocess, Identity]:
    import timm
    from timm.data import resolve_data_config

    architecture, _, tag = name.partition(".")
    tag = weights if weights not in (None, "DEFAULT") else tag
    tags = [known.partition(".")[2] for known in timm.list_pretrained(architecture)]
    if (tag and tag not in tags) or (weights is not None and not tags):
        raise unknown_weights(tag or "DEFAULT", architecture, tags)
    config: Any = timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
    # The tag decides sizes too, and an architecture's default tag may change with timm's version.
    full_name = f"{architecture}.{config.tag}" if config and config.tag else architecture
    if weights is None:
        network = timm.create_model(full_name, **arguments)
    else:
        path = fetch_from_hub(config.hf_hub_id) if config.hf_hub_id else fetch(config.url)
        overlay = {"file": str(path)}  # timm renames and resizes the tensors of older files
        with reading(path, passing=_of(arguments)):
            network = timm.create_model(full_name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
        remember(path)
    preprocess = Preprocess.from_timm(resolve_data_config(arguments, model=network), full_name)
    return network, preprocess, Identity("timm", full_name, arguments, config.tag if weights else "random")


def _of(arguments: dict[str, Any]) -> tuple[type[Exception], ...]:
    """Return the errors that a builder raises for its arguments; without arguments they concern the file."""
    return (TypeError, ValueError) if arguments else ()


def _check(source: str, name: str, arguments: dict[str, Any]) -> None:
    if source == "torchvision":
        known, listed = list_models(module=torchvision.models), name
    elif source == "timm":
        import timm  # here, because networks of torchvision do not need it

        known, listed = timm.list_models(), name.partition(".")[0]
    else:
        raise UserError(f"model.source={source} is unknown: use torchvision or timm.")
    if listed not in known:
        close = get_close_matches(listed, known)
        hint = f"did you mean {', '.join(close)}?" if close else f"{source}.list_models() names all {len(known)}."
        raise UserError(f"model.name={name} is not a model of {source}: {hint}")
    if refused := sorted(_OURS & arguments.keys()):
        raise UserError(f"model.arguments.{refused[0]} is not for you to set: use model.name and model.weights.")
