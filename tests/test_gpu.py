"""What needs a GPU: `pytest -m gpu`. GPU_TESTS_ON=cpu runs on the CPU what can run there, to test the tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ft_lightning
from conftest import write_pictures
from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.system.errors import UserError
from ft_lightning.system.hardware import pick_device, pick_precision
from ft_lightning.system.tables import read_table

DEVICE = os.environ.get("GPU_TESTS_ON", "cuda")
ACCELERATOR = {"cuda": "gpu"}.get(DEVICE, DEVICE)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU"),
]
on_cuda = pytest.mark.skipif(DEVICE != "cuda", reason="about CUDA itself")
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "data.batch_size=8", "data.num_workers=0"]
QUIET = ["trainer.enable_progress_bar=false"]
FIXED = ["trainer.deterministic=true", "precision=32-true"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images", {"ant": 40, "bee": 40, "cat": 40})


@pytest.fixture
def here(images: Path, tmp_path: Path) -> list[str]:
    """A small training on the device."""
    places = [f"data.root={images}", f"cache.dir={tmp_path / 'store'}"]
    return [*TINY, *QUIET, *places, f"trainer.accelerator={ACCELERATOR}", "trainer.devices=1"]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def trained(folder: Path, *overrides: str) -> dict[str, Any]:
    return ft_lightning.run("train", *overrides, run_dir=folder).metrics


def weights(run: Path) -> bytes:
    return (run / "model/model.safetensors").read_bytes()


@pytest.mark.parametrize("mode", [["finetune=frozen"], ["finetune=partial"], ["finetune=full", "augment=light"]])
def test_it_trains_as_on_the_cpu(mode: list[str], here: list[str], tmp_path: Path) -> None:
    common = [*here, *FIXED, *mode, "trainer.max_epochs=3", "optimizer.lr=1e-3"]
    found = trained(tmp_path / "there", *common)
    usual = trained(tmp_path / "cpu", *common, "trainer.accelerator=cpu")
    assert found["test"]["loss"] == pytest.approx(usual["test"]["loss"], abs=0.02)
    one, other = (ft_lightning.load(tmp_path / run).predict(here_images(here)) for run in ("there", "cpu"))
    assert np.abs(one["p(ant)"].to_numpy(float) - other["p(ant)"].to_numpy(float)).max() < 0.05


def here_images(here: list[str]) -> list[str]:
    root = Path(next(word for word in here if word.startswith("data.root=")).partition("=")[2])
    return sorted(map(str, root.rglob("*.png")))[::10]


@pytest.mark.parametrize("precision", ["auto", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("how", [["finetune=frozen"], ["finetune=full"], ["optimizer=lbfgs"]], ids=" ".join)
def test_every_precision_trains(precision: str, how: list[str], here: list[str], tmp_path: Path) -> None:
    metrics = trained(tmp_path / "run", *here, *how, f"precision={precision}", "trainer.max_epochs=2")
    assert np.isfinite(metrics["test"]["loss"])
    assert metrics["test"]["n"] == 24


@on_cuda
def test_the_precision_is_what_the_hardware_has() -> None:
    assert pick_device("auto").type == "cuda"
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    assert pick_precision("auto", "cuda") == ("bf16-mixed" if native else "16-mixed")


@pytest.mark.parametrize("mode", [["finetune=frozen"], ["finetune=full", "augment=strong", "head.dropout=0.3"]])
def test_two_runs_are_equal_to_the_bit(mode: list[str], here: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        trained(tmp_path / name, *here, *FIXED, *mode, "trainer.max_epochs=2", f"cache.dir={tmp_path / name / 'store'}")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_a_run_goes_on_as_if_it_had_not_stopped(here: list[str], tmp_path: Path) -> None:
    common = [*here, *FIXED, "finetune=partial", "augment=strong", "head.dropout=0.3", "scheduler=constant"]
    trained(tmp_path / "whole", *common, "trainer.max_epochs=4")
    trained(tmp_path / "parts", *common, "trainer.max_epochs=2")
    ft_lightning.run("train", f"resume={tmp_path / 'parts'}", "trainer.max_epochs=4")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_evaluate_and_predict_answer_as_on_the_cpu(here: list[str], images: Path, tmp_path: Path) -> None:
    trained(tmp_path / "run", *here, "trainer.max_epochs=2")
    answers: list[list[np.ndarray]] = []
    for number, device in enumerate((DEVICE, "cpu")):
        common = [f"model_dir={tmp_path / 'run'}", f"device={device}", "precision=32-true"]
        predicted, evaluated = tmp_path / f"predict{number}", tmp_path / f"evaluate{number}"
        ft_lightning.run("predict", *common, f"input={images}", run_dir=predicted)
        places = [f"data.root={images}", f"cache.dir={tmp_path / 'store'}"]
        ft_lightning.run("evaluate", *common, *places, run_dir=evaluated)
        tables = [read_table(folder / "predictions.csv") for folder in (predicted, evaluated)]
        answers.append([table["p(bee)"].astype(float).to_numpy() for table in tables])
    for there, cpu in zip(*answers, strict=True):
        assert there == pytest.approx(cpu, abs=1e-3)


@on_cuda
def test_batches_are_pinned_and_copied_without_waiting(here: list[str], tmp_path: Path) -> None:
    cfg = compose("train", *here, "augment=light")
    data, pretrained = build.data(cfg), build.pretrained(cfg)
    build.module(cfg, data, pretrained)
    batch = next(iter(data.loader("train")))
    assert batch["inputs"].is_pinned()
    assert batch["inputs"].dtype == torch.uint8


@on_cuda
def test_features_of_the_gpu_and_of_the_cpu_are_kept_apart(here: list[str], tmp_path: Path) -> None:
    for accelerator, hits in (("gpu", 0), ("cpu", 0), ("gpu", 120), ("cpu", 120)):
        folder = tmp_path / f"{accelerator}{hits}"
        metrics = trained(folder, *here, "precision=32-true", f"trainer.accelerator={accelerator}")
        assert metrics["timing"]["cache"] == {"hits": hits, "computed": 120 - hits}


@on_cuda
def test_a_gpu_that_is_full_is_told_and_the_next_run_fits(here: list[str], images: Path, tmp_path: Path) -> None:
    large = ["model=resnet50", "model.weights=null", "finetune=full", "data.batch_size=64", "precision=32-true"]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2 * 2**30 / total)
    try:
        with pytest.raises(UserError, match=r"Out of memory.*lower data\.batch_size"):
            trained(tmp_path / "large", *here, *large)
        assert trained(tmp_path / "small", *here, "finetune=full")["test"]["n"] == 24
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@on_cuda
def test_a_feature_pass_that_does_not_fit_takes_smaller_batches(here: list[str], tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2**30 / total)
    try:
        metrics = trained(tmp_path / "run", *here, "model=resnet50", "model.weights=null", "precision=32-true")
        assert metrics["timing"]["cache"]["computed"] == 120
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_one_process_of_several_finds_what_one_alone_finds(here: list[str], tmp_path: Path) -> None:
    """By NCCL on a GPU, gloo on a CPU."""
    found = [
        trained(tmp_path / trainer, *here, *FIXED, "finetune=partial", "trainer.max_epochs=2", *strategy)
        for trainer, strategy in (("alone", []), ("ddp", ["trainer.strategy=ddp"]))
    ]
    assert found[0]["test"]["loss"] == pytest.approx(found[1]["test"]["loss"], abs=1e-5)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@on_cuda
def test_a_search_shares_one_gpu(here: list[str], tmp_path: Path) -> None:
    run = ft_lightning.run("tune", *here, "tune.trials=4", "trainer.max_epochs=2", run_dir=tmp_path / "study")
    assert len(read_table(run.path / "trials.csv")) == 4
