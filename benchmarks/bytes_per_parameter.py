"""Counts the bytes of a training step of a language model by part: weights, gradients, optimizer, what backward keeps.

python benchmarks/bytes_per_parameter.py /folder/of/a/language/model
"""

import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.lora import Adapters, adapt

_LENGTHS = (128, 256)  # tokens


def main(folder: str) -> None:
    for mode in ("lora", "full"):
        backbone: Any = load_text_backbone("transformers", folder, "DEFAULT", None, "auto", False, {}, generates=True)
        trained: list[Tensor] = list(backbone.parameters())
        total = sum(value.numel() for value in trained)
        if mode == "lora":
            run = lambda: backbone(backbone.prepare(backbone.example(1, 16)))  # noqa: E731, B023
            adapters = Adapters(8, 16, "all-linear", 0.0)
            trained = list(adapt(backbone.network, backbone.blocks, run, folder, adapters).parameters())
        optimizer = torch.optim.AdamW(trained, lr=1e-4)
        kept = [_step(backbone, length) for length in _LENGTHS]
        optimizer.step()
        moments = [value for state in optimizer.state.values() for value in state.values()]
        count = sum(value.numel() for value in trained)
        gradients = [value.grad for value in trained if value.grad is not None]
        print(f"{mode}: {total:,} parameters, {count:,} trained")
        print(f"  weights {_size(backbone.parameters()) / total:.1f} bytes a parameter")
        print(f"  gradients {_size(gradients) / count:.1f}, AdamW {_size(moments) / count:.1f} bytes a trained one")
        each = (kept[1] - kept[0]) / (_LENGTHS[1] - _LENGTHS[0])
        fixed = (kept[0] - each * _LENGTHS[0]) / total
        print(f"  kept for backward: {each / 1e6:.2f} MB a token, {fixed:.1f} bytes a parameter (weights in bf16)")


def _step(backbone: Any, length: int) -> int:
    """Compute a loss and its gradients; return the bytes that were kept in between, beside the parameters."""
    own, kept = {value.data_ptr() for value in backbone.parameters()}, dict[int, int]()

    def keep(value: Tensor) -> Tensor:
        if value.data_ptr() not in own:
            kept[value.data_ptr()] = value.numel() * value.element_size()
        return value

    backbone.train()
    inputs = backbone.prepare(backbone.example(1, length))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
    with torch.autocast("cpu", dtype=torch.bfloat16), hooks:
        loss = backbone(inputs)[:, 0].sum()
    loss.backward()
    return sum(kept.values())


def _size(values: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in values)


if __name__ == "__main__":
    main(*sys.argv[1:])
