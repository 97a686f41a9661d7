"""What loggers hold of a run beside its epochs."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import write_pictures
from ft_lightning.cli.compose import compose
from ft_lightning.loggers import TensorBoard
from ft_lightning.train import train

TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true", "trainer.max_epochs=2"]


def trained(tmp_path: Path, *overrides: str) -> tuple[Path, dict[str, float]]:
    """The directory of a run, and the numbers of its metrics.json as test/accuracy."""
    root = write_pictures(tmp_path / "pictures", {"ant": 12, "bee": 12})
    run = tmp_path / "run"
    run.mkdir()
    words = [f"data.root={root}", f"cache.dir={tmp_path / 'cache'}", "trainer.enable_progress_bar=false", *TINY]
    train(compose("train", *words, "optimizer.lr=0.0123", *overrides), run)
    metrics = json.loads((run / "metrics.json").read_text())
    return run, {
        f"{split}/{name}": value
        for split in ("val", "test")
        for name, value in metrics[split].items()
        if isinstance(value, int | float)
    }


def test_tensorboard_has_the_config_the_result_and_the_figures_in_one_file(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    run, numbers = trained(tmp_path, "logger=tensorboard")
    (events,) = (run / "tensorboard").glob("events*")
    found = EventAccumulator(str(events))
    found.Reload()
    for name, value in numbers.items():
        assert found.Scalars(name)[-1].value == pytest.approx(value), name
    assert [event.step for event in found.Scalars("train/loss")] == [0, 1]
    assert {"Confusion", "Training"} <= set(found.Tags()["images"])

    def content(tag: str) -> Any:
        metadata = found.SummaryMetadata(f"_hparams_/{tag}")
        return plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)

    hparams = content("session_start_info").session_start_info.hparams
    assert hparams["optimizer.lr"].number_value == 0.0123
    assert hparams["model.name"].string_value == "test_resnet"
    assert hparams["data.val_fraction"].number_value == 0.2
    shown = {info.name.tag for info in content("experiment").experiment.metric_infos}
    assert shown == numbers.keys()
    assert "optimizer.lr: 0.0123" in (run / "tensorboard/hparams.yaml").read_text()


@pytest.mark.filterwarnings("ignore")  # its own
def test_wandb_has_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    run, numbers = trained(tmp_path, "logger=wandb", "logger.wandb.offline=true")
    import wandb

    assert wandb.run
    summary, config = dict(wandb.run.summary), dict(wandb.run.config)
    wandb.finish()
    assert {name: summary[name] for name in numbers} == pytest.approx(numbers)
    assert config["optimizer.lr"] == 0.0123
    assert {path.name.split("_")[0] for path in (run / "wandb").rglob("*.png")} >= {"Confusion", "Training"}


@pytest.mark.filterwarnings("ignore")  # its own
def test_mlflow_has_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run, numbers = trained(tmp_path, "logger=mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{run}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("ft_lightning").experiment_id])
    assert {name: found.data.metrics[name] for name in numbers} == pytest.approx(numbers)
    assert found.data.params["optimizer.lr"] == "0.0123"
    assert {artifact.path for artifact in client.list_artifacts(found.info.run_id)} >= {"Confusion.png", "Training.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "run", "cache"}


def test_tensorboard_writes_no_file_for_a_run_that_has_logged_nothing(tmp_path: Path) -> None:
    logger = TensorBoard(str(tmp_path), "", "tensorboard")
    logger.finalize("failed")
    assert not list(tmp_path.rglob("*"))
    logger.log_metrics({"x": 1.0}, 0)
    logger.finalize("success")
    assert {path.name.partition(".")[0] for path in (tmp_path / "tensorboard").iterdir()} == {"events", "hparams"}
