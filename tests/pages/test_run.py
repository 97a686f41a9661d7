"""Every number on a run's page comes from the files of the run: where a file says another, so does the page."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from conftest import write_pictures
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.pages import run as run_page
from ft_lightning.pages import training
from ft_lightning.pages.page import Section
from ft_lightning.pages.run import write as write_page
from ft_lightning.runs.config import write_config
from ft_lightning.runs.previews import read_previews
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table, write_table
from ft_lightning.tasks.intervals import wilson_interval
from ft_lightning.train import train
from pages.test_page import Reader

CLASSES = ("=cmd()", "<b>bee", "cat")
FILES = ("<img src=x onerror=alert(1)>.png", "=cmd().png", "\"'& $x$.png", "</script><script>alert(1)</script>.png")
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true"]
TYPED = ["python", "-m", "ft_lightning.train", "data.root=<b>here"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, on classes and files with hostile names."""
    folder = tmp_path_factory.mktemp("run")
    root = write_pictures(folder / "pictures", dict.fromkeys(CLASSES, 15))
    for label in CLASSES:
        for number, path in enumerate(sorted((root / label).iterdir())):
            path.rename(path.with_name(f"{number:02d}{FILES[number % len(FILES)].replace('/', '∕')}"))
    (folder / "run").mkdir()
    cfg = compose("train", f"data.root={root}", *TINY, "trainer.max_epochs=2", "trainer.enable_progress_bar=false")
    write_config(cfg, folder / "run", TYPED)
    train(cfg, folder / "run")
    return folder / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / run.name))


Change = Callable[[Path], object]


def changed_json(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    def do(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return do


def changed_table(name: str, column: str, value: object) -> Change:
    """All of a column, or with a list as many of its first rows."""

    def do(folder: Path) -> None:
        table = read_table(folder / name)
        assert column in table.columns
        table[column] = [*value, *table[column][len(value) :]] if isinstance(value, list) else value
        write_table(table, folder / name)

    return do


def metrics(change: Callable[[dict[str, Any]], object]) -> Change:
    return changed_json("metrics.json", change)


def test_metric(**values: object) -> Change:
    return metrics(lambda m: m["test"].update(values))


test_metric.__test__ = False  # type: ignore[attr-defined]

REPEATS = {
    "seeds": [3, 4, 5],
    "val": {"accuracy": {"mean": 0.71234, "sd": 0.01234, "ci95": [0.61234, 0.81234]}},
    "test": {"loss": {"mean": 0.32109, "sd": 0.04321, "ci95": [0.22109, 0.42109]}},
}
FOLDS = {
    "samples": [17, 19],
    "test": {
        "accuracy": {"values": [0.61626, 0.71727], "mean": 0.66123, "sd": 0.07142},
        "loss": {"values": [None, 0.5]},
    },
    "pooled": {"n": 36123, "accuracy": 0.65432, "accuracy_ci95": [0.54321, 0.76543]},
}
FOLDS["test"]["loss"] |= {"mean": 0.5, "sd": None}
HEADS = {
    "taken": "mlp",
    "monitor": "val/f1_macro",
    "tried": {
        "linear": {"val/f1_macro": 0.81234, "val/loss": 0.98761},
        "mlp": {"val/f1_macro": 0.91234, "val/loss": 0.87654},
    },
}
CONFIG = "# python -m x.train a=1\nseed: 77\n"
# file and what of it: (how it is changed, what the page then says and did not say before)
CHANGES: dict[str, tuple[Change, list[str]]] = {
    "metrics.json accuracy": (test_metric(accuracy=0.12341), ["12.3% of", "0.1234 ("]),
    "metrics.json n": (test_metric(n=54321), ["of 54,321 test samples right"]),
    "metrics.json interval": (test_metric(accuracy_ci95=[0.11119, 0.22229]), ["11.1% to 22.2%", "0.1112 to 0.2223"]),
    "metrics.json f1": (test_metric(f1_macro=0.33331, f1_macro_ci95=[0.2, 0.4]), ["0.3333 (0.2000 to 0.4000)"]),
    "metrics.json majority": (test_metric(majority_accuracy=0.31411), [">0.3141<", "31.4%"]),
    "metrics.json neighbours": (test_metric(knn_accuracy=0.27181), [">0.2718<", "27.2%"]),
    "metrics.json words": (
        test_metric(tfidf_accuracy=0.28282),
        [">0.2828<", "counts words (TF-IDF) in 28.3%"],
    ),
    "metrics.json top5": (test_metric(top5_accuracy=0.81818), [">0.8182<"]),
    "metrics.json auroc": (test_metric(auroc=0.61616), [">0.6162<"]),
    "metrics.json loss": (test_metric(loss=3.14159), [">3.1416<", "before, 3.1416 after"]),
    "metrics.json ece": (test_metric(ece=0.21212), [">0.2121<", "before, 0.2121 after"]),
    "metrics.json val": (metrics(lambda m: m["val"].update(accuracy=0.13579)), [">0.1358<"]),
    "metrics.json val loss": (metrics(lambda m: m["val"].update(loss=2.46801)), ["before, 2.4680 after"]),
    "metrics.json confusion": (test_metric(confusion={"cat": {"=cmd()": 4321, "cat": 1}}), [">4,321<", ">0.9998<"]),
    "metrics.json class": (metrics(lambda m: m["test"]["per_class"]["cat"].update(f1=0.98765)), ['"0.98765">0.9877<']),
    "metrics.json class n": (metrics(lambda m: m["test"]["per_class"]["cat"].update(n=77123)), [">77,123<"]),
    "metrics.json temperature": (metrics(lambda m: m["calibration"].update(temperature=1.98761)), [">1.9876<"]),
    "metrics.json before": (
        metrics(lambda m: m["calibration"]["before"]["test"].update(ece=0.45671, loss=4.32101)),
        ["0.4567 before", "4.3210 before"],
    ),
    "metrics.json repeats": (
        metrics(lambda m: m.update(repeats=REPEATS)),
        ["trained 3 times", ">0.7123<", ">0.0123<", ">0.6123<", ">0.8123<", ">0.3211<", ">0.0432<"],
    ),
    "metrics.json folds": (
        metrics(lambda m: m.update(folds=FOLDS)),
        [
            "by one of 2 heads",
            "36,123 samples",
            "0.6543 (0.5432 to 0.7654)",
            ">0.6163<",
            ">0.7173<",
            ">0.6612<",
            ">0.0714<",
        ],
    ),
    "metrics.json heads": (
        metrics(lambda m: m.update(heads=HEADS)),
        ["The mlp head was taken", "val/f1_macro", ">0.8123<", ">0.9123<", ">0.9876<", ">0.8765<"],
    ),
    "metrics.json better neighbours": (
        metrics(
            lambda m: m.update(differences={}, test=m["test"] | {"knn_accuracy": 0.99998, "accuracy_ci95": [0.5, 0.9]})
        ),
        ["accuracy 1.0000 on test, beyond the 95 % interval of this model (0.5000 to 0.9000): try head=mlp"],
    ),
    "metrics.json neighbours that are better on the same samples": (
        metrics(
            lambda m: m.update(differences={"knn_accuracy": [-0.3, -0.1]}, test=m["test"] | {"knn_accuracy": 0.99998})
        ),
        ["(95 % interval of the difference -0.3000 to -0.1000): try head=mlp"],
    ),
    "metrics.json time": (metrics(lambda m: m["timing"].update(fit_s=4567.8)), ["4567.8 s"]),
    "metrics.json store": (
        metrics(lambda m: m["timing"].update(cache={"hits": 98765, "computed": 45678})),
        ["98,765 from the store, 45,678 computed"],
    ),
    "metrics.json version": (metrics(lambda m: m["versions"].update(torch="9.8.7")), [">9.8.7<"]),
    "metrics.json place": (metrics(lambda m: m["data"].update(location="/some/where")), ["· /some/where<"]),
    "model.json backbone": (
        changed_json("model/model.json", lambda m: m["backbone"].update(name="some_net", weights="mine.pth")),
        ["some_net (timm)", "mine.pth"],
    ),
    "model.json head": (
        changed_json("model/model.json", lambda m: m.update(head={"name": "mlp", "hidden": 512})),
        [">mlp, hidden 512<"],
    ),
    "model.json finetune": (
        changed_json(
            "model/model.json", lambda m: m.update(finetune={"mode": "partial", "trained_blocks": ["b8", "b9"]})
        ),
        [">partial: b8, b9<"],
    ),
    "model.json adapters": (
        changed_json(
            "model/model.json",
            lambda m: m.update(finetune={"mode": "lora", "rank": 3, "alpha": 5, "targets": ["q", "v"], "layers": 7}),
        ),
        [">lora: adapters of rank 3 (alpha 5) beside 7 layers (q, v), and the head<"],
    ),
    "model.json digest": (
        changed_json("model/model.json", lambda m: m.update(sha256="0123456789abcdef" * 4)),
        ["sha256 0123456789abcdef…"],
    ),
    "predictions.csv probability": (changed_table("predictions.csv", "probability", 0.87654), ["probability 0.877"]),
    "predictions.csv label": (changed_table("predictions.csv", "label", "somebody"), ["<b>somebody → "]),
    "predictions.csv predicted": (changed_table("predictions.csv", "predicted", "nobody"), [" → nobody</b>"]),
    "predictions.csv path": (changed_table("predictions.csv", "path", "renamed.png"), [">renamed.png<"]),
    "metrics.csv": (
        changed_table("metrics.csv", "val/accuracy", 0.54321),
        [": 0.5432. 2 epochs share it: the loss on val decides."],
    ),
    "metrics.csv epoch": (changed_table("metrics.csv", "epoch", [40, 41]), ["in epoch 4"]),
    "split.csv class": (changed_table("split.csv", "class", "renamed"), ["<td>renamed</td>"]),
    "split.csv split": (changed_table("split.csv", "split", "val"), ['data-key="15">15<', "<dd>45</dd>"]),
    "split.csv excluded": (
        changed_table("split.csv", "excluded", ["a reason"] * 3),
        ["<td>a reason</td>", "3 samples were left out"],
    ),
    "neighbours.csv": (changed_table("report_data/neighbours.csv", "neighbour", "twin.png"), ["most like twin.png ("]),
    "neighbours.csv label": (changed_table("report_data/neighbours.csv", "label", "a twin"), [" (a twin)<"]),
    "config.yaml": (
        lambda folder: (folder / "config.yaml").write_text(CONFIG),
        ["<pre>python -m x.train a=1</pre>", "seed: 77"],
    ),
}


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("what", CHANGES)
def test_the_page_says_what_the_file_says(what: str, run: Path, copy: Path) -> None:
    change, expected = CHANGES[what]
    change(copy)
    before, after = (run / "report.html").read_text(), write_page(Run(copy)).read_text()
    for said in expected:
        assert said in after, said
        assert said not in before, said


def figures_of(page: Path) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page.read_text(), re.S)


TRAINING, CONFUSION, RELIABILITY, COVERAGE = range(4)
SHOWN: dict[str, tuple[Change, int]] = {
    "metrics.csv": (changed_table("metrics.csv", "train/loss", 0.4321), TRAINING),
    "metrics.json": (test_metric(confusion={"cat": {"cat": 7}}), CONFUSION),
    "reliability.csv": (changed_table("report_data/reliability.csv", "confidence", 0.3), RELIABILITY),
    "predictions.csv": (changed_table("predictions.csv", "predicted", "cat"), COVERAGE),
}


@pytest.mark.parametrize("file", SHOWN)
def test_a_figure_follows_its_own_file_and_no_other(file: str, run: Path, copy: Path) -> None:
    change, number = SHOWN[file]
    change(copy)
    before, after = figures_of(run / "report.html"), figures_of(write_page(Run(copy)))
    assert len(before) == len(after) == len(SHOWN)
    assert [i for i in range(len(before)) if before[i] != after[i]] == [number]


def test_the_diagram_of_reliability_is_of_test_alone(run: Path, copy: Path) -> None:
    table = read_table(copy / "report_data/reliability.csv")
    assert set(table["split"]) == {"val", "test"}
    table.loc[table["split"] == "val", "accuracy"] = "0.123"
    write_table(table, copy / "report_data/reliability.csv")
    assert figures_of(write_page(Run(copy))) == figures_of(run / "report.html")


def test_the_pictures_are_the_previews_of_the_run(run: Path, copy: Path) -> None:
    files = read_previews(copy / "report_data/previews")
    assert files
    path, file = next(iter(files.items()))
    file.write_bytes(b"another picture")
    html = write_page(Run(copy)).read_text()
    source = f"data:image/jpeg;base64,{base64.b64encode(b'another picture').decode()}"
    shown = html.count(source)
    assert shown >= 1
    file.unlink()
    without = write_page(Run(copy))
    assert source not in without.read_text()
    gone = [tag for tag, attributes in Reader(without).elements if attributes.get("class") == "gone"]
    assert len(gone) == shown
    assert ("span", path) in Reader(without).texts, "what is known of it is still told"


def test_a_task_without_a_page_is_named(run: Path, copy: Path) -> None:
    card = json.loads((copy / "model/model.json").read_text())
    (copy / "model/model.json").write_text(json.dumps(card | {"task": {"name": "weighing"}}))
    with pytest.raises(UserError, match="there is no page for the task weighing"):
        write_page(Run(copy))


def test_the_same_files_make_the_same_page(run: Path, copy: Path) -> None:
    assert write_page(Run(copy)).read_bytes() == (run / "report.html").read_bytes()


def test_the_pictures_are_the_most_certain_errors_and_the_least_certain_answers(copy: Path) -> None:
    table = read_table(copy / "predictions.csv").head(3).loc[[0] * 60].reset_index(drop=True)
    table["path"] = [f"{number:02d}.png" for number in range(60)]
    table["label"] = "cat"
    table["predicted"] = ["cat" if number % 3 else "dog" for number in range(60)]
    table["probability"] = [0.4 + (number * 7 % 60) / 100 for number in range(60)]
    write_table(table, copy / "predictions.csv")
    html = write_page(Run(copy)).read_text()
    worst, least = (re.findall(r"<span>(\d\d\.png)</span>", part) for part in html.split("<h2>Least certain")[:2])
    by_probability = sorted(range(60), key=lambda number: number * 7 % 60)
    assert worst == [f"{number:02d}.png" for number in reversed(by_probability) if number % 3 == 0]
    assert least == [f"{number:02d}.png" for number in by_probability[:24]]
    assert "of 20 wrong answers" in html


def test_abstaining_is_counted_on_the_predictions(copy: Path) -> None:
    table = read_table(copy / "predictions.csv").loc[[0] * 8].reset_index(drop=True)
    probability = [0.5, 0.55, 0.6, 0.79, 0.8, 0.91, 0.95, 0.97]
    right = [False, True, False, True, True, False, True, True]
    table["predicted"], table["label"] = "cat", ["cat" if hit else "dog" for hit in right]
    write_table(table.assign(probability=probability), copy / "predictions.csv")
    html = write_page(Run(copy)).read_text().partition("<h2>When to abstain")[2].partition("</tbody>")[0]
    rows = [re.findall(r'data-key="([^"]*)"', row) for row in re.findall(r"<tr><td.*</tr>", html)]
    for row in rows:
        threshold = float(row[0])
        hits = [hit for hit, p in zip(right, probability, strict=True) if p >= threshold]
        assert [float(row[1]), int(row[2])] == [len(hits) / 8, len(hits)]
        if hits:
            assert [float(key) for key in row[3:]] == [sum(hits) / len(hits), *wilson_interval(sum(hits), len(hits))]
        else:
            assert row[3:] == ["", "", ""]
    assert [float(row[0]) for row in rows] == [0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]


def test_hostile_names_of_classes_files_and_the_command_are_text(run: Path) -> None:
    page = Reader(run / "report.html")
    names = {name for table in ("predictions.csv", "split.csv") for name in read_table(run / table)["path"]}
    assert len([name for name in names if "<img" in name]) > 2
    written = {text for _, text in page.texts}
    assert set(read_table(run / "predictions.csv")["path"]) <= written
    assert set(CLASSES) <= written, "and '=cmd() has no apostrophe"
    assert ("pre", "python -m ft_lightning.train 'data.root=<b>here'") in page.texts
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def titles(page: Path) -> list[str]:
    return [text for tag, text in Reader(page).texts if tag == "h2"]


def test_a_run_without_what_came_later_still_has_a_page(run: Path, copy: Path) -> None:
    """As runs of before the page left it: no report_data, no neighbours, no temperature, no heading of the config."""
    shutil.rmtree(copy / "report_data")
    for part in ("val", "test"):
        metrics(lambda m, part=part: m[part].pop("knn_accuracy", None))(copy)
    metrics(lambda m: m.pop("calibration"))(copy)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.partition("\n")[2])
    page = Reader(write_page(Run(copy)))
    assert "img" not in {tag for tag, _ in page.elements}
    assert ("dt", "accuracy of the neighbours") not in page.texts
    missing = set(titles(run / "report.html")) - set(titles(copy / "report.html"))
    assert missing == {"Calibration", "Command"}


def test_a_run_that_lost_what_can_be_done_without_still_has_a_page(copy: Path) -> None:
    for name in ("report_data", "model", "checkpoints"):
        shutil.rmtree(copy / name)
    for name in ("metrics.csv", "split.csv", "config.yaml"):
        (copy / name).unlink()
    page = write_page(Run(copy))
    assert not {"Training", "Data", "What was trained", "Command", "Calibration"} & set(titles(page))
    assert "test samples right" in page.read_text()
    assert "sha256 …" not in page.read_text()


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv"])
def test_what_cannot_be_done_without_is_named_and_the_old_page_stays(name: str, run: Path, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}: no such file"):
        write_page(Run(copy))
    assert (copy / "report.html").read_bytes() == (run / "report.html").read_bytes()


def test_a_run_without_an_error_says_so(copy: Path) -> None:
    table = read_table(copy / "predictions.csv")
    write_table(table.assign(label=table["predicted"]), copy / "predictions.csv")
    test_metric(confusion={"cat": {"cat": 9}}, accuracy=1.0)(copy)
    page = write_page(Run(copy))
    assert "No class was taken for another." in page.read_text()
    assert "Worst errors" not in titles(page)
    assert "Least certain" in titles(page)
    assert "→" not in page.read_text()


def test_numbers_that_there_are_none_of_are_empty(copy: Path) -> None:
    """As metrics.json has them where test lacks a class, say."""
    test_metric(auroc=None, top5_accuracy=None, knn_accuracy=None)(copy)
    metrics(lambda m: m["test"]["per_class"]["cat"].update(precision=None, recall=None, f1=None, auroc=None, n=0))(copy)
    page = Reader(write_page(Run(copy)))
    facts = [text for tag, text in page.texts if tag in ("dt", "dd")]
    assert facts[facts.index("AUROC") + 1] == ""
    cat = page.texts.index(("td", "cat"), page.texts.index(("h2", "Classes")))
    assert [text for _, text in page.texts[cat : cat + 6]] == ["cat", "0", "", "", "", ""]


@pytest.mark.parametrize("classes", [30, 31])
def test_above_thirty_classes_the_pairs_stand_alone(classes: int, copy: Path) -> None:
    names = [f"c{number}" for number in range(classes)]
    confusion = {name: {names[(i + 1) % classes]: 2 + i, names[(i + 2) % classes]: 1} for i, name in enumerate(names)}
    per_class = {name: {"n": 3, "precision": 0.5, "recall": 0.5, "f1": 0.5, "auroc": None} for name in names}
    test_metric(confusion=confusion, per_class=per_class)(copy)
    html = write_page(Run(copy)).read_text()
    part = html.partition("<h2>Confusion")[2].partition("</section>")[0]
    assert ("<svg" in part) == (classes <= 30)
    assert f"{2 * classes} pairs of classes were confused; the 50 commonest are shown." in part
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td class=\"number\" data-key=\"(\d+)\"", part)
    assert len(rows) == 50
    assert rows[0] == (names[-1], names[0], str(1 + classes))
    assert [int(row[2]) for row in rows] == sorted((int(row[2]) for row in rows), reverse=True)


def test_a_run_that_was_never_validated_has_a_page(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {"ant": 6, "bee": 6})
    (tmp_path / "run").mkdir()
    how = ["trainer.max_epochs=2", "trainer.check_val_every_n_epoch=5", "trainer.enable_progress_bar=false"]
    train(compose("train", f"data.root={root}", *TINY, *how), tmp_path / "run")
    html = (tmp_path / "run/report.html").read_text()
    assert "<h2>Training</h2>" in html
    assert "Best accuracy on val in epoch" not in html


def test_an_evaluation_has_a_page_of_the_same_kind(run: Path, tmp_path: Path) -> None:
    split = read_table(run / "split.csv").query("split == 'test'")
    pd.DataFrame({"path": split["path"], "label": split["class"]}).to_csv(tmp_path / "test.csv", index=False)
    data = [f"data.csv={tmp_path / 'test.csv'}", f"data.root={run.parent / 'pictures'}"]
    (tmp_path / "out").mkdir()
    scored = evaluate(compose("evaluate", f"model_dir={run}", *data, "precision=32-true"), tmp_path / "out")
    page = Reader(tmp_path / "out/report.html")
    expected = titles(run / "report.html")
    assert titles(tmp_path / "out/report.html") == [t for t in expected if t not in ("Training", "Command")]
    (title,) = [text for tag, text in page.texts if tag == "h1"]
    assert title == f"{scored['test']['accuracy']:.1%} of {len(split)} test samples right"
    assert title in (run / "report.html").read_text()
    facts = [text for tag, text in page.texts if tag in ("dt", "dd")]
    assert "accuracy on val" not in facts
    assert "accuracy of the neighbours" not in facts, "which are among the training samples"
    assert "train split" not in (tmp_path / "out/report.html").read_text()
    assert "ECE on val" not in facts
    assert facts[facts.index("backbone") + 1].startswith("test_resnet")
    card = json.loads((run / "model/model.json").read_text())
    assert facts[facts.index("weights of the model") + 1] == f"sha256 {card['sha256'][:16]}…"
    assert facts[facts.index("temperature") + 1] == f"{card['temperature']:.4f}"


def test_a_section_of_one_s_own_that_fails_costs_neither_the_page_nor_the_training(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mine(_: Run, metrics: dict[str, Any]) -> list[Section]:
        raise KeyError("nothing")

    def none(_: Run, metrics: dict[str, Any]) -> list[Section]:
        return None  # type: ignore[return-value]

    monkeypatch.setattr(run_page, "SECTIONS", [*run_page.SECTIONS, mine, none])
    page = write_page(Run(Path(shutil.copytree(run, tmp_path / "run")))).read_text(encoding="utf-8")
    assert "mine ended with an error" in page
    assert "none ended with an error" in page
    assert "Config and versions" in page
    assert "KeyError: 'nothing'" in caplog.text


def test_figures_have_the_title_of_their_section_and_a_number_from_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sections(run: Run, metrics: dict[str, Any]) -> list[Section]:
        return [Section("None"), Section("One", figures=[Figure()]), Section("More", figures=[Figure(), Figure()])]

    monkeypatch.setattr(run_page, "SECTIONS", [sections])
    (tmp_path / "metrics.json").write_text("{}")
    assert list(run_page.figures(Run(tmp_path))) == ["One", "More", "More 2"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {},
            "Best accuracy on val in epoch 3 (metrics.csv counts from 0): 0.9000. "
            "2 epochs share it: the loss on val decides.",
        ),
        ({"monitor": "val/loss"}, "Best loss on val in epoch 1 (metrics.csv counts from 0): 0.1000."),
        (
            {"monitor": "val/loss", "monitor_mode": "max"},
            "Best loss on val in epoch 2 (metrics.csv counts from 0): 0.4000.",
        ),
        (
            {"monitor": "val/accuracy", "monitor_mode": "min"},
            "Best accuracy on val in epoch 1 (metrics.csv counts from 0): 0.5000.",
        ),
    ],
)
def test_the_best_epoch_is_that_of_the_monitor(config: dict[str, str], said: str) -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2], "val/accuracy": [0.5, 0.9, 0.9], "val/loss": [0.1, 0.4, 0.3]})
    run = SimpleNamespace(config=config, task="multiclass")
    assert training.best_epoch_said(run, history, "accuracy") == said  # type: ignore[arg-type]
