"""How much of the code its tests guard: changes a line of a module at a time and runs the tests of that module.

    nice -n 19 python benchmarks/mutants.py                      # three changes a module, in one process
    python benchmarks/mutants.py --changes 1 data/split.py loss.py
    python benchmarks/mutants.py --unnoticed                     # those of the last time that no test noticed, again

A change replaces a comparison, an operator, a condition or a number, drawn from all of a module's, the same ones each
time. A module's tests are the test file of its name and those that `ELSEWHERE` names; they stop at the first failure.
Prints the changes that no test noticed, and their share. Writes mutants.json into --out as it goes: started again, it
goes on behind the last module that is whole there. Docstrings and messages are never changed.
"""

import argparse
import ast
import functools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

# Imported once, for most of a short test's time is their import; the tests run in forks. Nothing of ft_lightning.
import hydra
import lightning
import optuna
import pandas
import pytest
import sklearn.datasets
import timm
import torch
import torchmetrics
import torchvision

LIBRARIES = (hydra, lightning, optuna, pandas, sklearn, timm, torch, torchmetrics, torchvision)
ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/ft_lightning")
SWAPPED: dict[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
# What else holds a module than the test file of its name, or in place of one, the quickest first.
ELSEWHERE = {
    "__init__.py": "cli/test_python.py",
    "__main__.py": "cli/test_main.py",
    "augment.py": "readers/test_preprocess.py data/test_module.py",
    "backbones/__init__.py": "backbones/test_load.py",
    "backbones/backbone.py": "backbones/test_load.py features/test_extract.py",
    "backbones/blocks.py": "backbones/test_load.py test_finetune.py",
    "backbones/downloads.py": "backbones/test_load.py",
    "backbones/embedded.py": "backbones/test_load.py",
    "backbones/libraries.py": "backbones/test_load.py",
    "backbones/weights.py": "backbones/test_load.py",
    "callbacks/best_epoch.py": "callbacks/test_best.py",
    "callbacks/checkpoints.py": "callbacks/test_best.py",
    "callbacks/early_stopping.py": "callbacks/test_best.py",
    "callbacks/finite.py": "test_module.py",
    "cli/meanings.py": "cli/test_keys.py",
    "cli/multirun_jobs.py": "cli/test_multirun.py",
    "cli/rehearsal.py": "cli/test_values.py",
    "cli/summary.py": "cli/test_command.py test_check.py",
    "data/__init__.py": "data/test_module.py",
    "data/collect.py": "data/test_scan.py data/test_module.py",
    "data/cover.py": "tasks/test_multilabel.py data/test_module.py",
    "data/datasets.py": "data/test_module.py data/test_damage.py",
    "data/exclude.py": "data/test_module.py data/test_table.py",
    "data/folders.py": "data/test_scan.py",
    "data/labels.py": "data/test_table.py tasks/test_multilabel.py data/test_module.py",
    "data/samplers.py": "data/test_module.py",
    "data/sources.py": "data/test_scan.py data/test_module.py data/test_table.py",
    "deploy/model_dir.py": "test_predict.py",
    "deploy/predictor.py": "test_predict.py",
    "evaluate.py": "test_predict.py",
    "features/fill.py": "features/test_extract.py features/test_store.py",
    "features/rows.py": "features/test_store.py",
    "issues/look.py": "test_check.py",
    "model.py": "test_module.py test_finetune.py",
    "pages/check.py": "test_check.py",
    "pages/comparison.py": "tasks/test_another_task.py runs/test_run.py runs/test_leaderboard.py",
    "pages/multiclass.py": "pages/test_page.py pages/test_run.py",
    "pages/multilabel.py": "tasks/test_multilabel_runs.py",
    "pages/training.py": "pages/test_run.py",
    "readers/image_reader.py": "readers/test_fast.py readers/test_images.py",
    "readers/sample.py": "readers/test_images.py data/test_scan.py",
    "rename.py": "project/test_rename.py",
    "report.py": "tasks/test_another_task.py runs/test_leaderboard.py",
    "runs/config.py": "test_old.py",
    "runs/paired.py": "runs/test_leaderboard.py",
    "runs/write.py": "runs/test_run.py test_train.py",
    "search/results.py": "search/test_study.py test_tune.py",
    "search/workbench.py": "search/test_repeats.py",
    "system/distributed.py": "cli/test_processes.py",
    "system/hardware.py": "test_gpu.py test_module.py features/test_extract.py",
    "tasks/columns.py": "tasks/test_multiclass.py tasks/test_multilabel.py",
    "tasks/decisions.py": "tasks/test_multilabel.py",
    "tasks/label_metrics.py": "tasks/test_multilabel.py",
    "tasks/label_sets.py": "tasks/test_multilabel.py",
    "tasks/measure.py": "tasks/test_metrics.py tasks/test_multilabel.py",
    "tasks/shown.py": "tasks/test_multilabel.py",
}
OUTPUT = "output.txt"  # of the tests
_MANY_TIMES = 5  # what takes so much longer than with the module as it is hangs, which is noticed
_SECONDS = 900


class Change(NamedTuple):
    """A piece of source, and what takes its place."""

    line: int
    before: str
    after: str
    start: int  # in the module's bytes
    end: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="below src/ft_lightning; default: all")
    parser.add_argument("--changes", type=int, default=3, help="of each module")
    parser.add_argument("--unnoticed", action="store_true", help="only what the last time left unnoticed")
    parser.add_argument("--out", type=Path, default=Path("outputs/mutants"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the tests in progress end too
    chosen = options.modules or sorted(p.relative_to(ROOT / PACKAGE).as_posix() for p in (ROOT / PACKAGE).rglob("*.py"))
    file = options.out / "mutants.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(shutil.copytree(ROOT, Path(folder) / "tree", ignore=shutil.ignore_patterns(".*", "outputs")))
        for module in chosen:
            earlier = [row for row in rows if row["module"] == module]
            changes = list(changes_of((clone / PACKAGE / module).read_text(encoding="utf-8")))
            if options.unnoticed:
                drawn = [again for row in earlier if not row["noticed"] and (again := nearest(row, changes))]
            else:
                drawn = random.Random(module).sample(changes, min(options.changes, len(changes)))
            if not drawn or (earlier and not options.unnoticed):
                continue
            found = [change._asdict() | {"noticed": told} for change, told in tried(clone, module, drawn)]
            if found:
                kept = [row for row in earlier if row["noticed"]] + [{"module": module} | row for row in found]
                rows = [row for row in rows if row["module"] != module] + kept
                write(file, rows)
    print(f"{sum(row['noticed'] for row in rows)} of {len(rows)} changes were noticed")


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    new.replace(file)


def nearest(row: dict[str, Any], changes: list[Change]) -> Change | None:
    """Return the same change in a module that may have moved on; None if its code is gone."""
    same = [change for change in changes if (change.before, change.after) == (row["before"], row["after"])]
    if not same:
        print(f"GONE      {row['module']}: {row['before']}", flush=True)
        return None
    return min(same, key=lambda change: abs(change.line - row["line"]))


def tried(clone: Path, module: str, drawn: list[Change]) -> Iterator[tuple[Change, bool]]:
    """Yield each change with whether the module's tests noticed it."""
    tests = tests_of(clone, module)
    if (seconds := seconds_of(clone, tuple(tests))) is None:
        print(
            f"SKIPPED   {module}: before anything changes, its tests fail or take longer than {_SECONDS} s", flush=True
        )
        print((clone / OUTPUT).read_text(encoding="utf-8", errors="replace")[-2000:], flush=True)
        return
    for change in drawn:
        noticed = is_noticed(clone, module, change, 60 + _MANY_TIMES * seconds)
        place = f"{module}:{change.line}: {change.before} -> {change.after}"
        print("noticed  " if noticed else "UNNOTICED", place, flush=True)
        yield change, noticed


def changes_of(source: str) -> Iterator[Change]:
    """Yield every change that the module's code offers."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in _outside_texts(ast.parse(source)):
        if isinstance(node, ast.expr) and (changed := _changed(node)):
            assert node.end_lineno
            assert node.end_col_offset
            start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            yield Change(node.lineno, ast.unparse(node), f"({ast.unparse(changed)})", start, end)


def _outside_texts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but what stands in braces in a text."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.JoinedStr):
            yield child
            yield from _outside_texts(child)


def _changed(node: ast.AST) -> ast.expr | None:
    """Return a changed copy of an expression, None if there is none to make."""
    match node:
        case ast.Compare(left, [op, *ops], compared) if type(op) in SWAPPED:
            changed: ast.expr | None = ast.Compare(left, [SWAPPED[type(op)](), *ops], compared)
        case ast.BinOp(left, op, right) if type(op) in SWAPPED and not _is_text(left, right):
            changed = ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.BoolOp(op, values):
            changed = ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.UnaryOp(ast.Not(), operand):
            changed = operand
        case ast.IfExp(test, body, otherwise):
            changed = ast.IfExp(test, otherwise, body)
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            changed = ast.Constant(value + 1)
        case _:
            changed = None
    return changed


def _is_text(*sides: ast.expr) -> bool:
    return any(isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str) for side in sides)


def tests_of(clone: Path, module: str) -> list[str]:
    """Return the test files of a module."""
    path = Path(module)
    own = f"{path.parent / f'test_{path.name}'}"
    others = ELSEWHERE.get(module, "").split()
    files = [own, *others] if (clone / "tests" / own).is_file() else others or [str(path.parent)]
    return [f"tests/{file}" for file in files]


@functools.cache
def seconds_of(clone: Path, tests: tuple[str, ...]) -> float | None:
    """Return how long these tests take before anything changes; None if they do not pass."""
    begun = time.monotonic()
    return time.monotonic() - begun if passes(clone, list(tests), _SECONDS) else None


def is_noticed(clone: Path, module: str, change: Change, seconds: float) -> bool:
    """Run the module's tests with the change in place."""
    place = clone / PACKAGE / module
    whole = place.read_bytes()
    place.write_bytes(whole[: change.start] + change.after.encode() + whole[change.end :])
    try:
        return not passes(clone, tests_of(clone, module), seconds)
    finally:
        place.write_bytes(whole)


def passes(clone: Path, tests: list[str], seconds: float) -> bool:
    """Return whether these tests pass; not if they take too long."""
    child = os.fork()
    if child == 0:
        try:
            _be_pytest(clone, tests)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    until, ended, status = time.monotonic() + seconds, 0, 1
    try:
        while not ended and time.monotonic() < until:
            time.sleep(0.05)
            ended, status = os.waitpid(child, os.WNOHANG)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what the tests have started, too
        if not ended:
            os.waitpid(child, 0)
    return bool(ended) and status == 0


def _be_pytest(clone: Path, tests: list[str]) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(clone)
    os.environ |= {"PYTHONPATH": str(clone / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some are imported already, which pytest minds
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(clone), str(clone / "src")]
    output = os.open(clone / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    temporary = f"--basetemp={clone.parent / 'tests'}"
    code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", temporary, *tests])
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
