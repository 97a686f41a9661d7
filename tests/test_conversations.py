"""From a person's own table of questions to a model that answers."""

import re
from pathlib import Path

import pandas as pd
import pytest

import ft_lightning
from chat import write_language_model
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from questions import ODD_CONVERSATIONS, fifty, write_lines

FAST = ["task=instruct", "model=causal", "data=instructions", "trainer.enable_progress_bar=false", "task.generate=3"]
FAST += ["trainer.max_epochs=1", "task.max_new_tokens=4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("tiny"))


def test_fifty_questions_of_a_spreadsheet_become_a_model_that_answers(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "questions.csv"
    pd.DataFrame(fifty(), columns=["question", "answer"]).to_csv(table, index=False, sep=";")
    columns = ["data.text=question", "data.label=answer"]
    run = ft_lightning.run(
        "train", *FAST, f"model.name={model}", f"data.table={table}", *columns, run_dir=tmp_path / "run"
    )
    split = run.table("split")
    assert split["split"].value_counts().to_dict() == {"train": 30, "val": 10, "test": 10}
    assert set(split["class"]) == {answer for _, answer in fifty()}
    asked = [f"input={table}", "max_new_tokens=4"]  # the columns are those of the training
    answered = ft_lightning.run("predict", f"model_dir={run.path}", *asked, run_dir=tmp_path / "answers")
    assert len(answered.table("predictions")) == 50
    assert re.search(r"^questions +50 *$", capsys.readouterr().out, re.MULTILINE)
    scored = ft_lightning.run(
        "evaluate", f"model_dir={run.path}", f"data.table={table}", "data.split=test", run_dir=tmp_path / "e"
    )
    assert scored.metrics["test"]["n"] == 10
    assert scored.metrics["test"]["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=0.02), "in bf16"
    given = [*FAST, f"model.name={model}", f"data.table={table}", *columns, f"init_from={run.path}"]
    further = ft_lightning.run("train", *given, run_dir=tmp_path / "further")
    assert further.metrics["test"]["base"]["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=0.02), "in bf16"
    pd.DataFrame({"text": [f"a {n}" for n in range(20)], "label": ["x", "y"] * 10}).to_csv(tmp_path / "t.csv")
    classes = ["model=transformers", f"model.name={model}", "data=texts", f"data.table={tmp_path / 't.csv'}"]
    with pytest.raises(UserError, match=rf"init_from={run.path} holds tiny.*for task=instruct.*export model_dir="):
        ft_lightning.run("train", *classes, f"init_from={run.path}", run_dir=tmp_path / "classes")


@pytest.mark.promise(44)
@pytest.mark.promise(48)
def test_every_fault_of_a_file_of_conversations_is_named_at_once_or_left_out(model: Path, tmp_path: Path) -> None:
    sound = [{"prompt": question, "completion": answer} for question, answer in fifty()]
    table = write_lines(tmp_path / "odd.jsonl", [*({"messages": said} for said, _ in ODD_CONVERSATIONS), *sound])
    given = [*FAST, f"model.name={model}", f"data.table={table}"]
    with pytest.raises(DataProblemsError) as refused:
        ft_lightning.run("train", *given, run_dir=tmp_path / "refused")
    unusable = [
        (at, why) for at, (_, why) in enumerate(ODD_CONVERSATIONS, start=2) if why and not why.startswith("too")
    ]
    for row, why in unusable:
        assert any(f"odd.jsonl#{row} " in line and why in line for line in str(refused.value).splitlines())
    with pytest.raises(DataProblemsError, match="2 of 56 conversations are too long"):
        ft_lightning.run(
            "train", *given, "data.on_bad_text=skip", "data.max_bad_fraction=0.2", run_dir=tmp_path / "long"
        )
    skips = ["data.on_bad_text=skip", "data.on_too_long=skip", "data.max_bad_fraction=0.2"]
    run = ft_lightning.run("train", *given, *skips, run_dir=tmp_path / "run")
    excluded = run.table("split").set_index("path")["excluded"]
    for row, (_, why) in enumerate(ODD_CONVERSATIONS, start=2):
        assert why in excluded[f"odd.jsonl#{row}"]
        assert bool(why) == bool(excluded[f"odd.jsonl#{row}"])
    assert run.metrics["data"]["left_out"] == 6
    scored = ["evaluate", f"model_dir={run.path}", f"data.table={table}", "data.max_bad_fraction=0.2"]
    with pytest.raises(DataProblemsError, match="4 of 60 conversations cannot be used"):
        ft_lightning.run(*scored, run_dir=tmp_path / "scored")
    again = ft_lightning.run(*scored, "data.on_bad_text=skip", "data.on_too_long=null", run_dir=tmp_path / "again")
    assert (again.metrics["data"]["left_out"], again.metrics["test"]["n"]) == (6, 54), "too long: as in training"


def test_a_row_without_a_question_keeps_its_place_among_the_answers(model: Path, tmp_path: Path) -> None:
    table = write_lines(
        tmp_path / "q.jsonl", [{"prompt": question, "completion": answer} for question, answer in fifty()]
    )
    run = ft_lightning.run("train", *FAST, f"model.name={model}", f"data.table={table}", run_dir=tmp_path / "run")
    asked = write_lines(
        tmp_path / "asked.jsonl", [{"prompt": "When?"}, {"prompt": ""}, {"prompt": 4}, {"prompt": "🙂?"}]
    )
    done = ft_lightning.run("predict", f"model_dir={run.path}", f"input={asked}", run_dir=tmp_path / "answers")
    rows = read_table(done.path / "predictions.csv")
    assert [bool(error) for error in rows["error"]] == [False, True, True, False]
    assert "the question is empty" in rows["error"][1]
