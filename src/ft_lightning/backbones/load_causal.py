"""Loads language models: a network of transformers with its last layer, its chat template and its end tokens."""

import logging
from typing import Any

from ft_lightning.backbones.backbone import Identity
from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.backbones.snapshots import Snapshot
from ft_lightning.backbones.text_networks import build_network, is_decoder
from ft_lightning.backbones.text_positions import fits_tokenizer, positions_of
from ft_lightning.backbones.text_weights import load_network
from ft_lightning.readers.chat import TEMPLATE, ChatReader
from ft_lightning.readers.template import PLAIN
from ft_lightning.readers.text import FILE
from ft_lightning.readers.tokens import tokenizer_of
from ft_lightning.readers.turns import chat_format
from ft_lightning.system.errors import UserError

GENERATES = "generates"  # of an identity's arguments: whether the network has its last layer
_MAX_LENGTH = 1024  # tokens, where the data does not say it
_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")

log = logging.getLogger(__name__)


def load_causal(found: Snapshot, config: dict[str, Any], weights: str | None) -> CausalBackbone:
    """Load the language model of a snapshot; raise UserError if it cannot write answers."""
    if not is_decoder(config):
        raise UserError(
            f"it is a {config['model_type']}, which reads in both directions and cannot write answers: use "
            "model=smollm2, or model=causal with a model that writes."
        )
    network = build_network(config, True) if weights is None else load_network(config, found.folder, True)
    tokenizer, files = found.tokenizer(), found.json("tokenizer_config.json")
    special = {name: text for name in _NAMES if (text := _text(files.get(name)))}
    template = _template(found, files)
    if template is None:
        log.warning(
            "model.name=%s has no chat template: a plain one is used, with the headings Question and Answer, and goes "
            "with the model.",
            found.name,
        )
    named = [_number(found.json("generation_config.json").get("eos_token_id")), _number(config.get("eos_token_id"))]
    known = tokenizer_of(tokenizer).token_to_id(special.get("eos_token", ""))
    ends = {*named[0], *named[1], *([known] if known is not None else [])}
    format_ = chat_format(tokenizer, template or PLAIN, special, sorted(ends))
    fits_tokenizer(network, tokenizer)
    limit = positions_of(network)
    reader = ChatReader(format_, min(_MAX_LENGTH, limit or _MAX_LENGTH), limit, _pad(network))
    arguments = {"config": config, GENERATES: True}
    identity = Identity("transformers", found.name, arguments, "random" if weights is None else found.label)
    return CausalBackbone(network, identity, reader)


def build_causal(identity: Identity, preprocess: dict[str, Any]) -> CausalBackbone:
    """Build the language model that model.json describes: random values, no download.

    Args:
        preprocess: of model.json, with the contents of its files in place of their digests.
    """
    network, files = build_network(identity.arguments["config"], True), preprocess["files"]
    format_ = chat_format(files[FILE], files[TEMPLATE], preprocess["special"], preprocess["ends"])
    fits_tokenizer(network, files[FILE])
    reader = ChatReader(format_, preprocess["max_length"], positions_of(network), _pad(network)).adapted(preprocess)
    return CausalBackbone(network, identity, reader)


def _template(found: Snapshot, files: dict[str, Any]) -> str | None:
    """Return the chat template of a snapshot: a file of its own, or an entry of tokenizer_config.json."""
    path = found.folder / TEMPLATE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    said = files.get("chat_template")
    if isinstance(said, list):  # several, by name
        said = next((one.get("template") for one in said if one.get("name") == "default"), None)
    return said if isinstance(said, str) else None


def _text(token: Any) -> str | None:
    """Return a token as tokenizer_config.json writes it: a text, or an object that has one."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _number(ends: Any) -> list[int]:
    return [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]


def _pad(network: Any) -> int:
    pad = getattr(network.config, "pad_token_id", None)
    return pad if isinstance(pad, int) and 0 <= pad < network.get_input_embeddings().num_embeddings else 0
