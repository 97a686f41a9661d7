"""The data module of conversations: questions stay in one split, and what is too long is refused, left out or cut."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat import write_language_model
from ft_lightning.backbones.load_text import load_text_backbone
from ft_lightning.data.conversation_sources import find_conversations
from ft_lightning.data.instructions import InstructionsDataModule
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.readers.sample import Reader
from ft_lightning.system.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "data"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = write_language_model(tmp_path_factory.mktemp("tiny"))
    return load_text_backbone("transformers", str(folder), "DEFAULT", None, "auto", False, {}, generates=True).reader


def module(table: Path | None, **changes: Any) -> InstructionsDataModule:
    keys = yaml.safe_load((CONF / "instructions.yaml").read_text(encoding="utf-8"))
    keys |= {"find": find_conversations, "table": table and str(table), "task_name": "instruct", "max_length": 100}
    return InstructionsDataModule(**{key: value for key, value in (keys | changes).items() if key != "_target_"})


def sums(folder: Path, count: int = 30, **more: Any) -> Path:
    rows = [{"prompt": f"{i}+{i}?", "completion": str(2 * i)} for i in range(count)]
    table = folder / "sums.jsonl"
    table.write_text("\n".join(json.dumps({**row, **more}) for row in rows), encoding="utf-8")
    return table


def added(table: Path, *rows: dict[str, Any]) -> Path:
    with table.open("a", encoding="utf-8") as file:
        file.writelines(f"\n{json.dumps(row)}" for row in rows)
    return table


def splits_by_name(data: InstructionsDataModule) -> dict[str, str]:
    return {sample.name: split for split, samples in data.splits.items() for sample in samples}


def test_all_answers_to_one_question_are_in_one_split(tmp_path: Path) -> None:
    table = sums(tmp_path)
    again = [{"prompt": f"{i}+{i}?", "completion": f"{2 * i}.{i % 3 + 1}"} for i in range(30)]
    after = splits_by_name(module(added(table, *again)))
    assert [after[f"sums.jsonl#{i}"] for i in range(2, 32)] == [after[f"sums.jsonl#{i}"] for i in range(32, 62)]
    assert set(after.values()) == {"train", "val", "test"}


def test_a_group_and_a_question_that_share_a_row_stay_together(tmp_path: Path) -> None:
    table = sums(tmp_path)
    chain = [
        {"prompt": "a?", "completion": "1", "group": "g"},
        {"prompt": "b?", "completion": "2", "group": "g"},
        {"prompt": "b?", "completion": "3", "group": "h"},
        {"prompt": "c?", "completion": "4", "group": "h"},
    ]
    found = splits_by_name(module(added(table, *chain)))
    assert len({found[f"sums.jsonl#{i}"] for i in range(32, 36)}) == 1
    by_name = splits_by_name(module(table, group_by=r"#(\d)"))
    assert len({by_name[f"sums.jsonl#{i}"] for i in range(30, 36)}) == 1


def test_one_question_in_two_given_splits_is_a_leak(tmp_path: Path) -> None:
    table = sums(tmp_path, split="train")
    rest = [{"prompt": f"{i}?", "completion": str(i), "split": split} for i, split in enumerate(("val", "test"))]
    assert module(added(table, *rest)).splits["test"][0].label == "1"
    leaking = added(table, {"prompt": "3+3?", "completion": "7", "split": "test"})
    with pytest.raises(UserError, match=r"1 conversation of val or test is in train too: .*\(the same question\)"):
        module(leaking)
    assert len(module(leaking, allow_leak=True).splits["test"]) == 2


ODD = [
    ({"prompt": "x?", "completion": "5", "system": 7}, "the system message is a number, not a text"),
    ({"prompt": "x?", "completion": ""}, "the answer is empty"),
    ({"prompt": "x?", "completion": 5}, "the answer is a number, not a text"),
    ({"messages": [{"role": "assistant", "content": "5"}]}, "user and assistant take turns"),
]


@pytest.mark.promise(44)
@pytest.mark.parametrize(("row", "problem"), ODD, ids=[problem for _, problem in ODD])
def test_rows_that_cannot_be_used_are_named_or_left_out(row: dict[str, Any], problem: str, tmp_path: Path) -> None:
    table = added(sums(tmp_path), row)
    with pytest.raises(DataProblemsError) as refused:
        module(table)
    assert "1 of 31 conversations cannot be used" in str(refused.value)
    assert "sums.jsonl#32" in str(refused.value)
    assert problem in str(refused.value)
    assert "data.on_bad_text=skip" in str(refused.value)
    data = module(table, on_bad_text="skip")
    assert [problem in left.problem for left in data.left_out] == [True]
    assert problem in data.split_table().set_index("path").excluded["sums.jsonl#32"]


LONG = {"prompt": "how? " * 30, "completion": "1"}
LONG_ANSWER = {"prompt": "how?", "completion": "1" * 120}


@pytest.mark.promise(48)
@pytest.mark.parametrize(
    ("row", "policy", "fate"),
    [
        (LONG, "error", "refused"),
        (LONG, "skip", "left out"),
        (LONG, "cut_prompt", "kept"),
        (LONG_ANSWER, "error", "refused"),
        (LONG_ANSWER, "skip", "left out"),
        (LONG_ANSWER, "cut_prompt", "refused"),
    ],
)
def test_what_is_too_long_is_refused_left_out_or_cut(
    row: dict[str, str], policy: str, fate: str, reader: Reader, tmp_path: Path
) -> None:
    data = module(added(sums(tmp_path), row), on_too_long=policy)
    if fate == "refused":
        with pytest.raises(DataProblemsError) as refused:
            data.connect(reader, None, 0)
        said = str(refused.value)
        assert "1 of 31 conversations are too long:" in said
        assert "sums.jsonl#32" in said
        assert "data.max_length" in said
        assert ("data.on_too_long=cut_prompt" in said) == (policy == "error")
        assert len(said) < 500, "the answer is not written out"
        return
    data.connect(reader, None, 0)
    assert ("sums.jsonl#32" in splits_by_name(data)) == (fate == "kept")
    assert [problem.problem[:8] for problem in data.left_out] == (["too long"] if fate == "left out" else [])
    assert sum(map(len, data.splits.values())) == 30 + (fate == "kept")


@pytest.mark.promise(48)
def test_what_a_reader_refuses_follows_on_bad_text(reader: Reader, tmp_path: Path) -> None:
    table = added(sums(tmp_path), {"prompt": "x?", "completion": "5<|im_end|>"})
    with pytest.raises(DataProblemsError, match=r"it holds <\|im_end\|>, by which the model knows turns"):
        module(table).connect(reader, None, 0)
    data = module(table, on_bad_text="skip")
    data.connect(reader, None, 0)
    assert [problem.problem[:21] for problem in data.left_out] == ["it holds <|im_end|>, "]
    both = module(added(table, LONG), on_bad_text="skip")
    with pytest.raises(DataProblemsError, match=r"^1 of 32 conversations are too long"):
        both.connect(reader, None, 0)
    with pytest.raises(
        DataProblemsError, match=r"(?s)^2 of 32 conversations cannot be used or.*max_length.*on_bad_text"
    ):
        module(table).connect(reader, None, 0)
    with pytest.raises(DataProblemsError, match=r"^1 of 32 conversations cannot be used:"):
        module(table, on_too_long="skip").connect(reader, None, 0)
    with pytest.raises(DataProblemsError, match=r"more than data\.max_bad_fraction=0\.05"):
        module(table, max_length=3, on_too_long="skip", on_bad_text="skip").connect(reader, None, 0)
    with pytest.raises(UserError, match=r"data\.on_too_long=cut is unknown: use one of"):
        module(table, on_too_long="cut").connect(reader, None, 0)


def test_a_folder_is_refused_and_a_reader_of_texts_too(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="conversations stand in a table"):
        module(None, root=str(tmp_path))
    folder = write_language_model(tmp_path / "tiny")
    texts = load_text_backbone("transformers", str(folder), "DEFAULT", None, "auto", False, {}).reader
    with pytest.raises(UserError, match="its samples are conversations, and model reads texts"):
        module(sums(tmp_path)).connect(texts, None, 0)


def test_a_second_answer_moves_no_question(tmp_path: Path) -> None:
    table = sums(tmp_path)
    before = splits_by_name(module(table))
    after = splits_by_name(module(added(table, {"prompt": "3+3?", "completion": "six"})))
    assert {name: after[name] for name in before} == before
    assert after["sums.jsonl#32"] == before["sums.jsonl#5"]


def test_a_batch_is_as_the_reader_makes_it(reader: Reader, tmp_path: Path) -> None:
    data = module(sums(tmp_path))
    data.connect(reader, None, 0)
    batch = next(iter(data.loader("test")))
    assert {name: tensor.shape[0] for name, tensor in batch["inputs"].items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "learn"), 6
    )
    assert [sample.text for sample in data.splits["test"]] == [
        sample.content[0].content for sample in data.splits["test"]
    ]
