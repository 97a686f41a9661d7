"""A tiny language model from a table to answers: what evaluations and pages say of conversations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chat import write_language_model
from ft_lightning import load
from ft_lightning.cli.compose import compose
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.evaluate import evaluate
from ft_lightning.pages import instruct
from ft_lightning.readers.conversation import Message
from ft_lightning.report import report
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.train import train

ODD = [
    ("<script>alert(1)</script>", "</td><b>bold</b>"),
    ("שלום, מה שלומך?", "שלום"),
    ("二加二等于几？", "四"),
    ("=1+1", "2 😀"),
    ("two\nlines", "one\ntwo"),
]


def table_of(folder: Path, rows: list[dict[str, Any]], name: str = "qa.jsonl") -> Path:
    (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / name


def sums(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{i} plus one?", "completion": str(i + 1)} for i in range(count)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, with odd conversations in each split."""
    folder = tmp_path_factory.mktemp("conversations")
    write_language_model(folder / "network")
    rows = [*sums(60), *({"prompt": a, "completion": b} for a, b in ODD)]
    splits = ["train", "val", "test"]
    rows = [{**row, "split": "test" if i >= 60 else splits[max(0, i % 5 - 2)]} for i, row in enumerate(rows)]
    table_of(folder, rows)
    (folder / "run").mkdir()
    train(compose("train", *options(folder), "trainer.max_epochs=2", "task.generate=20"), folder / "run")
    return folder


def options(folder: Path) -> list[str]:
    model = ["task=instruct", "model=transformers", f"model.name={folder / 'network'}", "precision=32-true"]
    how = ["task.max_new_tokens=6", "data.batch_size=8", "trainer.enable_progress_bar=false"]
    return [*model, "data=instructions", f"data.table={folder / 'qa.jsonl'}", *how]


def evaluated(world: Path, place: Path, *overrides: str) -> Run:
    place.mkdir()
    evaluate(compose("evaluate", f"model_dir={world / 'run'}", "precision=32-true", *overrides), place)
    return Run(place)


def test_an_evaluation_measures_as_the_training_did(world: Path, tmp_path: Path) -> None:
    run = evaluated(world, tmp_path / "e", f"data.table={world / 'qa.jsonl'}")
    before, after = Run(world / "run").metrics["test"], run.metrics["test"]
    assert after["loss"] == pytest.approx(before["loss"], rel=1e-5)
    same = ("n", "tokens", "answers", "exact_match", "stop_rate", "answer_tokens")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert after["answers"] == 17
    tables = [each.table("predictions").set_index("path") for each in (Run(world / "run"), run)]
    assert tables[0]["answer"].sort_index().tolist() == tables[1]["answer"].sort_index().tolist()
    assert "base_answer" not in tables[1]
    assert "base" not in after


@pytest.mark.parametrize(("overrides", "answers"), [(["generate=3"], 3), (["generate=0"], None)])
def test_an_evaluation_writes_as_many_answers_as_it_is_asked_for(
    world: Path, tmp_path: Path, overrides: list[str], answers: int | None
) -> None:
    run = evaluated(world, tmp_path / "e", f"data.table={world / 'qa.jsonl'}", *overrides, "max_new_tokens=2")
    assert run.metrics["test"].get("answers") == answers
    assert run.metrics["test"].get("answer_tokens", 2.0) <= 2
    assert run.page.is_file()


def test_an_evaluation_of_other_columns_and_too_long_conversations(world: Path, tmp_path: Path) -> None:
    rows = [{"q": f"question {i}", "a": f"answer {i}"} for i in range(30)] + [{"q": "long " * 200, "a": "x"}]
    table = table_of(tmp_path, rows, "other.jsonl")
    asked = [f"data.table={table}", "data.text=q", "data.label=a", "generate=2"]
    with pytest.raises(DataProblemsError, match=r"1 of 31 conversations are too long") as refused:
        evaluated(world, tmp_path / "e", *asked)
    assert "other.jsonl#32" in str(refused.value) or "other.jsonl#31" in str(refused.value)
    run = evaluated(world, tmp_path / "f", *asked, "data.on_too_long=skip")
    assert run.metrics["test"]["n"] == 30
    assert run.metrics["data"]["left_out"] == 1
    run = evaluated(world, tmp_path / "g", *asked[:3], "generate=31", "data.on_too_long=cut_prompt")
    assert run.metrics["test"]["n"] == run.metrics["test"]["answers"] == 31
    assert "the beginning of their longest message was left out" in run.page.read_text(encoding="utf-8")


def test_a_training_cuts_questions_and_writes_answers_to_what_is_left(world: Path, tmp_path: Path) -> None:
    rows = [*sums(20), *({"prompt": f"{i} long " * 200, "completion": "x"} for i in range(9))]
    table = table_of(tmp_path, rows)
    (tmp_path / "run").mkdir()
    cut = [f"data.table={table}", "data.on_too_long=cut_prompt", "trainer.max_epochs=1", "task.generate=20"]
    metrics = train(compose("train", *options(world), *cut), tmp_path / "run")
    assert metrics["test"]["answers"] == metrics["test"]["n"]
    assert metrics["data"]["tokens"]["cut"] == pytest.approx(9 / 29)


def test_a_model_that_writes_nothing_refuses_numbers_of_answers() -> None:
    from ft_lightning.deploy.beside_base import how_many
    from ft_lightning.tasks.multiclass import MultiClass

    task = MultiClass(["a"], [])
    assert how_many(task, None, None) is task
    with pytest.raises(UserError, match="generate=5: this model writes no answers"):
        how_many(task, 5, None)


@pytest.mark.parametrize("learn", ["answers", "last"])
def test_what_is_asked_is_what_stands_before_the_last_answer(world: Path, learn: str) -> None:
    reader = load(world / "run").classifier.backbone.reader.adapted({"learn": learn})
    said = [("system", "be brief"), ("user", "hi"), ("assistant", "yo"), ("user", "and?"), ("assistant", "so")]
    messages = tuple(Message(*each) for each in said)
    assert reader.asked(messages) == reader.prompt(messages[:-1])
    long = (messages[0], Message("user", "long " * 200), messages[-1])
    cut = reader.adapted({"on_too_long": "cut_prompt"}).asked(long)
    assert len(cut) < 512
    assert reader.format.text_of(cut).endswith("long \nassistant\n")


def rows_of_answers(page: str) -> list[list[str]]:
    table = page[page.index("<h2>Answers</h2>") :].partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in table.split("</tr>") if "<td" in row]


def test_the_page_has_answers_beside_the_base_worst_first_and_escaped(world: Path) -> None:
    page = (world / "run/report.html").read_text(encoding="utf-8")
    assert "Left out</h2>" not in page
    rows = rows_of_answers(page)
    assert len(rows) == 17
    losses = [float(re.sub("<[^>]*>", "", row[4])) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert all(text in page for text in ("שלום, מה שלומך?", "二加二等于几？", "=1+1", "2 😀"))
    header = page[page.index("<h2>Answers</h2>") :].partition("</thead>")[0]
    titles = re.findall(r"button type=\"button\">(.*?)</button>", header)
    assert titles == ["prompt", "expected", "its base", "this model", "loss, this model", "loss, its base", "sample"]


def test_the_page_shows_what_is_learnt_of_the_first_sample(world: Path) -> None:
    run = Run(world / "run")
    example = run.metrics["data"]["example"]
    assert [learnt for _, learnt in example["parts"]] == [False, True]
    assert example["parts"][1][0].endswith("<|im_end|>"), "the sign that ends the answer is learnt"
    assert "<|im_start|>user" in example["parts"][0][0]
    marked = re.search(r'<mark style="--weight: 60%">(.*?)</mark>', run.page.read_text(encoding="utf-8"), re.S)
    assert marked is not None
    assert marked[1] == example["parts"][1][0].replace("<", "&lt;").replace(">", "&gt;")


def test_the_page_has_curves_by_tokens_lengths_and_cost(world: Path) -> None:
    run = Run(world / "run")
    page, metrics = run.page.read_text(encoding="utf-8"), run.metrics
    tokens = run.table("metrics")["train/tokens"].astype(float)
    learnt = metrics["data"]["tokens"]["learnt"] - metrics["val"]["tokens"] - metrics["test"]["tokens"]
    assert tokens.tolist() == [learnt, learnt]
    curve = run.table("curve").astype(float)
    assert curve["tokens"].is_monotonic_increasing
    assert curve["tokens"].iloc[-1] == 2 * learnt
    steps = curve["tokens"].diff().fillna(curve["tokens"].iloc[0])
    first = curve["tokens"] <= learnt
    mean = (curve["loss"] * steps)[first].sum() / learnt
    assert mean == pytest.approx(float(run.table("metrics")["train/loss"][0]), rel=1e-5)
    assert f"{2 * learnt / metrics['timing']['fit_s']:,.1f}" in page
    assert "samples a second" in page
    assert "images a second" not in page
    assert "most memory of the process" in page
    assert "tokens that are learnt" in page
    assert "and the head" not in page


def test_a_run_without_answers_and_an_evaluation_have_their_pages(world: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    train(compose("train", *options(world), "trainer.max_epochs=1", "task.generate=0"), tmp_path / "none")
    page = (tmp_path / "none/report.html").read_text(encoding="utf-8")
    assert "No answers were written" in page
    assert "Left out</h2>" not in page
    assert len(rows_of_answers(page)[0]) == 5
    evaluation = evaluated(world, tmp_path / "e", f"data.table={world / 'qa.jsonl'}", "generate=4")
    page = evaluation.page.read_text(encoding="utf-8")
    assert "its base" not in page
    assert "Left out</h2>" not in page
    assert "this model's train split" not in page
    assert len(rows_of_answers(page)[0]) == 5
    (tmp_path / "report").mkdir()
    assert report(compose("report", f"run={world / 'run'}"), tmp_path / "report")["page"]


def test_runs_of_answers_are_compared(world: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    train(compose("train", *options(world), "trainer.max_epochs=1", "task.generate=4"), tmp_path / "other")
    (tmp_path / "report").mkdir()
    report(compose("report", f"runs=[{world / 'run'},{tmp_path / 'other'}]"), tmp_path / "report")
    board = Run(tmp_path / "report").table("leaderboard")
    assert {"val loss", "test loss", "perplexity", "exact match"} <= set(board.columns)
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert "95 % interval of the difference" in page


def test_what_is_no_better_than_its_base_is_said_with_what_to_try() -> None:
    interval = {"exact_match_ci95": [0.1, 0.3], "stop_rate_ci95": [0.1, 0.3], "perplexity_ci95": [2.0, 3.0]}
    base = {"exact_match": 0.1, "stop_rate": 0.1, "perplexity": 9.0, "loss": 2.2}
    test = {"n": 9, "answers": 9, "exact_match": 0.2, "stop_rate": 0.2, "perplexity": 2.5, "loss": 0.9, **interval}
    better = {"loss_ci95": [-0.2, -0.1], "exact_match_ci95": [0.1, 0.2], "stop_rate_ci95": [0.1, 0.2]}
    metrics: dict[str, Any] = {"val": {}, "test": {**test, "base": base, "difference": better}, "data": {}}
    assert "not better than its base" not in instruct.headline(metrics).text
    for name, bounds in (("loss", [-0.2, 0.1]), ("exact_match", [-0.1, 0.2]), ("stop_rate", [0.0, 0.1])):
        metrics["test"]["difference"] = {**better, f"{name}_ci95": bounds}
        text = instruct.headline(metrics).text
        assert f"not better than its base, by more than chance, in {name.replace('_', ' ')} (" in text
        assert "finetune.rank" in text
    del metrics["val"]
    assert "not better" not in instruct.headline(metrics).text, "an evaluation has nothing to try"
