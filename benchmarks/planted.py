"""How many planted label errors `check` finds among the first twice as many suspects.

    python benchmarks/planted.py                                                    # ten minutes on two cores
    python benchmarks/planted.py --elpv elpv_dataset-1.0.0.post1-py3-none-any.whl   # also solar cells; pip download it

Spoils 3 % of the samples of a table, runs the command on it, and looks for them in issues.csv. Classes: another class.
Several labels: one label is added or taken away. Numbers: three standard deviations are added or subtracted. The
numbers are the ink of a digit, the mean of two digits, and the probability that a solar cell is defective, which has
four different values. Prints a table, writes planted.json into --out.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import report
from multilabel import write_canvases

import ft_lightning
from ft_lightning.digits import write_digits

SHARE = 0.03
Spoil = Callable[[pd.Series, np.ndarray, np.random.Generator], pd.Series]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/planted"))
    parser.add_argument("--seeds", type=int, default=5, help="draws of errors, 0 to n - 1")
    parser.add_argument("--elpv", type=Path, help="the wheel of elpv-dataset, of which only the data are read")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, (task, table, spoil) in datasets(options).items():
        found = [measured(name, task, table, spoil, seed, options.out) for seed in range(options.seeds)]
        rows.append({"data": name, "task": task, "planted": found[0]["planted"], **summary(found)})
        report(options.out, "planted", rows)


def datasets(options: argparse.Namespace) -> dict[str, tuple[str, pd.DataFrame, Spoil]]:
    """Return the task, the table of path and label, and what spoils labels, of each data set."""
    canvases = write_canvases(options.out / "canvases", 1500)
    two = pd.read_csv(canvases, dtype=str).assign(path=lambda table: [str(canvases.parent / p) for p in table["path"]])
    mean = two["label"].map(lambda label: statistics.mean(map(int, label.split(";"))))
    found: dict[str, tuple[str, pd.DataFrame, Spoil]] = {
        "digits": ("multiclass", digits(), another_class),
        "two digits": ("multilabel", two, one_label),
        "ink of a digit": ("regression", digits(ink=True), shifted),
        "mean of two digits": ("regression", two.assign(label=mean), shifted),
    }
    if options.elpv:
        from regression import write_elpv

        table = write_elpv(options.elpv, options.out / "elpv")
        cells = pd.read_csv(table).assign(path=lambda each: [str(table.parent / path) for path in each["path"]])
        found["solar cells"] = ("regression", cells, shifted)
    return found


def digits(ink: bool = False) -> pd.DataFrame:
    from sklearn.datasets import load_digits

    known, root = load_digits(), write_digits()
    paths = [str(root / str(label) / f"{number:04d}.png") for number, label in enumerate(known.target)]
    return pd.DataFrame({"path": paths, "label": known.images.sum((1, 2)) if ink else known.target.astype(str)})


def another_class(labels: pd.Series, chosen: np.ndarray, random: np.random.Generator) -> pd.Series:
    others = {label: [other for other in labels.unique() if other != label] for label in labels.unique()}
    return pd.Series([random.choice(others[label]) for label in labels.iloc[chosen]])


def one_label(labels: pd.Series, chosen: np.ndarray, random: np.random.Generator) -> pd.Series:
    names = sorted({name for label in labels for name in label.split(";")})
    return pd.Series([";".join(sorted({*label.split(";")} ^ {random.choice(names)})) for label in labels.iloc[chosen]])


def shifted(labels: pd.Series, chosen: np.ndarray, random: np.random.Generator) -> pd.Series:
    return labels.iloc[chosen].reset_index(drop=True) + 3 * labels.std() * random.choice([-1, 1], len(chosen))


def measured(name: str, task: str, table: pd.DataFrame, spoil: Spoil, seed: int, out: Path) -> dict[str, float]:
    """Spoil labels, check, and count: planted errors, those found, the rows that they are in, seconds."""
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(table))[: round(SHARE * len(table))]
    spoilt = table.copy()
    spoilt["label"] = spoilt["label"].astype(object)
    spoilt.loc[chosen, "label"] = spoil(table["label"], chosen, random).to_numpy()
    file = (out / f"{name.replace(' ', '_')}_{seed}.csv").absolute()
    spoilt.to_csv(file, index=False)
    run = ft_lightning.run("check", f"task={task}", "data=image_folder", f"data.csv={file}", f"seed={seed}")
    issues = run.table("issues")
    suspects = issues.loc[issues["kind"] == "label", "path"].map(lambda path: Path(path).name)
    wrong = {Path(path).name for path in table["path"].iloc[chosen]}
    first = suspects.head(2 * len(wrong))
    return {"planted": len(wrong), "first": len(wrong & {*first}) / len(wrong), "rows": len(suspects)} | {
        "all": len(wrong & {*suspects}) / len(wrong)
    }


def summary(found: list[dict[str, float]]) -> dict[str, str]:
    """Return lowest, mean and highest share of planted errors, and the numbers of rows."""
    first = [each["first"] for each in found]
    return {
        "among the first twice as many": f"{min(first):.2f} to {max(first):.2f}, mean {statistics.mean(first):.3f}",
        "among all rows": f"{statistics.mean(each['all'] for each in found):.3f}",
        "rows": f"{min(each['rows'] for each in found):.0f} to {max(each['rows'] for each in found):.0f}",
    }


if __name__ == "__main__":
    main()
