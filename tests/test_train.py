"""The train command against the plain loop it replaces, and what a run leaves behind."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import ft_lightning
from conftest import files_below, write_pictures
from ft_lightning.backbones import load_backbone
from ft_lightning.command import compose
from ft_lightning.data import ImageFolderDataModule
from ft_lightning.tables import read_table
from ft_lightning.train import train

RUN_FILES = {
    "config.yaml",
    "metrics.csv",
    "metrics.json",
    "split.csv",
    "predictions.csv",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "model/model.json",
    "model/model.safetensors",
}
Run = Callable[..., CompletedProcess[str]]


def in_process(folder: Path, *overrides: str) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    return train(compose("train", "precision=32-true", *overrides), folder)


def tiny(name: str = "test_resnet") -> list[str]:
    return ["model=timm", f"model.name={name}", "model.weights=null"]


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
    data = ImageFolderDataModule(**data_options(pictures), seed=0)
    data.set_transforms(backbone.preprocess, backbone.preprocess)
    torch.manual_seed(0)
    head = torch.nn.Linear(backbone.feature_dim, 3)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    best, best_state = -1.0, {}
    for epoch in range(4):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            loss = F.cross_entropy(head(backbone(backbone.prepare(batch["inputs"]))), batch["target"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = accuracy_of(head, backbone, data.val_dataloader())
        if accuracy > best:
            best, best_state = accuracy, {name: value.clone() for name, value in head.state_dict().items()}

    head.load_state_dict(best_state)
    trained = ft_lightning.load(tmp_path / "run").classifier.head
    for name, value in head.state_dict().items():
        assert torch.allclose(trained.state_dict()[name], value, atol=1e-4), name
    assert metrics["val"]["accuracy"] == pytest.approx(best)
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy_of(head, backbone, data.test_dataloader()))


def data_options(root: Path) -> dict:
    cfg = compose("train", "experiment=classic", f"data.root={root}", "data.batch_size=8", "data.create=null")
    return {key: value for key, value in cfg.data.items() if key != "_target_"}


@torch.no_grad()
def accuracy_of(head: torch.nn.Module, backbone: torch.nn.Module, loader: torch.utils.data.DataLoader) -> float:
    hits = [head(backbone(backbone.prepare(b["inputs"]))).argmax(1) == b["target"] for b in loader]
    return torch.cat(hits).float().mean().item()


CASES = {
    "resnet50 frozen": (["model=resnet50"], {"head.weight", "head.bias"}),
    "vit_b_16 partial": (
        ["model=vit_b_16", "finetune=partial"],
        "backbone.network.encoder.layers.encoder_layer_11. backbone.network.encoder.ln. head.",
    ),
    "timm convnext_atto": (["model=timm", "model.name=convnext_atto"], {"head.weight", "head.bias"}),
    "mobilenet full": (["model=mobilenet_v3_large", "finetune=full"], ""),
}


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
    assert files_below(tmp_path / "run") == RUN_FILES - {"config.yaml"}  # the command writes it

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
        metrics = in_process(tmp_path / str(number), *options, f"data.num_workers={workers}")
        results.append(
            (metrics["val"], metrics["test"], (tmp_path / str(number) / "model/model.safetensors").read_bytes())
        )
    assert results[0] == results[1] == results[2]


def test_the_best_epoch_is_the_one_that_is_kept(pictures: Path, tmp_path: Path) -> None:
    in_process(tmp_path / "run", f"data.root={pictures}", *tiny(), "trainer.max_epochs=6", "optimizer.lr=3")
    history = pd.read_csv(tmp_path / "run/metrics.csv")
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == history["val/accuracy"].idxmax()
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

    from ft_lightning.errors import UserError

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
