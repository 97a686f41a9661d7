"""What loggers hold of a run beside its epochs: the config at its start, result and figures at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TensorBoard(TensorBoardLogger):
    """TensorBoard with one file of events: Lightning's logger begins another after each of fit, validate and test."""

    def __init__(self, save_dir: str, name: str, version: str) -> None:
        super().__init__(save_dir, name, version, default_hp_metric=False)  # the result is the metric

    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self.save()


def mlflow(save_dir: str, experiment_name: str, tracking_uri: str | None) -> MLFlowLogger:
    """Log to the server at `tracking_uri`; None: to mlflow.db in `save_dir`, with figures beside it."""
    if tracking_uri:
        return MLFlowLogger(experiment_name, tracking_uri=tracking_uri)
    folder = Path(save_dir).absolute()
    place = (folder / "mlflow").as_uri()
    return MLFlowLogger(experiment_name, tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=place)


def begin(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Log a run's config, by dotted key."""
    for logger in loggers:
        logger.log_hyperparams({key: _plain(value) for key, value in config.items()})


def conclude(loggers: Sequence[Logger], metrics: Mapping[str, Any], figures: "Mapping[str, Figure]", step: int) -> None:
    """Log a run's result, whose numbers are those of metrics.json as `test/loss`, and figures by title."""
    numbers = {
        f"{split}/{name}": float(value)
        for split in ("val", "test")
        for name, value in metrics[split].items()
        if isinstance(value, int | float)
    }
    for logger in loggers:
        if isinstance(logger, TensorBoard):  # its table of runs needs config and result together
            logger.log_hyperparams(dict(logger.hparams), numbers, step)
        else:
            logger.log_metrics(numbers, step)
        for title, figure in figures.items():
            _show(logger, title, figure, step)
        if isinstance(logger, TensorBoard):
            logger.experiment.close()


def _show(logger: Logger, title: str, figure: "Figure", step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(title, figure, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(title, [figure], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, figure, f"{title}.png")


def _plain(value: object) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
