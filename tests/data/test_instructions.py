"""The data module of conversations: questions stay in one split, and what is too long is refused, left out or cut."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from ft_lightning.data.instructions import InstructionsDataModule
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "data"


class LettersReader:
    """Reads conversations of at most `max_length` letters."""

    kind: ClassVar[str] = "conversation"
    alike = False

    def __init__(self, keys: Mapping[str, Any] | None = None) -> None:
        self._keys = keys or {}

    def adapted(self, keys: Mapping[str, Any]) -> "LettersReader":
        return LettersReader(keys)

    def augmented(self, augment: None) -> "LettersReader":
        return self

    def problem(self, sample: Sample) -> str:
        letters = [len(message.content) for message in sample.content]
        counted = letters[-1] if self._keys["on_too_long"] == "cut_prompt" else sum(letters)
        if counted > (self._keys["max_length"] or 100):
            return f"too long: {counted} letters"
        return "nothing to learn in it" if sample.label == "404" else ""


def module(table: Path | None, **changes: Any) -> InstructionsDataModule:
    keys = yaml.safe_load((CONF / "instructions.yaml").read_text(encoding="utf-8"))
    from ft_lightning.data.conversation_sources import find_conversations

    keys |= {"find": find_conversations, "table": table and str(table), "task_name": "regression"} | changes
    return InstructionsDataModule(**{key: value for key, value in keys.items() if key != "_target_"})


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


def test_rows_that_cannot_be_used_are_named_or_left_out(tmp_path: Path) -> None:
    table = added(sums(tmp_path), {"prompt": "x?", "completion": "5", "system": 7})
    told = {"make_task": None}
    with pytest.raises(DataProblemsError) as refused:
        module(table, find=_with_labels, **told)
    assert "1 of 31 conversations cannot be used" in str(refused.value)
    assert "the system message is a number, not a text" in str(refused.value)
    assert "data.on_bad_text=skip" in str(refused.value)
    data = module(table, find=_with_labels, on_bad_text="skip")
    assert [problem.problem for problem in data.left_out] == ["the system message is a number, not a text"]
    excluded = data.split_table().set_index("path").excluded
    assert excluded["sums.jsonl#32"] == "the system message is a number, not a text"


def _with_labels(root: str | None, csv: str | None, on_problem: Any) -> Any:
    from ft_lightning.data.conversation_sources import find_conversations

    found = find_conversations(root, csv, on_problem)
    return found._replace(entries=[entry._replace(label=entry.label or "0") for entry in found.entries])


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
    row: dict[str, str], policy: str, fate: str, tmp_path: Path
) -> None:
    data = module(added(sums(tmp_path), row), on_too_long=policy)
    if fate == "refused":
        with pytest.raises(DataProblemsError) as refused:
            data.connect(LettersReader(), None, 0)  # type: ignore[arg-type]
        said = str(refused.value)
        assert "1 of 31 conversations are too long:" in said
        assert "sums.jsonl#32" in said
        assert "data.max_length" in said
        assert ("data.on_too_long=cut_prompt" in said) == (policy == "error")
        assert len(said) < 500, "the answer is not written out"
        return
    data.connect(LettersReader(), None, 0)  # type: ignore[arg-type]
    assert ("sums.jsonl#32" in splits_by_name(data)) == (fate == "kept")
    assert [problem.problem[:8] for problem in data.left_out] == (["too long"] if fate == "left out" else [])
    assert sum(map(len, data.splits.values())) == 30 + (fate == "kept")


@pytest.mark.promise(48)
def test_what_a_reader_finds_nothing_in_follows_on_bad_text(tmp_path: Path) -> None:
    table = added(sums(tmp_path), {"prompt": "x?", "completion": "404"})
    with pytest.raises(DataProblemsError, match="nothing to learn in it"):
        module(table).connect(LettersReader(), None, 0)  # type: ignore[arg-type]
    data = module(table, on_bad_text="skip")
    data.connect(LettersReader(), None, 0)  # type: ignore[arg-type]
    assert [problem.problem for problem in data.left_out] == ["nothing to learn in it"]
    both = module(added(table, LONG), on_bad_text="skip")
    with pytest.raises(DataProblemsError, match="some because they are too long"):
        both.connect(LettersReader(), None, 0)  # type: ignore[arg-type]
    with pytest.raises(DataProblemsError, match="max_bad_fraction"):
        module(table, max_bad_fraction=0.9, max_length=3, on_too_long="skip").connect(LettersReader(), None, 0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"data\.on_too_long=cut: use one of"):
        module(table, on_too_long="cut").connect(LettersReader(), None, 0)  # type: ignore[arg-type]


def test_a_folder_is_refused_and_an_image_s_reader_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="conversations stand in a table"):
        module(None, root=str(tmp_path))
    reader = LettersReader()
    reader.kind = "text"  # type: ignore[misc]
    with pytest.raises(UserError, match="its samples are conversations, and model reads texts"):
        module(sums(tmp_path)).connect(reader, None, 0)  # type: ignore[arg-type]
