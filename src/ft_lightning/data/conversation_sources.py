"""Lists the conversations of a table, and reports what is wrong with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ft_lightning.data.conversation_layouts import conversation_of, read_rows, recognised
from ft_lightning.data.scan import Entry, FindFiles, Listing, OnProblem, with_entries
from ft_lightning.data.table import listing_of, refuse_lacking, weights_of
from ft_lightning.readers.conversation import problem_of
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table


def find_conversations(
    root: str | None,
    csv: str | None,
    on_problem: OnProblem,
    label: str | Sequence[str] | None = None,
    weight: str | None = None,
    text: str | Sequence[str] | None = None,
) -> Listing:
    """List a table of conversations (.csv, .jsonl or .parquet); its layout is known by its columns.

    A sample's label is the last answer.

    Args:
        label: the table's column with the answer, where it is not called completion.
        weight: the table's column with the samples' weights; None: all count alike.
        text: the table's column with the question, where it is not called prompt.
    """
    if root:
        raise UserError(f"data.root={root}: conversations stand in a table: say data.table=/conversations.jsonl.")
    if not csv:
        raise UserError(
            "data.table is not set: say data.table=/conversations.jsonl (or .csv, .parquet), with the columns prompt "
            "and completion, or messages."
        )
    for key, named in (("text", text), ("label", label)):
        if named is not None and not isinstance(named, str):
            raise UserError(f"data.{key}={list(named)}: name one column.")
    where, table = f"data.table={csv}", Path(str(csv)).expanduser()
    rows = read_table(table, as_is=True)
    refuse_lacking(rows, [], "", where)
    layouts = recognised(rows.columns, where, text, label, answered=True)  # type: ignore[arg-type]
    read = read_rows(rows, layouts)
    answers = [messages[-1].content if messages else "" for messages, _ in read]
    return listing_of(table, rows, answers, weights_of(rows, weight, where), read, where)


def checking(find: FindFiles) -> FindFiles:
    """Return a source whose conversations are as those of `find_conversations`, which another one lists.

    The content of its entries may be a list of {"role", "content"} or {"from", "value"}; a label may be left empty.
    """
    return with_entries(find, lambda entries, _: [_checked(entry) for entry in entries])


def _checked(entry: Any) -> Any:
    if not isinstance(entry, Entry) or entry.problem:
        return entry
    try:
        messages = conversation_of(entry.content)
    except UnusableTextError as error:
        return entry._replace(content=None, problem=str(error))
    if problem := problem_of(messages):
        return entry._replace(content=None, problem=problem)
    return entry._replace(content=messages, label=entry.label or messages[-1].content)
