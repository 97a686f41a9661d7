"""The questions that a language model is to answer: of a table, of files, of standard input, or as typed."""

from collections.abc import Sequence
from pathlib import Path

from ft_lightning.data.conversation_layouts import read_rows, recognised
from ft_lightning.data.folders import TEXT_FILES
from ft_lightning.data.inputs import find_files
from ft_lightning.data.table import refuse_lacking
from ft_lightning.data.text_inputs import lines_of_input
from ft_lightning.readers.conversation import Conversation, Message, problem_of
from ft_lightning.readers.decoding import UnusableTextError, decoded, read_file
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import TABLES, read_table, row_numbers


def typed_questions(text: str | Sequence[str | tuple[str, ...]]) -> list[Sample]:
    """Return the questions that were typed."""
    texts = [text] if isinstance(text, str) else [each if isinstance(each, str) else str([*each]) for each in text]
    return [question(f"text {number}", each) for number, each in enumerate(texts, start=1)]


def question(name: str, text: str) -> Sample:
    """Return the sample of a single question."""
    messages = (Message("user", text),)
    return _sample(name, messages, problem_of(messages, answered=False))


def find_questions(pattern: str, columns: Sequence[str] | None, usual: Sequence[str] = ()) -> list[Sample]:
    """Return the questions of `input`: the rows of a table, the lines of standard input (-), or whole files.

    An answer at the end of a row's conversation is passed over, as a column of answers is.

    Args:
        columns: of a table: the question's column; None: that of `usual`, or as its layout says, or the only one.
        usual: the question's column in the model's training; empty: as the layout said.
    """
    if pattern == "-":
        return [question(name, line) for name, line in lines_of_input()]
    if Path(pattern).suffix.lower() in TABLES:
        return _of_table(Path(pattern).expanduser(), columns, usual)
    return [_of_file(path) for path in find_files(pattern, TEXT_FILES)]


def _of_table(table: Path, columns: Sequence[str] | None, usual: Sequence[str]) -> list[Sample]:
    where, rows = f"input={table}", read_table(table, as_is=True)
    refuse_lacking(rows, [], "", where)
    columns = columns or (usual if {*usual} <= {*rows.columns} else None)
    if columns and len(columns) > 1:
        raise UserError(f"column={list(columns)}: name one column, that of the question.")
    only = rows.columns[0] if len(rows.columns) == 1 and rows.columns[0] not in ("messages", "conversations") else None
    layouts = recognised(rows.columns, where, columns[0] if columns else only, None, answered=False)
    read = read_rows(rows, layouts, answered=False)
    numbered = zip(row_numbers(rows), read, strict=True)
    return [_sample(f"{table}#{number}", messages, why) for number, (messages, why) in numbered]


def _of_file(path: Path) -> Sample:
    try:
        return question(str(path), decoded(read_file(str(path))))
    except UnusableTextError as error:
        return _sample(str(path), None, str(error))


def _sample(name: str, messages: Conversation | None, problem: str) -> Sample:
    return Sample(name, name, "", "", problem=problem, content=None if problem else messages, kind="conversation")
