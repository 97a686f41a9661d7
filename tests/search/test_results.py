"""What a search found: who won, who ties, and what is written of it."""

from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState, create_trial

from ft_lightning.runs.run import Run
from ft_lightning.search.results import endings, ranked_trials, ties, winner, write_best
from ft_lightning.system.errors import UserError


def study(direction: str, *trials: tuple[float, float | None]) -> optuna.Study:
    """A study of complete trials, each a value and the loss beside it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(direction=direction)
    for value, loss in trials:
        made.add_trial(create_trial(value=value, user_attrs={} if loss is None else {"loss": loss}))
    return made


@pytest.mark.parametrize(
    ("direction", "trials", "order", "tied"),
    [
        ("maximize", [(0.5, 0.1), (0.9, 0.4), (0.9, 0.3)], [2, 1, 0], "2 of 3 share the best val/x"),
        ("maximize", [(0.5, 0.1), (0.9, 0.4), (0.8, 0.3)], [1, 2, 0], ""),
        ("minimize", [(0.5, 0.1), (0.9, 0.4), (0.9, 0.3)], [0, 2, 1], ""),
        ("minimize", [(0.5, None), (0.5, 0.4), (0.5, None)], [1, 0, 2], "3 of 3 share the best val/x"),
        ("maximize", [(0.5, 0.1)], [0], ""),
    ],
)
def test_equal_values_are_decided_by_the_loss_then_by_the_number(
    direction: str, trials: list[tuple[float, float | None]], order: list[int], tied: str
) -> None:
    made = study(direction, *trials)
    assert [trial.number for trial in ranked_trials(made.trials, made.direction.name)] == order
    assert winner(made).number == order[0]
    assert ties(made, "val/x") == (f"{tied}: val cannot tell them apart" if tied else "")


def test_where_no_trial_has_a_value_the_reason_is_said() -> None:
    made = study("maximize")
    made.add_trial(create_trial(state=TrialState.PRUNED))
    with pytest.raises(UserError, match=r"None of 1 trial has a value; all were pruned\."):
        winner(made)
    made.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "no room"}))
    with pytest.raises(UserError, match=r"None of 2 trials has a value; trial 1: no room"):
        winner(made)


@pytest.mark.parametrize("tied", ["", "2 of 3 share the best"])
def test_best_yaml_makes_the_same_config_and_says_of_whom_it_is(tied: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"test": {"accuracy": 0.75, "accuracy_ci95": [0.5, 1.0]}}')
    words = ["optimizer=sgd", "optimizer.lr=0.5", "experiment=debug", "~scheduler", "optimizer=adamw", "+a.b=[1,2]"]
    write_best(words, tmp_path, Run(tmp_path), tied)
    head = (tmp_path / "best.yaml").read_text().splitlines()
    assert head[0] == "# @package _global_"
    assert head[2] == "# Test accuracy 0.7500, 95 % interval 0.5000 to 1.0000."
    assert (f"# {tied}; of these it has the lowest loss on val." in head) == bool(tied)
    assert sum(line.startswith("# ") and "of these" in line for line in head) == bool(tied)
    assert "# Add to the command line: ~scheduler" in head
    assert OmegaConf.load(tmp_path / "best.yaml") == {
        "defaults": ["debug", {"override /optimizer": "adamw"}, "_self_"], "optimizer": {"lr": 0.5}, "a": {"b": [1, 2]},
    }  # fmt: skip


def test_a_column_is_headed_by_the_end_of_its_key_that_no_other_has() -> None:
    keys = ["optimizer.lr", "optimizer.weight_decay", "scheduler.lr", "head", "head.dropout", "a.head"]
    assert endings(keys) == ["optimizer.lr", "weight_decay", "scheduler.lr", "head", "dropout", "a.head"]
