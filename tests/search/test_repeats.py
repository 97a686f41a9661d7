"""Repeats are the runs that other seeds would have made, on the same split and the same stored features."""

import json
from pathlib import Path

import pytest
import torch

from conftest import write_pictures
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.cli.compose import compose
from ft_lightning.system.errors import UserError
from ft_lightning.train import train

TINY = ["model=timm", "model.name=test_resnet", "precision=32-true", "data.batch_size=8", "trainer.max_epochs=3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("repeats") / "pictures", {"ant": 14, "bee": 14, "cat": 14})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from callbacks.test_stored_features import save_weights

    return save_weights(tmp_path_factory.mktemp("weights") / "w.pth", "test_resnet")


def run(folder: Path, root: Path, weights: Path, *overrides: str) -> dict:
    folder.mkdir(parents=True)
    options = [*TINY, f"model.weights={weights}", f"data.root={root}", f"cache.dir={folder.parent / 'store'}"]
    return train(compose("train", *options, *overrides), folder)


@pytest.mark.parametrize(
    "more", [[], ["head=mlp", "cache.enabled=false"], ["callback=ema"]], ids=["stored", "in memory", "averaged"]
)
def test_a_repeat_is_the_run_of_another_seed(
    more: list[str], root: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []
    forward = ImageBackbone.forward

    def counted(self: ImageBackbone, inputs: torch.Tensor) -> torch.Tensor:
        passed.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(ImageBackbone, "forward", counted)
    metrics = run(tmp_path / "run", root, weights, "repeats=3", *more)
    assert sum(passed) == 42, "each picture once"
    repeats = json.loads((tmp_path / "run/metrics.json").read_text())["repeats"]
    assert repeats["seeds"] == [0, 1, 2]
    assert repeats["test"]["accuracy"]["values"][0] == pytest.approx(metrics["test"]["accuracy"])
    other = run(tmp_path / "other", root, weights, "seed=2", *(value for value in more if "cache" not in value))
    for split in ("val", "test"):
        for name in ("accuracy", "loss", "f1_macro"):
            spread = repeats[split][name]
            assert spread["values"][2] == pytest.approx(other[split][name], rel=1e-5)
            values = torch.tensor(spread["values"], dtype=torch.float64)
            assert spread["mean"] == pytest.approx(values.mean().item())
            assert spread["sd"] == pytest.approx(values.std().item())
            half = 4.302652729911275 * spread["sd"] / 3**0.5  # Student's t with two degrees of freedom
            assert spread["ci95"] == pytest.approx([spread["mean"] - half, spread["mean"] + half])


def test_a_run_without_repeats_says_nothing_of_them(root: Path, weights: Path, tmp_path: Path) -> None:
    assert "repeats" not in run(tmp_path / "run", root, weights)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["finetune=full"], "repeats=2 trains on stored features.*finetune=full"),
        (["augment=light"], "repeats=2 trains on stored features.*augment"),
        (["mix=mixup"], "repeats=2 trains on stored features.*mix"),
        (["trainer=ddp_cpu"], "repeats=2 runs in one process"),
        (["repeats=0"], "repeats=0"),
        (["repeats=1.5"], "repeats=1.5"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_repeated_is_refused(
    overrides: list[str], said: str, root: Path, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        run(tmp_path / "run", root, weights, "repeats=2", *overrides)
