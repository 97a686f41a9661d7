"""The LightningDataModule of conversations: a table of questions and answers."""

from dataclasses import dataclass, field
from typing import ClassVar

from ft_lightning.data.base import LabelledData
from ft_lightning.data.kinds import CONVERSATIONS, Kind
from ft_lightning.system.kinds import Count


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
