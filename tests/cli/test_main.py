"""`python -m ft_lightning` and the console script."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conftest import ROOT, files_below
from ft_lightning.__main__ import VERBS
from ft_lightning.runs.run import Run


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """What pip installs as `ft-lightning`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["ft-lightning"].partition(":")
    path = tmp_path / "ft-lightning"
    path.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return path


def test_commands_are_listed_without_heavy_imports_and_a_slip_is_answered(script: Path) -> None:
    def said(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, listed, _ = said("-m", "ft_lightning")
    assert code == 0
    assert [line.split()[2].partition(".")[2] for line in listed.splitlines()] == list(VERBS)
    assert all(len(line.split()) > 5 for line in listed.splitlines()), "each says what it does"
    assert said(str(script), "--help") == (0, listed, "")
    assert said("-m", "ft_lightning", "trian") == (2, "", "error: 'trian' is no command: did you mean train?\n")
    assert said(str(script), "xyz")[2].endswith(
        "use one of train, evaluate, predict, tune, check, report, export, rename.\n"
    )
    light = "import sys, ft_lightning.__main__; print({'torch', 'hydra', 'pandas'} & set(sys.modules))"
    assert said("-c", light) == (0, "set()\n", "")
    assert {path.stem for path in (ROOT / "src/ft_lightning").glob("*.py")} > set(VERBS)


def test_the_script_starts_the_processes_of_a_run_and_exits_with_its_code(
    script: Path, pictures: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    words = [
        "train", f"data.root={pictures}", "model=timm", "model.name=test_resnet", "model.weights=null",
        "trainer.max_epochs=1", "precision=32-true", "data.batch_size=4", "trainer=ddp_cpu", "trainer.devices=2",
    ]  # fmt: skip
    for more, code in (([], 0), (["monitor=val/acc"], 2)):
        done = subprocess.run(
            [sys.executable, str(script), *words, *more], cwd=home, capture_output=True, text=True, check=False,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: monitor=val/acc")
    (run,) = (home / "outputs/train").iterdir()  # the refused one left nothing
    assert Run(run).outcome["exit_code"] == 0
    assert "model/model.json" in files_below(run)
