"""Heads: features (B, D) -> logits (B, C)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ft_lightning.system.errors import UserError

# Multiply-adds of a pass over all samples, a few ms: below, threads would take longer to meet than to compute, and on a
# busy machine a hundred times as long.
_SMALL = 10**8

Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs (N, C), targets (N, ...)) -> scalar


def linear(in_features: int, num_classes: int, dropout: float) -> nn.Module:
    """Make one linear layer, the standard new classifier."""
    layer = nn.Linear(in_features, num_classes)
    return nn.Sequential(nn.Dropout(dropout), layer) if dropout else layer


def mlp(in_features: int, num_classes: int, hidden: int, dropout: float) -> nn.Module:
    """Make an MLP with one hidden layer and GELU."""
    return nn.Sequential(nn.Linear(in_features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes))


def none(in_features: int, num_classes: int) -> nn.Module:
    """Make no head: the network's own last layer answers, as that of a language model."""
    return nn.Identity()


# Heads by the name in `head.name` and in model directories.
# A head of your own: a function above, a line here, a file in conf/head.
HEADS: dict[str, Callable[..., nn.Module]] = {"linear": linear, "mlp": mlp, "none": none}


def build_head(name: str, in_features: int, num_classes: int, **arguments: float) -> nn.Module:
    """Build the head called `name` with the arguments of its config."""
    if name not in HEADS:
        known = ", ".join(HEADS)
        raise UserError(f"head.name={name} is unknown: use one of {known}, or add yours to ft_lightning/heads.py.")
    return HEADS[name](in_features, num_classes, **arguments)


def weighted(loss: Callable[..., Tensor], weights: Tensor | None) -> Loss:
    """Return the loss of samples that count by weights (N,); itself if they all count alike."""
    return loss if weights is None else lambda outputs, targets: loss(outputs, targets, weights)


def solve_head(head: nn.Module, features: Tensor, targets: Tensor, loss: Loss, l2: float, max_iter: int = 100) -> None:
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

    numbers = len(features) * sum(p.numel() for p in parameters)
    in_float32 = torch.autocast(features.device.type, enabled=False)
    with _threads(1 if numbers < _SMALL else None), torch.enable_grad(), in_float32:
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
    loss: Loss,
    rank: Callable[[Tensor, Tensor], tuple[float, float]],
    strengths: Sequence[float],
) -> float:
    """Solve a head for several L2 strengths, keep the best optimum on `val`, and return its strength.

    Training from there distorts pretrained features less than training from a random head (Kumar et al., "Fine-Tuning
    can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).

    Args:
        train, val: features (N, D) and targets (N,), on the head's device.
        rank: (outputs, targets) -> sort key, smaller is better; of equal optima the first is kept.
        strengths: from strong to weak.
    """
    start = _copied(head)
    optima = []
    for l2 in strengths:
        if not has_one_optimum(head):
            head.load_state_dict(start)
        solve_head(head, *train, loss, l2)
        optima.append((rank(outputs_of(head, val[0]), val[1]), l2, _copied(head)))
    _, best, state = min(optima, key=lambda optimum: optimum[0])
    head.load_state_dict(state)
    return best


def _copied(head: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in head.state_dict().items()}


@torch.no_grad()
def outputs_of(head: nn.Module, features: Tensor) -> Tensor:
    """Return a head's outputs (N, C) for features (N, D), without dropout."""
    training = head.training
    outputs = head.eval()(features)
    head.train(training)
    return outputs


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with this number of threads on the CPU; None: with all."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
