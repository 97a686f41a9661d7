"""Any key of train with any value trains, or ends as a user's mistake (exit 2) or a numerical failure (exit 3)."""

import contextlib
import functools
import os
from pathlib import Path

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


MORE = [
    "overfit_batches",
    "val_check_interval",
    "max_steps",
    "min_epochs",
    "max_time",
    "precision",
    "callbacks",
    "logger",
]
MORE += [
    "logger",
    "profiler",
    "detect_anomaly",
    "inference_mode",
    "gradient_clip_algorithm",
    "sync_batchnorm",
    "benchmark",
]
MORE += ["limit_predict_batches", "reload_dataloaders_every_n_epochs", "fast_dev_run", "barebones", "plugins"]


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


@pytest.mark.promise(41)
@pytest.mark.filterwarnings("ignore")  # of a library, about an odd value that it takes
@given(typed=overrides())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=False)
def test_any_key_with_any_value_trains_or_says_why_not(typed: list[str], root: Path) -> None:
    said = trains_or_says_why(typed, root, root.parent)
    assert said == "0" or (len(said) > 5 and len(said.splitlines()) <= 12)


@pytest.mark.slow
@pytest.mark.promise(41)
@pytest.mark.filterwarnings("ignore")
@given(typed=overrides())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_key_with_any_value_many_times(typed: list[str], root: Path) -> None:
    said = trains_or_says_why(typed, root, root.parent)
    assert said == "0" or (len(said) > 5 and len(said.splitlines()) <= 12)


def test_the_drawn_choices_are_in_conf() -> None:
    assert all((CONF / choice.replace("=", "/")).with_suffix(".yaml").is_file() for choice in CHOICES)
