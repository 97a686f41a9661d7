"""The weights of a folder of transformers: safetensors alone, every entry accounted for."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ft_lightning.backbones.text_networks import class_of, config_of, no_pooler, quiet
from ft_lightning.backbones.weights import misfits_of, reading, refuse_broken
from ft_lightning.system.errors import UserError

# What a file may hold besides the network: heads of its pretraining or of a task, and poolers, which are not built.
_HEADS = (
    "classifier",
    "cls",
    "decoder",  # of ModernBERT's head; an encoder-decoder's is known to the library
    "discriminator_predictions",
    "generator_lm_head",
    "generator_predictions",
    "head",
    "lm_head",
    "lm_loss",
    "lm_predictions",
    "mask_predictions",
    "pooler",
    "predictions",
    "qa_outputs",
    "score",
    "sop_classifier",
    "vocab_layer_norm",
    "vocab_projector",
    "vocab_transform",
)


_BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias", "attn.bias")  # of older files; computed now


def load_network(config: dict[str, Any], folder: Path, generates: bool = False) -> nn.Module:
    """Build the network and load the weights of a folder, in float32 whatever the file says.

    Args:
        generates: with the layer that predicts tokens.

    Raises:
        UserError: no safetensors there; an entry is missing, of another shape, or belongs to nothing that is known.
    """
    made, state = config_of(config), _read_weights(folder)
    with reading(folder), quiet():
        network, found = class_of(made, generates).from_pretrained(
            None,  # no path: the library opens no file and looks for no adapter, here or on a hub
            config=made,
            state_dict=state,
            dtype=torch.float32,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are refused here, by name
            output_loading_info=True,
            **no_pooler(made, generates),
        )
    misfits = misfits_of(
        sorted(found["missing_keys"]),
        sorted(name for name in found["unexpected_keys"] if not _is_beside(name, network)),
        sorted(key if isinstance(key, str) else key[0] for key in found["mismatched_keys"]),
    )
    if misfits:
        raise UserError(
            f"{folder}: the weights do not fit the {len(network.state_dict())} entries of the {made.model_type} in "
            f"config.json: {misfits}."
        )
    refuse_broken(network, str(folder))
    return network


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Read a folder's safetensors: model.safetensors, its parts as an index lists them, or the only one there is."""
    files = [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not files[0].is_file() and index.is_file():
        with reading(index):
            files = [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
        if any(file.parent != folder for file in files):
            raise UserError(f"{index} names files outside its folder.")
    elif not files[0].is_file():
        files = sorted(folder.glob("*.safetensors"))
    if len(files) == 0 or (len(files) > 1 and not index.is_file()) or not all(file.is_file() for file in files):
        has = ", ".join(sorted(file.name for file in folder.iterdir() if file.is_file())[:10])
        raise UserError(
            f"{folder} has no whole set of weights as safetensors (it has {has}); other files of weights may run code "
            "and are not read. Where you trust them, transformers writes one: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        )
    state: dict[str, Tensor] = {}
    for file in files:
        with reading(file):
            state |= load_file(file)
    for name, value in state.items():
        if not value.is_floating_point() and value.dim() > 1 and not name.endswith(_BUFFERS):
            raise UserError(f"{folder}: {name} holds {value.dtype}: quantised weights cannot be trained.")
    return state


def _is_beside(name: str, network: Any) -> bool:
    """Return whether an entry of a file belongs to a head, or is computed now."""
    part = name.removeprefix(f"{network.base_model_prefix}.").partition(".")[0]
    return name.endswith(_BUFFERS) or (part in _HEADS and part not in dict(network.named_children()))
