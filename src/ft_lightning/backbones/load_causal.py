"""Loads language models: a network of transformers with its last layer, its chat template and its end tokens."""

import logging
from pathlib import Path
from typing import Any

from ft_lightning.backbones.backbone import Identity
from ft_lightning.backbones.causal import CausalBackbone
from ft_lightning.backbones.snapshots import Snapshot
from ft_lightning.backbones.text_networks import build_network, is_decoder
from ft_lightning.backbones.text_positions import fits_tokenizer, pad_of, positions_of
from ft_lightning.backbones.text_weights import load_network
from ft_lightning.backbones.weights import reading
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
    special = {name: text for name in _NAMES if (text := _text(name, files.get(name)))}
    template = _template(found, files)
    if template is None:
        log.warning(
            "model.name=%s has no chat template: a plain one is used, with the headings Question and Answer, and goes "
            "with the model.",
            found.name,
        )
    said = found.json("generation_config.json").get("eos_token_id")
    ends = {*_ends(found.folder / "generation_config.json", said, tokenizer)}
    said, is_default = config.get("eos_token_id"), "eos_token_id" not in found.json("config.json")
    if not (is_default and _no_tokens(said, tokenizer)):  # a family's default may be another tokenizer's
        ends.update(_ends(found.folder / "config.json", said, tokenizer))
    if (known := tokenizer_of(tokenizer).token_to_id(special.get("eos_token", ""))) is not None:
        ends.add(known)
    format_ = chat_format(tokenizer, template or PLAIN, special, sorted(ends))
    fits_tokenizer(network, tokenizer)
    limit = positions_of(network)
    reader = ChatReader(format_, min(_MAX_LENGTH, limit or _MAX_LENGTH), limit, pad_of(network))
    arguments = {"config": config, GENERATES: True}
    identity = Identity("transformers", found.name, arguments, "random" if weights is None else found.label)
    return CausalBackbone(network, identity, reader)


def build_causal(identity: Identity, preprocess: dict[str, Any]) -> CausalBackbone:
    """Build the language model that model.json describes: random values, no download.

    Args:
        preprocess: of model.json, with the contents of its files in place of their digests.
    """
    files, special, ends = preprocess["files"], preprocess["special"], preprocess["ends"]
    if not isinstance(special, dict) or not all(name in _NAMES and _text(name, special[name]) for name in special):
        raise UserError(f"model.json says special={special!r}, which are no names of tokens: copy it again.")
    if wrong := _no_tokens(ends, files[FILE]):
        raise UserError(f"model.json says ends={wrong[0]!r}, which is no token of its {FILE}: copy it again.")
    network = build_network(identity.arguments["config"], True)
    format_ = chat_format(files[FILE], files[TEMPLATE], special, ends)
    fits_tokenizer(network, files[FILE])
    reader = ChatReader(format_, preprocess["max_length"], positions_of(network), pad_of(network)).adapted(preprocess)
    return CausalBackbone(network, identity, reader)


def _template(found: Snapshot, files: dict[str, Any]) -> str | None:
    """Return the chat template of a snapshot: a file of its own, or an entry of tokenizer_config.json."""
    path, said = found.folder / TEMPLATE, files.get("chat_template")
    if path.is_file():
        with reading(path, "a chat template"):
            said = path.read_text(encoding="utf-8")
    else:
        path = found.folder / "tokenizer_config.json"
        if isinstance(said, list):  # several, by name
            named = {str(one.get("name")): one.get("template") for one in said if isinstance(one, dict)}
            said = named.get("default", said)
    if said is not None and not (isinstance(said, str) and said.strip()):
        raise UserError(f"{path}: its chat template is no text or an empty one: without one, a plain one is used.")
    return said


def _text(name: str, token: Any) -> str:
    """Return a token as tokenizer_config.json writes it, a text or an object that has one; empty for none."""
    content = token.get("content") if isinstance(token, dict) else token
    if content is not None and not isinstance(content, str):
        raise UserError(
            f"tokenizer_config.json: {name}={content!r} is no text: write the token there, or leave it out."
        )
    return content or ""


def _ends(file: Path, said: Any, tokenizer: str) -> list[int]:
    """Return the tokens that end an answer, as a file says; raise UserError for what is no token."""
    ends = said if isinstance(said, list) else [] if said is None else [said]
    if wrong := _no_tokens(ends, tokenizer):
        raise UserError(
            f"{file}: eos_token_id={wrong[0]!r} is no token of its {FILE}: write the number of the "
            "token that ends an answer there, or leave it out."
        )
    return ends


def _no_tokens(numbers: Any, tokenizer: str) -> list[Any]:
    """Return what in a list is no number of a token, or what is no list."""
    known = set(tokenizer_of(tokenizer).get_vocab().values())
    numbers = numbers if isinstance(numbers, list) else [numbers]
    return [number for number in numbers if type(number) is not int or number not in known]
