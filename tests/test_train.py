"""The train command against the plain loop it replaces, and what a run leaves behind."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch.nn import functional as F

import ft_lightning
from conftest import files_below, write_pictures
from ft_lightning import build
from ft_lightning.backbones.load import load_backbone
from ft_lightning.cli.compose import compose
from ft_lightning.data.module import ImageFolderDataModule
from ft_lightning.model import Classifier
from ft_lightning.runs.write import Stopwatch
from ft_lightning.system.tables import read_table
from ft_lightning.train import seen_in_epoch, train

RUN_FILES = {
    "config.yaml",
    "log.txt",
    "outcome.json",
    "metrics.csv",
    "metrics.json",
    "split.csv",
    "predictions.csv",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "model/model.json",
    "model/model.safetensors",
    "report.html",
    "report_data/reliability.csv",
    "report_data/val_predictions.csv",
    "report_data/neighbours.csv",
}
Run = Callable[..., CompletedProcess[str]]


def but_previews(folder: Path) -> set[str]:
    """The files of a run; how many pictures its page shows depends on its errors."""
    assert (folder / "report_data/previews/previews.csv").is_file()
    return {name for name in files_below(folder) if not name.startswith("report_data/previews/")}


def in_process(folder: Path, *overrides: str) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    return train(compose("train", "precision=32-true", *overrides), folder)


def tiny(name: str = "test_resnet") -> list[str]:
    return ["model=timm", f"model.name={name}", "model.weights=null"]


@pytest.mark.promise(3)
def test_the_command_equals_the_classic_loop(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    weights = tmp_path / "weights.pth"
    torch.save(load_backbone("timm", "test_resnet", None, {}).network.state_dict(), weights)
    model = ["model=timm", "model.name=test_resnet", f"model.weights={weights}"]
    metrics = in_process(
        tmp_path / "run",
        "experiment=classic",
        f"data.root={pictures}",
        *model,
        "trainer.max_epochs=4",
        "data.batch_size=8",
    )

    # The textbook, written out: frozen backbone in eval mode, one linear layer, cross-entropy, Adam 1e-3.
    backbone = load_backbone("timm", "test_resnet", str(weights), {}).eval().requires_grad_(False)
    data = ImageFolderDataModule(**data_options(pictures))
    data.connect(backbone.reader, None, seed=0)
    torch.manual_seed(0)
    head = torch.nn.Linear(backbone.feature_dim, 3)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    best, best_state = (-1.0, 0.0), {}
    for epoch in range(4):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            loss = F.cross_entropy(head(backbone(backbone.prepare(batch["inputs"]))), batch["target"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        val = data.val_dataloader()
        reached = accuracy_of(head, backbone, val), -loss_of(head, backbone, val)
        if reached > best:
            best, best_state = reached, {name: value.clone() for name, value in head.state_dict().items()}

    head.load_state_dict(best_state)
    trained = ft_lightning.load(tmp_path / "run").classifier.head
    for name, value in head.state_dict().items():
        assert torch.allclose(trained.state_dict()[name], value, atol=1e-4), name
    assert metrics["val"]["accuracy"] == pytest.approx(best[0])
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy_of(head, backbone, data.test_dataloader()))


def data_options(root: Path) -> dict:
    cfg = compose("train", "experiment=classic", f"data.root={root}", "data.batch_size=8", "data.create=null")
    return {key: value for key, value in cfg.data.items() if key != "_target_"} | {"find": instantiate(cfg.data.find)}


@torch.no_grad()
def accuracy_of(head: torch.nn.Module, backbone: torch.nn.Module, loader: torch.utils.data.DataLoader) -> float:
    hits = [head(backbone(backbone.prepare(b["inputs"]))).argmax(1) == b["target"] for b in loader]
    return torch.cat(hits).float().mean().item()


@torch.no_grad()
def loss_of(head: torch.nn.Module, backbone: torch.nn.Module, loader: torch.utils.data.DataLoader) -> float:
    losses = [
        F.cross_entropy(head(backbone(backbone.prepare(b["inputs"]))), b["target"], reduction="none") for b in loader
    ]
    return torch.cat(losses).mean().item()


CASES = {
    "resnet50 frozen": (["model=resnet50"], {"head.weight", "head.bias"}),
    "swin_t partial": (
        ["model=swin_t", "finetune=partial"],
        "backbone.network.features.7.1. backbone.network.norm. head.",
    ),
    "timm convnext_atto": (["model=timm", "model.name=convnext_atto"], {"head.weight", "head.bias"}),
    "mobilenet full": (["model=mobilenet_v3_large", "finetune=full"], ""),
}


@pytest.mark.promise(10)
@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_model_trains_leaves_the_promised_files_and_comes_back(case: str, tmp_path: Path) -> None:
    overrides, expected = CASES[case]
    root = write_pictures(tmp_path / "pictures", {"ant": 6, "bee": 6})
    in_process(
        tmp_path / "run",
        f"data.root={root}",
        "model.weights=null",
        *overrides,
        "trainer.max_epochs=1",
        "data.batch_size=4",
    )
    assert but_previews(tmp_path / "run") == RUN_FILES - {
        "config.yaml",
        "outcome.json",
        "log.txt",
    }  # the command writes them

    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    trained = {p for group in checkpoint["optimizer_states"][0]["param_groups"] for p in group["params"]}
    model = ft_lightning.load(tmp_path / "run")
    names = {name for name, _ in model.classifier.named_parameters()}
    if isinstance(expected, str):
        expected = {name for name in names if name.startswith(tuple(expected.split()) or "")}
    held = {name.removeprefix("classifier.") for name in checkpoint["state_dict"]}
    assert held & names == expected
    assert len(trained) == len(expected)
    values = sum(p.numel() for name, p in model.classifier.named_parameters() if name in expected)
    size = (tmp_path / "run/checkpoints/last.ckpt").stat().st_size
    assert size < 1.1 * 3 * 4 * values + 100_000, "the trained part and Adam's two moments, nothing else"

    predictions = read_table(tmp_path / "run/predictions.csv")
    again = model.predict([root / path for path in predictions["path"]], precision="32-true")
    for column in ("p(ant)", "p(bee)"):
        assert again[column].to_numpy() == pytest.approx(predictions[column].astype(float).to_numpy(), abs=1e-5)
    assert again["predicted"].tolist() == predictions["predicted"].tolist()


@pytest.mark.promise(4)
@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize("n", [1, 7, 8])
def test_accuracy_and_confusion_equal_a_plain_numpy_loop(n: int, batch_size: int, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures/train", {"ant": 6, "bee": 6, "cat": 6})
    write_pictures(tmp_path / "pictures/val", {"ant": 2, "bee": 2, "cat": 2}, seed=1)
    counts = {"cat": n // 3 or 1, "bee": n // 3, "ant": n - n // 3 - (n // 3 or 1)}
    write_pictures(tmp_path / "pictures/test", {name: count for name, count in counts.items() if count}, seed=2)
    options = ["trainer.max_epochs=1", f"data.batch_size={batch_size}", "data.num_workers=0", "cache.enabled=false"]
    found = in_process(tmp_path / "run", f"data.root={tmp_path / 'pictures'}", *tiny(), *options)["test"]

    model = ft_lightning.load(tmp_path / "run")
    backbone, names = model.classifier.backbone, ["ant", "bee", "cat"]
    confusion = np.zeros((3, 3), dtype=int)
    for path in (tmp_path / "pictures/test").rglob("*.png"):
        with torch.no_grad():
            logits = model.classifier(backbone.preprocess(Image.open(path))[None])[0].numpy()
        confusion[names.index(path.parent.name), np.argmax(logits)] += 1
    assert found["n"] == confusion.sum() == n
    assert found["accuracy"] == pytest.approx(np.trace(confusion) / n)
    assert [[found["confusion"].get(t, {}).get(p, 0) for p in names] for t in names] == confusion.tolist()


class CallTrain(Callback):
    """What a careless callback does."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        pl_module.train()
        for module in pl_module.modules():
            module.training = True

    on_validation_batch_start = on_test_batch_start = on_train_batch_start


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((name, mode) for name in ("test_resnet", "test_vit", "test_efficientnet") for mode in ("frozen", "partial")),
        ("test_vit", "lora"),
    ],
)
def test_the_frozen_part_has_the_same_hash_after_a_fit_with_a_callback_that_calls_train(
    name: str, mode: str, pictures: Path, tmp_path: Path
) -> None:
    options = [*tiny(name), f"finetune={mode}", "finetune.freeze_bn=false", "cache.enabled=false"]
    cfg = compose("train", f"data.root={pictures}", *options, "trainer.max_epochs=2", "precision=32-true")
    data = build.data(cfg)
    module = build.module(cfg, data, build.pretrained(cfg))
    classifier = module.classifier
    before, trained = frozen_hash(classifier), classifier.plan.trained_state(classifier.state_dict())
    trained = {name: value.clone() for name, value in trained.items()}
    stored = build.stored_features(cfg, list(data.splits), Stopwatch())
    trainer = build.trainer(cfg, [stored, CallTrain()], tmp_path)
    trainer.fit(module, datamodule=data)
    trainer.validate(module, datamodule=data, verbose=False)
    trainer.test(module, datamodule=data, verbose=False)
    assert frozen_hash(classifier) == before
    assert any(not torch.equal(classifier.state_dict()[name], value) for name, value in trained.items())


def frozen_hash(classifier: Classifier) -> str:
    digest, state = hashlib.sha256(), classifier.plan.frozen_state(classifier.state_dict())
    assert state
    for name, value in sorted(state.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.promise(9)
def test_classes_that_a_split_lacks_or_has_too_many(run_command: Run, tmp_path: Path) -> None:
    root, run = tmp_path / "pictures", tmp_path / "run"
    for seed, split in enumerate(("train", "val", "test")):
        write_pictures(root / split, {"ant": 8, "bee": 8, "cat": 8}, seed)
    for missing in ("val/ant", "test/ant", "test/bee"):
        shutil.rmtree(root / missing)
    metrics = in_process(run, f"data.root={root}", *tiny(), "trainer.max_epochs=20", "optimizer.lr=0.01")
    assert set(metrics["val"]["confusion"]) == {"bee", "cat"}
    assert set(metrics["test"]["confusion"]) == {"cat"}
    assert metrics["test"]["accuracy"] > 0.5, "a shifted index would call every cat an ant"
    assert ft_lightning.load(run).task.class_names == ["ant", "bee", "cat"]
    write_pictures(root / "val", {"dog": 3}, seed=3)
    done = run_command("train", f"data.root={root}", *tiny())
    assert done.returncode == 2
    assert "dog" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_numbers_of_a_run_agree_with_each_other(pictures: Path, tmp_path: Path) -> None:
    metrics = in_process(tmp_path / "run", f"data.root={pictures}", *tiny(), "trainer.max_epochs=3")
    assert metrics == json.loads((tmp_path / "run/metrics.json").read_text())
    predictions = read_table(tmp_path / "run/predictions.csv")
    assert metrics["test"]["n"] == len(predictions) == metrics["data"]["samples"]["test"]
    assert metrics["test"]["accuracy"] == pytest.approx((predictions["label"] == predictions["predicted"]).mean())
    likelihood = [float(row[f"p({row['label']})"]) for _, row in predictions.iterrows()]
    assert metrics["test"]["loss"] == pytest.approx(-sum(map(math.log, likelihood)) / len(likelihood), rel=1e-4)
    low, high = metrics["test"]["accuracy_ci95"]
    assert low < metrics["test"]["accuracy"] < high or metrics["test"]["accuracy"] in (low, high)

    history = pd.read_csv(tmp_path / "run/metrics.csv")
    assert history["epoch"].tolist() == [0, 1, 2]
    assert not history.isna().any().any()
    assert history["val/accuracy"].max() == pytest.approx(metrics["val"]["accuracy"], abs=1e-5)
    split = read_table(tmp_path / "run/split.csv")
    assert set(split["split"]) == {"train", "val", "test"}
    assert set(predictions["path"]) == set(split.loc[split["split"] == "test", "path"])

    card = json.loads((tmp_path / "run/model/model.json").read_text())
    assert card["metrics"]["test"]["accuracy"] == metrics["test"]["accuracy"]
    assert str(tmp_path) not in (tmp_path / "run/model/model.json").read_text(), "no absolute path"


@pytest.mark.promise(30)
def test_two_runs_are_equal_to_the_bit_and_workers_change_nothing(pictures: Path, tmp_path: Path) -> None:
    options = [
        f"data.root={pictures}",
        *tiny(),
        "trainer.max_epochs=2",
        "augment=strong",
        "head=mlp",
        "finetune=partial",
    ]
    results = []
    for number, workers in enumerate((0, 0, 2)):
        in_process(tmp_path / str(number), *options, f"data.num_workers={workers}")
        metrics = json.loads((tmp_path / str(number) / "metrics.json").read_text())
        del metrics["timing"]
        results.append((metrics, (tmp_path / str(number) / "model/model.safetensors").read_bytes()))
    assert results[0] == results[1] == results[2]


def test_the_best_epoch_is_the_one_that_is_kept(pictures: Path, tmp_path: Path) -> None:
    in_process(tmp_path / "run", f"data.root={pictures}", *tiny(), "trainer.max_epochs=6", "optimizer.lr=3")
    history = pd.read_csv(tmp_path / "run/metrics.csv")
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == history.sort_values(["val/accuracy", "val/loss"], ascending=[False, True]).index[0]
    head = ft_lightning.load(tmp_path / "run").classifier.head
    assert torch.equal(head.weight, best["state_dict"]["classifier.head.weight"])


def test_epochs_without_validation_keep_the_columns(pictures: Path, tmp_path: Path) -> None:
    options = [f"data.root={pictures}", *tiny(), "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2"]
    in_process(tmp_path / "run", *options)
    history = pd.read_csv(tmp_path / "run/metrics.csv")
    assert history["val/accuracy"].notna().tolist() == [False, True, False, True]
    assert history["train/lr"].is_monotonic_decreasing


def test_early_stopping_stops(pictures: Path, tmp_path: Path) -> None:
    in_process(
        tmp_path / "run", f"data.root={pictures}", *tiny(), "trainer.max_epochs=50", "callback=early_stopping",
        "callback.early_stopping.patience=2", "optimizer.lr=0",
    )  # fmt: skip
    assert len(pd.read_csv(tmp_path / "run/metrics.csv")) == 3


def test_more_than_a_hundred_classes_list_the_ten_most_probable(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {f"c{i:03d}": 3 for i in range(101)})
    in_process(
        tmp_path / "run",
        f"data.root={root}",
        *tiny(),
        "trainer.max_epochs=1",
        "data.val_fraction=0.33",
        "data.test_fraction=0.33",
    )
    columns = list(read_table(tmp_path / "run/predictions.csv").columns)
    assert columns[:4] == ["path", "label", "predicted", "probability"]
    assert columns[4:] == [f"{what}_{rank}" for rank in range(1, 11) for what in ("class", "p")]


def test_tensorboard_and_a_missing_logger(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ft_lightning.system.errors import UserError

    in_process(
        tmp_path / "run",
        f"data.root={pictures}",
        *tiny(),
        "trainer.max_epochs=1",
        "logger=tensorboard",
    )
    assert any("tensorboard/events" in name for name in files_below(tmp_path / "run"))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"logger=wandb needs a package: pip install wandb"):
        in_process(tmp_path / "two", f"data.root={pictures}", *tiny(), "logger=wandb")


@pytest.mark.parametrize(
    ("train", "val", "seen"),
    [(5, [2], 30 + 10), (2, [2], 12 + 10), (1, [0], 6), (9, [1], 30 + 5)],
)
def test_samples_that_a_limit_leaves_out_are_not_counted(train: int, val: list[int], seen: int) -> None:
    trainer: Any = SimpleNamespace(num_training_batches=train, num_val_batches=val)
    data: Any = SimpleNamespace(splits={"train": range(30), "val": range(10)})
    data.loader = {"train": range(5), "val": range(2)}.__getitem__  # as long as a split's batches, read or stored
    assert seen_in_epoch(trainer, data) == seen
    data.loader = lambda split: iter([])  # of a source of one's own, of which only its samples are counted
    assert seen_in_epoch(trainer, data) == 40
