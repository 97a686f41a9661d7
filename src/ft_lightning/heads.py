"""Heads: features (B, D) -> logits (B, C)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ft_lightning.system.errors import UserError

HEAD_INITS = ("random", "probe")


def linear(in_features: int, num_classes: int, dropout: float) -> nn.Module:
    """Make one linear layer, the standard new classifier."""
    layer = nn.Linear(in_features, num_classes)
    return nn.Sequential(nn.Dropout(dropout), layer) if dropout else layer


def mlp(in_features: int, num_classes: int, hidden: int, dropout: float) -> nn.Module:
    """Make an MLP with one hidden layer and GELU."""
    return nn.Sequential(nn.Linear(in_features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes))


# Heads by the name in `head.name` and in model directories.
# A head of your own: a function above, a line here, a file in conf/head.
HEADS: dict[str, Callable[..., nn.Module]] = {"linear": linear, "mlp": mlp}


def build_head(name: str, in_features: int, num_classes: int, **arguments: float) -> nn.Module:
    """Build the head called `name` with the arguments of its config."""
    if name not in HEADS:
        known = ", ".join(HEADS)
        raise UserError(f"head.name={name} is unknown: use one of {known}, or add yours to ft_lightning/heads.py.")
    return HEADS[name](in_features, num_classes, **arguments)


def solve_head(
    head: nn.Module, features: Tensor, targets: Tensor, loss: nn.Module, l2: float, max_iter: int = 100
) -> None:
    """Minimise `loss + l2 / 2 * |weights|^2` over all samples at once, starting from the head's current weights.

    Uses L-BFGS with a strong Wolfe line search (Nocedal & Wright, 2006, chapters 3 and 7). For a linear head and
    cross-entropy this is logistic regression, whose minimum is unique. Biases are not penalised; dropout is off.

    Args:
        features: (N, D).
        targets: (N,).
        loss: (logits (N, C), targets (N,)) -> scalar.
        max_iter: maximum number of iterations.
    """
    training = head.training
    head.eval()
    parameters = list(head.parameters())
    solver = torch.optim.LBFGS(
        parameters, max_iter=max_iter, tolerance_grad=1e-6, history_size=10, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        penalty = sum(p.square().sum() for p in parameters if p.ndim > 1)
        value = loss(head(features), targets) + l2 / 2 * penalty
        value.backward()
        return value

    with torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
        solver.step(objective)
    solver.zero_grad()
    head.train(training)


def has_one_optimum(head: nn.Module) -> bool:
    """Return whether the optimum for one L2 strength is a good start for the next weaker one, as for a linear head.

    A strong L2 drives the weights of an MLP to zero, and their gradients with them: it would never move again.
    """
    return sum(parameter.ndim > 1 for parameter in head.parameters()) == 1


def probe(
    head: nn.Module,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    loss: nn.Module,
    score: Callable[[Tensor, Tensor], float],
    strengths: Sequence[float],
) -> tuple[float, float]:
    """Solve a head for several L2 strengths and keep the optimum with the highest score on `val`, the first on a tie.

    Training from there distorts pretrained features less than training from a random head (Kumar et al., "Fine-Tuning
    can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).

    Args:
        train, val: features (N, D) and targets (N,), on the head's device.
        score: (outputs, targets) -> score; higher is better.
        strengths: from strong to weak.

    Returns:
        The score on `val` and the L2 strength.
    """
    best, start = (-math.inf, 0.0), _copied(head)
    state = start
    for l2 in strengths:
        if not has_one_optimum(head):
            head.load_state_dict(start)
        solve_head(head, *train, loss, l2)
        reached = _score(head, *val, score)
        if reached > best[0]:
            best, state = (reached, l2), _copied(head)
    head.load_state_dict(state)
    return best


def _copied(head: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in head.state_dict().items()}


@torch.no_grad()
def _score(head: nn.Module, features: Tensor, targets: Tensor, score: Callable[[Tensor, Tensor], float]) -> float:
    training = head.training
    reached = score(head.eval()(features), targets)
    head.train(training)
    return reached
