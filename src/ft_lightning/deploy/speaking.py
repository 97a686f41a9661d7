"""Which parts of a sample, such as words, speak for a model's answer: it answers again without each of them."""

import time
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from ft_lightning.data.kinds import KINDS
from ft_lightning.deploy.predictor import TrainedModel
from ft_lightning.features.extract import Computing
from ft_lightning.readers.sample import Sample
from ft_lightning.readers.words import Part
from ft_lightning.runs.previews import read_previews
from ft_lightning.runs.run import Run
from ft_lightning.tasks.speaking import loud

_SAMPLES, _PARTS, _SECONDS = 24, 40, 5.0  # at most
_COLUMNS = ["path", "start", "end", "weight"]


def write_words(run: Run, load: Callable[[], TrainedModel], samples: Sequence[Sample], how: Computing) -> None:
    """Write words.csv of the samples on a run's page; nothing where samples of this kind have no parts.

    Args:
        load: returns the delivered model, where it is needed.
        samples: those that may be on the page, with their contents.
        how: as for the answers.
    """
    parts_of = KINDS[how.reader.kind].parts if how.reader.kind in KINDS else None
    if parts_of is None:
        return
    by_name = {sample.name: sample for sample in samples}
    shown = [by_name[name] for name in read_previews(run.previews) if name in by_name][:_SAMPLES]
    model = load()
    rows: list[tuple[str, int, int, float]] = []
    start, done, more = time.monotonic(), 0, 1
    while done < len(shown):
        some = [(sample, parts_of(sample, _PARTS)) for sample in shown[done : done + more]]
        rows += _weighed(model, some, how)
        done += len(some)
        more = done  # several at a time fill batches, but the first tells what all will cost
        if (time.monotonic() - start) * (done + more) / done > _SECONDS:  # a large network, or long texts
            break
    run.write("words", pd.DataFrame(rows, columns=_COLUMNS))


def _weighed(
    model: TrainedModel, some: Sequence[tuple[Sample, Sequence[Part]]], how: Computing
) -> Iterator[tuple[str, int, int, float]]:
    """Yield name, start, end and weight of the parts that speak for the answers to some samples."""
    asked = [[sample, *(part.without for part in parts)] for sample, parts in some]
    outputs, _ = model.rows([each for group in asked for each in group], how)
    for (sample, parts), rows in zip(some, outputs.split(list(map(len, asked))), strict=True):
        weights = loud(model.task.table([str(number) for number in range(len(rows))], rows, None))
        for part, weight in zip(parts, weights, strict=True):
            if weight > 0:
                yield sample.name, part.start, part.end, round(float(weight), 4)
