"""`python -m ft_lightning.tune`: search over any keys of train, then train and test the winner.

python -m ft_lightning.tune data.root=/my/images
python -m ft_lightning.tune tune=finetune tune.trials=40 tune.space.optimizer.lr.high=3e-2
python -m ft_lightning.tune tune=backbone 'tune.space.model.choices=[resnet18,"timm model.name=convnext_atto"]'
"""

import functools
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli import command
from ft_lightning.cli.compose import compose, is_group, recompose
from ft_lightning.cli.job import Verb, in_multirun, typed_overrides
from ft_lightning.cli.keys import keys_of, nearest
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.runs import config as run_config
from ft_lightning.runs.run import Run
from ft_lightning.system.commands import shell_line
from ft_lightning.system.errors import UserError, name_few
from ft_lightning.tasks.registry import DEFAULT, task_class

if TYPE_CHECKING:
    import optuna

    from ft_lightning.data.protocol import Data
    from ft_lightning.search.bugs import Bugs
    from ft_lightning.search.study import Plan
    from ft_lightning.search.workbench import Workbench
    from ft_lightning.system.console import TrialBar

log = logging.getLogger(__name__)


def tune(cfg: DictConfig, study_dir: Path, typed: list[str] | None = None) -> dict[str, Any]:
    """Run a search with a config of conf/tune.yaml; return metrics.json of its winner.

    Args:
        typed: the overrides that made `cfg`; None on the command line, where they are known.
    """
    from ft_lightning.search import results as search_results
    from ft_lightning.search.bugs import Bugs
    from ft_lightning.search.study import open_study, work
    from ft_lightning.search.workbench import Workbench
    from ft_lightning.system.console import TrialBar, short

    if in_multirun():
        raise UserError("-m: a search continues in its own directory, a multirun makes new ones: start one by one.")
    plan = plan_of(cfg)
    typed = typed_overrides() if typed is None else typed
    assert typed is not None, "tune(cfg, folder, overrides): in Python, pass the overrides that made cfg"
    base = overrides_of_train(typed)
    run_config.refuse_other_study(cfg, study_dir)
    configured = functools.partial(recompose, compose("train", *base), "train", base)
    bench = Workbench(["train", "val"])
    refuse_unknown_keys(cfg, plan)
    prepare(cfg, plan, bench)
    study = open_study(study_dir, cfg.tune.storage, run_config.study_name(cfg), plan)
    run_config.join_study(cfg, study_dir)
    if not plan.searches("data"):
        write_split(bench.data(cfg), study, study_dir)
    search_results.before_search(study, plan, study_dir)
    bugs = Bugs()
    try:
        with TrialBar(plan.wanted, cfg.trainer.enable_progress_bar) as bar:
            work(
                study,
                plan,
                lambda trial: run_trial(trial, plan, configured, bench, bar, bugs),
                study_dir,
                watch=lambda trials: bar.watch(*search_results.trial_lines(trials, plan.direction)),
            )
    except BaseException as error:
        with suppress(Exception):  # report the first error, not one that follows from it
            search_results.write_trials(study, task_class(cfg.task.name).monitor, study_dir)
        if isinstance(error, Exception):  # after a signal the command says it
            log.warning("The trials so far are kept in %s: the same command continues from there.", short(study_dir))
        raise
    return conclude(study, cfg, base, study_dir)


def plan_of(cfg: DictConfig) -> "Plan":
    """Check the `tune` part of a config and return it as a plan."""
    from ft_lightning import build
    from ft_lightning.search.space import held, read_space
    from ft_lightning.search.study import Plan

    build.check(cfg)
    keys: Any = OmegaConf.to_container(cfg.tune, resolve=True)
    if missing := {"name", "space", "trials", "sampler", "prune_after", "storage"} - keys.keys():
        raise UserError(f"tune.{min(missing)} is missing: conf/tune/head.yaml has all that a space needs.")
    space = read_space(keys["space"] or {})
    others = [key for key in space if key.startswith("loss.") and key.removeprefix("loss.") not in cfg.loss]
    if others and cfg.task.name != DEFAULT.name:  # the spaces of conf/tune search the loss of the default task
        log.warning("tune.space: not searched, as the loss of task=%s lacks it: %s.", cfg.task.name, name_few(others))
        space = {key: kind for key, kind in space.items() if key not in others}
    return Plan(
        space=space,
        **{name: keys[name] for name in ("trials", "sampler", "prune_after")},
        direction="maximize" if cfg.monitor_mode == "max" else "minimize",
        seed=cfg.seed,
        defaults=held(space, {key: OmegaConf.select(cfg, key, default=Ellipsis) for key in space}),
    )


def overrides_of_train(typed: list[str]) -> list[str]:
    """Return the overrides of a command line that train takes too."""
    if any(word.lstrip("+").startswith("resume=") for word in typed):
        raise UserError("resume: the same tune command goes on by itself; leave it out.")
    return [word for word in typed if not word.lstrip("+~").startswith(("tune=", "tune.", "hydra."))]


def refuse_unknown_keys(cfg: DictConfig, plan: "Plan") -> None:
    """Raise UserError for a key of the space that train does not have."""
    for key in plan.space:
        above, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, above) if above else cfg
        there = isinstance(node, DictConfig) and (name in node or OmegaConf.is_missing(node, name))
        comes_with_another = any(key.startswith(f"{other}.") for other in plan.space)
        if not there and not comes_with_another and not is_group(key):
            meant = nearest(key, (name for name in keys_of(cfg) if not name.startswith("tune.")))
            fix = f"did you mean tune.space.{meant}?" if meant else "--cfg job shows those it has."
            raise UserError(f"tune.space.{key}: train has no key {key}: {fix}")


def prepare(cfg: DictConfig, plan: "Plan", bench: "Workbench") -> None:
    """Load what all trials share, so that an error in it ends the command instead of failing every trial."""
    from ft_lightning import build
    from ft_lightning.cli.known_errors import known_error
    from ft_lightning.cli.processes import refuse_processes

    refuse_processes(build.trainer(cfg, [], run_dir=None), "a search")
    if not plan.searches("data"):
        bench.data(cfg)
    if not plan.searches("model", "init_from"):
        bench.pretrained(cfg)
    if not plan.searches("data", "model", "init_from", "module"):
        try:
            build.module(cfg, bench.data(cfg), bench.pretrained(cfg))
        except Exception as error:
            if not known_error(error):  # a value that does not fit is not that of every trial; a bug is
                raise


def write_split(data: "Data", study: "optuna.Study", study_dir: Path) -> None:
    """Write split.csv, which all trials share."""
    from ft_lightning.runs import resume
    from ft_lightning.search.study import has_outcome

    table = data.split_table()
    if any(map(has_outcome, study.get_trials(deepcopy=False))):
        resume.refuse_other_data(table, Run(study_dir))
    Run(study_dir).write("split", table)


def run_trial(
    trial: "optuna.Trial",
    plan: "Plan",
    configured: Callable[[list[str]], DictConfig],
    bench: "Workbench",
    bar: "TrialBar",
    bugs: "Bugs",
) -> float:
    """Train with the trial's suggestions and return the best value; `configured` makes a config from overrides."""
    import optuna

    from ft_lightning.cli.auto_head import is_auto
    from ft_lightning.cli.known_errors import known_error
    from ft_lightning.search.space import overrides, suggest
    from ft_lightning.search.study import TrialFailed, is_of_defaults
    from ft_lightning.search.workbench import found_by
    from ft_lightning.system.signals import signal_behind

    def report(epoch: int, value: float) -> None:
        bar.report(trial.number, epoch, value)
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        plain = is_of_defaults(trial)  # whose values the sampler only learns
        found = suggest(trial, {key: plan.space[key] for key in plan.defaults or {}} if plain else plan.space)
        cfg = configured([] if plain else overrides(found))
        training = bench.train(cfg, report, weights=False)
        trial.set_user_attr("loss", training.best.metrics.get("val/loss"))  # decides between equal values
        taken = {"head_taken": training.cfg.head.name} if is_auto(cfg) else {}
        trial.set_user_attr("found", found_by(training, plan.searches("model", "init_from")) | taken)
    except (optuna.TrialPruned, optuna.exceptions.UpdateFinishedTrialError, DataProblemsError):
        raise
    except Exception as error:
        if ended := signal_behind(error):
            raise ended from error
        known = known_error(error)
        if not known:
            if bugs.again(trial, error):
                log.warning("Trial %d failed by the same bug as the defaults: so would the others.", trial.number)
                raise
            log.exception("Trial %d has failed.", trial.number)
        raise TrialFailed(str(known) if known else repr(error)) from error
    bugs.none()
    return training.best.value


def conclude(study: "optuna.Study", cfg: DictConfig, base: list[str], study_dir: Path) -> dict[str, Any]:
    """Train the winner with the command that is printed at the end, test it, and write the search's results.

    The first process to get here trains it; the others wait for it.
    """
    from ft_lightning.search import results as search_results
    from ft_lightning.search.space import overrides
    from ft_lightning.system.files import claimed

    search_results.write_trials(study, task_class(cfg.task.name).monitor, study_dir)
    best = search_results.winner(study)
    words = [*base, *overrides(best.params)]
    own, run = compose("train", *words), Run(study_dir / f"trial_{best.number}")
    run.path.mkdir(exist_ok=True)
    with claimed(run.path, wait="Another process trains the winner: waiting for it."):
        run_config.refuse_other_run(own, run.path)
        typed = ["python", "-m", "ft_lightning.train", *words]
        if not (run.finished and run.model.is_dir()):
            train_winner(own, run.path, typed)
    tied = search_results.ties(study, cfg.monitor)
    search_results.write_best(words, study_dir, run, tied)
    search_results.plot(study, cfg.monitor, study_dir)
    search_results.after_search(study, best, run, study_dir, shell_line(typed), tied)
    return run.metrics


def train_winner(cfg: DictConfig, run_dir: Path, typed: list[str]) -> None:
    """Do a whole run of train, whose test split no trial has used; resume it if it was stopped."""
    from ft_lightning.train import train

    if Run(run_dir).checkpoints.is_dir():
        cfg = cfg.copy()
        cfg.resume = str(run_dir)
    else:
        run_config.write_config(cfg, run_dir, typed)
    train(cfg, run_dir)


VERB = Verb("tune", tune, shared=True, libraries=("lightning", "torchvision", "pandas", "optuna"))

if __name__ == "__main__":
    command.run(VERB)
