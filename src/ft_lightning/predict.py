"""`python -m ft_lightning.predict`: model directory + file, glob or folder -> table.

python -m ft_lightning.predict model_dir=outputs/train/<run> input=/my/new/images
python -m ft_lightning.predict model_dir=model 'input="photos/*.jpg"' output=answers.jsonl
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from ft_lightning.cli import command
from ft_lightning.cli.job import Verb
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError, name_few, number_of

log = logging.getLogger(__name__)


def predict(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Write one row for each file of `input`; the row of an unreadable file holds its error."""
    from ft_lightning.cli import summary
    from ft_lightning.deploy import model_dir
    from ft_lightning.system import tables

    output = Path(str(cfg.output)).expanduser() if cfg.output else Run(run_dir).table_path("predictions")
    tables.check_kind(output)
    patterns = cfg.input if isinstance(cfg.input, ListConfig) else [cfg.input]
    paths = list(dict.fromkeys(path for pattern in patterns for path in find_files(str(pattern))))
    model = model_dir.load(cfg.model_dir)
    if cfg.threshold is not None:
        model.task = model.task.deciding(cfg.threshold)
    how = (cfg.batch_size, cfg.num_workers, cfg.device, cfg.precision, cfg.max_pixels)
    table = model.predict(paths, *how, cfg.abstain_below, show_progress=True)
    tables.write_table(table, output)
    summary.after_predict(model.task, table, output)
    return {"n": len(table), "unreadable": int((table["error"] != "").sum())}


def find_files(pattern: str) -> list[Path]:
    """Return the files of a file name, a glob or a folder (searched recursively for images), sorted.

    Warns of what it passes over: files of a folder without the name of an image, folders that a glob matches, pipes.
    """
    from ft_lightning.data.folders import is_image, is_special, left_out, walk
    from ft_lightning.system.files import matches

    path, said = Path(pattern).expanduser(), ""
    if path.exists() and not path.is_dir():
        return [path]
    if path.is_dir():
        hidden: list[Path] = []
        files = list(walk(path, hidden=hidden))
        found = list(filter(is_image, files))
        said = left_out([file for file in files if not is_image(file)], hidden)
    else:
        matched = matches(path)
        found = [file for file in matched if not file.is_dir()]
        if (folders := [file for file in matched if file.is_dir()]) and "**" not in path.parts:
            said = number_of(len(folders), "folder that it matches is", "folders that it matches are")
            said += f" not searched: {name_few(folders)}."
    if special := {file for file in found if is_special(file)}:
        log.warning(
            "input=%s: %s passed over: %s.",
            pattern,
            number_of(len(special), "is no file and", "are no files and"),
            name_few(sorted(special)),
        )
        found = [file for file in found if file not in special]
    if not found:
        raise UserError(
            f"input={pattern} names no image: give a file, a folder, or a glob in double quotes, "
            f"'input=\"photos/**/*.jpg\"'. {said}".strip()
        )
    if said:
        log.warning("input=%s: %s", pattern, said)
    return sorted(found)


VERB = Verb("predict", predict, libraries=("torchvision", "pandas"))

if __name__ == "__main__":
    command.run(VERB)
