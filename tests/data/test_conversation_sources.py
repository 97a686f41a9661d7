"""Conversations of tables: which layouts are known, what becomes of a row, and which rows cannot be used."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ft_lightning.data.conversation_inputs import find_questions, question, typed_questions
from ft_lightning.data.conversation_sources import checking, find_conversations
from ft_lightning.data.kinds import CONVERSATIONS, IMAGES, TEXTS, kind_of
from ft_lightning.data.scan import Entry, Listing, digest_of, refuse
from ft_lightning.readers.conversation import Message, canonical
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError

ASKED = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
SHARED = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
CONVERSATION = (Message("user", "2+2?"), Message("assistant", "4"))


def listed(table: Path, **columns: Any) -> list[Entry]:
    return find_conversations(None, str(table), refuse, **columns).entries


def lines(folder: Path, *rows: dict[str, Any], name: str = "t.jsonl") -> Path:
    table = folder / name
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return table


def turns(*said: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]


LAYOUTS: dict[str, dict[str, Any]] = {
    "pair": {"prompt": "2+2?", "completion": "4"},
    "messages": {"messages": ASKED},
    "messages as text": {"messages": json.dumps(ASKED)},
    "alpaca": {"instruction": "2+2?", "output": "4"},
    "alpaca with an empty input": {"instruction": "2+2?", "input": "", "output": "4"},
    "sharegpt": {"conversations": SHARED},
    "sharegpt with others' names": {
        "conversations": [{"from": "user", "value": "2+2?"}, {"from": "chatgpt", "value": "4"}]
    },
}


@pytest.mark.parametrize("row", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_same_conversation(row: dict[str, Any], tmp_path: Path) -> None:
    (entry,) = listed(lines(tmp_path, row))
    assert (entry.content, entry.label, entry.problem) == (CONVERSATION, "4", "")
    assert entry.path == str(tmp_path / "t.jsonl#2")
    pd.DataFrame([row]).assign(system=None).to_parquet(tmp_path / "t.parquet")
    assert listed(tmp_path / "t.parquet")[0][1:] == entry[1:]
    cells = {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()}
    pd.DataFrame([cells]).to_csv(tmp_path / "t.csv", index=False)
    assert listed(tmp_path / "t.csv")[0][1:] == entry[1:]


def test_a_system_message_comes_first_and_an_input_follows_its_instruction(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Hi", "completion": "Ho", "system": "Be brief."},
        {"instruction": "Add.", "input": "2, 2", "output": "4", "system": "Be brief."},
        {"conversations": [{"from": "system", "value": "Be brief."}, *SHARED]},
        {"messages": ASKED, "system": "Be brief."},
    ]
    found = [listed(lines(tmp_path, row))[0].content for row in rows]
    assert {messages[0] for messages in found} == {Message("system", "Be brief.")}
    assert [messages[1].content for messages in found] == ["Hi", "Add.\n\n2, 2", "2+2?", "2+2?"]


def test_columns_of_other_names(tmp_path: Path) -> None:
    table = lines(tmp_path, {"question": "2+2?", "answer": "4", "messages": "[]"})
    assert listed(table, text="question", label="answer")[0].content == CONVERSATION
    table = lines(tmp_path, {"question": "2+2?", "completion": "4"})
    assert listed(table, text="question")[0].content == CONVERSATION


def test_rows_of_one_table_may_have_different_layouts(tmp_path: Path) -> None:
    odd = [{"note": "no conversation"}, {"prompt": "half"}]
    entries = listed(lines(tmp_path, *LAYOUTS.values(), *odd))
    assert [entry.content for entry in entries] == [CONVERSATION] * len(LAYOUTS) + [None, None]
    assert [entry.problem for entry in entries[-2:]] == [
        f"the column messages is empty (line {len(entries) - 1})",
        f"the answer is empty (line {len(entries)})",
    ]


def test_splits_groups_and_weights_are_read(tmp_path: Path) -> None:
    pair = LAYOUTS["pair"]
    table = lines(tmp_path, pair | {"split": "train", "group": 7, "w": 2}, pair | {"split": "dev", "group": "", "w": 1})
    assert [(e.split, e.group, e.weight) for e in listed(table, weight="w")] == [
        ("train", "7", 2.0),
        ("val", None, 1.0),
    ]
    with pytest.raises(UserError, match="no column 'heavy'"):
        listed(table, weight="heavy")


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "", "completion": "4"}, "the question is empty"),
        ({"prompt": "2+2?", "completion": ""}, "the answer is empty"),
        ({"prompt": "2+2?", "completion": None}, "the answer is empty"),
        ({"prompt": "2+2?", "completion": " \n"}, "the answer is empty"),
        ({"prompt": "2+2?", "completion": "\u200b"}, "the answer is empty"),
        ({"prompt": "2+2?", "completion": 4}, "the answer is a number, not a text"),
        ({"prompt": "2+2?", "completion": True}, "the answer is true, not a text"),
        ({"prompt": ["2+2?"], "completion": "4"}, "the question is a list, not a text"),
        ({"prompt": {"text": "2+2?"}, "completion": "4"}, "the question is an object, not a text"),
        ({"prompt": "a\x00b", "completion": "4"}, r"the question holds the control character '\x00' (character 2)"),
        ({"prompt": "a", "completion": "x\x1b[1m"}, r"the answer holds the control character '\x1b' (character 2)"),
        ({"prompt": "\ud83d", "completion": "4"}, "the question is empty"),
        ({"prompt": "a \ud83d", "completion": "4"}, "the question holds half a character of UTF-16 (character 3)"),
        ({"instruction": 7, "output": "4"}, "the instruction is a number, not a text"),
        ({"messages": ""}, "the column messages is empty"),
        ({"messages": []}, "the column messages is empty"),
        ({"messages": 5}, "the column messages is a number, not a list of messages"),
        ({"messages": {"role": "user"}}, "the column messages is an object, not a list of messages"),
        ({"messages": "[{'role': 'user'}]"}, "the column messages is not JSON"),
        ({"messages": "[" * 100_000}, "the column messages is not JSON: it is nested too deeply"),
        ({"messages": ["hi"]}, "message 1 is a str, not an object with role and content"),
        ({"messages": [{"content": "hi"}]}, "message 1 has no role"),
        ({"messages": [ASKED[0], {"role": "assistant"}]}, "the answer is empty"),
        ({"messages": [ASKED[0], {"role": "assistant", "content": 4}]}, "the content of message 2 is a number"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "the content of message 1 is a list"),
        ({"messages": [*ASKED, {"role": "tool", "content": "x"}]}, "a message has the role 'tool'"),
        ({"messages": [ASKED[0], {"role": "assistant", "tool_calls": [1]}]}, "message 2 calls tools"),
        ({"messages": [*ASKED, ASKED[0]]}, "it ends without an answer"),
        ({"messages": [ASKED[1], ASKED[0], ASKED[1]]}, "user and assistant take turns"),
        ({"messages": [ASKED[0], *ASKED]}, "user and assistant take turns"),
        ({"messages": [*ASKED, {"role": "system", "content": "x"}]}, "user and assistant take turns"),
        ({"messages": turns("a", "b", "c", " ")}, "message 4, an answer, is empty"),
        ({"conversations": SHARED[1:]}, "user and assistant take turns"),
        ({"conversations": [{"from": "observation", "value": "x"}]}, "a message has the role 'observation'"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(row: dict[str, Any], problem: str, tmp_path: Path) -> None:
    entry, sound = listed(lines(tmp_path, row, LAYOUTS["pair"]))
    assert (entry.content, entry.problem[: len(problem)]) == (None, problem) or problem in entry.problem
    assert sound.problem == ""


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("t.csv", "question,answer\na,b\n", {}, ["among question, answer", "prompt and completion", "data.text and"]),
        ("t.csv", "prompt,answer\na,b\n", {"label": "reply"}, ["no column 'reply'", "data.label names another"]),
        ("t.csv", "q,completion\na,b\n", {"text": "ask"}, ["no column 'ask'", "data.text names another"]),
        ("t.csv", "prompt,completion\na,b\n", {"text": ["prompt", "x"]}, ["data.text=['prompt', 'x']: name one"]),
        ("t.csv", "prompt,completion\n", {}, ["has no rows"]),
        ("t.csv", "", {}, ["t.csv"]),
        ("t.jsonl", "", {}, ["has no rows"]),
        ("t.jsonl", '{"prompt": "a", "completion": "b"}\n{"prompt": \n', {}, ["line 2 is not JSON"]),
        ("t.jsonl", '{"prompt": "a", "completion": "b"}\n["a", "b"]\n', {}, ["line 2 holds something else"]),
        ("t.csv", b"prompt,completion\ncaf\xe9,x\n", {}, ["is not UTF-8"]),
        ("t.csv", "prompt,completion,split\na,x,train\nb,y,\n", {}, ["some rows have a split and some have none"]),
        ("t.csv", "prompt,completion,split\na,x,train\nb,y,later\n", {}, ["split 'later' is unknown"]),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_named_with_its_fault(
    name: str, content: str | bytes, columns: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    table = tmp_path / name
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as refused:
        listed(table, **columns)
    assert all(part in str(refused.value) for part in said), refused.value


def test_what_spreadsheets_write_is_read_to_the_letter(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes('\ufeffprompt;completion\r\n"a;b\r\nc";"say ""hi"""\r\n=1+1;\'-x\r\n'.encode())
    found = [[message.content for message in entry.content] for entry in listed(table)]
    assert found == [["a;b\r\nc", 'say "hi"'], ["=1+1", "'-x"]]


def test_a_folder_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(UserError, match=r"data.root=/x: conversations stand in a table: say data.table="):
        find_conversations("/x", None, refuse)
    with pytest.raises(UserError, match=r"data.table is not set"):
        find_conversations(None, None, refuse)


def test_a_conversation_is_known_by_its_messages_and_its_question_by_those_before_the_answer(tmp_path: Path) -> None:
    assert digest_of(CONVERSATION) != digest_of(("2+2?", "4"))
    assert digest_of(CONVERSATION) == digest_of(tuple(Message(*each) for each in json.loads(canonical(CONVERSATION))))
    one, other = (Sample("p", "n", "", "", content=messages, kind="conversation") for messages in _two_answers())
    assert one.question == other.question == digest_of((Message("user", "2+2?"),))
    assert one.text == "2+2?"
    longer = Sample("p", "n", "", "", content=(*CONVERSATION, *CONVERSATION), kind="conversation")
    assert longer.text == "user: 2+2?\nassistant: 4\nuser: 2+2?"
    assert Sample("p", "n", "", "").question is None


def _two_answers() -> Sequence[tuple[Message, ...]]:
    return CONVERSATION, (CONVERSATION[0], Message("assistant", "four"))


def test_a_source_of_one_s_own_may_give_lists(tmp_path: Path) -> None:
    def find(root: str | None, csv: str | None, on_problem: Any) -> Listing:
        entries = [Entry("a", "", content=ASKED), Entry("b", "x", content=SHARED), Entry("c", "", content=ASKED[:1])]
        return Listing([*entries, Entry("d", "", content=None), Entry("e", "", content="a text")], tmp_path)

    a, b, c, d, e = checking(find)(None, None, refuse).entries
    assert (a.content, a.label, b.content, b.label) == (CONVERSATION, "4", CONVERSATION, "x")
    assert [entry.content for entry in (c, d, e)] == [None] * 3
    assert "ends without an answer" in c.problem
    assert "empty, not a list" in d.problem
    assert "not JSON" in e.problem


def test_conversations_are_told_from_texts_and_images_by_their_keys() -> None:
    assert kind_of({"learn": "answers", "on_bad_text": "error"}) is CONVERSATIONS
    assert kind_of({"on_bad_text": "error"}) is TEXTS
    assert kind_of({"on_bad_image": "error"}) is kind_of({}) is IMAGES


@pytest.mark.parametrize(
    ("rows", "column", "asked"),
    [
        ([LAYOUTS["pair"]], None, ["2+2?"]),
        ([{"prompt": "2+2?"}, {"prompt": "Hi", "system": "Be brief."}], None, ["2+2?", "system: Be brief.\nuser: Hi"]),
        ([{"messages": ASKED[:1]}, {"messages": ASKED}], None, ["2+2?", "2+2?"]),
        ([{"instruction": "Add.", "input": "2, 2"}], None, ["Add.\n\n2, 2"]),
        ([{"conversations": SHARED}], None, ["2+2?"]),
        ([{"q": "2+2?", "prompt": "x"}], ["q"], ["2+2?"]),
        ([{"anything": "2+2?"}], None, ["2+2?"]),
        ([{"prompt": 4}, {"prompt": ""}, {"prompt": "x"}], None, [None, None, "x"]),
    ],
)
def test_the_questions_of_a_table(
    rows: list[dict[str, Any]], column: list[str] | None, asked: list[str | None], tmp_path: Path
) -> None:
    found = find_questions(str(lines(tmp_path, *rows)), column)
    assert [sample.text for sample in found] == asked
    assert [bool(sample.problem) for sample in found] == [text is None for text in asked]
    assert found[0].name.endswith("t.jsonl#2")


def test_questions_are_refused_or_named_where_there_are_none(tmp_path: Path) -> None:
    table = lines(tmp_path, {"a": "x", "b": "y"})
    with pytest.raises(UserError, match="column names that of the prompt"):
        find_questions(str(table), None)
    with pytest.raises(UserError, match="no column 'c'"):
        find_questions(str(table), ["c"])
    with pytest.raises(UserError, match="name one column"):
        find_questions(str(table), ["a", "b"])
    (tmp_path / "a.txt").write_text("2+2?", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    (tmp_path / "c.txt").write_text("", encoding="utf-8")
    a, b, c = find_questions(str(tmp_path), None)
    assert (a.text, a.kind) == ("2+2?", "conversation")
    assert "is not UTF-8" in b.problem
    assert c.problem == "the question is empty"
    assert question("q", "\x00x").problem.startswith("the question holds the control character")
    assert [sample.name for sample in typed_questions(["a", "b"])] == ["text 1", "text 2"]


@pytest.mark.promise(44)
def test_a_file_of_odd_conversations_is_read_whole(tmp_path: Path) -> None:
    long, odd = "word " * 10_000, "🙂👩‍👩‍👧 你好，世界 \u202eabc"
    said = [turns("Say it.", long), turns("问题：一加一？", odd), [*ASKED[::-1]], turns("x", "")]
    found = listed(lines(tmp_path, *({"messages": each} for each in said)))
    assert [entry.label for entry in found[:2]] == [long, odd]
    assert found[1].content[0].content == "问题：一加一？"
    assert ["take turns" in found[2].problem, found[3].problem] == [True, "the answer is empty (line 4)"]
