"""Checks that two checkouts write the same files: runs every command once and compares every file.

    python benchmarks/golden.py OLD_CHECKOUT                   # against the checkout of this file
    python benchmarks/golden.py OLD_CHECKOUT NEW_CHECKOUT --only tune

Numbers differ between processors, so none are stored: both sides run here, one after the other, in a folder of the same
name and with an empty cache each. Expected differences are removed (times, versions, processes, paths of the checkouts
and of the feature store, the config on a page); any other difference is printed, and the exit code is 1.
"""

import argparse
import csv
import difflib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

PLAIN = ["precision=32-true", "data.num_workers=0"]
FEW = [*PLAIN, "data.limit=20", "trainer.enable_progress_bar=false"]
SHORT = [*FEW, "trainer.max_epochs=3"]
ANSWERS = ["precision=32-true", "num_workers=0", "model_dir=frozen"]
DIGITS = "../cache/ft_lightning/digits-2"  # which the first training writes
SCENARIOS = {
    "frozen": [
        ["train", *SHORT, "hydra.run.dir=frozen"],
        ["evaluate", *ANSWERS, f"data.root={DIGITS}", "data.csv=../test.csv", "hydra.run.dir=evaluation"],
        ["predict", *ANSWERS, f'input="{DIGITS}/*/00[0-4]*.png"', "abstain_below=0.7", "hydra.run.dir=prediction"],
    ],
    "partial": [["train", *SHORT, "finetune=partial", "augment=light", "hydra.run.dir=partial"]],
    "lbfgs": [["train", *FEW, "optimizer=lbfgs", "hydra.run.dir=lbfgs"]],  # an epoch for each strength
    "multirun": [
        ["train", "-m", *SHORT, "optimizer.lr=1e-3,1e-2", "hydra.sweep.dir=multirun"],
        ["report", 'runs="multirun/*"', "hydra.run.dir=comparison"],
    ],
    "tune": [["tune", *SHORT, "tune.trials=3", "hydra.run.dir=study"]],
    "check": [
        ["check", *PLAIN, "data.root=../odd", "hydra.run.dir=check"],
        ["train", *SHORT, "data.root=../odd", "hydra.run.dir=refused"],
    ],
}
PASSING = {"images_per_s", "samples_per_s", "seconds", "host", "pid", "started", "versions"}  # and names that end in _s
PASSING_TEXT = {  # on the terminal, and in what Hydra writes of a multirun
    r"path: .*/conf$": "path: conf",
    r"\btime +[\d.]+ s: features [\d.]+, training [\d.]+": "time",
    r"features/[0-9a-f]{16} \([\d.]+ MB\)": "features/KEY",
    r"(━+ \d+/\d+) .*": r"\1",
    r" +$": "",  # the width of a table depends on the times in it
}
PASSING_SECTION = re.compile(r"<section[^>]*>\s*(<h2>(?:Time|Config and versions)</h2>).*?</section>", re.S)
SHOWN, WIDTH = 40, 300  # lines of a difference, and their length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--only", choices=SCENARIOS)
    options = parser.parse_args()
    chosen = [options.only] if options.only else list(SCENARIOS)
    place = Path(tempfile.mkdtemp(prefix="golden_")).resolve()
    write_data(place)
    for side in ("old", "new"):
        run_side(place, getattr(options, side).resolve(), chosen)
        (place / "side").rename(place / side)
    compared, differ = compare(place / "old", place / "new")
    print(f"Both sides are in {place}" if differ else "Nothing differs.")
    print(f"{compared} files compared, {differ} differ")
    if differ:
        sys.exit(1)
    shutil.rmtree(place)


def write_data(place: Path) -> None:
    """Write a list of labelled digits, and a dataset with every kind of problem."""
    rows = [f"{label}/{number:04d}.png,{label}" for number, label in enumerate(load_digits().target[:60])]
    (place / "test.csv").write_text("\n".join(["path,label", *rows]))
    random = np.random.default_rng(0)
    for channel, name in enumerate(["ant", "bee", "cat"]):
        (place / "odd" / name).mkdir(parents=True)
        for number in range(14):
            pixels = random.integers(0, 120, (40, 40, 3))
            pixels[..., channel] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"odd/{name}/{number:02d}.png")
    odd = place / "odd"
    shutil.copy(odd / "ant/00.png", odd / "ant/copy.png")
    shutil.copy(odd / "ant/01.png", odd / "bee/two_labels.png")
    (odd / "cat/damaged.png").write_bytes((odd / "cat/02.png").read_bytes()[:200])
    (odd / "cat/empty.png").write_bytes(b"")
    (odd / "bee/03.png").rename(odd / "cat/wrong_label.png")
    Image.open(odd / "cat/04.png").save(odd / "cat/near.jpg", quality=95)


def run_side(place: Path, checkout: Path, chosen: list[str]) -> None:
    """Run the commands of a checkout in place/side; write the output of each to a file beside its run."""
    side, cache = place / "side", place / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    side.mkdir()
    env = {"PYTHONPATH": str(checkout / "src"), "XDG_CACHE_HOME": str(cache), "COLUMNS": "200"}
    for scenario in chosen:
        for number, (verb, *overrides) in enumerate(SCENARIOS[scenario]):
            start = time.perf_counter()
            command = [sys.executable, "-m", f"ft_lightning.{verb}", *overrides]
            done = subprocess.run(command, cwd=side, env=os.environ | env, capture_output=True, text=True, check=False)
            said = f"exit code {done.returncode}\n\nstdout:\n{done.stdout}\nstderr:\n{done.stderr}"
            (side / f"{scenario}_{number}_{verb}.txt").write_text(said.replace(str(checkout), "CHECKOUT"))
            print(f"{checkout}: {scenario}, {verb}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


def compare(old: Path, new: Path) -> tuple[int, int]:
    """Print how the files of two folders differ; return how many there are, and how many differ."""
    names = sorted({path.relative_to(side) for side in (old, new) for path in side.rglob("*") if path.is_file()})
    differ = 0
    for name in names:
        if not (old / name).is_file() or not (new / name).is_file():
            print(f"{name}: only {'new' if (new / name).is_file() else 'old'} has it")
            differ += 1
            continue
        sides = described(old / name), described(new / name)
        lines = list(difflib.unified_diff(*sides, f"old/{name}", f"new/{name}", n=1, lineterm=""))
        for line in lines[:SHOWN]:
            print(line[:WIDTH])
        if len(lines) > SHOWN:
            print(f"... {len(lines) - SHOWN} more lines")
        differ += bool(lines)
    return len(names), differ


def described(path: Path) -> list[str]:
    """Return the lines of a file that must be equal."""
    readers: dict[str, Callable[[Path], Iterable[str]]] = {
        ".safetensors": lambda path: flat(load_file(path)),
        ".ckpt": lambda path: flat(torch.load(path, map_location="cpu", weights_only=True)),
        ".json": lambda path: json.dumps(without_passing(json.loads(path.read_text())), indent=1).splitlines(),
        ".csv": csv_lines,
        ".html": lambda path: html_lines(path.read_text()),
        ".jpg": lambda path: [hashlib.sha256(path.read_bytes()).hexdigest()],
        ".png": lambda path: [],  # a plot: it is there
        ".db": study_names,
    }
    return list(readers.get(path.suffix, lambda path: plain(path.read_text()).splitlines())(path))


def plain(text: str) -> str:
    for pattern, kept in PASSING_TEXT.items():
        text = re.sub(pattern, kept, text, flags=re.M)
    return text


def passes(name: str) -> bool:
    return name in PASSING or name.endswith("_s")


def without_passing(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: "..." if passes(key) else without_passing(value) for key, value in node.items()}
    return [without_passing(value) for value in node] if isinstance(node, list) else node


def flat(node: Any, where: str = "") -> Iterator[str]:
    """Yield a line for each value; for a tensor its type, shape, digest and first values."""
    if isinstance(node, torch.Tensor):
        values = node.detach().reshape(-1).contiguous()
        digest = hashlib.sha256(values.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
        yield f"{where}: {node.dtype} {tuple(node.shape)} {digest} {values[:3].tolist()}"
    elif isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from flat(value, f"{where}/{key}")
    else:
        yield f"{where}: {node!r}"


def csv_lines(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kept = [["..." if passes(name) else cell for name, cell in zip(header, row, strict=True)] for row in rows]
    return [str(row) for row in (header, *kept)]


def study_names(path: Path) -> list[str]:
    """Return the names of the studies; trials.csv has the rest."""
    with closing(sqlite3.connect(path)) as study:
        return [name for (name,) in study.execute("SELECT study_name FROM studies")]


def html_lines(page: str) -> list[str]:
    """Return the tags of a page, without the sections on time and config and the columns of seconds."""

    def kept(table: re.Match[str]) -> str:
        names = re.findall(r"<button[^>]*>([^<]*)</button>", table[0])
        cells = iter(names * table[0].count("<tr>"))
        return re.sub(r"<td.*?</td>", lambda cell: "<td>...</td>" if passes(next(cells)) else cell[0], table[0])

    page = re.sub(r"<table>.*?</table>", kept, PASSING_SECTION.sub(r"\1", page), flags=re.S)
    return plain(page).replace("><", ">\n<").splitlines()


if __name__ == "__main__":
    main()
