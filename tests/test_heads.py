"""Heads: what a config or a model directory may ask for, and that it comes back the same."""

import copy

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from ft_lightning import heads
from ft_lightning.cli.compose import CONF
from ft_lightning.heads import build_head, probe, solve_head
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.selection import rank
from test_conf import SHIPPED


def test_a_linear_head_without_dropout_is_a_plain_layer() -> None:
    head = build_head("linear", in_features=5, num_classes=3, dropout=0.0)
    assert type(head) is nn.Linear
    assert head.weight.shape == (3, 5)


def test_dropout_acts_in_train_mode_only() -> None:
    for head in (build_head("linear", 64, 3, dropout=0.5), build_head("mlp", 64, 3, hidden=64, dropout=0.5)):
        features = torch.randn(2, 64)
        assert not torch.equal(head.train()(features), head(features))
        assert torch.equal(head.eval()(features), head(features))


def test_mlp_has_one_hidden_layer_of_the_given_width() -> None:
    head = build_head("mlp", 5, 3, hidden=7, dropout=0.0)
    assert [tuple(p.shape) for p in head.parameters()] == [(7, 5), (7,), (3, 7), (3,)]


@pytest.mark.parametrize("name", sorted({*SHIPPED["head"]} - {"auto", "none"}))  # one of the others; no head
def test_name_and_arguments_of_a_config_build_the_same_head_again(name: str) -> None:
    cfg = OmegaConf.load(CONF / "head" / f"{name}.yaml")
    head = instantiate(cfg, in_features=6, num_classes=4)
    stored = {key: value for key, value in cfg.items() if key != "_target_"}
    again = build_head(in_features=6, num_classes=4, **stored)
    again.load_state_dict(head.state_dict())
    features = torch.randn(3, 6)
    assert head(features).shape == (3, 4)
    assert torch.equal(again.eval()(features), head.eval()(features))


def test_a_head_of_ones_own_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalised(in_features: int, num_classes: int, bias: bool) -> nn.Module:
        return nn.Sequential(nn.LayerNorm(in_features), nn.Linear(in_features, num_classes, bias))

    monkeypatch.setitem(heads.HEADS, "normalised", normalised)
    assert build_head("normalised", 6, 4, bias=False)(torch.randn(2, 6)).shape == (2, 4)


@pytest.mark.parametrize("name", ["liner", "torch.nn.Linear", "os.system"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=rf"head.name={name} is unknown: use one of linear, mlp"):
        build_head(name, 6, 4)


def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    return torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_solved_linear_head_is_logistic_regression(l2: float, weighted: bool) -> None:
    features, targets = digits()
    weights = torch.linspace(0.5, 2, 10) if weighted else None
    head = build_head("linear", 64, 10, dropout=0.0)
    solve_head(head, features, targets, nn.CrossEntropyLoss(weights), l2, max_iter=1000)
    loss = nn.CrossEntropyLoss(None if weights is None else weights.double())
    sample_weights = (weights if weights is not None else torch.ones(10))[targets].double().numpy()
    exact = LogisticRegression(C=1 / (l2 * sample_weights.sum()), tol=1e-10, max_iter=10000)
    exact.fit(features.double().numpy(), targets.numpy(), sample_weights)

    def objective(weight: np.ndarray, bias: np.ndarray) -> float:
        w, b = torch.from_numpy(weight).double(), torch.from_numpy(bias).double()
        return (loss(features.double() @ w.T + b, targets) + l2 / 2 * w.square().sum()).item()

    ours = head.weight.detach().numpy(), head.bias.detach().numpy()
    assert objective(*ours) == pytest.approx(objective(exact.coef_, exact.intercept_), rel=1e-5)
    with torch.no_grad():
        probabilities = head(features).softmax(1).numpy()
    assert np.abs(probabilities - exact.predict_proba(features.double().numpy())).max() < 1e-2


def test_a_solution_starts_from_the_last_and_leaves_the_head_as_it_was_set() -> None:
    features, targets = digits()
    loss, head = nn.CrossEntropyLoss(), build_head("mlp", 64, 10, hidden=16, dropout=0.5)
    head.train()
    values = []
    for _ in range(3):
        solve_head(head, features, targets, loss, 1e-3, max_iter=20)
        assert head.training
        assert all(p.grad is None for p in head.parameters())
        values.append(loss(head.eval()(features), targets).item())
        head.train()
    assert values[0] > values[1] > values[2]
    assert values[2] < 0.3


def test_a_head_is_solved_in_float32_whatever_surrounds_it() -> None:
    features, targets = digits()
    heads = [build_head("linear", 64, 10, dropout=0.0) for _ in range(2)]
    heads[1].load_state_dict(heads[0].state_dict())
    solve_head(heads[0], features, targets, nn.CrossEntropyLoss(), 1e-2, max_iter=50)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        solve_head(heads[1], features, targets, nn.CrossEntropyLoss(), 1e-2, max_iter=50)
    assert torch.equal(heads[0].weight, heads[1].weight)


def test_a_probe_is_the_optimum_for_the_strength_that_is_best_on_val() -> None:
    features, targets = digits()
    train, val = (features[:900], targets[:900]), (features[900:], targets[900:])
    loss, strengths = nn.CrossEntropyLoss(), (10.0, 1e-2, 1e-5)
    head = build_head("linear", 64, 10, dropout=0.0)
    alone, accuracies = copy.deepcopy(head), []

    def ranked(outputs: Tensor, targets: Tensor) -> tuple[float, float]:
        return rank((outputs.argmax(1) == targets).double().mean().item(), 0.0, "max")

    chosen = probe(head, train, val, loss, ranked, strengths)
    for l2 in strengths:
        solve_head(alone, *train, loss, l2)
        with torch.no_grad():
            accuracies.append((alone(val[0]).argmax(1) == val[1]).double().mean().item())
        if l2 == chosen:
            wanted = alone.weight.detach().clone()
    assert chosen == strengths[accuracies.index(max(accuracies))]
    assert chosen < strengths[0], "another one than the first, so that choosing shows"
    assert torch.equal(head.weight, wanted)


@pytest.mark.promise(31)
def test_a_probe_of_classes_that_any_head_tells_apart_has_the_lowest_loss_on_val() -> None:
    """Each strength has all right: the first one had the highest loss."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(60) % 3
    features = 3 * torch.eye(3).repeat(1, 8)[targets] + torch.rand(60, 24, generator=generator)
    train, val = (features[:40], targets[:40]), (features[40:], targets[40:])
    head, loss, strengths = build_head("linear", 24, 3, dropout=0.0), nn.CrossEntropyLoss(), (1.0, 1e-2, 1e-4)
    found: list[tuple[float, float]] = []

    def ranked(outputs: Tensor, targets: Tensor) -> tuple[float, float]:
        accuracy = (outputs.argmax(1) == targets).double().mean().item()
        found.append((accuracy, loss(outputs, targets).item()))
        return rank(*found[-1], "max")

    assert probe(head, train, val, loss, ranked, strengths) == 1e-4
    assert [accuracy for accuracy, _ in found] == [1.0] * 3
    assert loss(head(val[0]), val[1]).item() == pytest.approx(found[2][1])
    assert probe(head, train, val, loss, lambda outputs, targets: (-1.0, 0.5), strengths) == 1.0, "the simplest"


def test_a_small_head_is_solved_in_one_thread_and_leaves_the_number_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of a busy machine wait for each other: 80 samples took 30 s."""
    threads: list[int] = []

    class Loss(nn.CrossEntropyLoss):
        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            threads.append(torch.get_num_threads())
            return super().forward(outputs, targets)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for small in (10**8, 0):
            monkeypatch.setattr(heads, "_SMALL", small)
            solve_head(build_head("linear", 8, 3, dropout=0.0), torch.rand(9, 8), torch.arange(9) % 3, Loss(), 1e-2)
            assert set(threads) == {1 if small else 2}
            threads.clear()
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
