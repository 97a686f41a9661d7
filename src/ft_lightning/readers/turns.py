"""How a chat model reads a conversation: rendered by its template, tokenised, the answers marked as what is learnt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from ft_lightning.readers.conversation import Message, problem_of
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.readers.template import render
from ft_lightning.readers.tokens import tokenizer_of
from ft_lightning.system.errors import UserError

_REWRITES = "writes what comes before an answer in another way once the answer is there"
_PROBE = (Message("user", "a"), Message("assistant", "b"))


class Tokens(NamedTuple):
    """A conversation as the network reads it."""

    ids: list[int]
    learn: list[int]  # 1 for the tokens of an answer and the one that ends it


@dataclass(frozen=True)
class ChatFormat:
    """The tokenizer and the chat template of a model.

    Training, evaluation and prediction render and tokenise here alone, so that none of them adds a beginning twice, and
    a question has the same tokens with and without its answer.
    """

    tokenizer: str = field(repr=False)  # content of tokenizer.json
    template: str = field(repr=False)  # content of chat_template.jinja
    special: tuple[tuple[str, str], ...]  # what the template calls its tokens, such as eos_token
    ends: tuple[int, ...]  # tokens that end an answer

    def rendered(self, messages: Sequence[Message], ask: bool = False) -> str:
        """Return messages as one text; `ask`: up to where an answer begins."""
        return render(self.template, messages, dict(self.special), ask)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens after which the network writes an answer to these messages.

        Raises:
            UnusableTextError: they do not end with a question.
        """
        self._refuse_signs(messages)
        if reason := problem_of(messages, answered=False):
            raise UnusableTextError(reason)
        return self._encoded(self.rendered(messages, ask=True))

    def tokens(self, messages: Sequence[Message], every: bool) -> Tokens:
        """Return the tokens of a conversation up to the end of its last answer, and which of them are learnt.

        Answers are found by prefix: what the template writes up to an answer has to be the beginning of what it writes
        with the answer.

        Args:
            every: learn all answers of the conversation; else the last one.

        Raises:
            UnusableTextError: it cannot be rendered, or not so.
        """
        self._refuse_signs(messages)
        answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
        ids, learn = list[int](), list[int]()
        whole, written = self.rendered(messages), ""
        for i in answers if every else answers[-1:]:
            before, after = self.rendered(messages[:i], ask=True), self.rendered(messages[: i + 1])
            if not (before.startswith(written) and after.startswith(before) and whole.startswith(after)):
                fix = ": say data.learn=last" if every and len(answers) > 1 else ""
                raise UnusableTextError(f"the model's chat template {_REWRITES}{fix}")
            ids = self._joined(ids, written, before)
            start = len(ids)
            ids = self._joined(ids, before, after)
            end = self._end(ids, start)
            learn += [0] * (start - len(learn)) + [1] * (end + 1 - start) + [0] * (len(ids) - end - 1)
            written = after
        last = len(learn) - learn[::-1].index(1)
        return Tokens(ids[:last], learn[:last])

    def text_of(self, ids: Sequence[int]) -> str:
        """Return what the tokens of an answer say, without those that end it."""
        return tokenizer_of(self.tokenizer).decode(list(ids), skip_special_tokens=True)

    def parts(self, read: Tokens) -> list[tuple[str, bool]]:
        """Return what tokens say with all signs, in parts that are learnt or not."""
        decode, learn = tokenizer_of(self.tokenizer).decode, read.learn
        starts = [i for i, learnt in enumerate(learn) if i == 0 or learnt != learn[i - 1]]
        return [
            (decode(read.ids[start:stop], skip_special_tokens=False), bool(learn[start]))
            for start, stop in zip(starts, [*starts[1:], len(learn)], strict=True)
        ]

    def _joined(self, ids: list[int], written: str, text: str) -> list[int]:
        """Return the tokens of `text`, which goes on from `written`, whose tokens are `ids`.

        Those of what was written stay as they are, because a model that answers sees them so.
        """
        whole = self._encoded(text)
        return whole if whole[: len(ids)] == ids else ids + self._encoded(text[len(written) :])

    def _end(self, ids: list[int], start: int) -> int:
        """Return the place of the token that ends the answer which begins at `start`."""
        for at in range(len(ids) - 1, start - 1, -1):
            if ids[at] in self.ends:
                return at
        raise UnusableTextError("the model's chat template writes no end token after the answer")

    def _refuse_signs(self, messages: Sequence[Message]) -> None:
        """Refuse texts that hold the template's own signs, which would begin or end a turn."""
        signs = _special(self.tokenizer).values()
        for message in messages:
            if sign := next((sign for sign in signs if sign.strip() and sign in message.content), None):
                raise UnusableTextError(f"it holds {sign}, by which the model knows turns: take it out")

    def _encoded(self, text: str) -> list[int]:
        return tokenizer_of(self.tokenizer).encode(text, add_special_tokens=False).ids


def chat_format(tokenizer: str, template: str, special: dict[str, str], ends: Sequence[int]) -> ChatFormat:
    """Make the format of a model.

    Args:
        ends: tokens that end an answer, as the model's files name them. The one that its template writes is added: the
            two differ where a base model has got a chat template, and without it the model would never stop.

    Raises:
        UserError: the template cannot be read, or writes no such token.
    """
    made = ChatFormat(tokenizer, template, tuple(sorted(special.items())), tuple(sorted({*ends})))
    try:
        before, after = made.rendered(_PROBE[:1], ask=True), made.rendered(_PROBE)
    except UnusableTextError as error:
        raise UserError(str(error)) from error
    known = _special(tokenizer)
    tail = tokenizer_of(tokenizer).encode(after[len(before) :], add_special_tokens=False)
    written = [number for number in tail.ids if number in known or number in made.ends]
    if not after.startswith(before):
        raise UserError(f"its chat template cannot be learnt: it {_REWRITES}: use a model with another template.")
    if not written:
        raise UserError(
            "its chat template writes no end token after an answer, so that a model would never learn to stop: use a "
            "model with another template."
        )
    return ChatFormat(tokenizer, template, made.special, tuple(sorted({*made.ends, written[-1]})))


@lru_cache(maxsize=4)
def _special(tokenizer: str) -> dict[int, str]:
    """Return the tokenizer's own signs, such as <|im_end|>, by number."""
    added = tokenizer_of(tokenizer).get_added_tokens_decoder()
    return {number: token.content for number, token in added.items() if token.special}
