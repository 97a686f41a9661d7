"""The layouts in which tables hold conversations: their columns, and from the cells of a row to messages."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ft_lightning.readers.conversation import Conversation, Message, problem_of
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.system.errors import UserError

Cells = Mapping[str, object]  # of a row, by column
_ROLES = {  # as ShareGPT and sets like it call them
    **dict.fromkeys(("human", "user", "User", "Human"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "Assistant", "model", "bot"), "assistant"),
    "System": "system",
}
KNOWN = (
    "prompt and completion (and system); messages, a list of role and content; instruction, input and output; "
    "conversations, a list of from and value"
)


class Layout(NamedTuple):
    """How a row holds a conversation."""

    columns: tuple[str, ...]  # that have to be there
    read: Callable[[Cells], list[Message]]  # raises UnusableTextError, whose message is a phrase


def recognised(
    columns: Iterable[str], where: str, prompt: str | None, completion: str | None, answered: bool
) -> list[Layout]:
    """Return the layouts that a table with these columns has.

    Args:
        where: the table, for messages.
        prompt: the column of the question, where it is called otherwise.
        completion: the column of the answer, where it is called otherwise.
        answered: whether answers are wanted; without them the columns that would hold them are not needed.

    Raises:
        UserError: there is none; names the columns that are there.
    """
    there = list(map(str, columns))
    named = {"data.text" if answered else "column": prompt, "data.label": completion}
    for key, column in named.items():
        if column is not None and column not in there:
            raise UserError(f"{where}: no column {column!r}; it has {', '.join(there)}. {key} names another.")
    pairs = [_pair(prompt or "prompt", completion or "completion", answered)]
    known = pairs if prompt or completion else [_turns("messages"), _turns("conversations"), *pairs, _alpaca(answered)]
    if found := [layout for layout in known if set(layout.columns) <= set(there)]:
        return found
    fix = "data.text and data.label name the columns of prompt and completion."
    raise UserError(
        f"{where}: no column of a conversation is recognised among {', '.join(there)}. Known are {KNOWN}. "
        f"{fix if answered else 'column names that of the prompt.'}"
    )


def read_rows(
    rows: pd.DataFrame, layouts: Sequence[Layout], answered: bool = True
) -> list[tuple[Conversation | None, str]]:
    """Return the conversation of each row, or why it cannot be used, as a phrase.

    Args:
        answered: whether a conversation has to end with an answer; else an answer at its end is passed over.
    """
    wanted = {"system", "input"}.union(*(layout.columns for layout in layouts))
    columns = [column for column in rows.columns if column in wanted]
    return [_read(cells, layouts, answered) for cells in rows[columns].to_dict("records")]  # type: ignore[arg-type]


def conversation_of(turns: object, what: str = "the conversation") -> Conversation:
    """Return messages of what may be a list of them, or that as JSON; raise UnusableTextError for anything else."""
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except json.JSONDecodeError as error:
            raise UnusableTextError(f"{what} is not JSON: {error.msg} (character {error.pos + 1})") from None
        except RecursionError:
            raise UnusableTextError(f"{what} is not JSON: it is nested too deeply") from None
    if isinstance(turns, np.ndarray):  # as Parquet is read
        turns = turns.tolist()
    if not isinstance(turns, list | tuple):
        raise UnusableTextError(f"{what} is {_kind(turns)}, not a list of messages")
    return tuple(turn if isinstance(turn, Message) else _message(turn, at) for at, turn in enumerate(turns, 1))


def _read(cells: Cells, layouts: Sequence[Layout], answered: bool) -> tuple[Conversation | None, str]:
    # Rows of one table may have different layouts: JSON lines then lack the columns of the others.
    filled = (layout for layout in layouts if all(_given(cells[column]) for column in layout.columns))
    begun = (layout for layout in layouts if any(_given(cells[column]) for column in layout.columns))
    layout = next(filled, None) or next(begun, layouts[0])
    try:
        messages = layout.read(cells)
    except UnusableTextError as error:
        return None, str(error)
    if _given(cells.get("system")):
        try:
            messages = [Message("system", _text(cells["system"], "the system message")), *messages]
        except UnusableTextError as error:
            return None, str(error)
    if not answered and len(messages) > 1 and messages[-1].role == "assistant":
        messages = messages[:-1]
    problem = problem_of(messages, answered)
    return (None, problem) if problem else (tuple(messages), "")


def _pair(prompt: str, completion: str, answered: bool) -> Layout:
    def read(cells: Cells) -> list[Message]:
        question = [Message("user", _text(cells[prompt], "the question"))]
        return [*question, Message("assistant", _text(cells[completion], "the answer"))] if answered else question

    return Layout((prompt, completion) if answered else (prompt,), read)


def _alpaca(answered: bool) -> Layout:
    def read(cells: Cells) -> list[Message]:
        task, given = _text(cells["instruction"], "the instruction"), _text(cells.get("input"), "the input")
        question = [Message("user", f"{task}\n\n{given}" if given.strip() else task)]
        return [*question, Message("assistant", _text(cells["output"], "the answer"))] if answered else question

    return Layout(("instruction", "output") if answered else ("instruction",), read)


def _turns(column: str) -> Layout:
    def read(cells: Cells) -> list[Message]:
        cell = cells[column]
        if not _given(cell):
            raise UnusableTextError(f"the column {column} is empty")
        return list(conversation_of(cell, f"the column {column}"))

    return Layout((column,), read)


def _message(turn: object, number: int) -> Message:
    """Return one message of {role, content} or {from, value}."""
    if not isinstance(turn, Mapping):
        raise UnusableTextError(f"message {number} is {_kind(turn)}, not an object with role and content")
    role, content = (turn.get(key) if turn.get(key) is not None else turn.get(other) for key, other in _NAMES)
    if not isinstance(role, str):
        raise UnusableTextError(f"message {number} has no role")
    if _given(turn.get("tool_calls")):
        raise UnusableTextError(f"message {number} calls tools, which are not supported")
    return Message(_ROLES.get(role, role), _text(content, f"the content of message {number}"))


_NAMES = (("role", "from"), ("content", "value"))


def _text(cell: object, what: str) -> str:
    if isinstance(cell, str):
        return cell
    if not _given(cell):
        return ""
    raise UnusableTextError(f"{what} is {_kind(cell)}, not a text")


def _given(cell: object) -> bool:
    """Return whether a cell holds anything; JSON lines and Parquet have None or NaN for a missing one."""
    if isinstance(cell, str | list | tuple | np.ndarray | Mapping):
        return len(cell.strip() if isinstance(cell, str) else cell) > 0
    return cell is not None and cell is not pd.NA and cell == cell  # noqa: PLR0124 (NaN)


def _kind(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, int | float | np.number):
        return "a number"
    if isinstance(value, list | tuple | np.ndarray):
        return "a list"
    return "an object" if isinstance(value, Mapping) else "empty" if value is None else f"a {type(value).__name__}"
