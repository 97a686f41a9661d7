"""Writes adapters beside the model that they are merged into, in the file format of peft."""

import json
from pathlib import Path, PurePath

from safetensors.torch import save_file

from ft_lightning.lora import Adapters


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
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
