"""A clone that somebody has renamed and added to: what is checked there stays green, and its earlier runs go on."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, Commands, patience
from project.test_readme import RECIPES, apply
from test_old import STUDY

NAME = "zebra_project_with_a_long_name"  # sorts behind, and makes lines longer
# Tests that look at conf/, at the top folder or at the names of modules; all others are collected beside them.
LOOKING = ["test_conf.py", "test_keys.py", "test_main.py", "test_values.py", "test_heads.py", "test_zebras.py"]

OF_ONE_S_OWN = {
    "README.md": "# Zebras\n\nWe count zebras.\n",
    f"src/{NAME}/zebras.py": '"""What a zebra is."""\n\nSTRIPES = 42\n',
    f"src/{NAME}/stripes/__init__.py": "",
    f"src/{NAME}/stripes/count.py": f'"""Stripes."""\n\nfrom {NAME}.zebras import STRIPES\n\nCOUNT = 2 * STRIPES\n',
    "conf/model/mine.yaml": "defaults:\n  - timm\n\nname: test_resnet\n",
    "conf/optimizer/lion.yaml": "_target_: timm.optim.Lion\n_partial_: true\nlr: 1e-4\nweight_decay: 0.0\n",
    "conf/data/zebras.yaml": "defaults:\n  - mydata\n\nroot: /zebras\n",
    "conf/experiment/zebras.yaml": "# @package _global_\nseed: 7\n",
    "conf/savanna/dry.yaml": "rain: 0\n",
    "tests/test_zebras.py": f"from {NAME}.stripes.count import COUNT\n\n\n"
    "def test_stripes() -> None:\n    assert COUNT == 84\n",
    "notebooks/zebras.ipynb": json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)
    + "\n",
}
CHANGED = [  # values of conf/
    ("conf/train.yaml", "seed: 0 ", "seed: 7 "),
    ("conf/train.yaml", "model: efficientnet_lite0", "model: mine"),
    ("conf/train.yaml", "data: digits", "data: zebras"),
    ("conf/train.yaml", "optimizer: adam", "optimizer: lion"),
    ("conf/trainer/default.yaml", "max_epochs: 10 ", "max_epochs: 3 "),
    ("conf/data/image_folder.yaml", "batch_size: 32 ", "batch_size: 7 "),
]
DELETED = [
    "conf/data/digits.yaml",
    "conf/model/efficientnet_lite0.yaml",
    "conf/experiment/text.yaml",
]
TRAINING = ["train_a_batch", "processes", "logistic", "fits_trains", "before_time_is_spent"]  # whatever is beside them
Say = Callable[..., str]


def git(clone: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=clone, check=True, capture_output=True, text=True).stdout


def copied(clone: Path) -> Path:
    """What git tracks here, in another repository."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    for name in filter(lambda name: (ROOT / name).is_file(), tracked.splitlines()):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "theirs"]):
        git(clone, *arguments)
    return clone


def environment(clone: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PYTHONPATH": str(clone / "src"), "PATH": path, "OMP_WAIT_POLICY": "PASSIVE"}


def said(clone: Path, *command: str, code: int = 0) -> str:
    done = subprocess.run(
        command, cwd=clone, env=environment(clone), capture_output=True, text=True, check=False, timeout=patience(7200)
    )
    assert done.returncode == code, f"{command}: {done.stdout[-8000:]}{done.stderr[-8000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = copied(tmp_path_factory.mktemp("renamed") / "clone")
    told = said(clone, sys.executable, "-m", "ft_lightning.rename", NAME)
    assert f"ft_lightning is now {NAME}" in told
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "ours")
    return clone


@pytest.fixture(scope="module")
def grown(renamed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with every recipe of its README, with files and values of one's own."""
    clone = tmp_path_factory.mktemp("grown") / "clone"
    shutil.copytree(renamed, clone)
    readme = (clone / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```(?:python|yaml)\n(.*?)```", readme.partition("## I want to ...")[2], re.S):
        apply(block, clone)
    for name, text in OF_ONE_S_OWN.items():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(text, encoding="utf-8")
    for name, before, after in CHANGED:
        text = (clone / name).read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{name}: {before}"
        (clone / name).write_text(text.replace(before, after), encoding="utf-8")
    for name in DELETED:
        (clone / name).unlink()
    said(clone, sys.executable, "-m", "ruff", "format", "--quiet", ".")
    if (ROOT / ".mypy_cache").is_dir():  # so that mypy there does not read torch again
        shutil.copytree(ROOT / ".mypy_cache", clone / ".mypy_cache")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "more of ours")
    return clone


def test_the_old_name_is_left_where_it_has_to_be(renamed: Path) -> None:
    assert not (renamed / "src/ft_lightning").exists()
    left = git(renamed, "grep", "-lE", "ft[_-]lightning").splitlines()
    assert [name for name in left if not name.startswith("tests/old/")] == ["LICENSE", f"src/{NAME}/runs/names.py"]
    assert (renamed / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert f'{NAME.replace("_", "-")} = "{NAME}.__main__:main"' in (renamed / "pyproject.toml").read_text()


def test_a_section_that_one_has_added_to_the_readme_stays(tmp_path: Path) -> None:
    clone = copied(tmp_path / "clone")
    readme = clone / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "\n## Ours\n\nZebras.\n", encoding="utf-8")
    git(clone, "commit", "-qam", "ours")
    told = said(clone, sys.executable, "-m", "ft_lightning.rename", "my_project")
    assert "tests/project, about the template, is removed; docs/use.md says how to use it" in told
    text = readme.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.M) == ["Two commands", "The tree", "I want to ...", "Ours"]
    assert "project/ is about" not in text


def test_its_documents_are_one_s_own_to_fill(renamed: Path) -> None:
    readme = (renamed / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {NAME}\n")
    assert re.findall(r"^## (.*)$", readme, re.M) == ["Two commands", "The tree", "I want to ..."]
    assert "make it mine" not in readme
    assert "passed" not in readme, "how long this template's tests take"
    assert "$ make train" in readme
    assert readme.count("**... ") == RECIPES.count("**... ") - 1
    tree = readme.partition("## The tree")[2]
    assert f"src/{NAME}/  a file for each" in tree
    assert "docs/use.md               how to use it" in tree
    use = (renamed / "docs/use.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", use, re.M) == ["Use it", "Develop"]
    assert f"python -m {NAME}.train data.root=/my/images" in use
    # What comments and documents refer to is there, and refers to nothing that is gone.
    assert (renamed / "docs/measured.md").is_file()
    for line in (renamed / "tests/PROMISES.md").read_text(encoding="utf-8").splitlines()[4:]:
        tests = re.findall(r"`(tests/[^:`]+)::", line)
        assert tests, line
        assert [path for path in tests if not (renamed / path).is_file()] == []
    for document in [path for path in renamed.rglob("*.md") if ".git" not in path.parts]:
        assert "tests/project" not in document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s#]+)", document.read_text(encoding="utf-8")):
            assert re.match("https?:", target) or (document.parent / target).exists(), f"{document.name}: {target}"
    assert not (renamed / "tests/project").exists()
    assert len((renamed / "CHANGELOG.md").read_text().splitlines()) < 10


def test_it_runs_without_being_installed_again_and_goes_on_with_what_the_former_name_left(
    renamed: Path, commands: Commands, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(renamed / "tests/old", tmp_path / "old"))
    moved = [f"data.root={old / 'images'}", f"model.weights={old / 'weights.safetensors'}"]
    told = {}
    for verb, *words in (
        ["train", "--cfg", "job"],
        ["train", f"resume={old / 'lbfgs'}", *moved],
        ["tune", *STUDY, "tune.trials=3", f"hydra.run.dir={old / 'study'}"],
    ):
        where = {"PYTHONPATH": str(renamed / "src"), "PLACE": str(old)}
        command = commands.start(f"{NAME}.{verb}", *words, cwd=tmp_path, env=where)
        assert command.wait() == 0, command.stderr
        told[words[0]] = command.stdout
    assert f"_target_: {NAME}.backbones.load_backbone" in told["--cfg"]
    assert len((old / "lbfgs/metrics.csv").read_text().splitlines()) == 4
    assert "2 of them done" in told[STUDY[0]]


def test_editors_complete_it_under_its_name_and_with_files_of_one_s_own(
    renamed: Path, grown: Path, tmp_path: Path
) -> None:
    said(renamed, sys.executable, ".vscode/schemas.py")
    assert git(renamed, "status", "--porcelain") == "", "the schemas are those of the renamed conf/"
    assert f'"module": "{NAME}.train"' in (renamed / ".vscode/launch.json").read_text()
    clone = tmp_path / "clone"
    shutil.copytree(grown, clone)
    said(clone, sys.executable, ".vscode/schemas.py")
    choices = json.loads((clone / ".vscode/schemas/defaults.json").read_text())["definitions"]
    for name in OF_ONE_S_OWN:
        if name.startswith("conf/"):
            assert Path(name).stem in choices[Path(name).parts[1]]["anyOf"][0]["enum"]
    assert "conf/savanna/*.yaml" in (clone / ".vscode/settings.json").read_text()


def test_it_can_be_renamed_again_and_what_is_one_s_own_stays(renamed: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(renamed, clone)
    own = {
        "README.md": f"# {NAME}\n\nOurs.\n## Two commands\n## The tree\n## I want to ...\ntests/project\n".encode(),
        "CHANGELOG.md": f"# Changelog\n\n- {NAME} counts zebras.\n".encode(),
        "docs/zebras.md": b"The tests/project of ours.\r\n",
        "ma\u00f1ana.txt": f"{NAME} \u00f1".encode("latin-1"),
        f"src/{NAME}/old.py": f"# -*- coding: latin-1 -*-\n# {NAME} \u00f1\n".encode("latin-1"),
        f"src/{NAME}/{NAME}_more.py": f"from {NAME} import zebras\n\nzebras.{NAME}_more = 1\n".encode(),
    }
    for name, content in own.items():
        (clone / name).write_bytes(content)
    (clone / "start.py").symlink_to(f"src/{NAME}/train.py")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "own")
    said(clone, sys.executable, "-m", f"{NAME}.rename", "okapi")
    for name, content in own.items():
        changed = content.replace(NAME.encode(), b"okapi").replace(b"okapi_more", f"{NAME}_more".encode())
        assert (clone / name.replace(f"src/{NAME}", "src/okapi")).read_bytes() == changed, name
    assert (clone / "start.py").read_text() == (clone / "src/okapi/train.py").read_text(), "a link leads there"
    assert f'FORMER: tuple[str, ...] = ("ft_lightning", "{NAME}")\n' in (clone / "src/okapi/runs/names.py").read_text()
    said(clone, "ruff", "check", "--exclude", "old.py", ".")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("2nd", "no package name"), ("match", "no word of Python"), ("json", "is taken"), ("train", "is taken"),
        ("main", "is taken"), ("outputs", "would be ignored by git"), ("build_", "would be ignored by git"),
        ("", "no package name"),
    ],
)  # fmt: skip
def test_a_name_that_would_not_do_is_refused(name: str, reason: str, renamed: Path, tmp_path: Path) -> None:
    clone = Path(shutil.copytree(renamed, tmp_path / "clone"))
    with (clone / ".gitignore").open("a") as file:
        file.write("build_/\n")
    git(clone, "commit", "-qam", "ignored")
    assert reason in said(clone, sys.executable, "-m", f"{NAME}.rename", name, code=1)
    assert not git(clone, "status", "--porcelain")


def test_the_renaming_is_refused_where_it_could_not_be_undone(renamed: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(renamed, clone)
    (clone / "new.txt").write_text("not committed")
    assert "uncommitted changes" in said(clone, sys.executable, "-m", f"{NAME}.rename", "other", code=1)
    assert "not the top folder" in said(clone / "src", sys.executable, "-m", f"{NAME}.rename", "other", code=1)


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        ["lint-imports"],
        ["pytest", "-q", "-k", f"({' or '.join(LOOKING)}) and not ({' or '.join(TRAINING)})"],
    ],
    ids=" ".join,
)
def test_what_one_adds_to_it_leaves_it_green(command: list[str], grown: Path) -> None:
    said(grown, *command)


@pytest.mark.slow
def test_everything_passes_in_a_clone_that_was_added_to(grown: Path) -> None:
    here = Path(sys.executable).parents[1]
    said(grown, "make", f"VENV={here}", "-o", f"{here}/.ready", "check", "test")  # in this environment, as it is
