"""The README is executable: its tree, its commands and each of its recipes."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, write_pictures
from ft_lightning.cli.compose import compose
from test_train import RUN_FILES

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = README.partition("## I want to ...")[2].partition("## Measured")[0]


def commands(text: str) -> list[list[str]]:
    return [
        shlex.split(line)
        for block in re.findall(r"```bash\n(.*?)```", text, re.S)
        for line in block.replace("torchrun --nproc-per-node 2 ", "python ").splitlines()
        if line.startswith("python -m ft_lightning.")
    ]


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not re.findall(r"RESULT_OF_MAKE_TRAIN|HEAD_RECIPE$|MEASURED|LBFGS_", README, re.M)


def test_the_tree_is_the_tree() -> None:
    tree = README.partition("## The tree")[2].split("```")[1]
    named: set[str] = set()
    folder = ""
    for line in tree.strip().splitlines():
        words = re.split(r"  +", line.strip())[0].split()
        if not line.startswith(" "):
            folder = words[0] if words[0].endswith("/") else ""
            words = [] if folder else words
        named |= {folder + word for word in words}
    for path in named:
        assert (ROOT / path).exists(), f"README names {path}"
    package = ROOT / "src/ft_lightning"
    rooms = {f"src/ft_lightning/{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {f"src/ft_lightning/{path.name}" for path in package.glob("*.py")} - {"src/ft_lightning/__init__.py"}
    assert rooms | modules <= named, "every module at the top and every room is named"
    assert {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")} <= named
    assert {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")} <= named
    groups = {f"conf/{path.name}/" for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert groups <= named, "every group is named"


def test_every_command_composes() -> None:
    seen = set()
    own = {"head=normed", "loss=focal", "augment=crops", "data=odd", "callback=[early_stopping,timer]", "my_project"}
    for _, _, module, *overrides in commands(README):
        verb = module.partition(".")[2]
        if not own & set(overrides):
            values = [override for override in overrides if override != "-m"]
            compose(verb, *[re.sub(r"=([^,\[]+),.*", r"=\1", value) for value in values])
        seen.add(verb)
    assert seen == {"train", "tune", "evaluate", "predict", "check", "report", "rename"}


def test_the_files_of_a_run_are_those_it_leaves() -> None:
    table = README.partition("### What a run leaves")[2].partition("Exit codes")[0]
    named = set(re.findall(r"`([\w.]+/?)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    left = {name.partition("/")[0] + "/" * ("/" in name) for name in RUN_FILES}
    assert named == left | {"problems.json"}, "the last where there are any"


def test_versions_it_names_are_those_of_the_constraints() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(re.findall(r"torch(?:vision)?==[\d.]*\d", README)) <= set(pins)


def apply(block: str, clone: Path) -> None:
    """Do with a code block what its first line says."""
    first, _, body = block.partition("\n")
    if match := re.fullmatch(r"# append to (\S+)", first):
        path = clone / match[1]
        path.write_text(path.read_text() + "\n\n" + body)
    elif match := re.fullmatch(r'# insert into (\S+) after (".*"):', first):
        path = clone / match[1]
        lines = path.read_text().splitlines(keepends=True)
        (position,) = [i for i, line in enumerate(lines) if line.lstrip().startswith(match[2])]
        path.write_text("".join([*lines[: position + 1], body, *lines[position + 1 :]]))
    elif match := re.fullmatch(r"# (conf/\S+)", first):
        (clone / match[1]).write_text(body)
    else:
        raise AssertionError(f"what to do with {first}?")


RUN_ALL = """
import json, sys
from pathlib import Path
from ft_lightning.cli.compose import compose
from ft_lightning.train import train
for number, overrides in enumerate(json.loads(sys.argv[1])):
    folder = Path(sys.argv[2]) / str(number)
    folder.mkdir(parents=True)
    metrics = train(compose("train", *overrides), folder)
    print("RESULT", json.dumps([overrides, metrics["test"], metrics["data"]]))
"""


def test_every_recipe_works_as_it_stands(tmp_path: Path) -> None:
    import json

    clone = tmp_path / "clone"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, clone / name)
    for block in re.findall(r"```(?:python|yaml)\n(.*?)```", RECIPES, re.S):
        apply(block, clone)
    pictures = write_pictures(tmp_path / "pictures", {"ant": 6, "bee": 6})
    small = ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", "data.limit=4"]
    runs = []
    for _, _, module, *overrides in commands(RECIPES):
        if module == "ft_lightning.train":
            net = [] if "model=timm" in overrides else ["model=timm", "model.name=test_resnet"]
            data = [] if "data=odd" in overrides else [f"data.root={pictures}"]
            runs.append([*overrides, *net, "model.weights=null", *data, *small])
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(runs), str(tmp_path / "runs")],
        env={"PYTHONPATH": str(clone / "src"), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [
        json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if line.startswith("RESULT ")
    ]
    assert len(results) == len(runs) == 7
    assert all("cohen_kappa" in test for _, test, _ in results), "the metric is in metrics.json"
    (odd,) = [data for overrides, _, data in results if "data=odd" in overrides]
    assert odd["classes"] == 5
    card = json.loads((tmp_path / "runs/1/model/model.json").read_text())
    assert card["head"] == {"name": "normed", "dropout": 0.1}


def test_one_command_makes_the_clone_one_s_own(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("not a git checkout")
    for name in filter(lambda name: (ROOT / name).is_file(), tracked):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=clone, check=True, capture_output=True, text=True
        ).stdout

    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "theirs"]):
        git(*arguments)
    command = [sys.executable, "-m", "ft_lightning.rename", "my_project"]
    environment = {"PYTHONPATH": "src", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (clone / "src/ft_lightning").exists()
    git("add", "-A")
    assert (
        subprocess.run(
            ["git", "grep", "--cached", "-l", "ft_lightning"], cwd=clone, capture_output=True, check=False
        ).stdout
        == b""
    )
    command = [sys.executable, "-m", "my_project.train", "--cfg", "job"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert "_target_: my_project.backbones.load_backbone" in done.stdout, done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "my_project.rename", "2nd"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "no free package name" in again.stderr
