"""The freeze plan: what trains, what never moves."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from ft_lightning.backbones.backbone import Identity
from ft_lightning.finetune import freeze_plan
from ft_lightning.model import Classifier
from ft_lightning.system.errors import UserError


class Body(nn.Module):
    """Three blocks with all that moves in train mode, a token outside them, and a dropout that follows them."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(8))
        self.stem = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.stages = nn.Sequential(
            *(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)) for _ in range(2))
        )
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.stages(self.stem(x + self.token)))


class Backbone(nn.Module):
    blocks = (("stem",), ("stages.0",), ("stages.1",))
    feature_dim = 8
    identity = Identity("mine", "tiny", {}, "random")

    def __init__(self) -> None:
        super().__init__()
        self.network = Body()

    def prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.network(inputs)


def classifier(mode: str, k: int | None = None, freeze_bn: bool = False) -> Classifier:
    torch.manual_seed(0)
    backbone, head = Backbone(), nn.Linear(8, 3)
    return Classifier(backbone, head, freeze_plan(backbone, head, mode, k, freeze_bn))


def trained_prefixes(model: Classifier) -> set[str]:
    return {name.rpartition(".")[0] or name for name, p in model.named_parameters() if p.requires_grad}


def modules_in_train_mode(model: Classifier) -> set[str]:
    return {name for name, module in model.backbone.network.named_modules() if module.training}


def step(model: Classifier, call_train_on_parts: bool) -> None:
    model.train()
    if call_train_on_parts:
        for module in model.backbone.modules():
            module.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(torch.randn(16, 8)).square().sum().backward()
    optimizer.step()


def test_frozen_trains_the_head_only() -> None:
    model = classifier("frozen")
    assert trained_prefixes(model) == {"head"}
    assert modules_in_train_mode(model) == set()


def test_partial_trains_the_last_blocks_and_whatever_follows_them() -> None:
    model = classifier("partial", k=1)
    assert trained_prefixes(model) == {"head", "backbone.network.stages.1.0", "backbone.network.stages.1.1"}
    assert modules_in_train_mode(model) == {"stages.1", "stages.1.0", "stages.1.1", "stages.1.2", "drop"}


def test_full_trains_everything_including_parameters_outside_the_blocks() -> None:
    model = classifier("full")
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_freeze_bn_holds_statistics_but_trains_their_weights() -> None:
    model = classifier("full", freeze_bn=True)
    before = copy.deepcopy(model.state_dict())
    step(model, call_train_on_parts=True)
    after = model.state_dict()
    assert torch.equal(after["backbone.network.stem.1.running_mean"], before["backbone.network.stem.1.running_mean"])
    assert not torch.equal(after["backbone.network.stem.1.weight"], before["backbone.network.stem.1.weight"])


@pytest.mark.parametrize(
    ("mode", "freeze_bn", "weights", "warns"),
    [
        ("full", True, "random", True),
        ("partial", True, "random", True),
        ("full", False, "random", False),
        ("frozen", True, "random", False),
        ("full", True, "in1k", False),
    ],
)
def test_random_weights_with_fixed_statistics_are_warned_of(
    mode: str,
    freeze_bn: bool,
    weights: str,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Backbone, "identity", replace(Backbone.identity, weights=weights))
    classifier(mode, k=3 if mode == "partial" else None, freeze_bn=freeze_bn)
    assert ("set finetune.freeze_bn=false" in caplog.text) == warns


@pytest.mark.promise(1)
@pytest.mark.parametrize("call_train_on_parts", [False, True])
@pytest.mark.parametrize(("mode", "k"), [("frozen", None), ("partial", 1), ("partial", 2), ("full", None)])
def test_a_step_moves_the_trained_state_and_leaves_the_frozen_state_bit_for_bit(
    mode: str, k: int | None, call_train_on_parts: bool
) -> None:
    model = classifier(mode, k)
    before = copy.deepcopy(model.state_dict())
    step(model, call_train_on_parts)
    after = model.state_dict()
    for name in model.plan.frozen_state(after):
        assert torch.equal(after[name], before[name]), f"{name} moved"
    for name in model.plan.trained_state(after):
        if not name.endswith("0.bias"):  # a bias right before a BatchNorm has no gradient
            assert not torch.equal(after[name], before[name]), f"{name} did not move"
    assert len(model.plan.frozen_state(after)) + len(model.plan.trained_state(after)) == len(after)


def test_frozen_features_carry_no_graph_and_do_not_depend_on_train_mode() -> None:
    model = classifier("frozen")
    inputs = torch.randn(4, 8)
    features = model.train().features(inputs)
    assert features.grad_fn is None
    assert torch.equal(features, model.eval().features(inputs))


def test_a_parameter_shared_across_the_cut_stays_frozen() -> None:
    backbone, head = Backbone(), nn.Linear(8, 3)
    backbone.network.stages[1][0].weight = backbone.network.stem[0].weight
    model = Classifier(backbone, head, freeze_plan(backbone, head, "partial", 1, freeze_bn=False))
    assert not backbone.network.stages[1][0].weight.requires_grad
    assert model.backbone.network.stages[1][0].bias.requires_grad


@pytest.mark.parametrize(
    ("mode", "k", "named"),
    [("frosen", None, "finetune.mode=frosen"), ("partial", 9, "finetune.k=9"), ("partial", None, "finetune.k")],
)
def test_a_wrong_mode_or_k_names_the_key_and_what_fits(mode: str, k: int | None, named: str) -> None:
    with pytest.raises(UserError, match=named):
        classifier(mode, k)


@pytest.mark.parametrize(("mode", "k"), [("frozen", None), ("partial", 1), ("full", None)])
def test_features_carry_a_graph_only_where_the_backbone_trains_and_gradients_are_wanted(
    mode: str, k: int | None
) -> None:
    model = classifier(mode, k)
    inputs = torch.randn(4, 8, requires_grad=True)
    assert (model.features(inputs).grad_fn is not None) == (mode != "frozen")
    with torch.no_grad():
        assert model.features(inputs).grad_fn is None


def test_what_stands_before_the_cut_and_in_no_block_is_held() -> None:
    torch.manual_seed(0)
    backbone, head = Backbone(), nn.Linear(8, 3)
    backbone.network._modules = {"noise": nn.Dropout(0.5), **backbone.network._modules}
    model = Classifier(backbone, head, freeze_plan(backbone, head, "partial", 1, freeze_bn=False))
    assert modules_in_train_mode(model.train()) == {"stages.1", "stages.1.0", "stages.1.1", "stages.1.2", "drop"}


def test_a_frozen_backbone_is_in_eval_mode_as_a_whole_also_beside_its_network() -> None:
    backbone, head = Backbone(), nn.Linear(8, 3)
    backbone.noise = nn.Dropout(0.5)
    model = Classifier(backbone, head, freeze_plan(backbone, head, "frozen", None, freeze_bn=False))
    assert not any(module.training for module in model.train().backbone.modules())
    assert head.training
