"""`python -m ft_lightning.predict`: model directory + files, a table or a text -> table.

python -m ft_lightning.predict model_dir=outputs/train/<run> input=/my/new/images
python -m ft_lightning.predict model_dir=model 'input="photos/*.jpg"' output=answers.jsonl
python -m ft_lightning.predict model_dir=model input=mails.csv column=body
python -m ft_lightning.predict model_dir=model 'text="what a film!"'
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig

from ft_lightning.cli import command
from ft_lightning.cli.job import Verb
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from ft_lightning.data.kinds import Kind
    from ft_lightning.data.layout import Layout
    from ft_lightning.readers.sample import Sample


def predict(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Write one row for each file, row or text of `input`; the row of an unreadable one holds its error."""
    from ft_lightning.cli import answering, dataset, summary
    from ft_lightning.data.kinds import KINDS
    from ft_lightning.deploy import model_dir
    from ft_lightning.system import tables

    output = Path(str(cfg.output)).expanduser() if cfg.output else Run(run_dir).table_path("predictions")
    tables.check_kind(output)
    if any(output.resolve() == Path(each).expanduser().resolve() for each in _several(cfg.input)):
        raise UserError(f"output={cfg.output}: it is the input, which would be written over: name another file.")
    _refuse_lost(output)
    model = model_dir.load(cfg.model_dir)
    kind = KINDS[model.classifier.backbone.reader.kind]
    if kind.typed:
        dataset.refuse_keys_of_others(kind, prefix="")
    if model.task.generates:
        table = (
            answering.talk(cfg, model)
            if answering.talks(cfg)
            else answering.answers(cfg, model, to_answer(cfg, kind, model.layout))
        )
    else:
        answering.refuse_writing(cfg)
        samples = to_answer(cfg, kind, model.layout)
        if cfg.threshold is not None:
            model.task = model.task.deciding(cfg.threshold)
        how = (cfg.batch_size, cfg.num_workers, cfg.device, cfg.precision, cfg.max_pixels)
        table = model.predict(samples, *how, cfg.abstain_below, show_progress=True)
    tables.write_table(table, output)
    if cfg.text is not None:
        summary.answers(table)
    summary.after_predict(model.task, table, output)
    return {"n": len(table), "unreadable": int((table["error"] != "").sum())}


def _refuse_lost(output: Path) -> None:
    """Raise UserError for a file that holds something else than answers of an earlier `predict`."""
    from ft_lightning.system.tables import read_table

    if not output.is_file() or output.stat().st_size == 0:
        return
    with suppress(UserError):  # no table
        if {"path", "error"} <= set(read_table(output).columns):
            return
    raise UserError(
        f"output={output}: it holds something else than earlier answers, which would be lost: name another."
    )


def to_answer(cfg: DictConfig, kind: "Kind", layout: "Layout") -> "list[Sample]":
    """Return the samples that `input` or `text` names, each once; of a table the columns that the model knows."""
    if cfg.text is not None and kind.typed is None:
        raise UserError(f"text={cfg.text}: this model reads {kind.name}s: say input=/a/file/or/folder.")
    if empty := [key for key in ("input", "text") if cfg[key] == []]:
        raise UserError(f"{empty[0]}=[]: it is empty: name something to answer.")
    if (cfg.input is None) == (cfg.text is None):
        both = "either input or text, not both" if cfg.input is not None else "what to answer: input=/a/file/or/folder"
        raise UserError(f"predict: say {both}{'' if kind.typed is None or cfg.input else ', or text=...'}.")
    if cfg.text is not None and kind.typed:
        return kind.typed(_typed(cfg.text))
    columns = None if cfg.column is None else _several(cfg.column)
    usual = layout.columns("text")
    found = [sample for pattern in _several(cfg.input) for sample in kind.inputs(pattern, columns, usual)]
    return list({sample.path: sample for sample in found}.values())


def _typed(value: Any) -> "list[str | tuple[str, ...]]":
    """Return the texts that were typed; of text=[[one,other]] a pair."""
    texts = value if isinstance(value, ListConfig) else [value]
    return [tuple(map(str, text)) if isinstance(text, ListConfig) else str(text) for text in texts]


def _several(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, ListConfig) else [str(value)]


VERB = Verb("predict", predict, libraries=("torchvision", "pandas"))

if __name__ == "__main__":
    command.run(VERB)
