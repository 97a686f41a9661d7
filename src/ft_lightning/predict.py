"""`python -m ft_lightning.predict`: model directory + file, glob or folder -> table.

    python -m ft_lightning.predict model_dir=outputs/train/<run> input=/my/new/images
    python -m ft_lightning.predict model_dir=model input='photos/*.jpg' output=answers.jsonl
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ft_lightning import command


def predict(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Write one row for each file that `input` names; files that cannot be read say why in their row."""
    from ft_lightning import artifact, summary, tables

    paths = find_files(cfg.input)
    model = artifact.load(cfg.model_dir)
    table = model.predict(
        paths,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        device=cfg.device,
        precision=cfg.precision,
        max_pixels=cfg.max_pixels,
    )
    output = Path(cfg.output) if cfg.output else run_dir / "predictions.csv"
    tables.write_table(table, output)
    summary.after_predict(table, output)
    return {"n": len(table), "errors": int((table["error"] != "").sum())}


def find_files(pattern: str) -> list[Path]:
    """The files that a file name, a glob or a folder (searched to its depths) stands for, sorted.

    Raises:
        UserError: nothing there.
    """
    from ft_lightning.errors import UserError
    from ft_lightning.images import SUFFIXES

    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [p for p in walk(path) if p.suffix.lower() in SUFFIXES]
    else:
        found = [p for p in map(Path, glob.iglob(str(path), recursive=True)) if p.is_file()]
    if not found:
        raise UserError(f"input={pattern} names no image: give a file, a folder or a quoted glob such as 'photos/**/*.jpg'.")
    return sorted(found)


if __name__ == "__main__":
    command.run("predict", predict)
