"""Heads: features (B, D) -> logits (B, C)."""

from collections.abc import Callable

from torch import nn

from ft_lightning.errors import UserError


def linear(in_features: int, num_classes: int, dropout: float) -> nn.Module:
    """One linear layer, the textbook's new classifier."""
    layer = nn.Linear(in_features, num_classes)
    return nn.Sequential(nn.Dropout(dropout), layer) if dropout else layer


def mlp(in_features: int, num_classes: int, hidden: int, dropout: float) -> nn.Module:
    """One hidden layer with GELU."""
    return nn.Sequential(nn.Linear(in_features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes))


# What `head.name` and a model directory may ask for.
# A head of your own: a function above, a line here, a file in conf/head.
HEADS: dict[str, Callable[..., nn.Module]] = {"linear": linear, "mlp": mlp}


def build_head(name: str, in_features: int, num_classes: int, **arguments: float) -> nn.Module:
    """The head called `name`, with the arguments its config gives.

    Raises:
        UserError: no head has that name.
    """
    if name not in HEADS:
        known = ", ".join(HEADS)
        raise UserError(f"head.name={name} is unknown: use one of {known}, or add yours to ft_lightning/heads.py.")
    return HEADS[name](in_features, num_classes, **arguments)
