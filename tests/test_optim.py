"""Optimizers and schedules: every trained parameter exactly once, the promised curves, real fits with all of them."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader

from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.cli.objects import blaming
from ft_lightning.finetune import freeze_plan
from ft_lightning.model import Classifier
from ft_lightning.module import FineTuner
from ft_lightning.optim import build_optimizer, constant, cosine, onecycle, plateau, setting_of
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from test_conf import SHIPPED

TASK = MultiClass(["a", "b", "c"], [8, 7, 7])
OPTIMIZERS = sorted({*SHIPPED["optimizer"]} - {"lbfgs"})  # which takes no steps
SCHEDULERS = SHIPPED["scheduler"]

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "torchvision resnet18": lambda: torchvision.models.resnet18(weights=None),
    "torchvision convnext_tiny": lambda: torchvision.models.convnext_tiny(weights=None),
    "timm vit": lambda: timm.create_model("vit_tiny_patch16_224"),
    "timm coat, which shares parameters": lambda: timm.create_model("coat_tiny"),
}
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def with_head(network: nn.Module) -> nn.Module:
    return nn.ModuleDict({"backbone": nn.ModuleDict({"network": network}), "head": nn.Linear(8, 3)})


def two_groups(make: Callable[..., Optimizer] = SGD, lr: float = 1.0) -> Optimizer:
    """A head at `lr` and a backbone at a tenth of it, one parameter each."""
    parameters = [(f"{part}.weight", nn.Parameter(torch.ones(2, 2))) for part in ("backbone", "head")]
    return build_optimizer(lambda groups: make(groups, lr=lr), parameters, backbone_lr_factor=0.1)


def rates(optimizer: Optimizer, schedule: dict[str, Any], steps: int) -> list[list[float]]:
    """The learning rates of the groups at each of `steps` steps, and at the one that would come after them."""
    found = [[group["lr"] for group in optimizer.param_groups]]
    for _ in range(steps):
        optimizer.step()
        schedule["scheduler"].step(*([0.0] if "monitor" in schedule else []))
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


def checked(*overrides: str) -> DictConfig:
    """A config that knows the direction of its monitor."""
    cfg = compose("train", *overrides)
    build.check(cfg)
    return cfg


def head_rates(make: Callable[[Optimizer], dict[str, Any]], steps: int) -> list[float]:
    optimizer = two_groups()
    return [head for _, head in rates(optimizer, make(optimizer), steps)]


# Parameter groups


@pytest.mark.promise(7)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_parameter_is_in_exactly_one_group(network: str) -> None:
    model = with_head(NETWORKS[network]())
    named = model.named_parameters(remove_duplicate=False)
    optimizer = build_optimizer(lambda groups: SGD(groups, lr=1.0), named, backbone_lr_factor=0.1)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters()}
    assert [group["name"] for group in optimizer.param_groups] == [
        "backbone",
        "backbone_no_decay",
        "head",
        "head_no_decay",
    ]


def test_the_shared_network_really_shares_parameters() -> None:
    network = NETWORKS["timm coat, which shares parameters"]()
    assert len(list(network.named_parameters(remove_duplicate=False))) > len(list(network.parameters()))


def test_equal_parameters_are_different_parameters() -> None:
    twins = [("head.a", nn.Parameter(torch.zeros(2, 2))), ("head.b", nn.Parameter(torch.zeros(2, 2)))]
    optimizer = build_optimizer(lambda groups: SGD(groups, lr=1.0), twins, backbone_lr_factor=1.0)
    assert len(optimizer.param_groups[0]["params"]) == 2


@pytest.mark.parametrize("network", NETWORKS)
def test_norms_and_biases_are_not_decayed_and_matrices_are(network: str) -> None:
    model = with_head(NETWORKS[network]())
    optimizer = build_optimizer(
        lambda groups: SGD(groups, lr=1.0, weight_decay=0.5), model.named_parameters(), backbone_lr_factor=0.1
    )
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, NORMS) or name == "bias":
                assert decay[id(parameter)] == 0.0
            elif isinstance(module, nn.Linear | nn.Conv2d):
                assert decay[id(parameter)] == 0.5


def test_what_a_network_wants_undecayed_is_not_decayed() -> None:
    network = NETWORKS["timm vit"]()
    undecayed = {f"backbone.network.{name}" for name in network.no_weight_decay()}
    parameters = with_head(network).named_parameters()
    optimizer = build_optimizer(lambda groups: SGD(groups, lr=1.0, weight_decay=0.5), parameters, 0.1, undecayed)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[id(network.pos_embed)] == decay[id(network.cls_token)] == 0.0
    assert decay[id(network.patch_embed.proj.weight)] == 0.5


def test_the_factor_scales_the_backbone_and_nothing_else() -> None:
    model = with_head(nn.Conv2d(3, 8, 3))
    optimizer = build_optimizer(lambda groups: Adam(groups, lr=2.0), model.named_parameters(), backbone_lr_factor=0.1)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == pytest.approx(
        {"backbone": 0.2, "backbone_no_decay": 0.2, "head": 2.0, "head_no_decay": 2.0}
    )


@pytest.mark.parametrize("override", ["optimizer.lr=-1", "optimizer.weight_decay=-1", "optimizer.momentum=0"])
def test_a_value_the_optimizer_refuses_is_the_users_to_fix(override: str) -> None:
    cfg = compose("train", "optimizer=sgd", override)
    make = instantiate(cfg.optimizer)
    with pytest.raises(UserError, match=rf"{override}.* refuses this: .*(-1|momentum)"), blaming(cfg, "optimizer"):
        build_optimizer(make, with_head(nn.Conv2d(3, 8, 3)).named_parameters(), backbone_lr_factor=1.0)


# Schedules


def test_constant_stays() -> None:
    assert head_rates(lambda optimizer: constant(optimizer, math.inf), 5) == [1.0] * 6


def test_cosine_warms_up_linearly_and_ends_at_zero() -> None:
    found = head_rates(lambda optimizer: cosine(optimizer, 100, warmup_fraction=0.1), 100)
    assert found[:11] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
    assert found[55] == pytest.approx(0.5)  # half way from the warm-up to the end
    assert 0 < found[99] < 1e-3  # the last step still learns
    assert found[100] == pytest.approx(0.0)
    assert all(later <= earlier for earlier, later in itertools.pairwise(found[10:]))


def test_cosine_without_warm_up_starts_at_the_full_rate() -> None:
    assert head_rates(lambda optimizer: cosine(optimizer, 4, warmup_fraction=0.0), 4) == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0.0]
    )


def test_cosine_stays_at_zero_after_its_end() -> None:
    assert head_rates(lambda optimizer: cosine(optimizer, 5, warmup_fraction=0.2), 8)[5:] == pytest.approx([0.0] * 4)


def test_onecycle_rises_to_the_full_rate_and_falls_to_nearly_zero() -> None:
    found = head_rates(lambda optimizer: onecycle(optimizer, 100, warmup_fraction=0.3, cycle_momentum=True), 100)
    assert found[0] == pytest.approx(1 / 25)
    assert found.index(max(found)) == 29
    assert found[29] == pytest.approx(1.0)
    assert found[99] == pytest.approx(1 / 25 / 1e4, rel=0.01)


def test_onecycle_moves_momentum_the_other_way_when_asked() -> None:
    for cycle, start, middle in ((True, 0.95, 0.85), (False, 0.5, 0.5)):
        optimizer = two_groups(lambda groups, lr: SGD(groups, lr=lr, momentum=0.5))
        schedule = onecycle(optimizer, 100, warmup_fraction=0.3, cycle_momentum=cycle)
        assert [group["momentum"] for group in optimizer.param_groups] == pytest.approx([start] * 2)
        rates(optimizer, schedule, 29)
        assert [group["momentum"] for group in optimizer.param_groups] == pytest.approx([middle] * 2, rel=1e-3)


@pytest.mark.parametrize("steps", range(13))
@pytest.mark.parametrize("fraction", [0, 0.1, 0.25, 1 / 3, 0.5, 1])
def test_even_the_shortest_training_gets_through_its_schedule(fraction: float, steps: int) -> None:
    for make in (cosine, lambda *arguments: onecycle(*arguments, cycle_momentum=True)):
        found = head_rates(lambda optimizer, make=make: make(optimizer, steps, fraction), steps)
        assert all(0 <= rate <= 1 + 1e-9 for rate in found[:steps])


def test_plateau_lowers_the_rate_after_patience_is_used_up_and_then_waits_again() -> None:
    optimizer = two_groups()
    schedule = plateau(optimizer, math.inf, 0.5, 2, monitor="val/accuracy", mode="max")
    found = []
    for accuracy in (0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6):
        schedule["scheduler"].step(accuracy)
        found.append(optimizer.param_groups[-1]["lr"])
    assert found == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25])


@pytest.mark.parametrize("lr", [1.0, 1e-7])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_groups_keep_their_ratio(name: str, lr: float) -> None:
    optimizer = two_groups(lr=lr)
    schedule = instantiate(checked(f"scheduler={name}").scheduler)(optimizer, 60)
    for backbone, head in rates(optimizer, schedule, 59):
        assert backbone == pytest.approx(0.1 * head, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda optimizer: cosine(optimizer, math.inf, 0.1), "scheduler=cosine .* trainer.max_epochs"),
        (lambda optimizer: onecycle(optimizer, -1, 0.1, True), "scheduler=onecycle .* trainer.max_epochs"),
        (lambda optimizer: cosine(optimizer, 10, 1.5), "scheduler.warmup_fraction=1.5"),
        (lambda optimizer: onecycle(optimizer, 10, -0.1, True), "scheduler.warmup_fraction=-0.1"),
        (lambda optimizer: plateau(optimizer, 10, 1.0, 3, "val/loss", "min"), "scheduler.factor=1.0"),
        (lambda optimizer: plateau(optimizer, 10, 0.0, 3, "val/loss", "min"), "scheduler.factor=0.0"),
        (lambda optimizer: plateau(optimizer, 10, -0.5, 3, "val/loss", "min"), "scheduler.factor=-0.5"),
    ],
)
def test_a_wrong_value_names_its_key(make: Callable[[Optimizer], object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        make(two_groups())


# In a real fit


class Backbone(nn.Module):
    """Numbers in, features out, one block of which trains under `partial`."""

    blocks = (("0",), ("1",))
    feature_dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()))

    def prepare(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.network(inputs)


class Rates(Callback):
    """The learning rates each optimizer step was made with."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.seen.append([group["lr"] for group in optimizer.param_groups])


def fit(*overrides: str, mode: str = "partial", **trainer: Any) -> tuple[FineTuner, list[list[float]]]:
    """Fit 22 samples in batches of 4 for three epochs, configured as the train command is."""
    torch.manual_seed(0)
    cfg = checked(f"finetune={mode}", "finetune.backbone_lr_factor=0.1", *overrides)
    backbone, head = Backbone(), nn.Linear(8, 3)
    plan = freeze_plan(backbone, head, mode, k=1 if mode == "partial" else None, freeze_bn=False)
    classifier = Classifier(backbone, head, plan)
    module = FineTuner(
        classifier,
        TASK,
        loss=nn.CrossEntropyLoss(),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        mix=None,
        backbone_lr_factor=cfg.finetune.backbone_lr_factor,
        seed=0,
    )
    targets = torch.arange(22) % 3
    samples = [
        {"inputs": torch.eye(4)[target] + torch.randn(4), "target": target, "index": i}
        for i, target in enumerate(targets)
    ]
    loader = DataLoader(samples, batch_size=4)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    arguments = {"max_epochs": 3, "check_val_every_n_epoch": cfg.trainer.check_val_every_n_epoch} | trainer
    rates = Rates()
    Trainer(accelerator="cpu", logger=False, num_sanity_val_steps=0, callbacks=[rates], **quiet, **arguments).fit(
        module, loader, loader
    )
    return module, rates.seen


@pytest.mark.promise(7)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_fits_with_every_schedule(optimizer: str, scheduler: str) -> None:
    module, seen = fit(f"optimizer={optimizer}", f"scheduler={scheduler}")
    assert len(seen) == 18
    for backbone, backbone_no_decay, head, head_no_decay in seen:
        assert backbone == backbone_no_decay == pytest.approx(0.1 * head)
        assert head == head_no_decay
    assert_each_trained_parameter_once(module)
    assert all(torch.isfinite(p).all() for p in module.parameters())


def assert_each_trained_parameter_once(module: FineTuner) -> None:
    held = [id(p) for group in module.trainer.optimizers[0].param_groups for p in group["params"]]
    planned = [id(p) for name, p in module.classifier.named_parameters() if name in module.classifier.plan.trainable]
    assert sorted(held) == sorted(planned)
    assert sorted(held) == sorted(id(p) for p in module.classifier.parameters() if p.requires_grad)


@pytest.mark.promise(7)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("mode", "parameters"), [("frozen", 2), ("partial", 6), ("full", 8)])
def test_every_schedule_fits_with_every_mode(mode: str, parameters: int, scheduler: str) -> None:
    module, seen = fit("optimizer=sgd", f"scheduler={scheduler}", mode=mode)
    assert len(seen) == 18
    assert sum(len(group["params"]) for group in module.trainer.optimizers[0].param_groups) == parameters
    assert_each_trained_parameter_once(module)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("scheduler", ["cosine", "onecycle"])
def test_a_schedule_ends_with_the_training(scheduler: str, accumulate: int) -> None:
    """Six batches of which four make a step are two steps an epoch: the last, partial one counts."""
    _, seen = fit(f"scheduler={scheduler}", accumulate_grad_batches=accumulate)
    steps = 18 if accumulate == 1 else 6
    optimizer = two_groups(lr=compose("train", "finetune=partial").optimizer.lr)
    schedule = instantiate(compose("train", f"scheduler={scheduler}", "optimizer=sgd").scheduler)(optimizer, steps)
    assert [head for *_, head in seen] == pytest.approx([head for _, head in rates(optimizer, schedule, steps - 1)])


def test_plateau_counts_validations_when_they_are_rarer_than_epochs() -> None:
    _, seen = fit(
        *("optimizer=sgd", "optimizer.lr=1e-30", "scheduler=plateau", "scheduler.patience=0"),
        *("scheduler.factor=0.5", "trainer.check_val_every_n_epoch=2"),
        max_epochs=7,
    )
    by_epoch = [head / 1e-30 for *_, head in seen[::6]]
    assert by_epoch == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25])  # looks after the epochs 2, 4, 6


@pytest.mark.parametrize("scheduler", ["cosine", "onecycle"])
def test_training_without_an_end_is_refused_by_name(scheduler: str) -> None:
    with pytest.raises(UserError, match=rf"scheduler={scheduler} .* trainer.max_epochs"):
        fit(f"scheduler={scheduler}", max_epochs=-1)


def test_the_setting_that_is_told_is_the_head_s() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2, 0.3)]
    assert setting_of(torch.optim.SGD(groups, lr=1.0)) == ("lr", 0.3)
