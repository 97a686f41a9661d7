"""The LightningDataModule of conversations: a table of questions and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast

from ft_lightning.data.base import LabelledData
from ft_lightning.data.damage import Inspector
from ft_lightning.data.kinds import CONVERSATIONS, Kind, skips
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.data.protocol import Data
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.system.errors import number_of
from ft_lightning.system.kinds import Count

TOO_LONG = "too long"  # how a reader's phrase for a conversation begins that `data.on_too_long` is about


class ConversationReader(Reader, Protocol):
    """A reader that knows a conversation's length only once it has read it."""

    def problem(self, sample: Sample) -> str:
        """Say why a sample cannot be learnt from, as a phrase that may begin with `TOO_LONG`; empty if it can."""


@dataclass(eq=False, kw_only=True)
class InstructionsDataModule(LabelledData):
    """Conversations of a table or another source: see `LabelledData`; a sample's label is the last answer.

    All answers to one question are in one split. Batches are as the model's reader makes them.
    """

    kind: ClassVar[Kind] = CONVERSATIONS

    table: str | None
    text: str | None
    label: str | None
    max_length: Count | None
    on_too_long: str
    learn: str
    on_bad_text: str
    label_sep: str = field(default=";", init=False)  # an answer is no list of names
    empty_label: str | None = field(default=None, init=False)
    case_sensitive: bool = field(default=True, init=False)

    def _hold_to_limits(self, reader: Reader) -> None:
        """Refuse or leave out what this reader cannot learn from, above all what is too long."""
        note_problems(self.inspector, cast(ConversationReader, reader), vars(self))
        if self.inspector.problems():
            self._leave_out_unusable(self.task)
            self.task = self.task.fit([sample.label for sample in self.splits["train"]])


_: type[Data] = InstructionsDataModule  # has the type checker compare the two


def note_problems(inspector: Inspector, reader: ConversationReader, keys: Mapping[str, Any]) -> None:
    """Have an inspector know the conversations that a reader cannot learn from.

    Args:
        keys: of conf/data.

    Raises:
        DataProblemsError: there are some that `on_too_long` and `on_bad_text` do not leave out.
    """
    samples = {sample.digest: sample for sample in inspector.samples() if not inspector.problem(sample)}
    inspector.note({digest: problem for digest, sample in samples.items() if (problem := reader.problem(sample))})
    problems, asked = inspector.problems(), keys["on_too_long"]
    long = [] if asked == "skip" else [each for each in problems if each.problem.startswith(TOO_LONG)]
    bad = [] if skips(CONVERSATIONS, keys) else [each for each in problems if not each.problem.startswith(TOO_LONG)]
    if long or bad:
        what = "cannot be used" if bad and not long else "cannot be used or are too long" if bad else "are too long"
        summary = f"{len(long + bad):,} of {number_of(len(inspector.samples()), inspector.noun)} {what}:"
        cut = ", or data.on_too_long=cut_prompt, which shortens questions" if asked == "error" else ""
        fixes = [f"Raise data.max_length, or say data.on_too_long=skip, which leaves them out{cut}."] if long else []
        fixes += [inspector.fix] if bad else []
        raise DataProblemsError(sorted(long + bad, key=lambda each: each.path), summary, " ".join(fixes))
