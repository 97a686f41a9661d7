"""The reader of conversations: their tokens, cut to what fits, and which of them are learnt."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ft_lightning.readers.conversation import Conversation, Message, question_of
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.readers.lengths import tokens
from ft_lightning.readers.sample import Inputs, Inspection, Sample
from ft_lightning.readers.secrets import redacted
from ft_lightning.readers.text import FILE
from ft_lightning.readers.turns import ChatFormat, Tokens
from ft_lightning.readers.unaugmented import Unaugmented
from ft_lightning.readers.words import beginning_of
from ft_lightning.system.errors import UserError

VERSION = 1  # raise it when code here, in turns.py, template.py or backbones/causal.py changes an input or a loss
TEMPLATE = "chat_template.jinja"
LEARN = ("answers", "last")
ON_TOO_LONG = ("error", "skip", "cut_prompt")
_STEP = 16  # conversations of about one length share a padded length
_SHOWN = 2000  # characters of a part of the conversation that a page shows


@dataclass(frozen=True)
class ChatReader(Unaugmented):
    """Reads conversations as the network's chat template and tokenizer write them; a `readers.sample.Reader`.

    A batch is `{"input_ids", "attention_mask", "learn"}`, int32 (B, L), padded on the right. `learn` is 1 on the tokens
    of answers and on the token that ends each: a model that does not learn the end never stops.
    """

    format: ChatFormat
    max_length: int  # tokens of a conversation
    limit: int | None = None  # tokens that the network has positions for; None: any number
    pad: int = 0  # a token that stands where there is no text; the mask leaves it out
    learn: str = "answers"  # answers: all of a conversation; last: the last one
    on_too_long: str = "error"  # error | skip | cut_prompt

    apart: ClassVar[bool] = False
    kind: ClassVar[str] = "conversation"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers", "jinja2")

    def inspect(self, sample: Sample) -> tuple[Inputs, Inspection]:
        """Return the input, and as width the number of tokens before it is cut, as height of those to learn."""
        try:
            read, length = self._read(sample.content)
        except UnusableTextError as error:
            return self._padded(Tokens([self.pad], [0])), Inspection(0, 0, self.kind, str(error), True)
        return self._padded(read), Inspection(length, sum(read.learn), self.kind, "", True)

    def problem(self, sample: Sample) -> str:
        """Say why a conversation cannot be used, as a phrase; empty if it can. One that is too long says so first."""
        return self.inspect(sample)[1].error

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens after which the network writes an answer to these messages.

        Raises:
            UnusableTextError: they do not end with a question, or leave no room for an answer.
        """
        ids = self.format.prompt(messages)
        if self.limit is not None and len(ids) >= self.limit:
            raise UnusableTextError(f"too long: {len(ids):,} tokens, and the model has {self.limit:,} positions")
        return ids

    def asked(self, messages: Conversation) -> list[int]:
        """Return the tokens before the last answer of a conversation, cut as in training, for the network to go on."""
        read, _ = self._read(messages)
        return read.ids[: len(read.learn) - read.learn[::-1].index(0)]

    def _read(self, messages: Conversation) -> tuple[Tokens, int]:
        """Return the tokens of a conversation, its prompt cut where keys say so, and their number before.

        Raises:
            UnusableTextError: it cannot be rendered, or is too long.
        """
        if messages[-1].role != "assistant":
            ids = self.prompt(messages)
            return Tokens(ids, [0] * len(ids)), len(ids)
        read = self.format.tokens(messages, self.learn == "answers")
        length = len(read.ids)
        if length <= self.max_length:
            return read, length
        if self.on_too_long == "cut_prompt":
            return self._cut(messages), length
        raise UnusableTextError(f"too long: {length:,} tokens, and data.max_length={self.max_length}")

    def shown(self, messages: Conversation) -> list[tuple[str, bool]]:
        """Return a conversation as the network reads it, in parts that are learnt or not."""
        return self.format.parts(self._read(messages)[0])

    def _cut(self, messages: Conversation) -> Tokens:
        """Leave out as much of the beginning of the longest question as is needed for the rest to fit."""
        at = max(
            (i for i, message in enumerate(messages) if message.role != "assistant"),
            key=lambda i: len(messages[i].content),
        )
        role, content = messages[at]
        low, high = 1, len(content) - 1  # characters that are left out; at least one stays
        best: Tokens | None = None
        while low <= high:
            middle = (low + high) // 2
            cut = (*messages[:at], Message(role, content[middle:]), *messages[at + 1 :])
            read = self.format.tokens(cut, self.learn == "answers")
            if len(read.ids) <= self.max_length:
                best, high = read, middle - 1
            else:
                low = middle + 1
        if best is None:
            raise UnusableTextError(f"too long even without its longest question; data.max_length={self.max_length}")
        return best

    def collate(self, items: list[Inputs]) -> Inputs:
        """Pad to the longest of the batch, on the right."""
        rows: list[dict[str, Tensor]] = [item for item in items if isinstance(item, dict)]
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        batch = {name: torch.full(shape, self.pad if name == "input_ids" else 0, dtype=torch.int32) for name in rows[0]}
        for i, row in enumerate(rows):
            for name, values in row.items():
                batch[name][i, : len(values)] = values
        return batch

    def preview(self, sample: Sample) -> str:
        """Return the first 300 characters of the last question."""
        return beginning_of(question_of(sample.content)[-1].content)

    def facts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return how long conversations are in tokens, how many tokens are learnt, and the first one as it is read."""
        learnt = [found.height for found in (self.inspect(sample)[1] for sample in samples) if not found.error]
        described = tokens(samples, lambda sample: self.inspect(sample)[1], self.max_length, self.on_too_long)
        example = next((sample for sample in samples if not self.problem(sample)), None)
        return {
            "tokens": {**described, "learnt": sum(learnt), "unknown": 0.0},
            "example": {"path": example.name, "parts": _redacted(self.shown(example.content))} if example else None,
        }

    def lengths(self, samples: Sequence[Sample]) -> Sequence[int]:
        """Return the number of tokens of each sample's input, with padding."""
        return [_length(self.inspect(sample)[0]) for sample in samples]

    def adapted(self, keys: Mapping[str, Any]) -> Self:
        """Return the same reader with the data's `max_length`, `learn` and `on_too_long`; null: the model's own."""
        given = {key: keys.get(key) or getattr(self, key) for key in ("max_length", "learn", "on_too_long")}
        for key, known in (("learn", LEARN), ("on_too_long", ON_TOO_LONG)):
            if given[key] not in known:
                raise UserError(f"data.{key}={given[key]} is unknown: use one of {', '.join(known)}.")
        if self.limit is not None and given["max_length"] > self.limit:
            raise UserError(
                f"data.max_length={given['max_length']}: the model has positions for {self.limit:,} tokens: use that "
                "many or fewer."
            )
        return replace(self, **given)

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer and the chat template, for the model directory."""
        return {FILE: self.format.tokenizer.encode(), TEMPLATE: self.format.template.encode()}

    def key(self) -> dict[str, Any]:
        return {**self.to_dict(), "pad": self.pad, "limit": self.limit, "version": VERSION}

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "max_length": self.max_length,
            "learn": self.learn,
            "on_too_long": self.on_too_long,
            "special": dict(self.format.special),
            "ends": list(self.format.ends),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in self.files().items()},
        }

    def _padded(self, read: Tokens) -> dict[str, Tensor]:
        # With room for one more: attention takes another path where no row is padded.
        length = (len(read.ids) // _STEP + 1) * _STEP
        length = length if self.limit is None else max(len(read.ids), min(length, self.limit))
        inputs = {
            "input_ids": torch.full((length,), self.pad, dtype=torch.int32),
            "attention_mask": torch.zeros(length, dtype=torch.int32),
            "learn": torch.zeros(length, dtype=torch.int32),
        }
        inputs["input_ids"][: len(read.ids)] = torch.tensor(read.ids, dtype=torch.int32)
        inputs["attention_mask"][: len(read.ids)] = 1
        inputs["learn"][: len(read.ids)] = torch.tensor(read.learn, dtype=torch.int32)
        return inputs


def _length(inputs: Inputs) -> int:
    return len(inputs["input_ids"]) if isinstance(inputs, dict) else 0


def _redacted(parts: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Return parts of a text, clipped, with a name in the place of a secret: it must not stand in more files."""
    half = _SHOWN // 2
    whole = [(redacted(text), learnt) for text, learnt in parts]
    return [(text if len(text) <= _SHOWN else f"{text[:half]} … {text[-half:]}", learnt) for text, learnt in whole]
