"""A small text network from a table to answers: what the page, the terminal and the table say of texts."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from ft_lightning import load
from ft_lightning.check import check
from ft_lightning.cli import summary
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.predict import predict
from ft_lightning.runs.previews import Snippet, read_previews
from ft_lightning.runs.run import Run
from ft_lightning.system.tables import read_table
from ft_lightning.train import train
from texts import library_network, write_folder

ODD = ["<script>alert(1)</script> the cat", "שלום the cat", "=1+1 the cat", "the cat\nsat 😀", "the " * 200 + "cat"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose answers hang on one word: cat or dog."""
    folder = tmp_path_factory.mktemp("texts")
    write_folder(folder / "network", library_network("bert"))
    words = ["the", "a", "sat", "ran", "under", "mat", "tree", "quiet", "then", "very"]
    rows = []
    for number in range(160):
        animal = ("cat", "dog")[number % 2]
        some = [words[(number * 7 + i * (1 + number % 3)) % 10] for i in range(3 + number % 4)]
        some.insert(number % len(some), animal)
        rows.append((" ".join(some), animal))
    rows += [(text, "cat") for text in ODD]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / "t.csv", index=False)
    (folder / "run").mkdir()
    train(compose("train", *options(folder), "optimizer=lbfgs"), folder / "run")
    return folder


def options(folder: Path) -> list[str]:
    model = ["model=transformers", f"model.name={folder / 'network'}", "precision=32-true"]
    return [*model, "data=texts", f"data.table={folder / 't.csv'}", "data.max_length=32"]


def test_the_page_has_texts_their_lengths_and_what_counting_words_reaches(world: Path) -> None:
    run, page = Run(world / "run"), (world / "run/report.html").read_text()
    metrics = run.record("metrics")
    tokens = metrics["data"]["tokens"]
    assert tokens == {**tokens, "texts": 165, "max_length": 32, "truncate": "head", "cut": pytest.approx(1 / 165)}
    assert 0 < tokens["unknown"] < 0.1
    assert "longer than the 32 tokens" in page
    assert f"(TF-IDF) in {metrics['test']['tfidf_accuracy']:.1%}" in page
    assert 'class="snippet" dir="auto"' in page
    assert "<script>alert" not in page


def test_the_words_that_decide_are_marked(world: Path) -> None:
    run = Run(world / "run")
    found = read_previews(run.previews, run.table("words"))
    assert found
    loudest = []
    for shown in found.values():
        assert isinstance(shown, Snippet)
        loudest += [shown.text[mark.start : mark.end] for mark in shown.marks if mark.weight == 1]
    decided = sum(word in ("cat", "dog") for word in loudest)
    assert decided > 0.5 * len(loudest), loudest
    assert "the marked words speak for the answer" in run.page.read_text()


def test_an_evaluation_has_them_too(world: Path, tmp_path: Path) -> None:
    data = [f"data.table={world / 't.csv'}", "data.split=all", "precision=32-true"]
    scored = evaluate(compose("evaluate", f"model_dir={world / 'run'}", *data), tmp_path)
    assert scored["data"]["tokens"]["texts"] == 165
    assert not Run(tmp_path).table("words").empty


@pytest.mark.promise(44)
def test_check_looks_through_the_tokenizer(world: Path, tmp_path: Path) -> None:
    rows = [(f"这部电影真好看 {i}", "pos") for i in range(20)] + [(f"服务太差了 {i} the cat", "neg") for i in range(20)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "out").mkdir()
    cfg = compose("check", *options(world), f"data.table={tmp_path / 't.csv'}")
    content = check(cfg, tmp_path / "out")
    (said,) = [finding["said"] for finding in content["findings"] if finding["kind"] == "unknown tokens"]
    assert said.startswith("This model cannot read your texts: ")
    assert content["tokens"]["unknown"] > 0.2
    page = (tmp_path / "out/report.html").read_text()
    assert "这部电影真好看" in page
    assert "longer than the 32 tokens" in page


def test_typed_texts_are_answered_on_the_terminal(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["the cat sat", "[b]dog " + "very " * 30]
    cfg = compose("predict", f"model_dir={world / 'run'}", f"text={json.dumps(typed)}", "precision=32-true")
    assert predict(cfg, tmp_path) == {"n": 2, "unreadable": 0}
    out = capsys.readouterr().out
    table = read_table(tmp_path / "predictions.csv")
    assert list(table.columns[:3]) == ["path", "text", "predicted"]
    assert table["text"].tolist() == typed
    assert re.search(rf"the cat sat +{table['predicted'][0]} ", out)
    assert re.search(rf"\[b\]dog very .*… +{table['predicted'][1]} ", out)
    assert "texts" in out
    assert "files" not in out


def test_what_a_terminal_obeys_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"path": ["text 1"], "text": ["\x1b[2Ja\nb"], "predicted": ["pos"], "p(pos)": [0.9], "error": [""]}
    summary.answers(pd.DataFrame(found))
    out = capsys.readouterr().out
    assert "\\x1b[2Ja\\nb  pos" in out
    assert "0.9" not in out


def test_rows_of_a_table_have_their_texts_and_unreadable_ones_their_error(world: Path, tmp_path: Path) -> None:
    pd.DataFrame({"text": ["the cat", "", "=2+2 dog"]}).to_csv(tmp_path / "in.csv", index=False)
    (tmp_path / "out").mkdir()
    cfg = compose("predict", f"model_dir={world / 'run'}", f"input={tmp_path / 'in.csv'}", "precision=32-true")
    assert predict(cfg, tmp_path / "out") == {"n": 3, "unreadable": 1}
    table = read_table(tmp_path / "out/predictions.csv")
    assert table["text"].tolist() == ["the cat", "", "=2+2 dog"]
    assert [bool(error) for error in table["error"]] == [False, True, False]
    answers = load(world / "run").predict(["the cat", "the dog"], precision="32-true")
    assert answers["text"].tolist() == ["the cat", "the dog"]


def test_files_of_texts_are_files(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("the cat")
    (tmp_path / "out").mkdir()
    predict(
        compose("predict", f"model_dir={world / 'run'}", f"input={tmp_path}", "precision=32-true"), tmp_path / "out"
    )
    assert "text" not in read_table(tmp_path / "out/predictions.csv")
    assert "files" in capsys.readouterr().out
