"""The LightningDataModule of texts: a table of them, or a folder of .txt files."""

from dataclasses import dataclass
from typing import ClassVar

from ft_lightning.data.base import LabelledData
from ft_lightning.data.kinds import TEXTS, Kind
from ft_lightning.system.kinds import Count


@dataclass(eq=False, kw_only=True)
class TextDataModule(LabelledData):
    """Labelled texts of a table, a folder or another source: see `LabelledData`.

    Batches are `{"inputs": {"input_ids", "attention_mask"}: int32 (B, W, L), "target": (B,), "index": (B,)}`: L tokens
    of W windows.
    """

    kind: ClassVar[Kind] = TEXTS

    table: str | None
    text: str | list[str] | None
    max_length: Count | None
    truncate: str | None
    on_bad_text: str
