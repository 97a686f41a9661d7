"""Runs on stored features: equal to live ones, shared by processes and runs, never lost."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from conftest import Commands, files_below, patience, write_pictures
from ft_lightning import build
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.backbones.load import load_backbone
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.optim import HeadSolver
from ft_lightning.runs.write import Stopwatch
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from ft_lightning.train import train

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """One and the same "pretrained" network for all runs of a test."""
    return save_weights(tmp_path / "weights.pth", "test_resnet")


def save_weights(path: Path, name: str, seed: int = 0) -> Path:
    """Random weights whose features tell pictures apart, with statistics that differ from those of any batch."""
    torch.manual_seed(seed)
    backbone = load_backbone("timm", name, None, {})
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)  # some are 0 at first
            module.momentum = 0.9
    with torch.no_grad():
        backbone.train()(torch.rand(16, 3, *backbone.preprocess.crop))
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.mul_(torch.empty_like(module.running_var).uniform_(0.5, 2.0))
    torch.save(backbone.network.state_dict(), path)
    return path


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches that went through a backbone."""
    seen: list[int] = []
    forward = ImageBackbone.forward

    def counted(self: ImageBackbone, inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(ImageBackbone, "forward", counted)
    return seen


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    options = ["model=timm", "precision=32-true", "trainer.max_epochs=4", f"cache.dir={folder.parent / 'store'}"]
    return train(compose("train", *options, *overrides), folder)


def tiny(weights: Path, root: Path, name: str = "test_resnet") -> list[str]:
    return [f"model.name={name}", f"model.weights={weights}", f"data.root={root}"]


def same_result(one: Path, other: Path, atol: float = 0.0) -> bool:
    tables = [read_table(folder / "predictions.csv") for folder in (one, other)]
    columns = [column for column in tables[0].columns if column.startswith("p")][2:]
    numbers = [torch.tensor(table[columns].astype(float).to_numpy()) for table in tables]
    names = ["path", "label", "predicted"]
    return tables[0][names].equals(tables[1][names]) and torch.allclose(*numbers, rtol=0, atol=atol)


NETWORKS = {
    "BatchNorm": ("test_resnet", []),
    "LayerNorm": ("test_vit", []),
    "stochastic depth": ("test_efficientnet", ["+model.arguments.drop_path_rate=0.5"]),
}


@pytest.mark.promise(3)
@pytest.mark.parametrize("kind", NETWORKS)
def test_stored_equals_live(kind: str, pictures: Path, tmp_path: Path, passes: list[int]) -> None:
    name, more = NETWORKS[kind]
    options = [*tiny(save_weights(tmp_path / "w.pth", name), pictures, name), *more, "data.batch_size=8"]
    passes.clear()
    stored = run(tmp_path / "stored", *options)
    assert sum(passes) == 36, "each picture once"
    live = run(tmp_path / "live", *options, "cache.enabled=false")
    assert sum(passes) > 100
    assert same_result(tmp_path / "stored", tmp_path / "live", atol=1e-4)
    heads = [
        torch.load(tmp_path / folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in ("stored", "live")
    ]
    assert all(torch.allclose(heads[0][key], heads[1][key], atol=1e-4) for key in heads[0])
    assert stored["val"]["accuracy"] > 0.5, "the network does tell the pictures apart"
    assert stored["timing"]["cache"] == {"hits": 0, "computed": 36}
    assert live["timing"]["cache"] == {"hits": 0, "computed": 0}
    assert files_below(tmp_path / "stored") == files_below(tmp_path / "live")


@pytest.mark.promise(30)
def test_runs_over_the_same_store_are_equal_to_the_bit(pictures: Path, weights: Path, tmp_path: Path) -> None:
    results = []
    for number in range(3):
        metrics = run(tmp_path / str(number), *tiny(weights, pictures), "head=mlp")
        model = (tmp_path / str(number) / "model/model.safetensors").read_bytes()
        written = json.loads((tmp_path / str(number) / "metrics.json").read_text())
        assert written.pop("timing")["cache"] == metrics["timing"]["cache"]
        results.append((written, model, metrics["timing"]["cache"]))
    assert results[0][:2] == results[1][:2] == results[2][:2]
    assert [result[2]["computed"] for result in results] == [36, 0, 0]


def test_only_what_is_new_goes_through_the_backbone(tmp_path: Path, weights: Path, passes: list[int]) -> None:
    root = write_pictures(tmp_path / "pictures", {"ant": 300, "bee": 300})

    def computed(folder: Path, *overrides: str) -> int:
        passes.clear()
        options = [*tiny(weights, folder), "trainer.max_epochs=1", "data.batch_size=256", *overrides]
        metrics = run(tmp_path / f"run{time.time_ns()}", *options)
        assert metrics["timing"]["cache"]["computed"] == sum(passes)
        return sum(passes)

    assert computed(root) == 600
    write_pictures(root / "more", {"ant": 10}, seed=1)
    for path in (root / "more/ant").iterdir():
        path.rename(root / "ant" / f"new{path.name}")
    (root / "more/ant").rmdir()
    (root / "more").rmdir()
    assert computed(root) == 10
    moved = root.rename(tmp_path / "moved")
    assert computed(moved) == 0
    picture = Image.open(moved / "bee/07.png")
    picture.putpixel((3, 3), (1, 2, 3))
    picture.save(moved / "bee/07.png")
    assert computed(moved) == 1
    assert computed(moved, "data.split_seed=3", "optimizer.lr=0.1", "head=mlp", "seed=5") == 0
    small = write_pictures(tmp_path / "small", {"ant": 10, "bee": 10}, seed=2)
    assert computed(small) == 20
    assert computed(small, "precision=bf16-mixed") == 20
    other = save_weights(tmp_path / "other.pth", "test_resnet", seed=1)
    assert computed(small, f"model.weights={other}") == 20


def test_evaluate_uses_what_training_stored(pictures: Path, weights: Path, tmp_path: Path, passes: list[int]) -> None:
    trained = run(tmp_path / "run", *tiny(weights, pictures))
    passes.clear()
    where = [f"model_dir={tmp_path / 'run'}", f"cache.dir={tmp_path / 'store'}", "precision=32-true"]
    (tmp_path / "evaluate").mkdir()
    scored = evaluate(compose("evaluate", *where, f"data.root={pictures}"), tmp_path / "evaluate")
    assert not passes
    assert scored["test"]["n"] == 36
    test = read_table(tmp_path / "run/predictions.csv").set_index("path")
    again = read_table(tmp_path / "evaluate/predictions.csv").set_index("path").loc[test.index]
    assert again["predicted"].equals(test["predicted"])
    assert trained["test"]["accuracy"] == pytest.approx((again["label"] == again["predicted"]).mean())
    (tmp_path / "live").mkdir()
    live = evaluate(compose("evaluate", *where, f"data.root={pictures}", "cache.enabled=false"), tmp_path / "live")
    assert sum(passes) == 36
    assert live["test"]["loss"] == pytest.approx(scored["test"]["loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("overrides", "computed", "said"),
    [
        (["augment=light"], 18, "train: in every epoch, because augment changes its images"),
        (
            ["finetune=full", "head.init=random"],
            0,
            "train, val, test: in every epoch, because finetune=full trains the backbone",
        ),
        (["finetune=partial", "head.init=random"], 0, "because finetune=partial trains the backbone"),
        (["cache.enabled=false"], 0, "because cache.enabled=false"),
        (["trainer.limit_train_batches=2"], 18, "because trainer.limit_train_batches=2"),
        (["trainer.limit_val_batches=1"], 27, "val: in every epoch, because trainer.limit_val_batches=1"),
        ([], 36, "0 stored, 36 to compute"),
    ],
)
def test_what_is_live_says_why(
    overrides: list[str], computed: int, said: str, pictures: Path, weights: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ft_lightning.cli.summary.console.width", 200, raising=False)
    options = ["data.val_fraction=0.25", "data.test_fraction=0.25", "trainer.max_epochs=1"]
    metrics = run(tmp_path / "run", *tiny(weights, pictures), *options, *overrides)
    assert metrics["timing"]["cache"] == {"hits": 0, "computed": computed}
    assert said in " ".join(capsys.readouterr().out.split())
    stored = list((tmp_path / "store").rglob("*.safetensors"))
    assert bool(stored) == bool(computed)


def test_a_datamodule_that_served_one_backbone_serves_another(pictures: Path, weights: Path, tmp_path: Path) -> None:
    options = ["model=timm", *tiny(weights, pictures), "precision=32-true", f"cache.dir={tmp_path / 'store'}"]
    cfg = compose("train", *options, "trainer.max_epochs=1")
    data = build.data(cfg)
    for number, mode in enumerate(("frozen", "full", "frozen")):
        cfg.finetune.mode = mode
        module = build.module(cfg, data, build.pretrained(cfg))
        stored = build.stored_features(cfg, list(data.splits), Stopwatch())
        trainer = build.trainer(cfg, [stored], tmp_path / str(number))
        trainer.fit(module, datamodule=data)
        batch = next(iter(data.train_dataloader()))
        assert ("features" in batch) == (mode == "frozen")


def test_all_unreadable_pictures_are_listed_and_the_others_stored(
    pictures: Path, weights: Path, tmp_path: Path
) -> None:
    bad = [pictures / "ant/00.png", pictures / "cat/05.png"]
    for number, path in enumerate(bad):
        path.write_bytes(path.read_bytes()[: 100 + number])
    with pytest.raises(UserError) as refused:
        run(tmp_path / "run", *tiny(weights, pictures))
    assert "2 of 36 images cannot be used:" in str(refused.value)
    assert all(str(path) in str(refused.value) for path in bad)
    for path in bad:
        path.unlink()
    again = run(tmp_path / "again", *tiny(weights, pictures))
    assert again["timing"]["cache"] == {"hits": 34, "computed": 0}


LBFGS = ["optimizer=lbfgs", "optimizer.weight_decay=[1e-2,1e-3]"]


def test_lbfgs_tries_a_strength_an_epoch_and_val_chooses(pictures: Path, weights: Path, tmp_path: Path) -> None:
    metrics = run(tmp_path / "run", *tiny(weights, pictures), *LBFGS, "trainer.max_epochs=10")
    history = pd.read_csv(tmp_path / "run/metrics.csv")
    assert history["train/weight_decay"].tolist() == pytest.approx([1e-2, 1e-3])
    assert metrics["val"]["accuracy"] == pytest.approx(history["val/accuracy"].max())
    one = run(tmp_path / "one", *tiny(weights, pictures), "optimizer=lbfgs", "optimizer.weight_decay=0.5")
    assert len(pd.read_csv(tmp_path / "one/metrics.csv")) == 1
    assert one["test"]["loss"] > 0


def test_lbfgs_without_a_store_keeps_the_features_in_memory(
    pictures: Path, weights: Path, tmp_path: Path, passes: list[int]
) -> None:
    run(tmp_path / "run", *tiny(weights, pictures), *LBFGS, "cache.enabled=false")
    assert sum(passes) == 36
    assert not (tmp_path / "store").exists()
    run(tmp_path / "stored", *tiny(weights, pictures), *LBFGS)
    assert same_result(tmp_path / "run", tmp_path / "stored")


class OwnSolver(HeadSolver):
    """Found by its class, whatever it is called."""


def test_a_solver_of_one_s_own_solves(pictures: Path, weights: Path, tmp_path: Path) -> None:
    own = [*LBFGS, "optimizer._target_=callbacks.test_stored_features.OwnSolver"]
    solved = run(tmp_path / "run", *tiny(weights, pictures), *LBFGS)
    assert run(tmp_path / "own", *tiny(weights, pictures), *own)["test"] == solved["test"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["finetune=partial"], r"optimizer=lbfgs trains on stored features.*finetune=partial.*use optimizer=adam"),
        (["augment=light"], r"optimizer=lbfgs trains on stored features.*augment.*use optimizer=adam"),
        (["optimizer.lr=0.1"], r"optimizer\.lr=0\.1: optimizer=lbfgs finds the head's optimum without"),
        (["data.sampler=balanced"], r"data\.sampler=balanced: optimizer=lbfgs looks at all samples at once"),
        (["scheduler=cosine"], r"optimizer=lbfgs has no learning rate to schedule"),
        (["optimizer.weight_decay=[]"], r"optimizer\.weight_decay=\[\]: use a number from 0"),
        (["optimizer.weight_decay=-1"], r"optimizer\.weight_decay=-1: use a number from 0"),
    ],
)
def test_lbfgs_is_refused_where_it_cannot_work(
    overrides: list[str], said: str, pictures: Path, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=said) as refused:
        run(tmp_path / "run", *tiny(weights, pictures), "optimizer=lbfgs", *overrides)
    assert isinstance(refused.value, UserError) or isinstance(refused.value.__cause__, UserError)


def test_a_store_that_cannot_be_written_costs_nothing_but_the_store(
    pictures: Path, weights: Path, run_command: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    options = ["model=timm", *tiny(weights, pictures), "trainer.max_epochs=1"]
    done = run_command("train", *options, f"cache.dir={tmp_path / 'file'}", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "features are kept in memory and lost after this run" in done.stderr
    assert json.loads((tmp_path / "run/metrics.json").read_text())["timing"]["cache"] == {"hits": 0, "computed": 36}


def test_a_killed_run_starts_again_where_it_was(weights: Path, commands: Commands, tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {"ant": 450, "bee": 450})
    store = tmp_path / "store"
    options = ["model=timm", *tiny(weights, root), "precision=32-true", "trainer.max_epochs=1", f"cache.dir={store}"]
    command = commands.start("ft_lightning.train", *options, cwd=tmp_path)
    deadline = time.monotonic() + patience(120)
    while not list(store.rglob("*.safetensors")):
        assert command.poll() is None, command.stderr
        assert time.monotonic() < deadline
        time.sleep(0.01)
    command.kill()
    assert command.wait() == -9
    again = run(tmp_path / "again", *tiny(weights, root), f"cache.dir={store}", "trainer.max_epochs=1")
    assert again["timing"]["cache"]["hits"] >= 512
    assert sum(again["timing"]["cache"].values()) == 900
    whole = run(tmp_path / "whole", *tiny(weights, root), f"cache.dir={tmp_path / 'fresh'}", "trainer.max_epochs=1")
    assert whole["timing"]["cache"]["hits"] == 0
    assert same_result(tmp_path / "again", tmp_path / "whole", atol=1e-5)


@pytest.mark.parametrize("mode", ["frozen", "partial", "full"])
def test_a_probe_starts_any_mode_at_the_head_s_optimum(
    mode: str, pictures: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny(weights, pictures), f"finetune={mode}", "optimizer.lr=0", "trainer.max_epochs=1"]
    started = run(tmp_path / "probe", *options, "head.init=probe")
    assert "starts at its optimum for stored features" in capsys.readouterr().out
    # Nothing has moved since, so it is what L-BFGS and val find.
    solved = run(tmp_path / "lbfgs", *tiny(weights, pictures), "optimizer=lbfgs", "trainer.max_epochs=7")
    assert started["val"]["accuracy"] == solved["val"]["accuracy"]
    assert same_result(tmp_path / "probe", tmp_path / "lbfgs", atol=1e-2)
    random = run(tmp_path / "random", *options, "head.init=random")
    assert random["val"]["loss"] > 2 * started["val"]["loss"]
    assert json.loads((tmp_path / "probe/model/model.json").read_text())["head"] == {"name": "linear", "dropout": 0.0}


def test_a_hidden_layer_is_not_lost_to_the_strongest_l2(pictures: Path, weights: Path, tmp_path: Path) -> None:
    for name, how in (("lbfgs", ["optimizer=lbfgs"]), ("probe", ["head.init=probe", "optimizer.lr=0"])):
        metrics = run(tmp_path / name, *tiny(weights, pictures), "head=mlp", *how)
        assert metrics["val"]["accuracy"] > 0.9


def test_processes_that_meet_unreadable_pictures_all_end_and_name_them_all(
    pictures: Path, weights: Path, run_command: Run, tmp_path: Path
) -> None:
    bad = sorted(pictures.rglob("*.png"))[::3]  # in the shares of both
    for path in bad:
        path.write_bytes(path.read_bytes()[:99] + path.name.encode() + path.parent.name.encode())
    done = run_command("train", "model=timm", *tiny(weights, pictures), "trainer=ddp_cpu", "precision=32-true")
    assert done.returncode == 2, done.stderr
    assert all(str(path) in done.stderr for path in bad)
    assert "Traceback" not in done.stderr


def test_evaluate_computes_in_the_precision_that_half_precision_means_on_this_device(
    pictures: Path, weights: Path, tmp_path: Path, passes: list[int]
) -> None:
    run(tmp_path / "run", *tiny(weights, pictures), "precision=16-mixed", "trainer.accelerator=cpu")
    passes.clear()
    (tmp_path / "evaluate").mkdir()
    where = [f"model_dir={tmp_path / 'run'}", f"data.root={pictures}", f"cache.dir={tmp_path / 'store'}", "device=cpu"]
    evaluate(compose("evaluate", *where, "precision=16-mixed"), tmp_path / "evaluate")
    assert not passes


@pytest.mark.slow
@pytest.mark.promise(28)
def test_four_runs_fill_one_store_one_is_killed_and_the_others_find_the_same(
    weights: Path, commands: Commands, tmp_path: Path
) -> None:
    root = write_pictures(tmp_path / "pictures", {"ant": 100, "bee": 100})
    options = ["model=timm", *tiny(weights, root), "precision=32-true", "trainer.max_epochs=2", "data.num_workers=0"]
    options.append(f"cache.dir={tmp_path / 'store'}")
    runs = [commands.start("ft_lightning.train", *options, f"hydra.run.dir={i}", cwd=tmp_path) for i in range(4)]
    deadline = time.monotonic() + patience(120)
    while not list((tmp_path / "store").rglob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    runs[0].kill()
    assert [command.wait() for command in runs] == [-9, 0, 0, 0]
    after = run(tmp_path / "after", *tiny(weights, root), "trainer.max_epochs=2")
    assert after["timing"]["cache"] == {"hits": 200, "computed": 0}
    for i in (1, 2, 3):
        assert same_result(tmp_path / str(i), tmp_path / "after")
        model = (tmp_path / str(i) / "model/model.safetensors").read_bytes()
        assert model == (tmp_path / "after/model/model.safetensors").read_bytes()
