"""A conversation: what a person and a model say in turn, the sample of a language model."""

import json
from collections.abc import Sequence
from typing import NamedTuple

ROLES = ("system", "user", "assistant")


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
        if not any(letter.isprintable() and not letter.isspace() for letter in message.content):
            what = {"system": "system message", "user": "question", "assistant": "answer"}[message.role]
            return f"message {number}, {_article(what)} {what}, is empty" if len(messages) > 2 else f"the {what} is empty"
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


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
