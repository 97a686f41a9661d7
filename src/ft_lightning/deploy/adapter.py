"""Writes adapters beside the model that they are merged into, in the file format of peft."""

from pathlib import Path, PurePath

from safetensors.torch import save_file

from ft_lightning.lora import Adapters
from ft_lightning.system.files import replacing, write_json


def save(folder: Path, adapters: Adapters, base: str, task_type: str | None = None) -> None:
    """Write a folder that peft opens on the same network.

    Nothing is written for a network that reads weights without calling their layers: there peft would change nothing.

    Args:
        base: name of the network; of a path its last part.
        task_type: peft's word for what the network is for, such as CAUSAL_LM.
    """
    named = adapters.named()
    if not all(adapter.is_called for adapter in named.values()):
        return
    config = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": PurePath(base).name if PurePath(base).is_absolute() else base,
        "r": adapters.rank,
        "lora_alpha": adapters.alpha,
        "use_rslora": adapters.rank_stabilised,
        "lora_dropout": adapters.dropout,
        "target_modules": sorted(named),
        "fan_in_fan_out": any(adapter.is_transposed for adapter in named.values()),
        "bias": "none",
        "inference_mode": True,
    }
    tensors = {
        f"base_model.model.{path}.lora_{part}.weight": value.detach().cpu().contiguous()
        for path, adapter in named.items()
        for part, value in (("A", adapter.A), ("B", adapter.B))
    }
    with replacing(folder) as temporary:
        temporary.mkdir()
        save_file(tensors, temporary / "adapter_model.safetensors", {"format": "pt"})
        write_json(temporary / "adapter_config.json", config)
