"""Conversations that a reader cannot learn from: refused, or left out, by `data.on_too_long` and `data.on_bad_text`."""

from typing import Protocol, cast

from ft_lightning.data.damage import Inspector
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.system.errors import number_of

TOO_LONG = "too long"  # how a reader's phrase for a conversation begins that `data.on_too_long` is about


class ConversationReader(Reader, Protocol):
    """A reader that knows a conversation's length only once it has read it."""

    on_too_long: str  # error | skip | cut_prompt

    def problem(self, sample: Sample) -> str:
        """Say why a sample cannot be learnt from, as a phrase that may begin with `TOO_LONG`; empty if it can."""


def hold_to_length(inspector: Inspector, reader: Reader, skips: bool) -> bool:
    """Have an inspector know the conversations that a reader cannot learn from; True: they are to be left out.

    Args:
        skips: whether conversations that cannot be used for another reason than their length are left out.

    Raises:
        DataProblemsError: there are some that are not to be left out.
    """
    reading = cast(ConversationReader, reader)
    samples = {sample.digest: sample for sample in inspector.samples() if not inspector.problem(sample)}
    inspector.note({digest: problem for digest, sample in samples.items() if (problem := reading.problem(sample))})
    problems, asked = inspector.problems(), reading.on_too_long
    long = [] if asked == "skip" else [each for each in problems if each.problem.startswith(TOO_LONG)]
    bad = [] if skips else [each for each in problems if not each.problem.startswith(TOO_LONG)]
    if long or bad:
        what = "cannot be used" if bad and not long else "cannot be used or are too long" if bad else "are too long"
        summary = f"{len(long + bad):,} of {number_of(len(inspector.samples()), inspector.noun)} {what}:"
        cut = ", or data.on_too_long=cut_prompt, which shortens questions" if asked == "error" else ""
        fixes = [f"Raise data.max_length, or say data.on_too_long=skip, which leaves them out{cut}."] if long else []
        fixes += [inspector.fix] if bad else []
        raise DataProblemsError(sorted(long + bad, key=lambda each: each.path), summary, " ".join(fixes))
    return True
