"""Fine-tune pretrained models with PyTorch Lightning and Hydra."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ft_lightning.deploy.model_dir import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Lazy, because `python -m ft_lightning.train --help` imports this file and must not wait for torch.
    if name == "load":
        from ft_lightning.deploy.model_dir import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
