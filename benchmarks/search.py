"""Measures a search over the head: seconds of fifty trials against one cold run, in one process.

    python benchmarks/search.py                       # digits, EfficientNet-Lite0: a minute and a half on two cores
    python benchmarks/search.py --trials 20 data.root=/my/images model=resnet50

The cold run is the project's own `train` with an empty feature store: features_s + fit_s of its metrics.json. Then
come `tune` on the store it has filled, and once more with nothing left to do. Its seconds include whatever the
command does but for start-up: trials, the winner's run and test, plots. Prints a table and writes search.json.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from common import report

from ft_lightning.cli.compose import compose
from ft_lightning.train import train
from ft_lightning.tune import tune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of train")
    parser.add_argument("--out", type=Path, default=Path("outputs/search"))
    parser.add_argument("--trials", type=int, default=50)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        typed = [f"cache.dir={place / 'cache'}", "trainer.enable_progress_bar=false", *options.overrides]
        timing = train(compose("train", *typed), _made(place / "run"))["timing"]
        cold = timing["features_s"] + timing["fit_s"]
        rows: list[dict[str, Any]] = [
            {"run": "one cold run: features_s + fit_s", "seconds": cold, "to the cold run": 1.0}
        ]
        for name in (f"tune, {options.trials} trials", "tune, the same command again"):
            seconds = searched([*typed, f"tune.trials={options.trials}"], _made(place / "study"))
            rows.append({"run": name, "seconds": seconds, "to the cold run": seconds / cold})
    report(options.out, "search", rows)


def searched(typed: list[str], folder: Path) -> float:
    start = time.perf_counter()
    tune(compose("tune", *typed), folder, typed=typed)
    return time.perf_counter() - start


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
