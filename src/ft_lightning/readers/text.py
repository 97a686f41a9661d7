"""The reader of texts: a text, or a pair of two -> the numbers of its tokens, cut to what the network takes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeAlias

import torch
from torch import Tensor

from ft_lightning.readers.decoding import ChangedError, UnusableTextError, decoded, problem_of, read_file
from ft_lightning.readers.lengths import tokens
from ft_lightning.readers.sample import Inputs, Inspection, Sample, SampleError
from ft_lightning.readers.tokens import TRUNCATES, Window, tokenizer_of, unknown_of, windows_of
from ft_lightning.readers.unaugmented import Unaugmented
from ft_lightning.readers.words import beginning_of
from ft_lightning.system.errors import UserError

VERSION = 2  # raise it when code here, in tokens.py or in backbones/transformers.py changes a feature; empties stores
FILE = "tokenizer.json"

Text: TypeAlias = "str | tuple[str, str]"


@dataclass(frozen=True)
class TextReader(Unaugmented):
    """Reads texts as the network's tokenizer does; a `readers.sample.Reader`.

    A batch is `{"input_ids", "attention_mask"}`, int32 (B, W, L): a text is in one window (W = 1), or with
    `truncate=windows` in several, and texts with fewer windows than others in the batch have empty ones. For networks
    that tell the two texts of a pair apart, `token_type_ids` is there too.
    """

    tokenizer: str = field(repr=False)  # content of tokenizer.json
    max_length: int  # tokens, with those that the tokenizer adds
    truncate: str = "head"  # what a longer text keeps: head | head_tail | windows (all, in several)
    limit: int | None = None  # tokens that the network has positions for; None: any number
    pad: int = 0  # a token that stands where there is no text; the mask leaves it out
    types: bool = False  # whether the network takes token_type_ids

    apart: ClassVar[bool] = True
    kind: ClassVar[str] = "text"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")

    def inspect(self, sample: Sample) -> tuple[Inputs, Inspection]:
        """Return the input, and the numbers of tokens (as width) and unknown tokens (as height) before it is cut."""
        windows, found = self._cut(sample)
        return self._padded(windows), found

    def _cut(self, sample: Sample) -> tuple[list[Window], Inspection]:
        try:
            text = self._read(sample)
            encoding = tokenizer_of(self.tokenizer).encode(*([text] if isinstance(text, str) else text))
            if all(encoding.special_tokens_mask):  # has those alone that the tokenizer adds
                raise UnusableTextError("the tokenizer finds nothing in it")
        except UnusableTextError as error:
            lasting = not isinstance(error, ChangedError)
            return [Window([self.pad], [0])], Inspection(0, 0, "text", str(error), lasting)
        unknown = unknown_of(self.tokenizer)
        found = Inspection(
            len(encoding.ids), encoding.ids.count(unknown) if unknown is not None else 0, "text", "", True
        )
        return windows_of(encoding, self.max_length, self.truncate), found

    def collate(self, items: list[Inputs]) -> Inputs:
        """Pad to the most windows and the longest of the batch, on the right."""
        rows: list[dict[str, Tensor]] = [item for item in items if isinstance(item, dict)]
        shapes = [row["input_ids"].shape for row in rows]
        shape = (len(rows), max(windows for windows, _ in shapes), max(length for _, length in shapes))
        batch = {
            name: torch.full(shape, self.pad if name == "input_ids" else 0, dtype=torch.int32)
            for name in sorted({name for row in rows for name in row})
        }
        for i, row in enumerate(rows):
            for name, values in row.items():
                batch[name][i, : len(values), : values.shape[1]] = values
        return batch

    def preview(self, sample: Sample) -> str:
        """Return the first 300 characters."""
        try:
            return beginning_of(self._read(sample))
        except UnusableTextError as error:
            raise SampleError(f"{sample.path}: {error}.") from None

    def facts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return how long texts are in tokens, and the shares that are cut and unknown."""
        return {"tokens": tokens(samples, lambda sample: self.inspect(sample)[1], self.max_length, self.truncate)}

    def lengths(self, samples: Sequence[Sample]) -> Sequence[int]:
        """Return the number of tokens of each sample's input, with padding; an unreadable one counts as short."""
        cut = (self._cut(sample)[0] for sample in samples)
        return [len(windows) * self._length(windows) for windows in cut]

    def adapted(self, keys: Mapping[str, Any]) -> Self:
        """Return the same reader with the data's `max_length` and `truncate`; null keeps the model's own."""
        length, truncate = keys.get("max_length") or self.max_length, keys.get("truncate") or self.truncate
        if truncate not in TRUNCATES:
            raise UserError(f"data.truncate={truncate} is unknown: use one of {', '.join(TRUNCATES)}.")
        least = tokenizer_of(self.tokenizer).num_special_tokens_to_add(True) + 2
        if length < least:
            raise UserError(f"data.max_length={length}: with the tokens that the tokenizer adds, use at least {least}.")
        if self.limit is not None and length > self.limit:
            raise UserError(
                f"data.max_length={length}: this model has positions for {self.limit} tokens: use {self.limit} or "
                "fewer; data.truncate=windows reads longer texts whole."
            )
        return replace(self, max_length=length, truncate=truncate)

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer, for the model directory."""
        return {FILE: self.tokenizer.encode()}

    def key(self) -> dict[str, Any]:
        return {**self.to_dict(), "pad": self.pad, "types": self.types, "limit": self.limit, "version": VERSION}

    def to_dict(self) -> dict[str, Any]:
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in self.files().items()}
        return {"kind": "text", "max_length": self.max_length, "truncate": self.truncate, "files": digests}

    def _read(self, sample: Sample) -> Text:
        """Return a sample's text; raise UnusableTextError for one that holds nothing."""
        if sample.problem:
            raise UnusableTextError(sample.problem)
        content = sample.content
        if content is None:
            content = read_file(sample.path)
        text: Text = decoded(content) if isinstance(content, bytes) else content
        parts = (text,) if isinstance(text, str) else text
        if not (
            isinstance(parts, tuple | list) and 1 <= len(parts) <= 2 and all(isinstance(one, str) for one in parts)
        ):
            raise UnusableTextError(f"a text, or a pair of two, is needed, not {type(content).__name__}")
        whole = "\n".join(parts)
        if reason := problem_of(whole):
            raise UnusableTextError(reason)
        if sample.content is None and sample.digest:
            known = (hashlib.sha256(one).hexdigest() for one in (whole.encode(), content))
            if sample.digest not in known:
                raise ChangedError("changed since the dataset was looked through; start again")
        return text

    def _padded(self, windows: list[Window]) -> dict[str, Tensor]:
        """Make tensors (W, L) of windows; L depends on the text alone, so that its features do."""
        length = self._length(windows)
        rows = {
            "input_ids": [window.ids + [self.pad] * (length - len(window.ids)) for window in windows],
            "attention_mask": [[1] * len(window.ids) + [0] * (length - len(window.ids)) for window in windows],
        }
        if any(map(any, (window.types for window in windows))) and self.types:
            rows["token_type_ids"] = [window.types + [0] * (length - len(window.types)) for window in windows]
        return {name: torch.tensor(values, dtype=torch.int32) for name, values in rows.items()}

    def _length(self, windows: list[Window]) -> int:
        return min(padded_length(max(len(window.ids) for window in windows)), self.max_length)


def padded_length(tokens: int) -> int:
    """Round up: texts of about one length share a padded length, and what they share is larger for longer ones."""
    step = 4 if tokens <= 64 else 8 if tokens <= 128 else 16
    return -(-tokens // step) * step
