"""Measures a language model before and after its training: losses, and the answers that it writes."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from ft_lightning.data.labels import tidy
from ft_lightning.data.protocol import Data
from ft_lightning.deploy.generation import Answer, Writing, write_answers
from ft_lightning.deploy.predictor import TrainedModel
from ft_lightning.features.extract import Computing
from ft_lightning.finetune import digest_of
from ft_lightning.model import Classifier
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.run import Run
from ft_lightning.runs.write import Stopwatch
from ft_lightning.system.errors import UserError
from ft_lightning.system.versions import versions
from ft_lightning.tasks.task import Outputs, Task, WritingTask

if TYPE_CHECKING:  # an evaluation needs no Lightning
    from lightning import Trainer

log = logging.getLogger(__name__)

_SPLITS = ("val", "test")
_BATCH = 16


class Measured(NamedTuple):
    """What a model makes of a split."""

    rows: Tensor  # (N, 3) of all samples
    answers: dict[int, Answer]  # by position, of those for which one was written


class BesideBase:
    """A language model beside what it was before its training; nothing is measured for a task that writes nothing.

    Made before the training, it measures the model as it is, in the main process.

    Args:
        run: keeps what was measured before, for a training that goes on.
        clock: its laps "base_s" and "answers_s" end when the model was measured before and after.
    """

    def __init__(self, run: Run, trainer: "Trainer", classifier: Classifier, data: Data, clock: Stopwatch) -> None:
        self.run, self.classifier, self.data, self.clock = run, classifier, data, clock
        self.device, self.precision = trainer.strategy.root_device, str(trainer.precision)
        self.show_progress = trainer.progress_bar_callback is not None
        self.base: dict[str, Measured] = {}
        if data.task.generates and trainer.is_global_zero:
            self._before()

    def _before(self) -> None:
        about = self._about()
        if known := self._kept(about):
            self.base = known
            return
        # As a model directory would describe it; what has trained does not matter here.
        model = TrainedModel(self.classifier, {"finetune": {"mode": "full"}, **self.data.task.to_dict()})
        for split in _SPLITS:
            how = Computing(self.data.reader, self.device, self.precision, num_workers=0)
            rows, _ = model.rows(self.data.splits[split], how, _BATCH)
            self.base[split] = Measured(rows, self._written(split))
        splits = {split: [each.rows.tolist(), list(each.answers.items())] for split, each in self.base.items()}
        self.run.write("base", {"about": about, "splits": splits})
        self.clock.lap("base_s")

    def _about(self) -> dict[str, Any]:
        """Return everything that what is measured depends on."""
        task = cast(WritingTask, self.data.task)
        samples = [[sample.digest for sample in self.data.splits[split]] for split in _SPLITS]
        values = [samples, self.data.reader.key(), task.generate, task.max_new_tokens, self.device.type, self.precision]
        said = json.dumps([*values, versions()], sort_keys=True, default=str)
        weights = digest_of(self.classifier.backbone.state_dict())
        return {"weights": weights, "measured": hashlib.sha256(said.encode()).hexdigest()}

    def _kept(self, about: dict[str, Any]) -> dict[str, Measured]:
        """Return what this run has measured before it was interrupted; nothing if it was of something else."""
        try:
            kept = self.run.record("base")
            if kept["about"] != about:
                return {}
            return {
                split: Measured(torch.tensor(rows), {at: Answer(*answer) for at, answer in answers})
                for split, (rows, answers) in kept["splits"].items()
            }
        except (UserError, LookupError, TypeError, ValueError):  # there is none, or not a whole one
            return {}

    def after(self, outputs: Mapping[str, Outputs]) -> tuple[dict[str, Outputs], Task]:
        """Return the trained model's outputs with what it wrote and the base's, and the task that knows the texts."""
        if not self.base:
            return dict(outputs), self.data.task
        found, texts = {}, dict[str, Sequence[str]]()
        for split, of in outputs.items():
            base, own, samples = self.base[split], self._written(split), self.data.splits[split]
            if lost := len(own.keys() - {*of.positions.tolist()}):
                log.warning(
                    "trainer.limit_%s_batches leaves out %d of %d answers: they do not count.", split, lost, len(own)
                )
            beside = [written_rows(of.positions.tolist(), each, samples) for each in (own, base.answers)]
            rows = torch.cat([of.rows, beside[0], base.rows[of.positions], beside[1]], 1)
            found[split] = Outputs(of.positions, rows, of.target)
            texts |= {samples[at].name: (own[at].text, base.answers[at].text) for at in own}
        self.clock.lap("answers_s")
        return found, cast(WritingTask, self.data.task).answered(texts)

    def _written(self, split: str) -> dict[int, Answer]:
        self.classifier.to(self.device)
        task = cast(WritingTask, self.data.task)
        return answers_to(self.classifier.backbone, self.data.reader, self.data.splits[split], task, self.show_progress)


def how_many(task: Task, generate: int | None, max_new_tokens: int | None) -> Task:
    """Return the task that writes so many answers of so many tokens; None: as in training.

    Raises:
        UserError: it writes none, but a number is given.
    """
    given = {"generate": generate, "max_new_tokens": max_new_tokens}
    given = {key: value for key, value in given.items() if value is not None}
    if given and not task.generates:
        key, value = next(iter(given.items()))
        raise UserError(f"{key}={value}: this model writes no answers: leave it out.")
    return replace(cast(Any, task), **given) if given else task


def with_answers(
    backbone: Any, reader: Any, task: Task, samples: Sequence[Sample], rows: Tensor, show_progress: bool
) -> tuple[Tensor, Task]:
    """Return a model's rows with what it wrote, and the task that knows the texts; for others the rows as they are."""
    if not task.generates:
        return rows, task
    writing = cast(WritingTask, task)
    answers = answers_to(backbone, reader, samples, writing, show_progress)
    beside = written_rows(range(len(samples)), answers, samples)
    return torch.cat([rows, beside], 1), writing.answered(
        {samples[at].name: (own.text,) for at, own in answers.items()}
    )


def answers_to(
    backbone: Any, reader: Any, samples: Sequence[Sample], task: WritingTask, show_progress: bool
) -> dict[int, Answer]:
    """Write answers to the questions of at most `task.generate` samples, chosen by digest; return them by position."""
    chosen = sorted(range(len(samples)), key=lambda at: samples[at].digest)[: task.generate]
    prompts = [reader.asked(samples[at].content) for at in chosen]
    written = write_answers(backbone, prompts, Writing(task.max_new_tokens), show_progress)
    return dict(zip(chosen, written, strict=True))


def written_rows(positions: Sequence[int], answers: Mapping[int, Answer], samples: Sequence[Sample]) -> Tensor:
    """Return exact, stopped and tokens (N, 3) of the samples at these positions; NaN where none was written."""
    rows = torch.full((len(positions), 3), torch.nan)
    for row, at in enumerate(positions):
        if answer := answers.get(at):
            exact = tidy(answer.text) == samples[at].label
            rows[row] = torch.tensor([float(exact), float(answer.stopped), float(answer.tokens)])
    return rows
