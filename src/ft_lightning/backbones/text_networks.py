"""The networks of transformers from plain values: no code, no file, no download."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from torch import nn

from ft_lightning.system.errors import UserError

# Of a config.json, what names code or files, changes the numbers' type, or belongs to a task's head.
_DROPPED = {
    "_attn_implementation",
    "_commit_hash",
    "_experts_implementation",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "distributed_config",
    "dtype",
    "experts_implementation",
    "fusion_config",
    "id2label",
    "label2id",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "quantization_config",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "transformers_weights",
    "use_bfloat16",
}
_OTHER_SENSES = {"audio_config", "text_config", "vision_config", "vq_config"}


def plain_config(values: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the plain values from which `build_network` builds.

    Args:
        values: the content of a config.json, also of an older version.
        arguments: values to put in their place.
    """
    if isinstance(values, dict) and values.get("quantization_config"):
        raise UserError(
            "its weights are quantised, which can neither be trained nor read as float32: use the model that they "
            "were made of."
        )
    config = config_of(values)
    known = {*_plain(config), *type(config).__dataclass_fields__} - _DROPPED
    if wrong := sorted(arguments.keys() - known):
        close = get_close_matches(wrong[0], known)
        hint = f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(sorted(known))}."
        raise UserError(f"model.arguments.{wrong[0]}: the config of {config.model_type} has no such value: {hint}")
    return _plain(config_of(_plain(config) | arguments))


def build_network(config: dict[str, Any], generates: bool = False) -> nn.Module:
    """Build the network of these values, with random weights; `generates`: with the layer that predicts tokens."""
    made = config_of(config)
    with quiet():
        automatic = _automatic(made, generates)
        return automatic.from_config(made, dtype=torch.float32, trust_remote_code=False, **no_pooler(made, generates))


def is_decoder(config: dict[str, Any]) -> bool:
    """Return whether the family is known to read from left to right alone, so that its last token has seen them all."""
    from transformers.models.auto import modeling_auto as auto

    encoders = {*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES}
    return config["model_type"] not in encoders


def config_of(values: Any) -> Any:
    """Make the library's config object of plain values; its type must be on the library's list of language models."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto as auto

    languages = {
        *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
    }
    kind = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in languages & {*auto.MODEL_MAPPING_NAMES}:
        raise UserError(
            f"its config.json says model_type={kind!r}, which is no language model that transformers knows."
        )
    made = CONFIG_MAPPING[kind]
    if _OTHER_SENSES & made.sub_configs.keys():
        raise UserError(f"its config.json says model_type={kind}, which reads more than text: use its language model.")
    try:
        with quiet():
            config = made(**_cleaned({name: value for name, value in values.items() if name != "model_type"}))
    except Exception as error:  # of many types, by the library's own checks
        raise UserError(f"its config.json cannot be used: {' '.join(str(error).split())[:300]}.") from error
    if type(config) not in _automatic(config)._model_mapping:
        raise UserError(f"its config.json says model_type={kind}, of which transformers has no encoder alone.")
    config.use_cache = False  # of keys and values, for writing on
    if hasattr(config, "rescale_every"):
        config.rescale_every = 0  # RWKV would divide its own weights, in place, between train and eval mode
    return config


def _plain(config: Any) -> dict[str, Any]:
    values = {name: value for name, value in _cleaned(config.to_dict()).items() if not name.startswith("_")}
    return json.loads(json.dumps(values))


def _cleaned(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _cleaned(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if name not in _DROPPED
    }


def _automatic(config: Any, generates: bool = False) -> Any:
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    if generates:
        return AutoModelForCausalLM
    # Of an encoder-decoder, the encoder alone.
    return AutoModelForTextEncoding if config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES else AutoModel


def class_of(config: Any, generates: bool) -> Any:
    found = _automatic(config, generates)._model_mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found


def no_pooler(config: Any, generates: bool) -> dict[str, bool]:
    """BERT's pooler is a layer of its pretraining that the features do not pass."""
    has_one = "add_pooling_layer" in signature(class_of(config, generates).__init__).parameters
    return {"add_pooling_layer": False} if has_one else {}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library from printing: what is wrong is said by the errors here."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
