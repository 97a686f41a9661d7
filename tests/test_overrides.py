"""Any key of train with any value trains, or ends as a user's mistake (exit 2) or a numerical failure (exit 3)."""

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ft_lightning
from conftest import write_pictures
from ft_lightning.cli.compose import CONF, compose
from ft_lightning.cli.keys import keys_of
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import NumericalError, UserError

TINY = [
    "model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1", "precision=32-true",
    "data.batch_size=6", "trainer.enable_progress_bar=false", "cache.dir=store",
]  # fmt: skip
CHOICES = ["optimizer=sgd", "optimizer=lbfgs", "head=mlp", "augment=light", "mix=cutmix", "callback=ema"]
CHOICES += ["callback=early_stopping", "scheduler=plateau", "scheduler=onecycle", "finetune=partial"]
VALUES = [
    "null", "true", "false", "-1", "0", "1", "2", "3", "7", "0.5", "2.5", "-0.5", "1e30", "1e-30", "nan", "inf", "-inf",
    "abc", "auto", "none", "''", "' '", "[]", "[1]", "[2,1]", "[0.1,0.9]", "[a,b]", "[[1]]", "{}", "{a:1}",
    "/dev/null/x", "~", "..", "ümläut", "x" * 300, "99999999999999999999", "2024", "1e400", "${seed}", "${nope}",
    "${oc.env:NO_SUCH}",
    "1,2", "a b", "torch.nn.ReLU", "builtins.dict", "no.such.thing", "val/loss", "min", "max", "warn", "$", "%s",
]  # fmt: skip
# What would start other processes, wait for them or for a network, or take its time.
SLOW = {
    "trainer.devices": {"2", "3", "7", "2024", "99999999999999999999", "[1]", "[2,1]", "${seed}"},
    "trainer.num_nodes": {"2", "3", "7", "2024", "99999999999999999999"},
    "folds": {"7"},
    "repeats": {"2024", "99999999999999999999", "7"},
    "trainer.max_epochs": {"2024", "99999999999999999999", "-1", "null"},
    "data.num_workers": {"2024", "99999999999999999999", "7", "3"},
    "head.hidden": {"99999999999999999999"},
}


@functools.cache
def words_of(choice: str) -> list[str]:
    """Every key with this choice."""
    return sorted(set(keys_of(compose("train", *TINY, choice))) - {"hydra", "hydra.job", "hydra.job.name"})


MORE = ["overfit_batches", "val_check_interval", "max_steps", "min_epochs", "max_time", "precision", "callbacks"]
MORE += ["logger", "profiler", "detect_anomaly", "inference_mode", "gradient_clip_algorithm", "sync_batchnorm"]
MORE += ["benchmark", "limit_predict_batches", "reload_dataloaders_every_n_epochs", "fast_dev_run", "barebones"]
MORE += ["plugins"]


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """A choice, a key there is with it, and a value."""
    choice = draw(st.sampled_from(["seed=0", *CHOICES]))
    key = draw(st.sampled_from([*words_of(choice), *(f"+trainer.{name}" for name in MORE)]))
    value = draw(st.sampled_from([each for each in VALUES if each not in SLOW.get(key, ())]))
    return [choice, f"{key}={value}"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overrides")
    return write_pictures(folder / "pictures", {"ant": 6, "bee": 6})


def trains_or_says_why(typed: list[str], root: Path, folder: Path) -> str:
    """How it ended; any exception but those of the user and of numbers is a bug."""
    key = typed[-1].partition("=")[0]
    given = {key, "trainer.max_epochs"} if "optimizer=lbfgs" in typed else {key}
    usual = [word for word in [*TINY, f"data.root={root}"] if word.partition("=")[0] not in given]
    run = folder / f"run{len(list(folder.iterdir()))}"
    try:
        with (
            contextlib.chdir(folder),
            open(os.devnull, "w") as nowhere,  # noqa: PTH123
            contextlib.redirect_stdout(nowhere),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setenv("HOME", str(folder / "home"))  # cache.dir=~ is no place of the person who tests
            done = ft_lightning.run("train", *usual, *typed, run_dir=run)
    except (UserError, NumericalError) as error:
        return f"{error.exit_code}: {error}"
    assert Run(done).finished
    return "0"


def check(typed: list[str], root: Path) -> None:
    said = trains_or_says_why(typed, root, root.parent)
    assert said == "0" or (len(said) > 5 and len(said.splitlines()) <= 14)  # a line for each image, and two


# The same ones each time, so that a landing fails for what it changes; those below are others each time.
@pytest.mark.promise(41)
@pytest.mark.filterwarnings("ignore")  # of a library, about an odd value that it takes
@given(typed=overrides())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_key_with_any_value_trains_or_says_why_not(typed: list[str], root: Path) -> None:
    check(typed, root)


@pytest.mark.slow
@pytest.mark.promise(41)
@pytest.mark.filterwarnings("ignore")
@given(typed=overrides())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_key_with_any_value_many_times(typed: list[str], root: Path) -> None:
    check(typed, root)


@pytest.mark.promise(41)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("model._target_=builtins.dict", "model: builtins.dict makes a dict, which is no Backbone: it has no network"),
        ("data._target_=torch.nn.Identity", "data: torch.nn.Identity makes an Identity, which is no Data: it has no"),
        ("trainer._target_=builtins.dict", "trainer: builtins.dict makes a dict, which is no Trainer of lightning"),
        ("task._target_=builtins.dict", "task: builtins.dict makes a dict, which is no Task: it has no name, "),
        ("task._target_=types.SimpleNamespace", "task._target_=types.SimpleNamespace: types.SimpleNamespace refuses"),
        ("head._target_=builtins.dict", "head: builtins.dict makes a dict, which is no Module of torch."),
        ("+logger.x._target_=builtins.dict", "logger.x: builtins.dict makes a dict, which is no Logger of lightning"),
        ("+callback.x._target_=builtins.dict", "callback.x._target_: dict is no callback of Lightning"),
        ("scheduler._target_=torch.nn.Identity", "scheduler: torch.nn.Identity makes an Identity: make it a sched"),
        ("mix._target_=builtins.dict", "mix._target_=builtins.dict: builtins.dict refuses this: 'dict' object is not"),
        ("mix._target_=test_overrides.one_of_two", "mix: test_overrides.one_of_two makes a Tensor of shape (2, 3,"),
        ("module._target_=builtins.dict", "module._target_=builtins.dict: make it a subclass of ft_lightning"),
        ("loss._target_=builtins.dict", "loss: builtins.dict returned a dict: make it return a loss, a module."),
        (f"init_from={'x' * 300}", "[Errno 36] File name too long"),
        ("optimizer.weight_decay=99999999999999999999", "optimizer.weight_decay=99999999999999999999: too large"),
    ],
)
def test_what_makes_something_else_is_told_by_its_key(typed: str, said: str, root: Path) -> None:
    assert trains_or_says_why(["seed=0", typed], root, root.parent).startswith(f"2: {said}")


@pytest.mark.filterwarnings("ignore")
def test_a_mix_may_return_a_list(root: Path) -> None:
    typed = ["finetune=full", "mix._target_=test_overrides.both"]
    assert trains_or_says_why(typed, root, root.parent) == "0"


def both(num_classes: int) -> Any:
    """Return a mix that changes nothing."""
    return lambda inputs, targets: [inputs.float(), targets]


def one_of_two(num_classes: int) -> Any:
    """Return a mix that forgets the targets."""
    return lambda inputs, targets: inputs


def test_the_drawn_choices_are_in_conf() -> None:
    assert all((CONF / choice.replace("=", "/")).with_suffix(".yaml").is_file() for choice in CHOICES)
