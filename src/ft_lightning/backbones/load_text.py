"""Loads text backbones: a network of transformers without a head, its blocks, pooling and reader."""

from inspect import signature
from typing import Any

from torch import nn

from ft_lightning.backbones.backbone import Identity
from ft_lightning.backbones.snapshots import locate
from ft_lightning.backbones.text_networks import build_network, is_decoder, plain_config
from ft_lightning.backbones.text_weights import load_network
from ft_lightning.backbones.transformers import POOLINGS, TextBackbone
from ft_lightning.readers.text import FILE, TextReader
from ft_lightning.readers.tokens import tokenizer_of
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
) -> TextBackbone:
    """Load a pretrained text network of transformers.

    Args:
        source: transformers.
        name: a folder (config.json, tokenizer.json, *.safetensors), or a name on the Hugging Face hub.
        weights: DEFAULT: those of `name`; "embedded": of all-MiniLM-L6-v2, from an installed package; None: random.
        revision: on the hub: a branch, tag or commit; None: the newest, or the one in the cache.
        pooling: mean, cls, last, or auto: as the model's files say, else mean, and last for what reads left to right.
        grad_checkpointing: compute a trained block's inside again in the backward pass, which takes less memory.
        arguments: values in place of those of config.json.
    """
    if source != SOURCE:
        raise UserError(f"model.source={source}: load_text_backbone has those of {SOURCE} alone.")
    if pooling not in (*POOLINGS, "auto"):
        raise UserError(f"model.pooling={pooling} is unknown: use auto, {', '.join(POOLINGS)}.")
    found = locate(name, weights, revision)
    try:
        config = plain_config(found.config(), arguments)
        tokenizer = found.tokenizer()
        network = build_network(config) if weights is None else load_network(config, found.folder)
        if pooling == "auto":
            pooling = found.pooling() or ("last" if is_decoder(config) else "mean")
        label = "random" if weights is None else found.label
        identity = Identity(SOURCE, found.name, {"config": config, "pooling": pooling}, label)
        backbone = TextBackbone(network, pooling, identity, _reader(network, tokenizer, found.max_length()))
    except UserError as error:
        raise UserError(f"model.name={name}: {error}" if str(error)[:6] != "model." else str(error)) from error
    if grad_checkpointing:
        checkpoint(network, name)
    return backbone


def build_text_backbone(identity: Identity, preprocess: dict[str, Any]) -> TextBackbone:
    """Build the network that model.json describes: random values, no download.

    Args:
        preprocess: of model.json, with the content of tokenizer.json in place of its digest.
    """
    network = build_network(identity.arguments["config"])
    reader = _reader(network, preprocess["files"][FILE], None).adapted(preprocess)
    pooling = identity.arguments["pooling"]
    if pooling not in POOLINGS:
        raise UserError(f"pooling={pooling} is unknown: use {', '.join(POOLINGS)}.")
    return TextBackbone(network, pooling, identity, reader)


def checkpoint(network: Any, name: str) -> None:
    """Have the network compute a trained block's inside again in the backward pass, which takes less memory."""
    if not network.supports_gradient_checkpointing:
        raise UserError(f"model.grad_checkpointing=true: {name} cannot do it.")
    network.activation_checkpointing_enable({"use_reentrant": False})


def _reader(network: Any, tokenizer: str, max_length: int | None) -> TextReader:
    last, embeddings = max(tokenizer_of(tokenizer).get_vocab().values()), network.get_input_embeddings().num_embeddings
    if last >= embeddings:
        raise UserError(f"its tokenizer has a token {last:,}, its network {embeddings:,}: they do not belong together.")
    limit, pad = positions_of(network), getattr(network.config, "pad_token_id", None)
    pad = pad if isinstance(pad, int) and 0 <= pad < embeddings else 0
    length = min(max_length or _MAX_LENGTH, limit or _MAX_LENGTH)
    return TextReader(tokenizer, length, limit=limit, pad=pad, types=takes_types(network))


def positions_of(network: Any) -> int | None:
    """Return how many tokens the network has positions for; None if their number is not limited."""
    most = getattr(network.config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return None
    for name, module in network.named_modules():
        # Those of RoBERTa count from behind the padding's own.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return most - module.padding_idx - 1
    return most


def takes_types(network: Any) -> bool:
    """Return whether the network tells the first text of a pair from the second."""
    return (
        getattr(network.config, "type_vocab_size", 0) > 1 and "token_type_ids" in signature(network.forward).parameters
    )
