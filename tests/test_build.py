"""What a run starts from: an earlier model, another head, moving averages; and what does not go together."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import ft_lightning
from conftest import write_pictures
from ft_lightning.cli.compose import compose
from ft_lightning.module import FineTuner
from ft_lightning.runs.config import write_config
from ft_lightning.runs.resume import config_of
from ft_lightning.search.workbench import Workbench
from ft_lightning.system.errors import UserError
from ft_lightning.train import train
from test_conf import SHIPPED

TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true", "data.batch_size=6"]


def run(folder: Path, root: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return train(compose("train", *TINY, "trainer.max_epochs=2", f"data.root={root}", *overrides), folder)


def state(folder: Path, part: str) -> dict[str, torch.Tensor]:
    tensors = load_file(folder / "model/model.safetensors")
    return {name: value for name, value in tensors.items() if name.startswith(part)}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_starts_from_an_earlier_model_with_its_head(pictures: Path, tmp_path: Path) -> None:
    run(tmp_path / "first", pictures, "finetune=full", "optimizer.lr=0.01")
    init = f"init_from={tmp_path / 'first'}"
    run(tmp_path / "second", pictures, init, "optimizer.lr=0", "seed=7")
    assert equal(state(tmp_path / "second", ""), state(tmp_path / "first", "")), "nothing trains at a rate of 0"
    run(tmp_path / "other", pictures, "seed=7", "optimizer.lr=0")
    assert not equal(state(tmp_path / "other", "backbone"), state(tmp_path / "first", "backbone"))
    card = json.loads((tmp_path / "second/model/model.json").read_text())
    assert "as an earlier model has them" in card["backbone"]["weights"]
    assert str(tmp_path) not in json.dumps(card)
    files = sorted(map(str, pictures.rglob("*.png")))
    first, second = (ft_lightning.load(tmp_path / name).predict(files) for name in ("first", "second"))
    assert first.drop(columns="path").equals(second.drop(columns="path"))


def test_for_other_classes_the_head_is_new(pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path / "first", pictures)
    other = write_pictures(tmp_path / "other", {"elk": 6, "fox": 6}, seed=3)
    run(tmp_path / "second", other, f"init_from={tmp_path / 'first/model'}", "optimizer.lr=0")
    assert equal(state(tmp_path / "second", "backbone"), state(tmp_path / "first", "backbone"))
    assert state(tmp_path / "second", "head")["head.weight"].shape[0] == 2
    assert "a new one is trained" in caplog.text


def test_an_earlier_model_of_another_network_is_refused_by_name(pictures: Path, tmp_path: Path) -> None:
    run(tmp_path / "first", pictures)
    with pytest.raises(UserError, match=r"holds test_resnet.* of timm.*use model=timm model\.name=test_resnet"):
        run(tmp_path / "second", pictures, f"init_from={tmp_path / 'first'}", "model.name=test_vit")
    for named, said in ((tmp_path, "is a folder of 1 run"), (2, "holds no model")):
        with pytest.raises(UserError, match=f"^init_from={named} {said}"):
            run(tmp_path / "third", pictures, f"init_from={named}")


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_a_moving_average_is_what_is_validated_kept_and_delivered(mode: str, pictures: Path, tmp_path: Path) -> None:
    options = [f"finetune={mode}", "finetune.freeze_bn=false", "optimizer.lr=0.01"]
    plain = run(tmp_path / "plain", pictures, *options)
    metrics = run(tmp_path / "ema", pictures, *options, "callback=ema")
    assert not equal(state(tmp_path / "ema", "head"), state(tmp_path / "plain", "head"))
    if mode == "frozen":
        assert equal(state(tmp_path / "ema", "backbone"), state(tmp_path / "plain", "backbone")), "not one bit drifts"
    logged = max(float(line.split(",")[4]) for line in (tmp_path / "ema/metrics.csv").read_text().splitlines()[1:])
    assert metrics["val"]["accuracy"] == pytest.approx(logged), "the best epoch's average, not the last one's"
    table = ft_lightning.load(tmp_path / "ema").predict(sorted(map(str, pictures.rglob("*.png"))), batch_size=6)
    assert len(table) == 36
    size = {name: (tmp_path / name / "checkpoints/last.ckpt").stat().st_size for name in ("plain", "ema")}
    assert size["ema"] < 2 * size["plain"], "the frozen part is in no checkpoint"
    assert plain["test"]["n"] == metrics["test"]["n"]


@pytest.mark.promise(24)
def test_a_run_with_a_moving_average_and_mixing_goes_on_as_if_it_had_not_stopped(
    pictures: Path, tmp_path: Path
) -> None:
    from lightning.pytorch.callbacks import Callback

    import ft_lightning.build

    class Stop(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                raise KeyError("stop")

    options = ["finetune=partial", "callback=ema", "mix=cutmix", "augment=light", "head.dropout=0.2"]
    options += ["trainer.max_epochs=4", f"data.root={pictures}"]
    whole = tmp_path / "whole"
    whole.mkdir()
    train(compose("train", *TINY, *options), whole)

    parts, cfg = tmp_path / "parts", compose("train", *TINY, *options)
    parts.mkdir()
    write_config(cfg, parts)
    original = ft_lightning.build.trainer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ft_lightning.build.trainer", lambda c, callbacks, where: original(c, [*callbacks, Stop()], where)
        )
        with pytest.raises(KeyError):
            train(cfg, parts)
    again = compose("train", f"resume={parts}")
    train(config_of(parts, again, [f"resume={parts}"]), parts)
    for name in ("model/model.safetensors", "metrics.csv", "predictions.csv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


CONSTANT = ["scheduler=constant", "augment=none"]
MODES = [["finetune=frozen"], ["finetune=partial"], ["finetune=full"]]
COMBINED = [
    *(
        [f"scheduler={one}", f"augment={two}"]
        for one, two in itertools.product(SHIPPED["scheduler"], SHIPPED["augment"])
    ),
    *(
        ["augment=light", f"mix={mix}"] for mix in SHIPPED["mix"] if mix != "none"
    ),  # to a schedule a mixed batch is a batch
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, Path]:
    root = write_pictures(tmp_path_factory.mktemp("matrix") / "pictures", {"ant": 6, "bee": 6})
    return Workbench(["train", "val"]), root


@pytest.mark.promise(7)
@pytest.mark.parametrize("share", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2))])
@pytest.mark.parametrize("mode", MODES, ids=" ".join)
@pytest.mark.parametrize("optimizer", SHIPPED["optimizer"])
def test_all_choices_train_a_batch_together_or_say_why_not(
    mode: list[str], optimizer: str, share: int, bench: tuple[Workbench, Path]
) -> None:
    """The first third has each pair of choices, all three have each combination."""
    first = MODES.index(mode) + SHIPPED["optimizer"].index(optimizer) + share
    fitting = [CONSTANT] if optimizer == "lbfgs" else []  # the one pair that goes with it
    for more in fitting + COMBINED[first % 3 :: 3]:
        choices = [*mode, f"optimizer={optimizer}", *more]
        cfg = compose("train", *TINY, *choices, f"data.root={bench[1]}", "trainer.max_epochs=1")
        fits_solver = mode == ["finetune=frozen"] and more == CONSTANT
        cannot = optimizer == "lbfgs" and not fits_solver
        if cannot:
            with pytest.raises(UserError, match="optimizer=lbfgs"):
                bench[0].train(cfg, lambda epoch, value: None, weights=False)
        else:
            training = bench[0].train(cfg, lambda epoch, value: None, weights=False)
            assert training.best.epoch >= 0, choices


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimizer=lbfgs", "callback=ema"], "callback=ema averages over steps"),
        (["mix=mixup", "mix.alpha=0"], r"mix\.alpha=0"),
        (["optimizer=lbfgs", "mix=cutmix"], "optimizer=lbfgs trains on stored features.*mix blends"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(overrides: list[str], said: str, bench: tuple[Workbench, Path]) -> None:
    cfg = compose("train", *TINY, *overrides, f"data.root={bench[1]}", "trainer.max_epochs=1")
    with pytest.raises(Exception, match=said) as raised:
        bench[0].train(cfg, lambda epoch, value: None, weights=False)
    assert isinstance(raised.value, UserError) or isinstance(raised.value.__cause__, UserError)


class Doubled(FineTuner):
    """Another thing to minimise."""

    def loss_of(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        return 2 * super().loss_of(batch, outputs)


class DoubledOnInputs(Doubled):
    needs_inputs = True


class OfShape(FineTuner):
    def loss_of(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        return super().loss_of(batch, outputs)[None]


class OfNumber(FineTuner):
    def loss_of(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        return 0.0  # type: ignore[return-value]


class OnInputs(FineTuner):
    def loss_of(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        return super().loss_of(batch, outputs) + batch["inputs"].float().mean()


class OtherKey(FineTuner):
    def loss_of(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        return batch["mine"]


class WithParameter(FineTuner):
    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self.scale = nn.Parameter(torch.ones(1))


class WithMethod(FineTuner):
    def needs_inputs(self) -> bool:  # type: ignore[override]
        return False


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OfShape", r"OfShape\.loss_of returned a tensor of shape \(1,\): make it the mean"),
        ("OfNumber", r"OfNumber\.loss_of returned a float"),
        ("OnInputs", r"OnInputs\.loss_of wants batch\['inputs'\] beside features: set needs_inputs = True"),
        ("WithParameter", r"WithParameter has parameters of its own.*\(scale\)"),
        ("WithMethod", r"WithMethod\.needs_inputs is a method"),
    ],
)
def test_a_module_that_could_only_fail_or_mislead_is_told(name: str, said: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        train(compose("train", *TINY, f"data.root={pictures}", f"module._target_=test_build.{name}"), tmp_path)


def test_a_bug_of_a_module_stays_a_bug(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        train(compose("train", *TINY, f"data.root={pictures}", "module._target_=test_build.OtherKey"), tmp_path)


def test_a_module_of_one_s_own_says_what_is_minimised(pictures: Path, tmp_path: Path) -> None:
    losses = {}
    for name in ("FineTuner", "Doubled", "DoubledOnInputs"):
        target = "ft_lightning.module.FineTuner" if name == "FineTuner" else f"test_build.{name}"
        cfg = compose("train", *TINY, f"data.root={pictures}", "trainer.max_epochs=2", f"module._target_={target}")
        (tmp_path / name).mkdir()
        train(cfg, tmp_path / name)
        losses[name] = pd.read_csv(tmp_path / name / "metrics.csv")["train/loss"]
    assert losses["Doubled"][0] == pytest.approx(2 * losses["FineTuner"][0])
    assert losses["DoubledOnInputs"][0] == pytest.approx(2 * losses["FineTuner"][0], rel=1e-3)  # live, and so close


def test_a_module_that_needs_inputs_trains_live(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [*TINY, f"data.root={pictures}", "trainer.max_epochs=1", "module._target_=test_build.DoubledOnInputs"]
    train(compose("train", *own), tmp_path)
    assert "because DoubledOnInputs needs its inputs" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match=r"repeats=2 trains on stored features.*DoubledOnInputs needs its inputs"):
        train(compose("train", *own, "repeats=2"), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["module._target_=torch.nn.Linear"], "module._target_=torch.nn.Linear: make it a subclass of ft_lightning"),
        (
            ["module._target_=test_build.Doubled", "optimizer=lbfgs"],
            "optimizer=lbfgs minimises `loss`, but test_build.Doubled",
        ),
    ],
)
def test_a_module_that_does_not_fit_is_refused(overrides: list[str], said: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        train(compose("train", *TINY, f"data.root={pictures}", *overrides), tmp_path)
