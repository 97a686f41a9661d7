"""check tells everything at once, leaves rows to exclude, and never touches the dataset."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hydra.errors import InstantiationException
from PIL import Image

from conftest import files_below, write_pictures
from ft_lightning import build
from ft_lightning.check import check
from ft_lightning.cli import dataset
from ft_lightning.cli.compose import compose
from ft_lightning.data.kinds import IMAGES
from ft_lightning.issues.findings import Findings
from ft_lightning.issues.look import Place, look_at_files
from ft_lightning.pages import check as check_page
from ft_lightning.report import report
from ft_lightning.runs.run import Run as Directory
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table, write_table
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.train import train
from issues.test_suspects import cuts

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true"]


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """Every kind of problem at once, in given splits of two classes of photographs."""
    root = tmp_path / "dirty"
    pictures = iter(cuts(90, seed=3))
    for split, count in (("train", 20), ("val", 10), ("test", 10)):
        for label in ("ant", "bee"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                next(pictures).save(root / split / label / f"{number}.png")
    ant = root / "train/ant"
    shutil.copy(ant / "1.png", root / "train/bee/wrong.png")
    shutil.copy(ant / "2.png", root / "test/ant/leak.png")
    shutil.copy(ant / "3.png", ant / "twice.png")
    Image.open(ant / "4.png").resize((120, 90)).save(root / "test/ant/small.jpg", quality=60)
    (ant / "cut.png").write_bytes((ant / "5.png").read_bytes()[:900])
    (ant / "x.heic").write_bytes(b"x")
    (ant / ".DS_Store").write_bytes(b"x")
    (root / "train/empty").mkdir()
    hostile = root / "train/<script>document.title='taken'<"
    hostile.mkdir()
    next(pictures).convert("L").resize((20, 200)).save(hostile / "=cmd().png")
    return root


EXPECTED = {
    "layout": True, "damaged": True, "two labels": True, "leak": True, "copy": False, "small class": False,
    "missing class": False, "imbalance": False, "unsupported": False, "hidden": False, "small image": False,
    "long image": False, "near-duplicate": False,
}  # fmt: skip


def test_everything_that_is_wrong_is_told_at_once(dirty: Path, tmp_path: Path) -> None:
    before = {name: (dirty / name).read_bytes() for name in files_below(dirty)}
    run = tmp_path / "check"
    run.mkdir()
    with pytest.raises(UserError, match="cannot train as it is") as told:
        check(compose("check", f"data.root={dirty}"), run)
    content = json.loads((run / "check.json").read_text())
    found = {finding["kind"]: finding["blocks"] for finding in content["findings"]}
    assert {kind: found.get(kind) for kind in EXPECTED} == EXPECTED
    assert not content["can_train"]
    for name in ("train/empty", "cut.png", "wrong.png", "leak.png"):
        assert name in str(told.value)
    issues = read_table(run / "issues.csv")
    rows = {(row.kind, row.path) for row in issues.itertuples()}
    assert {
        ("damaged", "train/ant/cut.png"), ("two labels", "train/ant/1.png"), ("leak", "train/ant/2.png"),
        ("copy", "train/ant/twice.png"), ("near-duplicate", "train/ant/4.png"),
    } <= rows  # fmt: skip
    html = (run / "report.html").read_text()
    assert "&lt;script&gt;document.title" in html
    assert "<script>document" not in html
    assert "'=cmd" not in html, "the apostrophe that disarms a cell is the table's, not the page's"
    assert {name: (dirty / name).read_bytes() for name in files_below(dirty)} == before


def test_what_is_left_in_issues_csv_takes_no_part(dirty: Path, tmp_path: Path) -> None:
    (dirty / "train/empty").rmdir()
    run = tmp_path / "check"
    run.mkdir()
    with pytest.raises(UserError):
        check(compose("check", f"data.root={dirty}", *TINY), run)
    issues = read_table(run / "issues.csv")
    kept = issues[issues["kind"].isin(["damaged", "two labels", "leak"])]
    write_table(kept, run / "mine.csv")
    exclude = [f"data.root={dirty}", f"data.exclude={run / 'mine.csv'}", *TINY]
    again = tmp_path / "again"
    again.mkdir()
    content = check(compose("check", *exclude), again)
    assert content["can_train"]
    assert content["samples"] == 86 - len(set(kept["path"]))
    issues = read_table(again / "issues.csv")
    assert set(issues.loc[issues["kind"] == "excluded", "path"]) == set(kept["path"]), "one table holds all there is"
    assert not set(issues.loc[issues["kind"] != "excluded", "path"]) & set(kept["path"])
    (tmp_path / "run").mkdir()
    train(compose("train", *exclude, "trainer.max_epochs=1"), tmp_path / "run")
    split = read_table(tmp_path / "run/split.csv")
    assert set(split.loc[split["excluded"] == "data.exclude", "path"]) == set(kept["path"])
    assert "train/ant/twice.png" in set(split.loc[split["split"] == "train", "path"]), "its row was taken out"


def given(root: Path) -> Path:
    for seed, (split, count) in enumerate({"train": 12, "val": 6, "test": 6}.items()):
        write_pictures(root / split, {"ant": count, "bee": count}, seed)
    return root


def leaked_twice(root: Path) -> None:
    for name in ("train/ant/again.png", "test/ant/leak.png"):
        shutil.copy(root / "train/ant/00.png", root / name)


def two_labels_thrice(root: Path) -> None:
    for name in ("train/ant/again.png", "train/bee/wrong.png"):
        shutil.copy(root / "train/ant/00.png", root / name)


def damaged_val(root: Path) -> None:
    for picture in (root / "val").rglob("*.png"):
        picture.write_bytes(b"x")


@pytest.mark.parametrize(
    ("spoil", "overrides", "mended"),
    [
        (leaked_twice, [], True),
        (two_labels_thrice, [], True),
        (lambda root: None, [r"data.group_by='\d\d'"], True),
        (damaged_val, ["data.on_bad_image=skip", "data.max_bad_fraction=0.9"], False),
        (lambda root: None, [r"data.group_by='\.png'"], False),
        (lambda root: None, [], True),
    ],
    ids=["leak", "two labels", "groups", "nothing left", "one group", "sound"],
)
def test_it_says_what_train_says_and_its_rows_mend_what_rows_can(
    spoil: Callable[[Path], None], overrides: list[str], mended: bool, tmp_path: Path
) -> None:
    options = [f"data.root={given(tmp_path / 'data')}", *TINY, *overrides]
    spoil(tmp_path / "data")
    can_train, can_check = trains(options), checks(options, tmp_path / "check")
    assert can_check == can_train
    issues = read_table(tmp_path / "check/issues.csv")
    blocking = issues[issues["kind"].isin(["damaged", "two labels", "leak"])]
    if len(blocking):
        write_table(blocking, tmp_path / "mine.csv")
        options.append(f"data.exclude={tmp_path / 'mine.csv'}")
    assert trains(options) == checks(options, tmp_path / "again") == mended


def trains(options: list[str]) -> bool:
    try:
        build.data(compose("train", *options))
    except (UserError, InstantiationException):
        return False
    return True


def checks(options: list[str], run: Path) -> bool:
    run.mkdir()
    try:
        check(compose("check", *options, "features=false"), run)
    except UserError:
        return False
    return True


def test_it_sees_the_splits_of_a_run_and_leaves_it_its_features(pictures: Path, tmp_path: Path) -> None:
    names = [f"{label}/{number:02d}.png" for label in ("ant", "bee") for number in (1, 5, 7)]
    write_table(pd.DataFrame({"path": names}), tmp_path / "x.csv")
    options = [f"data.root={pictures}", f"data.exclude={tmp_path / 'x.csv'}", *TINY]
    cfg = compose("check", *options)
    labels = dataset.labels(cfg.data, MultiClass)
    place = Place(IMAGES, dataset.source(cfg.data, IMAGES), str(pictures), None)
    seen = look_at_files(cfg.data, place, labels, dataset.task(cfg), None, Findings())
    assert seen.splits == build.data(compose("train", *options)).splits
    for run in ("check", "run"):
        (tmp_path / run).mkdir()
    check(compose("check", *options), tmp_path / "check")
    metrics = train(compose("train", *options, "trainer.max_epochs=1"), tmp_path / "run")
    assert metrics["timing"]["cache"] == {"hits": 30, "computed": 0}


def test_the_command_says_how_it_ended_and_its_page_can_be_made_again(
    pictures: Path, tmp_path: Path, run_command: Run
) -> None:
    done = run_command("check", f"data.root={pictures}", *TINY, f"hydra.run.dir={tmp_path / 'check'}")
    assert done.returncode == 0, done.stderr
    assert "issues.csv" in done.stdout
    page = (tmp_path / "check/report.html").read_bytes()
    (tmp_path / "check/report.html").unlink()
    again = run_command("report", f"run={tmp_path / 'check'}")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "check/report.html").read_bytes() == page
    (pictures / "ant/00.png").write_bytes(b"")
    broken = run_command("check", f"data.root={pictures}", *TINY, "features=false", f"hydra.run.dir={tmp_path / 'two'}")
    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr
    without = f"data.exclude={tmp_path / 'two/issues.csv'}"
    words = shlex.split(broken.stdout.partition("are fine, then: ")[2])
    assert words[:3] == ["python", "-m", "ft_lightning.train"]
    assert sorted(words[3:]) == sorted([f"data.root={pictures}", *TINY, without])
    assert (tmp_path / "two/report.html").is_file()
    options = ["model=timm", "model.name=nonsense", f"hydra.run.dir={tmp_path / 'no_model'}"]
    no_model = run_command("check", f"data.root={pictures}", "data.on_bad_image=skip", *options)
    assert no_model.returncode == 2
    assert "model.name=nonsense is not a model of timm" in no_model.stderr
    said = {finding["kind"] for finding in json.loads((tmp_path / "no_model/check.json").read_text())["findings"]}
    assert said >= {"damaged", "not looked for"}, "what the files tell is known all the same"
    assert (tmp_path / "no_model/report.html").is_file()
    nowhere = run_command("check", "data.root=/nowhere", f"hydra.run.dir={tmp_path / 'three'}")
    assert nowhere.returncode == 2
    assert "data.root=/nowhere: no such folder" in nowhere.stderr


def test_a_model_that_reads_another_kind_of_samples_is_refused_and_the_rest_is_told(tmp_path: Path) -> None:
    rows = [{"text": f"{word} {number}", "label": word} for word in ("good", "bad") for number in range(8)]
    write_table(pd.DataFrame(rows), tmp_path / "texts.csv")
    with pytest.raises(UserError, match="its samples are texts, and model reads images"):
        check(compose("check", "data=texts", f"data.table={tmp_path / 'texts.csv'}", *TINY), tmp_path)
    assert "not looked for" in Directory(tmp_path).page.read_text(encoding="utf-8")


def test_no_name_reaches_the_terminal_with_a_control_character(tmp_path: Path, run_command: Run) -> None:
    root = write_pictures(tmp_path / "pictures", {"an\x1b[2Jt": 8, "bee": 8})
    for name in ("copy\x1b[31m.png", "two\nlines.png"):
        shutil.copy(root / "bee/01.png", root / "bee" / name)
    for name in ("loose\x1b.png", "bee/kind\x1b.heic", "bee/.hid\x1bden"):
        (root / name).write_bytes(b"x")
    (tmp_path / "exclude.csv").write_text("path\nno\x1bwhere\n")
    for verb, more, code in (
        ("check", ["features=false"], 0),
        ("train", ["trainer.max_epochs=1", "trainer.enable_progress_bar=false"], 0),
        ("train", [f"data.exclude={tmp_path / 'exclude.csv'}"], 2),
    ):
        done = run_command(verb, f"data.root={root}", *TINY, *more)
        assert done.returncode == code, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert "\\x1b" in done.stdout + done.stderr


def test_the_page_follows_the_files(pictures: Path, tmp_path: Path) -> None:
    check(compose("check", f"data.root={pictures}", *TINY, "features=false"), tmp_path)
    content = json.loads((tmp_path / "check.json").read_text())
    content |= {"samples": 123456, "findings": [{"kind": "k", "said": "Quite odd.", "fix": "Mend it.", "blocks": True}]}
    (tmp_path / "check.json").write_text(json.dumps(content))
    row = {"path": "new.png", "kind": "label", "score": 0.987654, "label": "one", "suggestion": "other"}
    write_table(pd.DataFrame([row]), tmp_path / "issues.csv")
    html = check_page.write(Directory(tmp_path)).read_text()
    for said in ("123,456", "Quite odd.", "Mend it.", "new.png", "0.988", "one → other"):
        assert said in html, said
    copies = [row | {"path": f"{number}.png", "kind": "copy"} for number in range(1500)]
    write_table(pd.DataFrame([*copies, row]), tmp_path / "issues.csv")
    html = check_page.write(Directory(tmp_path)).read_text()
    assert "999.png" in html
    assert "1000.png" not in html
    assert "Of each kind the first 1,000 are shown; the table has 1,501 rows." in html
    assert html.count("new.png") == 2, "in the gallery and in the table"
    (tmp_path / "check.json").write_text("{}")
    with pytest.raises(UserError, match="damaged, or of another version"):
        report(compose("report", f"run={tmp_path}"), tmp_path)


@pytest.mark.parametrize(("classes", "each"), [(3, 6), (40, 3), (130, 1)])
def test_a_clean_dataset_shows_some_of_each_class_and_its_sizes(tmp_path: Path, classes: int, each: int) -> None:
    root = write_pictures(tmp_path / "pictures", {f"{number:03d}": 7 for number in range(classes)})
    (tmp_path / "check").mkdir()
    content = check(compose("check", f"data.root={root}", *TINY, "features=false"), tmp_path / "check")
    assert {len(names) for names in content["shown"].values()} == {each}
    assert len(content["shown"]) == min(classes, 120)
    assert all(name.startswith(f"{label}/") for label, names in content["shown"].items() for name in names)
    html = (tmp_path / "check/report.html").read_text()
    assert html.count("<img ") == each * min(classes, 120)
    assert html.index("Samples") < html.index("Sizes")
    assert "shorter edge, pixels" in html
    assert html.count("<td>1</td>") < 10, "no table of sizes"


def test_the_sizes_are_told_by_the_smallest_the_largest_and_the_commonest(pictures: Path, tmp_path: Path) -> None:
    for number, size in enumerate([(10, 300), (640, 480), (640, 480)]):
        Image.effect_noise(size, 10 + number).save(pictures / f"ant/n{number}.png")
    check(compose("check", f"data.root={pictures}", *TINY, "features=false"), tmp_path)
    html = (tmp_path / "report.html").read_text()
    for name, value in (("largest", "640 x 480"), ("most common", "640 x 480, 2 images")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html
    content = json.loads((tmp_path / "check.json").read_text())
    (tmp_path / "check.json").write_text(json.dumps(content | {"sizes": {"32 x 64": 39}}))
    html = check_page.write(Directory(tmp_path)).read_text()
    assert "<dt>smallest</dt><dd>32 x 64</dd>" in html
    assert "shorter edge" not in html, "all are alike"
    del content["shown"]
    (tmp_path / "check.json").write_text(json.dumps(content))
    assert "Some of each class" not in check_page.write(Directory(tmp_path)).read_text(), "of an earlier version"


def test_a_run_says_what_is_odd_and_nothing_of_a_healthy_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, counts in (("odd", {"ant": 60, "bee": 5}), ("healthy", {"ant": 20, "bee": 20})):
        root = write_pictures(tmp_path / name, counts)
        (tmp_path / f"run_{name}").mkdir()
        train(compose("train", f"data.root={root}", *TINY, "trainer.max_epochs=1"), tmp_path / f"run_{name}")
        said = capsys.readouterr().out
        assert ("fewer than 10 samples in train: bee" in said) == (name == "odd")
        assert ("loss.class_weights=balanced" in said) == (name == "odd")


@pytest.mark.promise(34)
@pytest.mark.promise(40)
def test_a_pipe_is_passed_over_and_what_a_resize_makes_huge_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_pictures(tmp_path / "clean", {"ant": 30, "bee": 30})
    os.mkfifo(root / "ant/pipe.png")
    Image.new("RGB", (30_000, 1)).save(root / "bee/thin.png")
    run = tmp_path / "check"
    run.mkdir()
    check(compose("check", f"data.root={root}", *TINY, "data.on_bad_image=skip", "data.max_pixels=1000000"), run)
    assert "1 is no file and passed over: ant/pipe.png" in caplog.text
    findings = {finding["kind"]: finding for finding in json.loads((run / "check.json").read_text())["findings"]}
    assert "thin.png" in findings["damaged"]["said"]
    assert "resized to" in findings["damaged"]["said"]
    assert "unused" not in findings
    assert [row.path for row in read_table(run / "issues.csv").itertuples() if row.kind == "damaged"] == [
        "bee/thin.png"
    ]
