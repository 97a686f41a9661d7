"""Texts through every command: the same files, the same promises."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import ft_lightning
from ft_lightning.cli.compose import compose
from ft_lightning.data.kinds import TEXTS
from ft_lightning.data.layout import Layout
from ft_lightning.features import tfidf
from ft_lightning.predict import predict, to_answer
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from texts import WORDS, library_network, write_folder

Do = Callable[..., Run]
FAST = ["trainer.enable_progress_bar=false", "data.batch_size=8"]


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences of random words, of which those about a cat are one class and those about a dog the other."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        animal = ("cat", "dog")[number % 2]
        words = [*random.choice([word for word in WORDS if word not in ("cat", "dog")], random.integers(3, 40)), animal]
        random.shuffle(words)
        rows.append((" ".join(words), animal))
    return rows


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("encoder"), library_network("bert"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pd.DataFrame(sentences(60), columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


@pytest.fixture
def do(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Do:
    monkeypatch.chdir(tmp_path)
    runs = iter(range(1000))

    def run(verb: str, *overrides: str, **how: Any) -> Run:
        given = {
            "train": [
                "model=transformers",
                f"model.name={encoder}",
                "data=texts",
                f"cache.dir={tmp_path / 's'}",
                *FAST,
            ],
            "tune": ["model=transformers", f"model.name={encoder}", "data=texts", f"cache.dir={tmp_path / 's'}", *FAST],
            "check": ["model=transformers", f"model.name={encoder}", "data=texts", f"cache.dir={tmp_path / 's'}"],
            "evaluate": [f"cache.dir={tmp_path / 's'}"],
        }
        return ft_lightning.run(verb, *given.get(verb, []), *overrides, **{"run_dir": tmp_path / str(next(runs))} | how)

    return run


def test_a_table_of_texts_becomes_a_tested_model_that_answers(do: Do, table: Path, tmp_path: Path) -> None:
    run = do("train", f"data.table={table}", "optimizer=lbfgs")
    test = run.metrics["test"]
    assert test["accuracy"] > test["majority_accuracy"], "a word that the features hold tells the classes apart"
    assert test["tfidf_accuracy"] > 0.8
    assert {path.name for path in run.model.iterdir()} >= {"model.json", "model.safetensors", "tokenizer.json"}
    assert run.table("split")["path"].str.fullmatch(r"t\.csv#\d+").all()
    again = do("evaluate", f"model_dir={run.path}", f"data.table={table}", "data.split=test")
    assert again.metrics["test"]["accuracy"] == test["accuracy"]
    assert again.metrics["test"]["loss"] == pytest.approx(test["loss"], abs=1e-6)
    for key in ("data.on_bad_image=skip", "data.on_too_long=cut_prompt", "data.max_pixels=9"):
        with pytest.raises(UserError, match=f"{key}: this model reads texts: leave it out"):
            do("evaluate", f"model_dir={run.path}", f"data.table={table}", key)
    with pytest.raises(UserError, match="max_pixels=9: this model reads texts: leave it out"):
        do("predict", f"model_dir={run.path}", f"input={table}", "max_pixels=9")
    do("evaluate", f"model_dir={run.path}", f"data.table={table}", "data.on_too_long=null")
    model = ft_lightning.load(run)
    assert model.predict(["a cat sat", "the dog ran"])["predicted"].tolist() == ["cat", "dog"]
    assert model.predict("a cat sat")["error"].tolist() == [""]


@pytest.mark.parametrize(
    "finetune", [["optimizer=lbfgs"], ["finetune=lora", "trainer.max_epochs=3", "optimizer.lr=0.01"]]
)
def test_a_decoder_classifies(finetune: list[str], do: Do, table: Path, tmp_path: Path) -> None:
    decoder = write_folder(tmp_path / "decoder", library_network("llama"))
    run = do("train", f"data.table={table}", f"model.name={decoder}", "precision=32-true", *finetune)
    test = run.metrics["test"]
    assert test["n"] == 12
    if finetune == ["optimizer=lbfgs"]:
        assert test["accuracy"] > test["majority_accuracy"]
    assert run.card["backbone"]["arguments"]["pooling"] == "last"
    again = do("evaluate", f"model_dir={run.path}", f"data.table={table}", "data.split=test", "precision=32-true")
    assert again.metrics["test"]["loss"] == pytest.approx(test["loss"], abs=1e-5)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [(text, other, label) for (text, label), (other, _) in zip(sentences(60), sentences(60, 1), strict=True)]
    pd.DataFrame(rows, columns=["one", "other", "same"]).to_csv(tmp_path / "pairs.csv", index=False)
    return tmp_path / "pairs.csv"


def test_a_model_of_pairs_refuses_single_texts_and_reads_the_columns_of_its_training(
    do: Do, table: Path, pairs: Path, tmp_path: Path
) -> None:
    run = do("train", f"data.table={pairs}", "data.text=[one,other]", "data.label=same", "optimizer=lbfgs")
    assert run.card["data"] == {"keys": {"text": ["one", "other"], "label": "same", "label_sep": ";"}, "texts": 2}
    again = do("evaluate", f"model_dir={run.path}", f"data.table={pairs}", "data.split=test")
    assert again.metrics["test"]["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=1e-6), "without data.text"

    model, said = ft_lightning.load(run), r"trained on pairs of texts \(data\.text=\[one,other\]\)"

    def answers(*given: str) -> list[str]:
        return do("predict", f"model_dir={run.path}", *given).table("predictions")["predicted"].tolist()

    assert answers(f"input={pairs}") == answers(f"input={pairs}", "column=[one,other]")
    typed = answers("text=[[a cat,a dog],[the tree,the mat]]")
    assert typed == model.predict([("a cat", "a dog"), ("the tree", "the mat")])["predicted"].tolist()
    with pytest.raises(UserError, match=said):
        do("evaluate", f"model_dir={run.path}", f"data.table={pairs}", "data.text=one", "data.label=same")
    for given in (["text=[a cat,a dog]"], [f"input={pairs}", "column=one"], [f"input={table}"]):
        with pytest.raises(UserError, match=said):
            answers(*given)
    for inputs in ("a cat", ["a cat"], ("a cat", "a dog")):
        with pytest.raises(UserError, match=said):
            model.predict(inputs)
    pd.DataFrame({"body": ["a"], "label": ["cat"]}).to_csv(tmp_path / "body.csv", index=False)
    with pytest.raises(UserError, match=r"no column 'one'; it has body, label\. data\.text names another"):
        do("evaluate", f"model_dir={run.path}", f"data.table={tmp_path / 'body.csv'}")
    with pytest.raises(UserError, match=r"no column 'one'; it has body, label\. column names another"):
        answers(f"input={tmp_path / 'body.csv'}")


def test_a_model_of_single_texts_refuses_pairs(do: Do, table: Path, pairs: Path) -> None:
    run = do("train", f"data.table={table}", "optimizer=lbfgs")
    said = r"trained on single texts; 60 of 60 here are pairs .*name one column"
    with pytest.raises(UserError, match=said):
        do("predict", f"model_dir={run.path}", f"input={pairs}", "column=[one,other]")
    with pytest.raises(UserError, match="are pairs"):
        ft_lightning.load(run).predict([("a cat", "a dog")])
    of_pairs = [f"data.table={pairs}", "data.text=[one,other]", "data.label=same", f"init_from={run.path}"]
    with pytest.raises(UserError, match="are pairs"):
        do("train", *of_pairs)
    do("train", *of_pairs, "head=mlp", "trainer.max_epochs=1")  # another head: what it read is no matter


def test_a_language_model_is_no_start_for_a_classifier_nor_the_other_way_round(
    do: Do, table: Path, tmp_path: Path, encoder: Path
) -> None:
    questions = [json.dumps({"prompt": f"the {word}", "completion": word}) for word in WORDS]
    (tmp_path / "q.jsonl").write_text("\n".join(questions))
    writes = ["task=instruct", "data=instructions", f"data.table={tmp_path / 'q.jsonl'}"]
    with pytest.raises(UserError) as refused:
        do("train", *writes, "model=causal", f"init_from={do('train', f'data.table={table}').path}")
    assert "trained for task=multiclass" in str(refused.value)
    assert f"model.name={encoder}" in str(refused.value)
    assert "leave init_from out" in str(refused.value)


def test_texts_without_words_or_of_too_many_classes_have_no_tf_idf(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def baseline(texts: list[str]) -> torch.Tensor | None:
        samples = [Sample.of_text("", text) for text in texts]
        targets = torch.tensor([number % 3 for number in range(len(texts))])
        data: Any = SimpleNamespace(
            splits={"train": samples, "test": samples},
            reader=SimpleNamespace(kind="text"),
            targets=lambda split: targets,
        )
        return tfidf.tfidf_baseline(data)

    animals = ["a cat", "a dog", "a cow", "one cat", "one dog", "one cow"]
    assert baseline(["?!", "😀", "...", "😡 😡", "!", "?"]) is None
    full = baseline(animals)
    assert full is not None
    assert full.argmax(1).tolist() == [0, 1, 2, 0, 1, 2]
    monkeypatch.setattr(tfidf, "_MOST_WEIGHTS", 3 * 2)  # the two commonest words, of which no more are weighed
    few = baseline(animals)
    assert few is not None
    assert few.argmax(1).tolist() != full.argmax(1).tolist()
    monkeypatch.setattr(tfidf, "_MOST_ANSWERS", 17)
    assert baseline(animals) is None
    assert "No TF-IDF as a baseline: 6 texts of 3 classes take too long." in caplog.messages


def test_predict_writes_over_no_input_and_wants_something_to_answer(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\na,x\n")
    for typed, said in (
        ((f"input={table}", f"output={tmp_path / 'none' / '..' / 't.csv'}"), "it is the input"),
        ((f"input=[b.csv,{table}]", f"output={table}"), "it is the input"),
    ):
        with pytest.raises(UserError, match=said):
            predict(compose("predict", "model_dir=none", *typed), tmp_path)
    for typed in ("text=[]", "input=[]"):
        with pytest.raises(UserError, match="it is empty: name something to answer"):
            to_answer(compose("predict", "model_dir=none", typed), TEXTS, Layout())
    assert table.read_text() == "text,label\na,x\n"


def test_predict_reads_tables_files_and_what_is_typed(do: Do, table: Path, tmp_path: Path) -> None:
    run = do("train", f"data.table={table}", "optimizer=lbfgs")
    (tmp_path / "a.txt").write_text("the cat")
    (tmp_path / "b.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "new.jsonl").write_text('{"body": "a dog"}\n{"body": ""}\n')

    def answers(*given: str) -> pd.DataFrame:
        return do("predict", f"model_dir={run.path}", *given).table("predictions")

    assert answers('text="a cat"')["predicted"].tolist() == ["cat"]
    assert answers("text=[a cat,a dog]")["predicted"].tolist() == ["cat", "dog"]
    rows = answers(f"input={tmp_path / 'new.jsonl'}", "column=body")
    assert rows["predicted"].tolist() == ["dog", ""]
    assert "empty" in rows["error"][1]
    rows = answers(f"input={tmp_path}/*.txt")
    assert rows["predicted"].tolist() == ["cat", ""]
    assert "Latin-1" in rows["error"][1]


@pytest.mark.promise(43)
def test_features_are_the_same_live_and_stored_and_in_any_batch(do: Do, table: Path) -> None:
    stored = do("train", f"data.table={table}")
    live = do("train", f"data.table={table}", "cache.enabled=false", "data.batch_size=8")
    columns = ["path", "p(cat)", "p(dog)"]
    tables = [run.table("predictions").sort_values("path")[columns].to_numpy() for run in (stored, live)]
    assert (tables[0] == tables[1]).all()
    classifier = ft_lightning.load(stored).classifier
    reader = classifier.backbone.reader
    inputs = [reader(Sample.of_text(text, text)) for text, _ in sentences(60)]
    with torch.no_grad():
        whole = classifier.features(reader.collate(inputs))
        alone = torch.cat([classifier.features(reader.collate([one])) for one in reversed(inputs)]).flip(0)
    assert whole.equal(alone)


def test_a_trained_encoder_resumes_to_the_bit(do: Do, table: Path, tmp_path: Path) -> None:
    how = [f"data.table={table}", "finetune=partial", "finetune.k=1", "optimizer.lr=1e-3", "scheduler=constant"]
    whole = do("train", *how, "trainer.max_epochs=3")
    part = do("train", *how, "trainer.max_epochs=2")
    (tmp_path / "elsewhere").mkdir()
    moved = table.rename(tmp_path / "elsewhere/t.csv")
    resumed = ft_lightning.run("train", f"resume={part.path}", "trainer.max_epochs=3", f"data.table={moved}")
    assert resumed.table("metrics")["train/loss"].tolist() == whole.table("metrics")["train/loss"].tolist()
    assert resumed.metrics["test"]["loss"] == whole.metrics["test"]["loss"]


def test_several_labels_and_numbers_of_texts(do: Do, tmp_path: Path) -> None:
    rows = [
        (text, ";".join(sorted({w for w in text.split() if w in ("cat", "mat", "tree")}))) for text, _ in sentences(90)
    ]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "labels.csv", index=False)
    run = do("train", "task=multilabel", f"data.table={tmp_path / 'labels.csv'}", "optimizer=lbfgs")
    assert run.metrics["test"]["average_precision"] > run.metrics["test"]["chance_average_precision"]
    assert 0 < run.metrics["test"]["tfidf_average_precision"] <= 1
    answers_as_measured(do, run, tmp_path / "labels.csv")
    rows = [(text, str(len(text.split()))) for text, _ in sentences(90)]
    pd.DataFrame(rows, columns=["text", "words"]).to_csv(tmp_path / "numbers.csv", index=False)
    where = [f"data.table={tmp_path / 'numbers.csv'}", "data.label=words"]
    cut = ["data.truncate=windows", "data.max_length=12"]
    run = do("train", "task=regression", *where, *cut, "optimizer=lbfgs")
    assert run.metrics["test"]["mae"] < run.metrics["test"]["mean_mae"]
    assert run.metrics["test"]["tfidf_mae"] > 0
    answers_as_measured(do, run, tmp_path / "numbers.csv")


def answers_as_measured(do: Do, run: Run, table: Path) -> None:
    """A model scores and answers without being told how its table was read, and its page can be made again."""
    again = do("evaluate", f"model_dir={run.path}", f"data.table={table}", "data.split=test")
    assert again.metrics["test"]["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=1e-6)
    known = run.table("predictions").set_index("path")
    found = do("predict", f"model_dir={run.path}", f"input={table}").table("predictions").set_index("path")
    names = [str(table.parent / name) for name in known.index]
    columns = [column for column in known if column.startswith(("p(", "low", "high"))]
    for column in columns:
        assert found.loc[names, column].astype(float).tolist() == pytest.approx(known[column].astype(float), rel=1e-5)
    do("report", f"run={run.path}")


def test_search_repeats_folds_and_check_work_on_texts(do: Do, table: Path, tmp_path: Path) -> None:
    study = do("tune", f"data.table={table}", "tune.trials=3", run_dir=tmp_path / "study")
    assert len(read_table(study.path / "trials.csv")) == 3
    assert len(do("train", f"data.table={table}", "repeats=2").metrics["repeats"]["seeds"]) == 2
    assert do("train", f"data.table={table}", "folds=3", "head=auto").metrics["folds"]["pooled"]["n"] == 60
    checked = do("check", f"data.table={table}")
    assert checked.page.is_file()
    issues = set(checked.table("issues")["path"])
    kept = do("train", f"data.table={table}", f"data.exclude={checked.table_path('issues')}").table("split")
    assert set(kept.loc[kept["excluded"] == "data.exclude", "path"]) == issues != set()
    assert sum(map(len, checked.record("check")["classes"].values())) == 6, "two classes in each split"


def test_texts_that_cannot_be_used_are_refused_or_left_out(do: Do, tmp_path: Path) -> None:
    rows = [*sentences(60), ("", "cat"), ("   ", "dog")]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"2 of 62 texts cannot be used") as refused:
        do("train", f"data.table={tmp_path / 't.csv'}")
    assert "t.csv#62" in str(refused.value)
    assert "data.on_bad_text=skip" in str(refused.value)
    run = do("train", f"data.table={tmp_path / 't.csv'}", "data.on_bad_text=skip")
    assert run.metrics["data"]["left_out"] == 2
    assert sorted(problem["path"][-8:] for problem in json.loads((run.path / "problems.json").read_text())) == [
        "t.csv#62",
        "t.csv#63",
    ]


def test_a_check_of_texts_none_of_which_can_be_used_names_them(do: Do, tmp_path: Path) -> None:
    pd.DataFrame({"text": [" ", ""] * 6, "label": ["cat", "dog"] * 6}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"12 of 12 texts cannot be used: .*t\.csv#11 \(label dog\): it is empty"):
        do("check", f"data.table={tmp_path / 't.csv'}")


def test_the_same_text_under_two_labels_and_in_two_splits_is_refused(do: Do, tmp_path: Path) -> None:
    rows = [*sentences(60), ("a cat here", "cat"), ("a cat here", "dog")]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"1 time the same text has two labels: t\.csv#62 and t\.csv#63"):
        do("train", f"data.table={tmp_path / 't.csv'}")
    table = pd.DataFrame([*sentences(60), ("a cat here", "cat"), ("a cat here", "cat")], columns=["text", "label"])
    table["split"] = ["train", "train", "val", "val", "test", "test"] * 10 + ["train", "test"]
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match="1 text of val or test is in train too"):
        do("train", f"data.table={tmp_path / 't.csv'}")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["augment=light"], "augment: it changes images, which texts are not: use augment=none"),
        (["mix=mixup"], "blends images, which texts are not: use mix=none"),
        (
            ["model=timm", "model.name=test_resnet", "model.weights=null"],
            "its samples are texts, and model reads images",
        ),
        (["data.max_length=1000"], "data.max_length=1000"),
        (["data.truncate=tail"], "data.truncate=tail"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_texts_is_refused_by_name(overrides: list[str], said: str, do: Do, table: Path) -> None:
    with pytest.raises(UserError) as refused:
        do("train", f"data.table={table}", *overrides)
    assert said in str(refused.value)


def test_a_model_of_texts_refuses_images(do: Do, pictures: Path) -> None:
    with pytest.raises(UserError, match="its samples are images, and model reads texts"):
        do("train", "data=image_folder", f"data.root={pictures}")


def test_folders_of_txt_files_are_classes(do: Do, tmp_path: Path) -> None:
    for number, (text, label) in enumerate(sentences(40)):
        (tmp_path / "texts" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / label / f"{number}.txt").write_text(text)
    run = do("train", f"data.root={tmp_path / 'texts'}", "optimizer=lbfgs")
    assert run.metrics["test"]["n"] == 8
    assert torch.tensor(run.metrics["test"]["accuracy"]) > 0.5
