"""What a stranger installs: a wheel with its configs, and a Makefile that says what is wrong."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from conftest import ROOT, files_below


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, as pip would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_module_and_every_config(installed: Path) -> None:
    modules = {name for name in files_below(ROOT / "src/ft_lightning") if name.endswith((".py", ".jinja"))}
    configs = {f"conf/{name}" for name in files_below(ROOT / "conf")}
    assert modules | configs == files_below(installed / "ft_lightning")


def test_an_installed_wheel_finds_its_configs_and_those_of_the_working_directory(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/flowers.yaml").write_text("defaults: [image_folder]\nroot: /my/flowers\n")
    done = subprocess.run(
        [sys.executable, "-m", "ft_lightning.train", "data=flowers", "model=resnet50", "--cfg", "job"],
        cwd=tmp_path, env={"PYTHONPATH": str(installed), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "root: /my/flowers" in done.stdout
    assert "name: resnet50" in done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")
def test_a_wrong_python_is_said_at_once(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    for python in (str(old), ""):
        command = ["make", "train", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "needs Python 3.11, 3.12 or 3.13, found Python 3." in done.stdout
    assert not (tmp_path / "venv").exists()


@pytest.mark.promise(22)
def test_what_is_installed_passes_the_floors_that_have_a_reason() -> None:
    reasons = {"lightning": ">=2.6.6,!=2.6.2,!=2.6.3", "hydra-core": ">=1.3.8", "pillow": ">=13"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    for package, floor in reasons.items():
        installed = version(package)
        assert SpecifierSet(floor).contains(installed), f"{package} {installed}"
        for below in ("2.6.2", "2.6.3", "2.6.5", "1.3.7", "12.9"):
            assert SpecifierSet(floor).contains(below) or not declared[package].contains(below), package
    for package, specifier in declared.items():
        assert specifier.contains(version(package), prereleases=True), package
