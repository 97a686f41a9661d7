"""What a command imports, and what it says before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ft_lightning
from conftest import write_pictures
from ft_lightning.cli import job
from ft_lightning.cli.compose import compose
from ft_lightning.train import train

TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true", "trainer.max_epochs=1"]
# Runs a command, then says which of these modules it has imported.
SCRIPT = """
import importlib, sys
from ft_lightning.cli import command
verb, *sys.argv[1:] = sys.argv[1:]
try:
    command.run(importlib.import_module(f"ft_lightning.{verb}").VERB)
except SystemExit as error:
    assert not error.code, error.code
print("imported", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ and run/, trained on them."""
    folder = tmp_path_factory.mktemp("world")
    write_pictures(folder / "images", {"ant": 12, "bee": 12})
    (folder / "run").mkdir()
    words = [f"data.root={folder / 'images'}", f"cache.dir={folder / 'cache'}", "trainer.enable_progress_bar=false"]
    train(compose("train", *words, *TINY), folder / "run")
    return folder


def of_environment(**values: str) -> dict[str, str]:
    waiting = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    return {name: value for name, value in os.environ.items() if name not in waiting} | values


@pytest.mark.parametrize(
    ("verb", "words", "without"),
    [
        (
            "predict",
            ["model_dir={run}", "input={images}"],
            {"lightning", "torchmetrics", "sklearn", "matplotlib", "optuna"},
        ),
        (
            "evaluate",
            ["model_dir={run}", "data.root={images}", "cache.dir={cache}"],
            {"lightning", "sklearn", "optuna"},
        ),
        ("report", ["run={run}"], {"lightning", "torch", "torchvision", "timm", "sklearn", "optuna"}),
        ("report", ["runs={run}"], {"lightning", "torch", "torchvision", "timm", "sklearn", "optuna"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs_and_says_at_once_that_it_does(
    verb: str, words: list[str], without: set[str], world: Path, tmp_path: Path
) -> None:
    words = [word.format(run=world / "run", images=world / "images", cache=world / "cache") for word in words]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, verb, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("loading ...\n")
    assert done.stdout.count("loading") == 1
    imported = done.stdout.splitlines()[-1].split()
    assert imported[0] == "imported"
    assert without.isdisjoint(imported)


@pytest.mark.parametrize(
    ("verb", "words", "order"),
    [
        ("train", [], ["loaded", "checked"]),  # the check imports what the config names
        ("check", [], ["loaded", "checked"]),
        ("predict", ["model_dir=x", "input=y"], ["checked", "loaded"]),  # names nothing: refused before
        ("report", ["run=x"], ["checked", "loaded"]),
    ],
)
def test_that_it_loads_is_said_before_what_a_config_names_is_imported(
    verb: str, words: list[str], order: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(job, "load", lambda *_: done.append("loaded"))
    monkeypatch.setattr(job, "check_config", lambda *_: done.append("checked"))
    (tmp_path / "run").mkdir()
    job.carry_out(job.Verb(verb, lambda *_: {}), compose(verb, *words), tmp_path / "run", [])
    assert done[:2] == order


def test_a_network_of_torchvision_needs_no_timm() -> None:
    script = (
        "import sys; from ft_lightning.backbones.load import load_backbone\n"
        "load_backbone('torchvision', 'squeezenet1_1', None, {}); print('timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_nothing_is_said_where_everything_is_loaded(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib.figure  # noqa: F401 (report's own)

    monkeypatch.chdir(tmp_path)
    ft_lightning.run("report", f"run={world / 'run'}")
    assert "loading" not in capsys.readouterr().out


@pytest.mark.promise(38)
@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "0"}, None),
        ({"KMP_BLOCKTIME": "9"}, None),
    ],
)
def test_threads_wait_passively_unless_the_user_has_chosen(given: dict[str, str], policy: str | None) -> None:
    script = "import sys, os, ft_lightning; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    environment = of_environment(**given)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{policy} False\n"


@pytest.mark.promise(38)
@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP says what it does")
def test_the_policy_is_what_torch_s_threads_obey() -> None:
    assert torch.backends.openmp.is_available()
    environment = of_environment(OMP_DISPLAY_ENV="VERBOSE")
    script = "import ft_lightning.train; import torch; torch.zeros(9).sum()"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
