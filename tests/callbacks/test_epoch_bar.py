"""The bar of the epochs: one line of 80 columns, counted from one."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ft_lightning.callbacks import epoch_bar
from ft_lightning.callbacks.epoch_bar import EpochBar


def drawn(width: int, epoch: int, max_epochs: int, steps: int, metrics: dict[str, Any]) -> list[str]:
    """The rows of a finished epoch's bar."""
    bar = EpochBar()
    trainer: Any = SimpleNamespace(
        max_epochs=max_epochs, current_epoch=epoch, state=SimpleNamespace(fn="fit"), sanity_checking=False,
        training=False, progress_bar_callback=bar,
    )  # fmt: skip
    bar._trainer = trainer
    bar._init_progress(trainer)
    assert bar.progress
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    bar.train_progress_bar_id = bar._add_task(steps, bar._get_train_description(epoch))
    bar.progress.update(bar.train_progress_bar_id, completed=steps)
    assert bar._metric_component
    bar._metric_component.update(metrics)
    bar._metric_component._current_task_id = bar.train_progress_bar_id
    console.print(bar.progress.get_renderable())
    bar.progress.stop()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip().splitlines()


@pytest.mark.parametrize(
    ("epoch", "max_epochs", "said"),
    [(9, 10, "Epoch 10/10"), (0, 1, "Epoch 1/1 "), (0, -1, "Epoch 1 "), (99, 100, "Epoch 100/100")],
)
@pytest.mark.parametrize("steps", [1, 34, 1234])
def test_an_epoch_is_one_line_in_80_columns_and_the_first_is_1(
    epoch: int, max_epochs: int, said: str, steps: int
) -> None:
    metrics = {"val/accuracy": "0.956", "train/loss": "1.323"}
    for width in (80, 120, 200):
        (line,) = drawn(width, epoch, max_epochs, steps, metrics)
        assert line.startswith(said)
        assert len(line) <= width
        assert f"{steps}/{steps}" in line
        assert "━" in line
        assert line.endswith("0:00:00 val/accuracy: 0.956 train/loss: 1.323")


def test_it_is_drawn_ten_times_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    count, now = 0, 0.0

    def refresh(self: object, hard: bool = False) -> None:
        nonlocal count
        count += 1

    monkeypatch.setattr(epoch_bar.RichProgressBar, "refresh", refresh)
    monkeypatch.setattr(epoch_bar.time, "monotonic", lambda: now)
    bar = EpochBar()
    bar.refresh()
    for _ in range(100):
        now += 0.01
        bar.refresh()
    assert 8 <= count <= 11
    bar.refresh(hard=True)
    assert 9 <= count <= 12
