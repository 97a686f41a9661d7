"""A model directory is all that evaluate and predict need."""

import getpass
import json
import math
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import gettempdir
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ft_lightning
from conftest import files_below, write_pictures
from ft_lightning.backbones.load import load_backbone
from ft_lightning.check import check
from ft_lightning.cli.compose import compose
from ft_lightning.data.inputs import find_files
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.evaluate import evaluate
from ft_lightning.predict import predict
from ft_lightning.runs import config as run_config
from ft_lightning.runs.run import Run as Directory
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table, write_table
from ft_lightning.train import train
from test_train import but_previews

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pictures/ and a run/ trained on them."""
    folder = tmp_path_factory.mktemp("world")
    write_pictures(folder / "pictures", {"ant": 12, "bee": 12, "=cat()": 12})
    (folder / "run").mkdir()
    overrides = [
        "model=timm",
        "model.name=test_resnet",
        "model.weights=null",
        "trainer.max_epochs=10",
        "precision=32-true",
    ]
    train(compose("train", f"data.root={folder / 'pictures'}", *overrides), folder / "run")
    return folder


def copy_of(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world / "run/model", tmp_path / "copied"))


NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = refuse
"""


@pytest.mark.promise(10)
def test_a_copied_model_predicts_the_same_without_network_and_in_another_home(
    world: Path, tmp_path: Path, run_command: Run
) -> None:
    expected = read_table(world / "run/predictions.csv")
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    home = {
        "HOME": str(tmp_path / "nobody"),
        "XDG_CACHE_HOME": str(tmp_path / "nobody"),
        "TORCH_HOME": "/none",
        "HF_HOME": "/none",
    }
    done = run_command(
        "predict", f"model_dir={copy_of(world, tmp_path)}", f"input={world / 'pictures'}", "output=answers.csv",
        "precision=32-true", env=home | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = read_table(tmp_path / "cwd/answers.csv")
    assert len(answers) == 36
    answers["path"] = [Path(p).relative_to(world / "pictures").as_posix() for p in answers["path"]]
    both = expected.merge(answers, on="path", suffixes=("", "_again"))
    assert len(both) == len(expected)
    for column in ("p(ant)", "p(bee)", "p(=cat())"):
        assert both[f"{column}_again"].astype(float).to_numpy() == pytest.approx(
            both[column].astype(float).to_numpy(), abs=1e-6
        )
    assert "answers.csv" in done.stdout


def test_in_python_too(world: Path) -> None:
    files = sorted((world / "pictures").rglob("*.png"))
    model = ft_lightning.load(world / "run")
    table = model.predict(files, batch_size=5, precision="32-true")
    assert table["path"].tolist() == [str(f) for f in files]
    assert table[[f"p({name})" for name in model.task.class_names]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert (table["predicted"] == [f.parent.name for f in files]).mean() > 0.5


def test_damaged_files_are_rows_and_a_glob_a_file_and_json_lines_work(world: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world / "pictures/ant", tmp_path / "new"))
    (folder / "03.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("no image")
    cfg = compose("predict", f"model_dir={world / 'run'}", f"input={folder}", f"output={tmp_path / 'x.jsonl'}")
    assert predict(cfg, tmp_path) == {"n": 12, "unreadable": 1}
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [row["predicted"] is None for row in rows] == [row["path"].endswith("03.png") for row in rows]
    assert rows[3]["error"].startswith(str(folder / "03.png"))
    assert rows[3]["p(ant)"] is None
    assert find_files(f"{folder}/0*.png") == sorted(folder.glob("0*.png"))
    assert find_files(str(folder / "notes.txt")) == [folder / "notes.txt"]
    bracketed = (folder / "00.png").rename(folder / "[00] a.png")
    assert find_files(str(bracketed)) == [bracketed], "no glob"
    bracketed.rename(folder / "00.png")
    with pytest.raises(UserError, match="names no image"):
        find_files(str(folder / "*.jpg"))


def test_a_glob_below_a_folder_with_brackets_and_what_it_passes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a [2024]/1.png", "a [2024]/x/2.png", "b*/3.png", "b1/4.png", "[a-c]/5.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        return [path.stem for path in find_files(pattern)]

    assert found(f"{tmp_path}/a [2024]/*.png") == ["1"]
    assert found(f"{tmp_path}/a [2024]/**/*.png") == ["1", "2"]
    assert found(f"{tmp_path}/[a-c]/*.png") == ["5"], "what is there as it is written"
    assert found(f"{tmp_path}/b[*1]/*.png") == ["3", "4"]
    monkeypatch.chdir(tmp_path)
    assert found("a [2024]/[12].png") == ["1"]
    assert not caplog.records
    assert found("a*/*") == ["1"]
    assert "1 folder that it matches is not searched: a [2024]/x" in caplog.text


@pytest.mark.promise(35)
@pytest.mark.parametrize("odd", [("", ".jpg_large"), (".JP2", ".png.part"), (".Heic~", ".jpg.bak")])
def test_files_without_the_name_of_an_image_are_counted_by_every_command(
    world: Path, tmp_path: Path, odd: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(world / "pictures", tmp_path / "pictures"))
    for number, path in enumerate(sorted(root.rglob("*[02468].png"))):
        path.rename(path.with_name(path.stem + odd[number % 2]))
    for name in (".DS_Store", "ant/Thumbs.db", ".hidden/1.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    options = [f"model_dir={world / 'run'}", f"data.root={root}"]
    tiny = [f"data.root={root}", "model=timm", "model.name=test_resnet", "model.weights=null"]
    for number, work in enumerate(
        (
            lambda run: train(compose("train", *tiny, "trainer.max_epochs=1"), run),
            lambda run: check(compose("check", *tiny, "features=false"), run),
            lambda run: evaluate(compose("evaluate", *options), run),
            lambda run: predict(compose("predict", options[0], f"input={root}"), run),
        )
    ):
        caplog.clear()
        (tmp_path / str(number)).mkdir()
        work(tmp_path / str(number))
        told = [record.getMessage() for record in caplog.records if "have no name" in record.getMessage()]
        if number == 1:  # its findings say it
            assert not told
            continue
        (said,) = told
        assert "18 files have no name of an image" in said
        assert f"9 {odd[0].lower() or 'without a suffix'}" in said
        assert "3 hidden or system files are not used" in said
    assert "18 files have no name of an image" in (tmp_path / "1/report.html").read_text() or odd[0] == ".JP2"


@pytest.mark.promise(35)
@pytest.mark.parametrize("suffix", [".jpe", ".JFIF", ".jfif"])
def test_every_name_of_a_jpeg_is_read(world: Path, tmp_path: Path, suffix: str) -> None:
    image = Image.open(next((world / "pictures/ant").glob("*.png")))
    for name in ("a.jpg", f"b{suffix}"):
        image.save(tmp_path / name, "JPEG")
    assert [path.name for path in find_files(str(tmp_path))] == ["a.jpg", f"b{suffix}"]
    table = ft_lightning.load(world / "run").predict(find_files(str(tmp_path)))
    assert table.drop(columns="path").iloc[0].tolist() == table.drop(columns="path").iloc[1].tolist()


def test_answers_below_the_threshold_are_marked(world: Path, tmp_path: Path) -> None:
    model = ft_lightning.load(world / "run")
    files = [*sorted((world / "pictures").rglob("*.png")), tmp_path / "none.png"]
    plain = model.predict(files, precision="32-true")
    threshold = float(plain["probability"][:-1].sort_values().iloc[10])  # of one of them, which is not below it
    marked = model.predict(files, precision="32-true", abstain_below=threshold)
    assert marked["uncertain"].tolist()[:-1] == (plain["probability"][:-1] < threshold).tolist()
    assert list(marked["uncertain"]).count(True) == 10
    assert marked["uncertain"].tolist()[-1] is None
    pd.testing.assert_frame_equal(marked.drop(columns="uncertain"), plain)
    assert "uncertain" not in plain.columns
    assert list(model.predict(files[:3], abstain_below=0)["uncertain"]) == [False] * 3
    assert list(model.predict(files[:3], abstain_below=1)["uncertain"]) == [True] * 3
    for wrong in (1.5, -0.1, "x", math.nan, True):
        with pytest.raises(UserError, match=f"abstain_below={wrong}: use a probability"):
            model.predict(files[:1], abstain_below=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content"), [("t.csv", "path,label\na.png,ant\n"), ("t.jsonl", '{"path": "a.png"}\n'), ("t.csv", '"open')]
)
def test_a_table_that_no_predict_has_written_is_not_written_over(
    name: str, content: str, world: Path, tmp_path: Path
) -> None:
    output = tmp_path / name
    output.write_text(content)
    options = [f"model_dir={world / 'run'}", f"input={world / 'pictures/ant/00.png'}", f"output={output}"]
    with pytest.raises(UserError, match=rf"output=.*{name}: it holds something else than earlier answers"):
        predict(compose("predict", *options), tmp_path)
    assert output.read_text() == content


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_marks_what_is_below_the_threshold_and_nothing_of_a_damaged_file(
    kind: str, world: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(world / "pictures/ant", tmp_path / "new"))
    (folder / "03.png").write_bytes(b"not a picture")
    output = tmp_path / f"answers.{kind}"
    options = [f"model_dir={world / 'run'}", f"input={folder}", f"output={output}", "precision=32-true"]
    predict(compose("predict", *options), tmp_path)
    plain = read_table(output)
    readable = plain["error"] == ""
    threshold = plain.loc[readable, "probability"].astype(float).median()
    predict(compose("predict", *options, f"abstain_below={threshold}"), tmp_path)
    marked = read_table(output)
    assert list(marked.columns) == [*plain.columns[:3], "uncertain", *plain.columns[3:]]
    below = plain.loc[readable, "probability"].astype(float) < threshold
    assert marked.loc[readable, "uncertain"].astype(str).tolist() == below.astype(str).tolist()
    assert below.any()
    assert not below.all()
    (damaged,) = marked.loc[~readable, "uncertain"]
    assert not damaged
    assert damaged is not False
    for wrong in ("1.5", "x", "true"):
        with pytest.raises(UserError, match=f"(?i)abstain_below={wrong}: use a probability"):
            predict(compose("predict", *options, f"abstain_below={wrong}"), tmp_path)


def test_evaluate_finds_what_training_found_on_the_same_samples(world: Path, tmp_path: Path) -> None:
    split = read_table(world / "run/split.csv")
    test = split[split["split"] == "test"]
    pd.DataFrame({"path": test["path"], "label": test["class"]}).to_csv(tmp_path / "test.csv", index=False)
    cfg = compose(
        "evaluate",
        f"model_dir={world / 'run'}",
        f"data.csv={tmp_path / 'test.csv'}",
        f"data.root={world / 'pictures'}",
        "precision=32-true",
    )
    (tmp_path / "out").mkdir()
    scored = evaluate(cfg, tmp_path / "out")
    expected = json.loads((world / "run/metrics.json").read_text())["test"]
    assert scored["test"]["accuracy"] == expected["accuracy"]
    assert scored["test"]["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert but_previews(tmp_path / "out") == {
        "metrics.json", "predictions.csv", "split.csv", "report.html", "report_data/reliability.csv",
    }  # fmt: skip
    page = (tmp_path / "out/report.html").read_text()
    assert f"{expected['accuracy']:.1%} of {expected['n']:,} test samples right" in page
    both = [read_table(folder / "split.csv").query("split == 'test'") for folder in (world / "run", tmp_path / "out")]
    assert set(both[0]["digest"]) == set(both[1]["digest"])


def evaluation(world: Path, out: Path, *overrides: str) -> dict[str, Any]:
    out.mkdir()
    return evaluate(compose("evaluate", f"model_dir={world / 'run'}", "precision=32-true", *overrides), out)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_data_without_splits_is_scored_by_those_of_the_model_s_run(
    world: Path, tmp_path: Path, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Renamed and moved images are the same; new ones were in no split, and nor were those left out."""
    expected = json.loads((world / "run/metrics.json").read_text())
    scored = evaluation(world, tmp_path / "same", f"data.root={world / 'pictures'}", f"data.split={split}")
    assert scored["test"]["n"] == expected["data"]["samples"][split]
    assert f"data.split={split}: {scored['test']['n']} of 36 samples are scored" in caplog.text
    if split != "train":
        assert scored["test"]["accuracy"] == expected[split]["accuracy"]
    names = read_table(world / "run/split.csv").query(f"split == '{split}'")["path"].tolist()
    moved = Path(shutil.copytree(world / "pictures", tmp_path / "moved"))
    (moved / names[0]).rename(moved / Path(names[0]).parent / "renamed.png")
    (moved / names[1]).write_bytes(Path(write_pictures(tmp_path / "x", {"y": 1}, 7) / "y/00.png").read_bytes())
    found = evaluation(world, tmp_path / "again", f"data.root={moved}", f"data.split={split}")
    assert found["test"]["n"] == len(names) - 1
    kept = set(read_table(tmp_path / "again/split.csv")["path"])
    assert kept == {*names[2:], str(Path(names[0]).parent / "renamed.png")}


def test_a_split_is_only_taken_from_a_run_that_had_these_images(world: Path, tmp_path: Path) -> None:
    other = write_pictures(tmp_path / "other", {"ant": 3, "bee": 3}, seed=9)
    with pytest.raises(UserError, match=r"data\.split=test: the data has no such split, nor had these samples"):
        evaluation(world, tmp_path / "out", f"data.root={other}", "data.split=test")
    given = write_pictures(tmp_path / "given/val", {"ant": 3, "bee": 3}, seed=9).parent
    assert evaluation(world, tmp_path / "val", f"data.root={given}", "data.split=val")["test"]["n"] == 6
    with pytest.raises(UserError, match=r"data\.split=test: the data has no such split"):
        evaluation(world, tmp_path / "test", f"data.root={given}", "data.split=test")


def test_what_a_run_left_out_is_in_none_of_its_splits(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "run", tmp_path / "run")
    split = read_table(tmp_path / "run/split.csv")
    test = split.index[split["split"] == "test"]
    split.loc[test[0], ["split", "excluded"]] = ["", "data.exclude"]
    split.loc[len(split)] = {**split.loc[test[1]], "path": "gone.png"}  # its copy was used
    write_table(split, tmp_path / "run/split.csv")
    found = evaluation(tmp_path, tmp_path / "out", f"data.root={world / 'pictures'}", "data.split=test")
    assert found["test"]["n"] == len(test) - 1


def test_a_run_s_split_is_a_table_for_every_command(world: Path, tmp_path: Path) -> None:
    """Its paths start at the dataset of the run, without data.root too; a run of that table is one of that dataset."""
    shutil.copytree(world / "run", tmp_path / "run")
    split = read_table(tmp_path / "run/split.csv")
    split.loc[0, ["split", "excluded"]] = ["", "data.limit"]
    write_table(split, tmp_path / "run/split.csv")
    table = f"data.csv={tmp_path / 'run/split.csv'}"
    assert evaluation(world, tmp_path / "out", table)["test"]["n"] == (split["split"] == "test").sum()
    assert evaluation(world, tmp_path / "all", table, "data.split=all")["test"]["n"] == 35
    tiny = [table, "model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1"]
    for name in ("train", "check"):
        (tmp_path / name).mkdir()
    train(compose("train", *tiny), tmp_path / "train")
    columns = ["path", "class", "split", "digest"]
    again = read_table(tmp_path / "train/split.csv")[columns].sort_values("path")
    assert again.to_numpy().tolist() == split.loc[1:, columns].sort_values("path").to_numpy().tolist()
    assert check(compose("check", *tiny[:-1], "features=false"), tmp_path / "check")["samples"] == 35
    run_config.write_config(compose("train", *tiny), tmp_path / "train")
    assert evaluation(world, tmp_path / "next", f"data.csv={tmp_path / 'train/split.csv'}")["test"]["n"] == 6


def test_the_folder_of_a_run_s_dataset(tmp_path: Path) -> None:
    run, other = Directory(tmp_path / "run"), Directory(tmp_path / "other")
    for each in (run, other):
        each.path.mkdir()
    assert Directory.folder_of(str(run.path / "split.csv")) is None
    assert Directory.folder_of(str(run.path / "mine.csv")) is None
    run.config_file.write_text("data: {root: '${oc.env:ROOT}', csv: null}")
    assert run.data_folder() is None
    run.write("metrics", {"data": {"location": str(tmp_path)}})
    assert Directory.folder_of(str(run.path / "split.csv")) == str(tmp_path), "made, or named by the environment"
    other.config_file.write_text(f"data: {{root: null, csv: '{run.path}/split.csv'}}")
    assert Directory.folder_of(str(other.path / "split.csv")) == str(tmp_path), "a split of a split"
    other.config_file.write_text("data: {root: null, csv: /tables/a.csv}")
    assert other.data_folder() == "/tables"
    other.config_file.write_text("data: {root: /images, csv: /tables/a.csv}")
    assert other.data_folder() == "/images"


@pytest.mark.promise(12)
@pytest.mark.parametrize("cached", [True, False])
def test_evaluate_may_leave_out_what_cannot_be_used(world: Path, tmp_path: Path, cached: bool) -> None:
    root = Path(shutil.copytree(world / "pictures", tmp_path / "pictures"))
    (root / "ant/03.png").write_bytes((root / "ant/03.png").read_bytes()[:200])
    (root / "bee/empty.png").touch()
    before = {name: (root / name).read_bytes() for name in files_below(root)}
    options = [f"data.root={root}", f"cache.enabled={str(cached).lower()}"]
    with pytest.raises(DataProblemsError, match=r"(?s)03\.png.*empty\.png.*data\.on_bad_image=skip"):
        evaluation(world, tmp_path / "refused", *options)
    options.append("data.on_bad_image=skip")
    with pytest.raises(DataProblemsError, match=r"2 of 37 images .* more than data\.max_bad_fraction=0\.05"):
        evaluation(world, tmp_path / "many", *options)
    scored = evaluation(world, tmp_path / "out", *options, "data.max_bad_fraction=0.1")
    assert scored["test"]["n"] == 35
    assert scored["data"]["left_out"] == 2
    assert scored["data"]["samples"] == {"test": 35}
    problems = json.loads((tmp_path / "out/problems.json").read_text())
    assert [Path(problem["path"]).name for problem in problems] == ["03.png", "empty.png"]
    split = read_table(tmp_path / "out/split.csv")
    assert set(split.loc[split["excluded"] != "", "path"]) == {"ant/03.png", "bee/empty.png"}
    assert "2 samples were left out" in (tmp_path / "out/report.html").read_text()
    assert {name: (root / name).read_bytes() for name in files_below(root)} == before


@pytest.mark.parametrize("wrong", ["data.on_bad_image=drop", "data.max_bad_fraction=2", "data.max_bad_fraction=-0.1"])
def test_evaluate_refuses_a_policy_that_is_none(world: Path, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        evaluation(world, tmp_path / "out", f"data.root={world / 'pictures'}", wrong)


def test_nothing_is_scored_where_nothing_can_be_read(world: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures/ant").mkdir(parents=True)
    (tmp_path / "pictures/ant/a.png").write_bytes(b"x")
    options = [f"data.root={tmp_path / 'pictures'}", "data.on_bad_image=skip", "data.max_bad_fraction=1"]
    with pytest.raises(DataProblemsError, match="nothing is left of the data"):
        evaluation(world, tmp_path / "out", *options)


def test_the_temperature_is_applied_once_and_everywhere(world: Path, tmp_path: Path) -> None:
    folder = copy_of(world, tmp_path)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"temperature": 2.0}))
    scored = evaluate(compose("evaluate", f"model_dir={folder}", f"data.root={world / 'pictures'}"), tmp_path)
    table = read_table(tmp_path / "predictions.csv")
    likelihood = [float(row[f"p({row['label']})"]) for _, row in table.iterrows()]
    assert scored["test"]["loss"] == pytest.approx(-sum(map(math.log, likelihood)) / len(likelihood), rel=1e-6)


def test_a_model_from_before_there_was_a_temperature_answers_as_it_did(world: Path, tmp_path: Path) -> None:
    folder, files = copy_of(world, tmp_path), sorted((world / "pictures").rglob("*.png"))
    model = ft_lightning.load(folder)
    with torch.no_grad():
        preprocess = model.classifier.backbone.preprocess
        logits = torch.cat([model.classifier(preprocess(Image.open(file))[None]) for file in files[:5]])
    card = json.loads((folder / "model.json").read_text())
    del card["temperature"]
    for change in ({}, {"temperature": 1.0}, {"temperature": 3.0}):
        (folder / "model.json").write_text(json.dumps(card | change))
        table = ft_lightning.load(folder).predict(files[:5], precision="32-true")
        expected = (logits / change.get("temperature", 1.0)).softmax(1)
        found = table[[f"p({name})" for name in model.task.class_names]].to_numpy(dtype=float)
        assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_evaluate_warns_of_pictures_the_model_was_trained_on(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(world / "run", tmp_path / "run")
    cfg = compose("evaluate", f"model_dir={tmp_path / 'run'}", f"data.root={world / 'pictures'}")
    assert evaluate(cfg, tmp_path)["data"]["trained_on"] == 21
    assert "21 of 36 samples were in this model's train split" in caplog.text
    assert "21 of these samples were in this model" in (tmp_path / "report.html").read_text()
    split = read_table(tmp_path / "run/split.csv")
    split.loc[split["split"] == "train", "excluded"] = ["data.exclude", *[""] * 20]
    write_table(split, tmp_path / "run/split.csv")
    assert evaluate(cfg, tmp_path)["data"]["trained_on"] == 20, "what was excluded took no part"
    (tmp_path / "run/split.csv").unlink()
    assert evaluate(cfg, tmp_path)["data"]["trained_on"] is None


def test_evaluate_matches_classes_by_name_and_refuses_strangers(world: Path, tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "new", {"bee": 3, "zebra": 3})
    cfg = compose("evaluate", f"model_dir={world / 'run'}", f"data.root={root}")
    with pytest.raises(UserError, match="1 label is no class of this model: zebra"):
        evaluate(cfg, tmp_path)
    shutil.rmtree(root / "zebra")
    assert set(evaluate(cfg, tmp_path)["test"]["confusion"]) == {"bee"}


def test_an_evaluation_says_what_its_model_s_task_is(world: Path, tmp_path: Path) -> None:
    folder = copy_of(world, tmp_path)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"task": {"name": "multiclass"}}))
    cfg = compose("evaluate", f"model_dir={folder}", f"data.root={world / 'pictures'}")
    assert evaluate(cfg, tmp_path)["model"]["task"] == {"name": "multiclass"}, "its page and its score depend on it"


def test_a_damaged_model_is_refused(world: Path, tmp_path: Path) -> None:
    folder = copy_of(world, tmp_path)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged: sha256 \w{64}, expected \w{64}"):
        ft_lightning.load(folder)
    weights.unlink()
    with pytest.raises(UserError, match="holds no model"):
        ft_lightning.load(folder)


def test_a_newer_format_and_a_card_that_is_none_are_refused_by_name(world: Path, tmp_path: Path) -> None:
    folder = copy_of(world, tmp_path)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(UserError, match=r"model\.json has format 99"):
        ft_lightning.load(folder)
    (folder / "model.json").write_text("[]")
    with pytest.raises(UserError, match=r"model\.json is not the description of a model"):
        ft_lightning.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"task": 5},
        {"task": {"name": []}},
        {"class_names": {"ant": 1, "bee": 2, "cat": 3}},
        {"class_counts": None},
        {"temperature": "hot"},
        {"temperature": 0},
        {"finetune": None},
        {"format": math.inf},
        {"format": 99, "versions": 5},
    ],
)
def test_a_card_with_an_odd_value_is_refused(world: Path, tmp_path: Path, change: dict[str, object]) -> None:
    folder = copy_of(world, tmp_path)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | change))
    with pytest.raises(UserError, match=r"model"):
        ft_lightning.load(folder)


def test_a_card_that_is_nested_too_deeply_is_refused(world: Path, tmp_path: Path) -> None:
    folder = copy_of(world, tmp_path)
    (folder / "model.json").write_text('{"format":' * 100_000)
    with pytest.raises(UserError, match=r"model\.json is not the description of a model"):
        ft_lightning.load(folder)


@pytest.mark.promise(21)
@pytest.mark.parametrize("change", [{"name": "hf-hub:someone/evil"}, {"name": "/tmp/evil"}, {"source": "os"}])
def test_a_card_cannot_name_what_is_not_on_the_libraries_lists(
    world: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    folder = copy_of(world, tmp_path)
    card = json.loads((folder / "model.json").read_text())
    card["backbone"] |= change
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"model\.(name|source)"):
        ft_lightning.load(folder)


@pytest.mark.promise(10)
def test_what_was_saved_is_what_was_trained(world: Path) -> None:
    state = load_file(world / "run/model/model.safetensors")
    best = torch.load(world / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(state[name.removeprefix("classifier.")], value) for name, value in best.items())
    assert any(name.startswith("backbone.network.") for name in state), "it needs no other file"


@pytest.mark.promise(22)
def test_a_model_directory_holds_no_secret_and_no_path(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    weights = tmp_path / "cwd/mine.pth"
    torch.save(load_backbone("timm", "test_resnet", None, {}).network.state_dict(), weights)
    secrets = {"WANDB_API_KEY": "hush-0123456789", "TOKEN": "quiet-abcdef"}
    done = run_command(
        "train", f"data.root={pictures}", "model=timm", "model.name=test_resnet", f"model.weights={weights}",
        "trainer.max_epochs=1", "+secret=${oc.env:TOKEN}", f"hydra.run.dir={tmp_path / 'run'}", env=secrets,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "run/model") == {"model.json", "model.safetensors"}
    places = {str(tmp_path), str(Path.home()), str(Path.cwd()), gettempdir(), platform.node(), getpass.getuser()}
    for path in (tmp_path / "run/model").iterdir():
        content = path.read_bytes()
        found = {value for value in {*secrets.values(), *places} if len(value) > 4 and value.encode() in content}
        assert not found, path.name
    card = json.loads((tmp_path / "run/model/model.json").read_text())
    assert [text for text in strings(card) if Path(text).is_absolute() or text.startswith("~")] == []
    assert card["backbone"]["weights"] == "mine.pth"


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for part in [*node, *node.values()] if isinstance(node, dict) else node:
            yield from strings(part)


@pytest.mark.promise(22)
def test_own_checkpoints_load_with_plain_values_only(world: Path) -> None:
    script = (
        "import sys, torch, ft_lightning.deploy.model_dir, ft_lightning.module, ft_lightning.train\n"
        "torch.serialization.clear_safe_globals()\n"  # torch itself has some, for tensors over several machines
        "for path in sys.argv[1:]: torch.load(path, weights_only=True)\n"
        "print(torch.serialization.get_safe_globals())"
    )
    paths = [world / "run/checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    for path in paths:
        assert set(kinds(torch.load(path, weights_only=True))) <= {
            *(dict, OrderedDict, list, tuple, str, int, float, bool, type(None), torch.Tensor)
        }


def kinds(node: Any) -> Iterator[type]:
    yield type(node)
    if isinstance(node, dict | list | tuple):
        for part in [*node, *node.values()] if isinstance(node, dict) else node:
            yield from kinds(part)


def one_of(world: Path) -> Path:
    return world / "pictures/bee/03.png"


@pytest.mark.parametrize(
    "kind", ["text", "path", "bytes", "bytearray", "image", "opened", "array", "list", "tuple", "generator", "series"]
)
def test_one_input_is_one_row_and_a_list_of_them_is_a_list(world: Path, kind: str) -> None:
    path, model = one_of(world), ft_lightning.load(world / "run")
    image = Image.open(path)
    image.load()
    given: Any = {
        "text": lambda: str(path),
        "path": lambda: path,
        "bytes": path.read_bytes,
        "bytearray": lambda: bytearray(path.read_bytes()),
        "image": lambda: image,
        "opened": lambda: Image.open(path),
        "array": lambda: np.asarray(image),
        "list": lambda: [str(path), image, path.read_bytes(), np.asarray(image), path],
        "tuple": lambda: (path, path),
        "generator": lambda: (each for each in [path, image]),
        "series": lambda: pd.Series([str(path), str(path)]),
    }[kind]()
    expected = model.predict([path], precision="32-true").drop(columns="path")
    table = model.predict(given, precision="32-true")
    assert len(table) == {"list": 5, "tuple": 2, "generator": 2, "series": 2}.get(kind, 1)
    assert set(table["error"]) == {""}
    for _, row in table.iterrows():
        pd.testing.assert_series_equal(row.drop("path"), expected.iloc[0], check_names=False)


def test_arrays_of_several_are_several(world: Path) -> None:
    model = ft_lightning.load(world / "run")
    batch = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 3), dtype=np.uint8)
    assert model.predict(batch)["path"].tolist() == ["input 0", "input 1", "input 2"]
    assert len(model.predict(np.array([str(one_of(world))] * 2))) == 2
    assert len(model.predict([])) == 0


def test_what_is_no_input_is_refused_or_is_a_row_that_says_why(world: Path) -> None:
    model = ft_lightning.load(world / "run")
    for wrong in (5, None, [str(one_of(world)), 5], [None]):
        with pytest.raises(UserError, match=r"input \d is of type (int|NoneType): use a path, bytes, an image"):
            model.predict(wrong)
    for wrong in ({"path": "a.png"}, pd.DataFrame({"path": ["a.png"]})):
        with pytest.raises(UserError, match="give a path, an image, or a list of them; of a table, a column"):
            model.predict(wrong)
    rows = model.predict([b"no image", np.zeros((4, 4)), str(world / "pictures"), one_of(world), "\0.png", ""])
    assert [bool(error) for error in rows["error"]] == [True, True, True, False, True, True]
    assert rows["error"][0].startswith("input 0: empty, or not a PNG")
    assert "an array of float64" in rows["error"][1]
    assert "a folder, not a file" in rows["error"][2]


@pytest.mark.promise(34)
def test_an_image_that_a_resize_makes_huge_is_named_and_the_others_are_answered(world: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world / "pictures/ant", tmp_path / "new"))
    Image.new("RGB", (12_000, 1)).save(folder / "thin.png")
    Image.new("RGB", (1, 9_000)).save(folder / "high.png")
    Image.new("RGB", (400, 30)).save(folder / "long.png")
    script = (
        "import resource, sys, ft_lightning;"
        "model = ft_lightning.load(sys.argv[1]); model.predict(sys.argv[2] + '/00.png')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "from ft_lightning.data.inputs import find_files\n"
        "table = model.predict(find_files(sys.argv[2]), max_pixels=10_000_000)\n"
        "print(table[['path', 'error']].to_json(orient='values'))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", script, world / "run", folder]
    answer, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-2:]
    errors = {Path(path).name: error for path, error in json.loads(answer) if error}
    assert errors.keys() == {"thin.png", "high.png"}
    assert f"{folder / 'thin.png'}: 12000 x 1 pixels, resized to" in errors["thin.png"]
    assert "are more than max_pixels=10000000" in errors["high.png"]
    assert int(grown) < 300_000  # kB


@pytest.mark.promise(40)
def test_what_is_no_file_is_passed_over_and_counted(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(world / "pictures/ant", tmp_path / "new"))
    os.mkfifo(folder / "pipe.png")
    (folder / "link.jpg").symlink_to("pipe.png")
    (folder / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.gif"))
        for pattern in (folder, folder / "*"):
            caplog.clear()
            assert find_files(str(pattern)) == sorted(folder.glob("[0-9]*.png"))
            assert "3 are no files and passed over" in caplog.text
    assert find_files(str(folder / "pipe.png")) == [folder / "pipe.png"], "named itself, it has a row that says so"
    model = ft_lightning.load(world / "run")
    answered = model.predict([folder / "pipe.png", folder / "folder.png", folder / "00.png"])
    assert [error.partition(": ")[2] for error in answered["error"]] == ["not a file.", "a folder, not a file.", ""]
    (folder / "00.png").unlink()
    with pytest.raises(UserError, match="names no image"):
        find_files(str(folder / "*.gif"))


def test_input_may_be_a_list_of_files_globs_and_folders(world: Path, tmp_path: Path) -> None:
    ant = world / "pictures/ant"
    given = f"input=[{ant / '00.png'},'{ant}/0[0-2].png',{world / 'pictures/bee'}]"
    assert predict(compose("predict", f"model_dir={world / 'run'}", given), tmp_path)["n"] == 3 + 12


@pytest.mark.parametrize("trained", ["exact", "fast"])
def test_images_are_decoded_as_the_model_s_were(trained: str, tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {"ant": 12, "bee": 12})
    for path in root.rglob("*.png"):
        Image.open(path).resize((800, 800), Image.Resampling.BICUBIC).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    typed = [
        "model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1", f"data.root={root}",
        f"cache.dir={tmp_path / 'cache'}", "precision=32-true", "num_workers=0",
    ]  # fmt: skip
    run = ft_lightning.run("train", *typed[:-1], f"data.decode={trained}", run_dir=tmp_path / "run")
    card = json.loads((run.path / "model/model.json").read_text())
    assert card["preprocess"].get("decode", "exact") == trained
    model = ft_lightning.load(run)
    assert model.classifier.backbone.reader.decode == trained  # type: ignore[attr-defined]
    expected = read_table(run.table_path("predictions"))
    answers = model.predict([root / name for name in expected["path"]], precision="32-true")
    for column in ("p(ant)", "p(bee)"):
        assert answers[column].to_numpy(float) == pytest.approx(expected[column].astype(float).to_numpy(), abs=1e-6)
    (tmp_path / "out").mkdir()
    before = files_below(tmp_path / "cache")
    evaluate(compose("evaluate", f"model_dir={run.path}", *typed[4:]), tmp_path / "out")
    assert files_below(tmp_path / "cache") == before, "its features were stored under the same key"
    ft_lightning.run("check", *typed[:-1][:3], *typed[4:6], "precision=32-true", f"data.decode={trained}",
                     run_dir=tmp_path / "check")  # fmt: skip
    assert files_below(tmp_path / "cache") == before


def test_another_release_of_pillow_is_said(world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy_of(world, tmp_path)
    card = json.loads((folder / "model.json").read_text())
    assert card["versions"]["pillow"]
    ft_lightning.load(folder)
    assert not caplog.text
    (folder / "model.json").write_text(json.dumps(card | {"versions": card["versions"] | {"pillow": "11.3.0"}}))
    ft_lightning.load(folder)
    assert "training images were read by Pillow 11, here is" in caplog.text
    for odd in (None, {}, {"pillow": None}, {"pillow": "not installed"}):
        caplog.clear()
        (folder / "model.json").write_text(json.dumps(card | {"versions": odd}))
        ft_lightning.load(folder)
        assert not caplog.text
