"""The weights of a model directory: one safetensors file, or several below 2 GB with an index as transformers' is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ft_lightning.system.errors import UserError, name_few
from ft_lightning.system.files import read_json, replacing, sha256, write_json

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
LARGEST = 2 * 10**9  # bytes of a file; some file systems and services take no larger ones


def write_weights(folder: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write a state; return the entries of model.json by which it is known.

    Of entries that share their memory, such as tied embeddings, the first is written.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    seen = set[tuple[int, int]]()
    own = {name: value for name, value in state.items() if not value.numel() or _new(value, seen)}
    plan = split_torch_state_dict_into_shards(own, filename_pattern="model{suffix}.safetensors", max_shard_size=LARGEST)
    for file, names in plan.filename_to_tensors.items():
        try:
            with replacing(folder / file) as temporary:
                save_file({name: own[name].detach().cpu().contiguous().clone() for name in names}, temporary)
        except SafetensorError as error:  # raised on a full disk, for example
            raise OSError(str(error)) from error
    if not plan.is_sharded:
        return {"sha256": sha256(folder / WEIGHTS)}
    write_json(folder / INDEX, {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename})
    shards = {file: sha256(folder / file) for file in sorted(plan.filename_to_tensors)}
    return {"sha256": sha256(folder / INDEX), "shards": shards}


def read_weights(folder: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the state of a model directory; raise UserError for a file that is not the one model.json knows."""
    shards: dict[str, str] = card.get("shards") or {}
    expected = {(INDEX if shards else WEIGHTS): card.get("sha256"), **shards}
    for name, digest in expected.items():
        verified(folder, name, digest)
    state: dict[str, Tensor] = {}
    for name in shards or (WEIGHTS,):
        state |= load_file(folder / name)
    if shards and state.keys() != read_json(folder / INDEX)["weight_map"].keys():
        raise UserError(f"{folder}: its weights are not those of {INDEX}. Copy the model directory again.")
    return state


def verified(folder: Path, name: str, expected: object) -> Path:
    """Return a file of a model directory; raise UserError if it lies elsewhere, or is not the one model.json knows."""
    if Path(name).name != name:
        raise UserError(f"{folder}: model.json names a file outside its folder: {name}.")
    found = sha256(folder / name) if (folder / name).is_file() else "missing"
    if found != expected:
        raise UserError(
            f"{folder / name} is damaged: sha256 {found}, expected {expected}. Copy the model directory again."
        )
    return folder / name


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state from `write_weights` into a module; raise UserError for another module's."""
    found = module.load_state_dict(state, strict=False)
    own = module.state_dict()
    shared = {own[name].data_ptr() for name in state if name in own}
    misfits = [name for name in found.missing_keys if own[name].data_ptr() not in shared] + found.unexpected_keys
    if misfits:
        raise UserError(f"the weights are of another network: {name_few(misfits)} do not fit")


def _new(value: Tensor, seen: set[tuple[int, int]]) -> bool:
    place = value.data_ptr(), value.numel()
    if place in seen:
        return False
    seen.add(place)
    return True
