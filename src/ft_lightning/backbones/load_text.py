"""Loads text backbones: a network of transformers without a head, its blocks, pooling and reader."""

from typing import Any

from torch import nn

from ft_lightning.backbones import after_pooling
from ft_lightning.backbones.after_pooling import NAME, Steps
from ft_lightning.backbones.backbone import Identity
from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.backbones.load_causal import GENERATES, build_causal, load_causal
from ft_lightning.backbones.snapshots import locate
from ft_lightning.backbones.text_networks import build_network, is_decoder, plain_config
from ft_lightning.backbones.text_positions import fits_tokenizer, pad_of, positions_of, takes_types
from ft_lightning.backbones.text_weights import load_network
from ft_lightning.backbones.transformers import POOLINGS, TextBackbone
from ft_lightning.backbones.weights import refuse_broken
from ft_lightning.readers.text import FILE, TextReader
from ft_lightning.system.errors import UserError

SOURCE = "transformers"
_MAX_LENGTH = 256  # tokens, where neither the data nor the model says it: four times as many cost six times the time


def load_text_backbone(
    source: str,
    name: str,
    weights: str | None,
    revision: str | None,
    pooling: str,
    grad_checkpointing: bool,
    arguments: dict[str, Any],
    generates: bool = False,
) -> TextBackbone | CausalBackbone:
    """Load a pretrained text network of transformers.

    Args:
        source: transformers.
        name: a folder (config.json, tokenizer.json, *.safetensors), or a name on the Hugging Face hub.
        weights: DEFAULT: those of `name`; "embedded": of all-MiniLM-L6-v2 or SmolLM2-135M-Instruct, from an installed
            package; None: random.
        revision: on the hub: a branch, tag or commit; None: the newest, or the one in the cache.
        pooling: mean, cls, last, or auto: as the model's files say, with what they do after it, such as scaling to unit
            length; else mean, and last for what reads left to right.
        grad_checkpointing: compute a trained block's inside again in the backward pass, which takes less memory.
        arguments: values in place of those of config.json.
        generates: with its last layer, to write answers; else without, for features.
    """
    if source != SOURCE:
        raise UserError(f"model.source={source}: load_text_backbone has those of {SOURCE} alone.")
    if pooling not in (*POOLINGS, "auto"):
        raise UserError(f"model.pooling={pooling} is unknown: use auto, {', '.join(POOLINGS)}.")
    found = locate(name, weights, revision)
    try:
        config = plain_config(found.config(), arguments)
        if generates:
            language = load_causal(found, config, weights)
            if grad_checkpointing:
                checkpoint(language.network, name)
            return language
        tokenizer = found.tokenizer()
        network = build_network(config) if weights is None else load_network(config, found.folder)
        after = found.after_pooling() if pooling == "auto" else []
        if pooling == "auto":
            pooling = found.pooling() or ("last" if is_decoder(config) else "mean")
        label = "random" if weights is None else found.label
        steps = [step for step, _ in after]
        identity = Identity(SOURCE, found.name, {"config": config, "pooling": pooling} | _said(steps), label)
        _add(network, steps)
        if after and weights is not None:
            after_pooling.load(network.get_submodule(NAME), [path for _, path in after], found.folder)
            refuse_broken(network.get_submodule(NAME), str(found.folder))
        backbone = TextBackbone(network, pooling, identity, _reader(network, tokenizer, found.max_length()))
    except UserError as error:
        raise UserError(f"model.name={name}: {error}" if str(error)[:6] != "model." else str(error)) from error
    if grad_checkpointing:
        checkpoint(network, name)
    return backbone


def build_text_backbone(identity: Identity, preprocess: dict[str, Any]) -> TextBackbone | CausalBackbone:
    """Build the network that model.json describes: random values, no download.

    Args:
        preprocess: of model.json, with the content of tokenizer.json in place of its digest.
    """
    if identity.arguments.get(GENERATES):
        return build_causal(identity, preprocess)
    network = build_network(identity.arguments["config"])
    _add(network, identity.arguments.get(NAME, ()))
    reader = _reader(network, preprocess["files"][FILE], None).adapted(preprocess)
    pooling = identity.arguments["pooling"]
    if pooling not in POOLINGS:
        raise UserError(f"pooling={pooling} is unknown: use {', '.join(POOLINGS)}.")
    return TextBackbone(network, pooling, identity, reader)


def _said(steps: Steps) -> dict[str, Any]:
    """Return the entry of an identity's arguments; none without steps, as in older ones."""
    return {NAME: list(steps)} if steps else {}


def _add(network: nn.Module, steps: Steps) -> None:
    """Make what follows pooling a part of the network: of its weights, its last block, and what trains."""
    if steps:
        network.add_module(NAME, after_pooling.built(steps))


def checkpoint(network: Any, name: str) -> None:
    """Have the network compute a trained block's inside again in the backward pass, which takes less memory."""
    if not network.supports_gradient_checkpointing:
        raise UserError(f"model.grad_checkpointing=true: {name} cannot do it.")
    network.activation_checkpointing_enable({"use_reentrant": False})


def _reader(network: Any, tokenizer: str, max_length: int | None) -> TextReader:
    fits_tokenizer(network, tokenizer)
    limit = positions_of(network)
    length = min(max_length or _MAX_LENGTH, limit or _MAX_LENGTH)
    return TextReader(tokenizer, length, limit=limit, pad=pad_of(network), types=takes_types(network))
