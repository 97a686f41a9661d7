"""The one wrapper around `hydra.main`: run directories, errors -> exit codes, signals, multirun."""

import copy
import functools
import gc
import os
import signal
import sys
import traceback
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ft_lightning.cli import processes
from ft_lightning.cli.known_errors import config_error, known_error
from ft_lightning.runs import resume
from ft_lightning.runs.config import study_digest, write_config
from ft_lightning.runs.run import Run
from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import UserError, printable_lines
from ft_lightning.system.files import claimed

_PACKAGE = Path(__file__).parents[1]
# A wheel carries conf/ inside the package; in a clone it stands beside src/.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1] / "conf"

Job = Callable[[DictConfig, Path], dict[str, Any]]


@dataclass
class Outcome:
    """What became of one job of a command."""

    exit_code: int
    overrides: list[str]
    run_dir: Path
    sweep_dir: Path | None  # of a multirun
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def run(verb: str, job: Job, distributed: bool = False, shared: bool = False) -> None:
    """Compose conf/<verb>.yaml with the command line, run `job(cfg, run_dir)` once or for each job of a multirun, exit.

    A job that fails does not stop a multirun, which ends with a table and its worst job's code.

    Args:
        distributed: whether several processes, as torchrun or srun start them, can do the job together.
        shared: whether any number of processes may work in one run directory, now and later; the job sees to it.
    """
    outcomes: list[Outcome] = []
    OmegaConf.register_new_resolver("unique", _unique, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("study", lambda *, _root_: study_digest(_root_), replace=True)
    Plugins.instance().register(_WorkingDirectoryConf)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra re-raises, and the exit code is decided here
    signal.signal(signal.SIGTERM, _exit_on_sigterm)

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb)
    def main(cfg: DictConfig) -> None:
        if in_multirun() and not outcomes:
            _refuse_used_sweep(Path(HydraConfig.get().sweep.dir))
        outcomes.append(_attempt(verb, job, cfg, shared))
        gc.collect()  # the jobs of a multirun share a process: let go of the last one's model

    try:
        if is_main_process():
            resume.refuse_other_directory(sys.argv[1:])
        if old := resume.run_directory(sys.argv[1:]):
            sys.argv.append(f"hydra.run.dir={_quoted(old)}")
        _join_run(verb, distributed)
        main()
    except UserError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except (HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        _complain(config_error(error))
        sys.exit(UserError.exit_code)
    except KeyboardInterrupt:
        _complain("Interrupted.")
        sys.exit(128 + signal.SIGINT)
    if outcomes and outcomes[0].sweep_dir:
        from ft_lightning.cli.summary import after_multirun

        after_multirun(outcomes, outcomes[0].sweep_dir)
    sys.exit(max((outcome.exit_code for outcome in outcomes), default=0))


def compose(verb: str, *overrides: str) -> DictConfig:
    """The config a command would run with, for Python: `train(compose("train", "model=resnet50"), folder)`."""
    with _composing():
        return hydra.compose(verb, overrides=list(overrides))


def changed(cfg: DictConfig, verb: str, typed: list[str], more: list[str]) -> DictConfig:
    """What `compose(verb, *typed, *more)` gives, from `cfg`, which `compose(verb, *typed)` gave.

    Values alone are put in their places, which takes a hundredth of the time.
    """
    overrides = OverridesParser.create().parse_overrides(more)
    if any(is_group(override.key_or_group) or override.type is not OverrideType.CHANGE for override in overrides):
        return compose(verb, *typed, *more)
    cfg = copy.deepcopy(cfg)
    for override in overrides:
        OmegaConf.update(cfg, override.key_or_group, override.value())
    return cfg


@functools.cache
def is_group(key: str) -> bool:
    """Whether a key names a folder of choices, such as model."""
    with _composing():
        return bool(GlobalHydra.instance().config_loader().get_group_options(key.partition("@")[0]))


def _composing() -> AbstractContextManager:
    if GlobalHydra.instance().is_initialized():  # within a command
        return nullcontext()
    Plugins.instance().register(_WorkingDirectoryConf)
    return hydra.initialize_config_dir(str(CONF), version_base="1.3")


def typed_overrides() -> list[str]:
    """The overrides of this command; a reference to the environment stays one, in whatever file or table they go to."""
    typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return typed


def in_multirun() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _join_run(verb: str, distributed: bool) -> None:
    """Where torchrun or srun started several processes: leave the run directory to the main one.

    The others write nothing, and read checkpoints where the main one says. Lightning's own launcher names the
    directory on their command line.
    """
    if is_main_process() and os.environ.get("WORLD_SIZE", "1") == "1":
        return
    if not distributed:
        raise UserError(f"{verb} runs in one process: start it without torchrun, or as one task of srun.")
    if {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv[1:]):
        raise UserError("-m: several processes would each run the whole multirun: run the jobs one by one.")
    if not is_main_process() and not any(argument.startswith("hydra.run.dir=") for argument in sys.argv):
        sys.argv.append("hydra.run.dir=.")


def _attempt(verb: str, job: Job, cfg: DictConfig, shared: bool) -> Outcome:
    hydra_cfg = HydraConfig.get()
    run_dir = Path(hydra_cfg.runtime.output_dir)
    outcome = Outcome(0, typed_overrides(), run_dir, Path(hydra_cfg.sweep.dir) if in_multirun() else None)
    try:
        with claimed(outcome.run_dir) if is_main_process() and not shared else nullcontext():
            if OmegaConf.select(cfg, "resume") and not shared:
                cfg = resume.config_of(outcome.run_dir, cfg, outcome.overrides)
            _refuse_run_inside_dataset(outcome.run_dir, OmegaConf.select(cfg, "data.root"))
            _refuse_cache_inside_dataset(OmegaConf.select(cfg, "cache.dir"), OmegaConf.select(cfg, "data.root"))
            if is_main_process() and not shared and not OmegaConf.select(cfg, "resume"):
                _refuse_used_directory(outcome.run_dir)
                write_config(cfg, outcome.run_dir, ["python", "-m", f"{_PACKAGE.name}.{verb}", *outcome.overrides])
            outcome.result = job(cfg, outcome.run_dir)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning answers Ctrl-C with sys.exit(1)
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        known = known_error(error)
        elsewhere = None if known else processes.consequence(error)
        outcome.exit_code, outcome.error = elsewhere or (known.exit_code if known else 1, str(known or repr(error)))
        if known or elsewhere:
            _complain(outcome.error)
        else:
            traceback.print_exc()
    return outcome


def _complain(message: object) -> None:
    # Every process speaks up: a picture that only one of them reads would otherwise end the run without a word.
    who = "" if is_main_process() else "[another process] "
    print(f"{who}error: {printable_lines(str(message))}", file=sys.stderr)  # noqa: T201


def _refuse_used_directory(run_dir: Path) -> None:
    if others := Run(run_dir).traces():
        raise UserError(
            f"hydra.run.dir={run_dir} holds a run already, or something else ({others[0]}), which would be mixed with "
            "this one: name another."
        )


def _refuse_used_sweep(sweep_dir: Path) -> None:
    if Run(sweep_dir).table_path("multirun").exists():
        raise UserError(
            f"hydra.sweep.dir={sweep_dir} holds a multirun already, whose table would be lost: name another."
        )


def _refuse_cache_inside_dataset(cache_dir: Any, root: Any) -> None:
    if cache_dir is not None and _is_inside(Path(str(cache_dir)).expanduser(), root):
        raise UserError(
            f"cache.dir={cache_dir} lies inside the dataset data.root={root}, which is never written to: name another."
        )


def _is_inside(folder: Path, root: Any) -> bool:
    # str: Hydra makes a number of a folder called 2024
    return root is not None and folder.resolve().is_relative_to(Path(str(root)).expanduser().resolve())


def _refuse_run_inside_dataset(run_dir: Path, root: Any) -> None:
    if not _is_inside(run_dir, root):
        return
    root = str(root)
    for folder in (run_dir, *run_dir.parents):  # what Hydra has just made, and nothing that holds anything
        try:
            if folder.resolve() == Path(root).expanduser().resolve() or any(folder.iterdir()):
                break
            folder.rmdir()
        except FileNotFoundError:  # another process of this run was here
            continue
    raise UserError(
        f"hydra.run.dir={run_dir} lies inside the dataset data.root={root}, which is never written to: "
        "start from another directory, or set hydra.run.dir."
    )


def _quoted(path: Path) -> str:
    """As Hydra reads a value literally."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unique() -> str:
    # Hydra's time stamps have one-second resolution: two runs in one second would share a directory.
    return uuid.uuid4().hex[:6]


def _exit_on_sigterm(signum: int, frame: object) -> None:
    sys.exit(128 + signum)


class _WorkingDirectoryConf(SearchPathPlugin):
    """Looks for config files in ./conf first, so that an installed package finds the user's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = Path.cwd() / "conf"
        if own.is_dir() and own.resolve() != CONF.resolve():
            search_path.prepend("working directory", f"file://{own}")
