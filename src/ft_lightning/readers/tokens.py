"""Tokenising by a tokenizer.json, and cutting to the length that a network takes."""

import json
import os
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TRUNCATES = ("head", "head_tail", "windows")


class Window(NamedTuple):
    """What the network reads at a time."""

    ids: list[int]
    types: list[int]  # 0 for the first text of a pair, 1 for the second


@lru_cache(maxsize=4)
def tokenizer_of(content: str) -> "Tokenizer":
    """Build the tokenizer of a tokenizer.json, which neither cuts nor pads; once in each process."""
    # Texts are read one at a time, by as many processes as suit the machine. Threads would also make it warn of a fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(content)
    except BaseException as error:  # also the library's PanicException, which is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise UserError(f"tokenizer.json cannot be read: {' '.join(str(error).split())[:300]}.") from error
    tokenizer.no_truncation()  # a file may say both
    tokenizer.no_padding()
    return tokenizer


@lru_cache(maxsize=4)
def unknown_of(content: str) -> int | None:
    """Return the number of the token that stands for what the tokenizer cannot read; None if it reads everything."""
    model = json.loads(content)["model"]
    token, number = model.get("unk_token"), model.get("unk_id")
    return number if isinstance(number, int) else tokenizer_of(content).token_to_id(token) if token else None


def windows_of(encoding: "Encoding", max_length: int, truncate: str) -> list[Window]:
    """Cut a text, or a pair of texts, to what fits; the tokens that the tokenizer has added stay at its ends.

    `head` keeps the beginning, `head_tail` the beginning and the end, `windows` all, one window after the other. Of a
    pair the longer text is cut first; a pair has one window.
    """
    ids, types = encoding.ids, encoding.type_ids
    if len(ids) <= max_length:
        return [Window(ids, types)]
    sequence = encoding.sequence_ids
    added = [i for i, number in enumerate(sequence) if number is None]
    texts = [found for text in (0, 1) if (found := [i for i, number in enumerate(sequence) if number == text])]
    room = max_length - len(added)
    if truncate == "windows" and len(texts) == 1:
        kept = [texts[0][at : at + room] for at in range(0, len(texts[0]), room)]
    else:
        tail = truncate == "head_tail"
        kept = [[i for text, n in zip(texts, _shares(texts, room), strict=True) for i in _ends(text, n, tail)]]
    return [
        Window([ids[i] for i in places], [types[i] for i in places]) for places in (sorted(added + k) for k in kept)
    ]


def _shares(texts: list[list[int]], room: int) -> list[int]:
    """Return how many tokens of each text fit into `room`: the longer one is cut first."""
    if len(texts) == 1:
        return [room]
    smaller = min(*map(len, texts), room // 2)
    longer = room - smaller
    return [longer, smaller] if len(texts[0]) >= len(texts[1]) else [smaller, longer]


def _ends(places: list[int], n: int, tail: bool) -> list[int]:
    if not tail or len(places) <= n:
        return places[:n]
    end = n // 2
    return places[: n - end] + places[len(places) - end :]
