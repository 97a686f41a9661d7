"""The documents are executable: trees, links, commands, Python, and each of the recipes."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object

from conftest import ROOT, patience, write_pictures
from ft_lightning.cli.compose import compose, compose_with_hydra
from test_train import RUN_FILES

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tests").glob("*.md"), ROOT / "benchmarks/NOTES.md"]
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
INTERNALS = (ROOT / "docs/internals.md").read_text(encoding="utf-8")
RECIPES = README.partition("## I want to ...")[2].partition("## Measured")[0]


def commands(text: str) -> list[list[str]]:
    """Each command of ours in a block of shell or, between backticks, in a sentence, word by word."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines()]
    sentences = re.sub(r"```.*?```", "", text, flags=re.S)
    lines += [said for said in re.findall(r"`([^`\n]+)`", sentences) if "..." not in said and "<" not in said]
    lines = [line.replace("torchrun --nproc-per-node 2 ", "python ") for line in lines]
    return [shlex.split(line) for line in lines if line.startswith("python -m ft_lightning.")]


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """What a link to a heading ends with, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not re.findall(r"RESULT_OF_MAKE_TRAIN|HEAD_RECIPE$|MEASURED|LBFGS_", README, re.M)


def test_the_tree_is_the_tree() -> None:
    trees = README.partition("## The tree")[2].partition("\n## ")[0].split("```")[1::2]
    assert len(trees) == 2, "what is yours, and machinery"
    named: list[str] = []
    for tree in trees:
        folder = ""
        for line in tree.strip().splitlines():
            words = re.split(r"  +", line.strip())[0].split()
            if not line.startswith(" "):
                folder = words[0] if words[0].endswith("/") else ""
                words = [] if folder else words
            named += [folder + word for word in words]
    assert len(named) == len(set(named)), "nothing is named twice"
    for path in named:
        assert (ROOT / path).exists(), f"README names {path}"
    package = ROOT / "src/ft_lightning"
    rooms = {f"src/ft_lightning/{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {f"src/ft_lightning/{path.name}" for path in package.glob("*.py")} - {"src/ft_lightning/__init__.py"}
    assert {path for path in named if path.startswith("src/")} == rooms | modules, "the rooms and what is at the top"
    assert {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")} <= set(named)
    assert {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")} <= set(named)
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(named)
    groups = {f"conf/{path.name}/" for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert groups <= set(named), "every group is named"


def test_the_layers_are_those_of_the_linter() -> None:
    (shown,) = re.findall(r"```layers\n(.*?)```", INTERNALS, re.S)
    contracts = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert shown.splitlines() == layers


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text_of(document), flags=re.S)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        assert place.exists(), f"{target} is not there"
        assert place.is_relative_to(ROOT), f"{target} is outside"
        assert not anchor or anchor in anchors(text_of(place)), f"{target}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_composes(document: Path) -> None:
    own = {"head=normed", "loss=focal", "augment=crops", "data=odd", "callback=[early_stopping,timer]", "my_project"}
    own |= {"module=distill", "data=listed", "task=grades", "optimizer=lion"}
    for _, _, module, *overrides in commands(text_of(document)):
        if not own & set(overrides):
            values = [override for override in overrides if override != "-m"]
            firsts = [re.sub(r"=([^,\[]+),.*", r"=\1", value) for value in values]
            compose_with_hydra(module.partition(".")[2], firsts)


def test_every_verb_has_a_command_in_the_readme() -> None:
    seen = {module.partition(".")[2] for _, _, module, *_ in commands(README)}
    assert seen == {"train", "tune", "evaluate", "predict", "check", "report", "export", "rename"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_benchmark_is_there_and_has_its_options(document: Path) -> None:
    for name, said in re.findall(r"`python (benchmarks/\w+\.py)([^`]*)`", text_of(document)):
        source = text_of(ROOT / name)
        options = re.findall(r"--([\w-]+)", said)
        # --train, --val and --test are made of the names of the splits
        assert [option for option in options if f"--{option}" not in source and f'"{option}"' not in source] == []
        for override in (word for word in shlex.split(said) if "=" in word):
            compose("train", override)


def test_every_new_import_of_the_changelog_is_there() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| ?(.*) ?\|$", text_of(ROOT / "CHANGELOG.md"), re.M)
    before = [old for old, _, _ in rows]
    assert before == sorted(set(before))
    assert len(before) == 71, "and the package itself"
    for _, modules, names in rows:
        for module in re.findall(r"`([\w.]+)`", modules):
            importlib.import_module(f"ft_lightning.{module}")
        for place in re.findall(r"→ `([\w.]+)`", names):
            get_object(f"ft_lightning.{place}")


def test_the_documents_say_image() -> None:
    for document in DOCUMENTS:
        prose = re.sub(r"```.*?```|`[^`\n]+`", "", text_of(document), flags=re.S)
        assert re.findall(r"\b[Pp]ictures?\b", prose) == [], document.name


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = README.partition("**In Python**")[2].split("```")[1].removeprefix("python\n")
    pictures = write_pictures(tmp_path / "images", {"ant": 6, "bee": 6})
    tiny = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1"]
    given = [f"data.root={pictures}", f"cache.dir={tmp_path / 'cache'}", *tiny, "trainer.enable_progress_bar=false"]
    files = sorted(map(str, (pictures / "ant").iterdir()))[:2]
    for said, here in (
        ('"data.root=/my/images", "model=resnet50"', str(given)[1:-1]),
        ('"a.jpg", "b.jpg"', repr(files)[1:-1]),
    ):
        assert block.count(said) == 1
        block = block.replace(said, here)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block.replace("model.predict", "answers = model.predict"), names)
    assert 0 <= names["run"].metrics["test"]["accuracy"] <= 1
    assert list(names["answers"]["path"]) == files
    assert {"predicted", "probability", "error"} <= set(names["answers"].columns)


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
    elif match := re.fullmatch(r"# insert into (\S+) after: (.*)", first):
        path = clone / match[1]
        lines = path.read_text().splitlines(keepends=True)
        (position,) = [i for i, line in enumerate(lines) if line.lstrip().startswith(match[2])]
        path.write_text("".join([*lines[: position + 1], body, *lines[position + 1 :]]))
    elif match := re.fullmatch(r"# ((?:conf|src)/\S+)", first):
        (clone / match[1]).write_text(body)
    else:
        raise AssertionError(f"what to do with {first}?")


RUN_ALL = """
import json, sys
import ft_lightning
from composing import composed_once
with composed_once():
    for number, (verb, overrides) in enumerate(json.loads(sys.argv[1])):
        run = ft_lightning.run(verb, *overrides, run_dir=f"{sys.argv[2]}/{number}")
        print("RESULT", json.dumps([verb, overrides, run.metrics if verb in ("train", "evaluate") else {}]))
"""


def test_every_recipe_works_as_it_stands(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, clone / name)
    for block in re.findall(r"```(?:python|yaml)\n(.*?)```", RECIPES, re.S):
        apply(block, clone)
    pictures = write_pictures(tmp_path / "pictures", {"ant": 6, "bee": 6})
    rows = [{"file": f"{path.parent.name}/{path.name}", "label": path.parent.name} for path in pictures.rglob("*.png")]
    (pictures / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", "data.limit=4"]
    runs = []
    for _, _, module, *overrides in commands(RECIPES):
        verb = module.partition(".")[2]
        if verb == "rename":  # has tests of its own
            continue
        words = [word.replace("outputs/train/RUN", str(tmp_path / "runs/1")) for word in overrides]
        if verb != "report" and "data=odd" not in overrides:
            words += [f"data.root={pictures}"]  # of several the last counts
        if verb in ("train", "check"):
            words += ["model.weights=null"] + ["model=timm", "model.name=test_resnet"] * ("model=timm" not in overrides)
        runs.append((verb, words + small * (verb == "train")))
    runs.append(("report", [f"runs=[{tmp_path / 'runs/0'},{tmp_path / 'runs/1'}]"]))
    paths = os.pathsep.join([str(clone / "src"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(runs), str(tmp_path / "runs")],
        env={"PYTHONPATH": paths, "PATH": "", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=patience(300), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [
        json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if line.startswith("RESULT ")
    ]
    assert len(results) == len(runs) == 17
    trained = [(overrides, metrics) for verb, overrides, metrics in results if verb == "train"]
    assert all("cohen_kappa" in metrics["test"] for _, metrics in trained), "the metric is in metrics.json"
    assert "cohen kappa  " in done.stdout, "in the terminal"
    for page in (1, len(runs) - 1):
        assert "cohen kappa" in (tmp_path / f"runs/{page}/report.html").read_text(encoding="utf-8"), "on both pages"
    assert ",cohen kappa," in (tmp_path / f"runs/{len(runs) - 1}/leaderboard.csv").read_text(encoding="utf-8")
    (odd,) = [metrics["data"] for overrides, metrics in trained if "data=odd" in overrides]
    assert odd["classes"] == 5
    (evaluated,) = [metrics["data"] for verb, _, metrics in results if verb == "evaluate"]
    assert evaluated["samples"] == {"test": 12}
    assert "Confused pairs" in (tmp_path / "runs/1/report.html").read_text(encoding="utf-8")
    card = json.loads((tmp_path / "runs/1/model/model.json").read_text())
    assert card["head"] == {"name": "normed", "dropout": 0.1}
