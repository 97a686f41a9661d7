"""A conversation: what a person and a model say in turn, the sample of a language model."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from ft_lightning.system.errors import with_article

ROLES = ("system", "user", "assistant")
_STRANGE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]"
)  # control characters but for white space; half characters


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str  # one of ROLES
    content: str


Conversation = tuple[Message, ...]


def problem_of(messages: Sequence[Message], answered: bool = True) -> str:
    """Say why these messages cannot be used, as a phrase; empty if they can.

    Args:
        answered: whether the last message has to be an answer, to learn from; else it has to be a question.
    """
    roles = [message.role for message in messages]
    if strange := next((role for role in roles if role not in ROLES), None):
        return f"a message has the role {strange!r}: use one of {', '.join(ROLES)}"
    for number, message in enumerate(messages, 1):
        if problem := _problem_in(message.content):
            what = {"system": "system message", "user": "question", "assistant": "answer"}[message.role]
            which = f"message {number}, {with_article(what)}," if len(messages) > 2 else f"the {what}"
            return f"{which} {problem}"
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user" if turn % 2 == 0 else "assistant" for turn in range(len(turns))]
    if turns != expected:
        return f"the roles are {', '.join(roles)}: user and assistant take turns, after one system message at most"
    last = "assistant" if answered else "user"
    if not turns or turns[-1] != last:
        return f"it ends without {'an answer' if answered else 'a question'} (roles: {', '.join(roles) or 'none'})"
    return ""


def canonical(messages: Sequence[Message]) -> str:
    """Return messages as JSON in the one way by which a conversation is known."""
    return json.dumps([list(message) for message in messages], ensure_ascii=False, separators=(",", ":"))


def digest_of(messages: Sequence[Message]) -> str:
    """Return the sha256 by which a conversation, or a part of one, is known."""
    return hashlib.sha256(canonical(messages).encode()).hexdigest()


def question_of(messages: Sequence[Message]) -> Sequence[Message]:
    """Return what stands before the last answer."""
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def conversation_of(given: object) -> Conversation | None:
    """Return the conversation that somebody gives: a question, or messages as pairs or dictionaries; None of others."""
    if isinstance(given, str):
        return (Message("user", given),)
    if not isinstance(given, tuple | list) or not given:
        return None
    pairs = [(one.get("role"), one.get("content")) if isinstance(one, dict) else one for one in given]
    if all(isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(x, str) for x in pair) for pair in pairs) and (
        all(pair[0] in ROLES for pair in pairs)
    ):
        return tuple(Message(*pair) for pair in pairs)
    return None


def shown(messages: Sequence[Message]) -> str:
    """Return messages for people: a single one as it is, several one below the other after their roles."""
    return messages[0].content if len(messages) == 1 else "\n".join(f"{role}: {content}" for role, content in messages)


def _problem_in(text: str) -> str:
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        return "is empty"
    if found := _STRANGE.search(text):
        at = f"(character {found.start() + 1:,})"
        return (
            f"holds half a character of UTF-16 {at}"
            if found[0] > "~~"
            else f"holds the control character {found[0]!a} {at}"
        )
    return ""
