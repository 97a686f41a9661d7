"""What the terminal shows."""

from ft_lightning.system.console import TrialBar


def test_a_search_counts_epochs_from_one_as_a_training_does() -> None:
    bar = TrialBar(4, shown=False)
    bar.report(3, 0, 0.5)
    assert bar._progress.tasks[0].fields["now"] == " · trial 3, epoch 1: 0.5000"
    bar.report(3, 9, 0.5)
    assert "epoch 10:" in bar._progress.tasks[0].fields["now"]
