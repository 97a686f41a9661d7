"""The results of a search: on the terminal, and as trials.csv, best.yaml, history.png, importance.png."""

import functools
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from ft_lightning.cli.compose import is_group
from ft_lightning.runs.run import Run
from ft_lightning.search.study import Plan, has_outcome, is_of_defaults
from ft_lightning.system.console import console, interval, lines, number, pairs, short
from ft_lightning.system.errors import UserError, decimals, number_of
from ft_lightning.system.files import replacing
from ft_lightning.tasks.selection import rank, share_best

_SHOWN = 10  # trials


def before_search(study: optuna.Study, plan: Plan, folder: Path) -> None:
    """Print the space, the number of trials, those already done, and the study's folder."""
    done = sum(map(has_outcome, study.get_trials(deepcopy=False)))
    goes_on = f", {done} of them done" if done else ""
    pairs(
        search="\n".join(f"{key}: {_bounds(kind)}" for key, kind in plan.space.items()),
        trials=f"{plan.wanted} by {plan.sampler}{goes_on}",
        study=str(short(folder)),
    )


def trial_lines(trials: list[FrozenTrial], direction: str) -> tuple[dict[int, str], str]:
    """Return a line for each trial with an outcome, by number, and a phrase for the best one."""
    said = {}
    for trial in filter(has_outcome, trials):
        values = " ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
        values = f"defaults, {values}".rstrip(", ") if is_of_defaults(trial) else values
        said[trial.number] = f"trial {trial.number} {_outcome(trial)}  {values}"
    ranked = ranked_trials(trials, direction)
    return said, f"best {decimals(value_of(ranked[0]))} (trial {ranked[0].number})" if ranked else ""


def after_search(study: optuna.Study, best: FrozenTrial, run: Run, folder: Path, command_line: str, tied: str) -> None:
    """Print the best trials, the winner's score on test, and the command that trains it; `tied` is from `ties`."""
    trials = study.get_trials(deepcopy=False)
    ranked = ranked_trials(trials, study.direction.name)
    searched = _searched(ranked)
    of_backbone = any("samples_per_s" in trial.user_attrs.get("found", {}) for trial in ranked)
    extra_columns = ("parameters", "samples/s", "features s") if of_backbone else ()
    test, again = run.score("test"), run.score("val", run.monitored)
    rows = []
    for trial in ranked[:_SHOWN]:
        found = trial.user_attrs.get("found", {})
        row = [str(trial.number), decimals(value_of(trial))]
        row += [_short(trial.params[key]) if key in trial.params else "default" for key in searched]
        if extra_columns:
            features_s = f"{found['features_s']:.1f}" if found.get("computed") else "stored"
            row += [f"{found['parameters']:,}", f"{found.get('samples_per_s', 0):.0f}", features_s]
        rows.append([*row, interval(found.get(f"{test.metric}_ci95"))])
    lines(["trial", "value", *endings(searched), *extra_columns, f"95 % interval of {test.title}"], rows)
    counts, around = Counter(state_of(trial) for trial in trials), interval(test.ci95)
    pairs(
        trials=", ".join(f"{count} {state}" for state, count in counts.items()),
        **({"ties": tied} if tied else {}),
        best=f"trial {best.number}: {decimals(value_of(best))}; trained again, val {again.title} {number(again.value)}",
        test=f"{test.title} {number(test.value)}{f', 95 % {around}' if around else ''}; no trial saw it",
        study=f"{short(folder)}: trials.csv, best.yaml, history.png, trial_{best.number}/",
    )
    console.print(f"{command_line}\n", soft_wrap=True)


def winner(study: optuna.Study) -> FrozenTrial:
    """Return the best trial; raise UserError if none has a value."""
    trials = study.get_trials(deepcopy=False)
    if ranked := ranked_trials(trials, study.direction.name):
        return ranked[0]
    failed = [trial for trial in trials if "error" in trial.user_attrs]
    reason = f"trial {failed[0].number}: {failed[0].user_attrs['error']}" if failed else "all were pruned."
    raise UserError(f"None of {number_of(len(trials), 'trial')} has a value; {reason}")


def ties(study: optuna.Study, monitor: str) -> str:
    """Say how many trials share the best value; empty if the best one is alone with it."""
    ranked = ranked_trials(study.get_trials(deepcopy=False), study.direction.name)
    several = share_best([_rank(trial, study.direction.name) for trial in ranked])
    if several < 2:
        return ""
    return f"{several} of {len(ranked)} share the best {monitor}: val cannot tell them apart"


def ranked_trials(trials: list[FrozenTrial], direction: str) -> list[FrozenTrial]:
    """Return the trials with a value, best first."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (_rank(trial, direction), trial.number))


def _rank(trial: FrozenTrial, direction: str) -> tuple[float, float]:
    loss = trial.user_attrs.get("loss")  # unknown for trials of older versions
    return rank(value_of(trial), loss, "max" if direction.lower() == "maximize" else "min")


def _searched(trials: list[FrozenTrial]) -> list[str]:
    """Return the keys with several values; the trial of the defaults may lack some."""
    kinds = {key: kind for trial in trials for key, kind in trial.distributions.items()}
    return [key for key, kind in kinds.items() if not kind.single()]


def endings(keys: list[str]) -> list[str]:
    """Return of each key the last names that no other one ends with: `lr` of `optimizer.lr`."""
    found = []
    for key in keys:
        names = key.split(".")
        ends = [".".join(names[-count:]) for count in range(1, len(names) + 1)]
        found.append(next((end for end in ends if sum(f".{each}".endswith(f".{end}") for each in keys) == 1), key))
    return found


def value_of(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def write_trials(study: optuna.Study, metric: str, folder: Path) -> None:
    """Write trials.csv: one row a trial, including those of dead processes, with this metric's interval."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        found = dict(trial.user_attrs.get("found", {}))
        low, high = found.pop(f"{metric}_ci95", (None, None))
        last = trial.intermediate_values.get(max(trial.intermediate_values, default=-1))
        rows.append(
            {"number": trial.number, "state": state_of(trial), "value": trial.value, "last_value": last}
            | trial.params
            | found
            | {f"{metric}_low": low, f"{metric}_high": high}
            | {key: trial.user_attrs.get(key) for key in ("host", "pid", "started", "error")}
        )
    Run(folder).write("trials", pd.DataFrame(rows))


def state_of(trial: FrozenTrial) -> str:
    """Return complete, pruned, failed (by an error of its own) or lost (with its process)."""
    if trial.state == TrialState.FAIL:
        return "failed" if has_outcome(trial) else "lost"
    return trial.state.name.lower()


def _outcome(trial: FrozenTrial) -> str:
    if trial.state == TrialState.COMPLETE:
        return decimals(value_of(trial))
    return f"failed: {trial.user_attrs['error']}" if "error" in trial.user_attrs else "pruned"


def _bounds(kind: BaseDistribution) -> str:
    if isinstance(kind, CategoricalDistribution):
        return ", ".join(map(str, kind.choices))
    assert isinstance(kind, FloatDistribution | IntDistribution)
    return f"{_short(kind.low)} to {_short(kind.high)}" + (", log" if kind.log else "")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_best(words: list[str], folder: Path, run: Run, tied: str) -> None:
    """Write best.yaml, which in conf/experiment makes `experiment=best` equal to the overrides `words`.

    Args:
        tied: from `ties`.
    """
    experiments: list[Any] = []
    choices: dict[str, Any] = {}  # the last choice counts for a group given twice
    content = OmegaConf.create({})
    deletions = []
    for override in OverridesParser.create().parse_overrides(words):
        key, value = override.get_key_element().lstrip("+~"), override.value()
        if override.is_delete():
            deletions.append(override.input_line)
        elif key == "experiment":
            experiments = value if isinstance(value, list) else [value]
        elif is_group(key):
            choices[f"override /{key}"] = value
        else:
            OmegaConf.update(content, key, value, force_add=True)
    defaults = [*experiments, *({key: choice} for key, choice in choices.items()), "_self_"]
    test = run.score("test")
    written = [
        "# @package _global_",
        "# Put it into conf/experiment/ for experiment=best: the winner of a search.",
        f"# Test {test.title} {number(test.value)}, 95 % interval {interval(test.ci95)}.",
        *([f"# {tied}; of these it has the lowest loss on val."] if tied else []),
        *(f"# Add to the command line: {word}" for word in deletions),
        OmegaConf.to_yaml(OmegaConf.merge({"defaults": defaults}, content)),
    ]
    with replacing(Run(folder).best) as temporary:
        temporary.write_text("\n".join(written), encoding="utf-8")


def plot(study: optuna.Study, monitor: str, folder: Path) -> None:
    """Write history.png, the values trial by trial, and importance.png, how much each key matters."""
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as figures

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    plots: dict[str, Callable[..., Any]] = {"history.png": figures.plot_optimization_history}
    searched = _searched(complete)
    compared = [trial for trial in complete if trial.params.keys() >= set(searched)]
    if len({trial.value for trial in compared}) > 2 and len(searched) > 1:  # else there is nothing to compare
        plots["importance.png"] = functools.partial(figures.plot_param_importances, params=searched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna calls its figures experimental
        for name, draw in plots.items():
            axes = draw(study, target_name=monitor)
            axes.set_title("")
            figure = axes.figure
            figure.set_size_inches(8, 4.5)
            with replacing(folder / name) as temporary:
                figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
            plt.close(figure)
