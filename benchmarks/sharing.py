"""Measures what runs cost each other that share a machine: one and three at once, and a search in three terminals.

    python benchmarks/sharing.py                      # digits, features stored: four minutes on two cores
    python benchmarks/sharing.py --epochs 20 --trials 10 data.root=/my/images

A first run, which is not measured, fills the feature store. Then one run and three at once train the head for the same
epochs: fit_s of their metrics.json, and the seconds of the whole commands. A search of as many trials is done by one
process and by three in one study directory. Prints a table with ratios to the first row of each kind and writes
sharing.json. `GOMP_SPINCOUNT=infinite python benchmarks/sharing.py` shows what threads cost that wait in a loop.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of train")
    parser.add_argument("--out", type=Path, default=Path("outputs/sharing"))
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--trials", type=int, default=20)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        typed = [f"cache.dir={place / 'cache'}", "trainer.enable_progress_bar=false", *options.overrides]
        epochs = f"trainer.max_epochs={options.epochs}"
        at_once("train", [place / "first"], [*typed, "trainer.max_epochs=1"])
        for count in (1, 3):
            runs = [place / f"{count}_{number}" for number in range(count)]
            seconds = at_once("train", runs, [*typed, epochs])
            fits = [json.loads((run / "metrics.json").read_text())["timing"]["fit_s"] for run in runs]
            rows.append({"what": f"train, {options.epochs} epochs", "processes": count, "fit_s": max(fits)})
            rows[-1] |= {"seconds": seconds, "ratio": max(fits) / rows[0]["fit_s"]}
        for count in (1, 3):
            search = [*typed, f"tune.trials={options.trials}"]
            seconds = at_once("tune", [place / f"study_{count}"] * count, search)
            rows.append({"what": f"tune, {options.trials} trials", "processes": count, "fit_s": None})
            rows[-1]["seconds"] = seconds
            rows[-1]["ratio"] = seconds / rows[2]["seconds"]
    report(options.out, "sharing", rows)


def at_once(verb: str, folders: list[Path], typed: list[str]) -> float:
    """Run a command at once in each of these directories; return the seconds until the last one ended."""
    start = time.perf_counter()
    command = [sys.executable, "-m", f"ft_lightning.{verb}", *typed]
    started = [subprocess.Popen([*command, f"hydra.run.dir={folder}"], stdout=subprocess.DEVNULL) for folder in folders]
    if failed := [process.args for process in started if process.wait()]:
        raise SystemExit(f"{failed[0]!r} has failed")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
