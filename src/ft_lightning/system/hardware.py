"""Device, precision and number of reading processes for this machine."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ft_lightning.system.errors import UserError

_KEPT = 1_000_000_000  # weights whose casts, 2 GB, are kept in memory
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


def pick_device(requested: str, key: str = "device") -> torch.device:
    """Choose the device to compute on: "auto" takes CUDA, then Apple's MPS, then the CPU."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == "auto":
        return torch.device(next(kind for kind, present in available.items() if present))
    try:
        device = torch.device("cuda" if requested == "gpu" else requested)
    except RuntimeError:
        raise UserError(f"{key}={requested} is unknown: use auto, cpu, gpu, cuda or mps.") from None
    missing = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if missing or not available.get(device.type, False):
        raise UserError(f"{key}={requested}: this machine has no such device; use {key}=auto or {key}=cpu.")
    return device


def pick_precision(requested: str, device_type: str) -> str:
    """Return Lightning's name of the precision to use: "auto" takes the fastest one that the hardware has natively.

    "16-mixed" is bf16 on a CPU. "32-true" switches off TensorFloat-32, which keeps three digits and is the GPU default
    for convolutions.
    """
    if requested not in PRECISIONS:
        raise UserError(f"precision={requested} is unknown: use one of {', '.join(PRECISIONS)}.")
    if requested == "32-true":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    if requested == "16-mixed" and device_type == "cpu":
        return "bf16-mixed"  # as Lightning does, so that evaluate computes at train's precision
    if requested != "auto":
        return requested
    if device_type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if device_type == "cpu":
        # A CPU without these instructions emulates bf16, several times slower than float32.
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return "bf16-mixed"
    return "32-true"


def autocast(precision: str, device_type: str) -> AbstractContextManager:
    """Return the autocast context for a precision from `pick_precision`, as Lightning's Trainer uses it."""
    if precision == "32-true":
        return nullcontext()
    return torch.autocast(device_type, dtype=torch.bfloat16 if precision == "bf16-mixed" else torch.float16)


@contextmanager
def casting_once(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Have autocast cast a frozen network's weights once within it, not in each call; without gradients alone.

    Autocast keeps what it has cast until its outermost context ends, but only of weights that train. On a CPU a call
    for some short texts takes twice as long with the casts; a GPU hardly notices them, and its memory is scarce.
    """
    weights = list(network.parameters())
    possible = (value for value in weights if value.is_floating_point() and not value.is_inference())
    frozen = [value for value in possible if not value.requires_grad]
    if device.type != "cpu" or sum(value.numel() for value in weights) > _KEPT:
        yield
        return
    try:
        for value in frozen:
            value.requires_grad = True
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for value in frozen:
            value.requires_grad = False


def moved(inputs: Tensor | dict[str, Tensor], device: torch.device) -> Any:
    """Return a batch's inputs on a device."""
    if isinstance(inputs, dict):
        return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}
    return inputs.to(device, non_blocking=True)


def default_workers() -> int:
    """Return the number of processes that read images.

    With a GPU the cores are free to read. Without one, a quarter of them keeps up with the rest, which computes; one or
    two cores are busy computing, so no process reads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.cuda.is_available():
        return min(8, cores)
    return 0 if cores <= 2 else min(8, cores // 4)
