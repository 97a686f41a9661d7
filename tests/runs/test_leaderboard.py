"""Runs side by side: found wherever they are, ordered by val, and the two best told apart on the same samples."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pytest
from scipy.stats import binomtest

from conftest import ROOT, write_pictures
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.pages.comparison import write
from ft_lightning.report import compare_runs, report, show
from ft_lightning.runs.leaderboard import differences, leaderboard, short_names, two_best
from ft_lightning.runs.paired import compare, mcnemar
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table, write_table
from ft_lightning.tasks.intervals import difference_interval
from ft_lightning.train import train

Command = Callable[..., CompletedProcess[str]]
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1", "precision=32-true"]
QUIET = "trainer.enable_progress_bar=false"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pictures/ and, in runs/, a few that were trained on them, one of them on another split, and an evaluation."""
    folder = tmp_path_factory.mktemp("world")
    root = write_pictures(folder / "pictures", {"ant": 12, "bee": 12, "cat": 12})
    # Identical files: one sample twice, in whichever split it falls.
    shutil.copy(root / "ant/00.png", root / "ant/99.png")
    for name, more in {
        "first": ["seed=1"],
        "second": ["seed=2", "finetune=full"],
        "apart": ["data.split_seed=7"],
    }.items():
        (folder / "runs" / name).mkdir(parents=True)
        train(compose("train", f"data.root={root}", *TINY, QUIET, *more), folder / "runs" / name)
    (folder / "runs/scored").mkdir()
    cfg = compose("evaluate", f"model_dir={folder / 'runs/first'}", f"data.root={root}", "precision=32-true")
    evaluate(cfg, folder / "runs/scored")
    return folder


@pytest.fixture(scope="module")
def board(world: Path) -> pd.DataFrame:
    runs, others = Run.find([f"{world}/runs/*"])
    assert others == []
    return leaderboard(runs)


def row(board: pd.DataFrame, name: str) -> dict[str, Any]:
    (found,) = board[[Path(run).name == name for run in board["run"]]].to_dict("records")
    return found


def test_a_row_says_what_the_files_of_its_run_say(world: Path, board: pd.DataFrame) -> None:
    columns = [
        *("run", "val accuracy", "test accuracy", "low", "high", "test set", "model", "finetune", "overrides"),
        *("macro F1", "loss", "ECE", "n", "trained on", "seconds", "data"),
    ]
    assert [column for column in board.columns if column in columns] == columns, "and metrics of one's own"
    for name in ("first", "second", "apart"):
        metrics = json.loads((world / "runs" / name / "metrics.json").read_text())
        test, found = metrics["test"], row(board, name)
        assert found["val accuracy"] == metrics["val"]["accuracy"]
        assert [found[key] for key in ("test accuracy", "macro F1", "loss", "ECE", "n")] == [
            test[key] for key in ("accuracy", "f1_macro", "loss", "ece", "n")
        ]
        assert [found["low"], found["high"]] == test["accuracy_ci95"]
        assert found["seconds"] == metrics["timing"]["total_s"]
        assert (found["model"], found["data"]) == ("test_resnet.r160_in1k", str(world / "pictures"))
    assert [row(board, name)["finetune"] for name in ("first", "second")] == ["frozen", "full"]


def test_an_evaluation_on_what_its_model_has_seen_says_so(world: Path, board: pd.DataFrame, tmp_path: Path) -> None:
    split = read_table(world / "runs/first/split.csv")
    trained = set(split.loc[split["split"] == "train", "digest"])
    assert row(board, "scored")["trained on"] == sum(digest in trained for digest in split["digest"])
    write(Run(tmp_path), board, [], "")
    assert "flatter its numbers" in Run(tmp_path).page.read_text()
    write(Run(tmp_path), leaderboard([Run(world / "runs" / name) for name in ("first", "second")]), [], "")
    assert "flatter its numbers" not in Run(tmp_path).page.read_text()
    assert "trained on" not in Run(tmp_path).page.read_text(), "no column says nothing"


def test_best_on_val_comes_first_and_what_has_no_val_last(board: pd.DataFrame) -> None:
    val = board["val accuracy"].tolist()
    assert val[:3] == sorted(val[:3], reverse=True)
    assert math.isnan(val[3])
    assert Path(board["run"].iloc[-1]).name == "scored"
    assert row(board, "scored")["model"] == "test_resnet.r160_in1k"


@pytest.mark.promise(31)
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_runs_that_val_cannot_tell_apart_are_ordered_by_its_loss_and_never_by_test(
    order: list[int], tmp_path: Path
) -> None:
    right, wrong = [("a", "x", "x")], [("a", "x", "y")]
    made = [
        ("calm", wrong, 1.0, 0.1),
        ("loud", right, 1.0, 0.3),
        ("older", right, 1.0, None),
        ("worse", right, 0.9, 0.0),
    ]
    runs = []
    for name, answers, val, loss in (made[i] for i in order):
        runs.append(run_of(tmp_path / name, answers, val=val))
        if loss is not None:
            metrics = json.loads((runs[-1].path / "metrics.json").read_text())
            metrics["val"]["loss"] = loss
            (runs[-1].path / "metrics.json").write_text(json.dumps(metrics))
    board = leaderboard(runs)
    assert [Path(run).name for run in board["run"]] == ["calm", "loud", "older", "worse"]
    write(Run(tmp_path), board, [], "*")
    page = Run(tmp_path).page.read_text()
    assert "3 of 4 runs share the best accuracy on val: the lower loss on val decides." in page
    assert "then on test" not in page
    equal = [run_of(tmp_path / f"equal{i}", answers) for i, answers in enumerate((wrong, right))]
    assert leaderboard(equal)["run"].tolist() == list(map(str, equal)), "equal in both: the earlier one"


def test_a_letter_stands_for_the_samples_of_the_test(board: pd.DataFrame) -> None:
    letters = {Path(run).name: letter for run, letter in zip(board["run"], board["test set"], strict=True)}
    assert letters["first"] == letters["second"]
    assert len({letters[name] for name in ("first", "apart", "scored")}) == 3
    assert sorted(set(letters.values())) == ["A", "B", "C"]
    assert board["test set"].iloc[0] == "A"
    assert {Path(run).name for run in two_best(board)} == {"first", "second"}, "the only ones with the same test set"


def test_a_moved_and_renamed_dataset_is_still_the_same_test_set(world: Path, tmp_path: Path) -> None:
    root = tmp_path / "moved"
    for path in (world / "pictures").rglob("*.png"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path.parent.name / f"renamed_{path.name}")
    (tmp_path / "run").mkdir()
    train(compose("train", f"data.root={root}", *TINY, QUIET), tmp_path / "run")
    assert leaderboard([Run(world / "runs/first"), Run(tmp_path / "run")])["test set"].tolist() == ["A", "A"]
    comparison = compare(Run(world / "runs/first"), Run(tmp_path / "run"))
    assert comparison is not None
    assert (comparison.matched_by, comparison.n) == ("content", len(read_table(tmp_path / "run/predictions.csv")))


def test_the_paired_numbers_are_a_plain_count(world: Path) -> None:
    first, second = (read_table(world / "runs" / name / "predictions.csv") for name in ("first", "second"))
    both = first.merge(second, on="path", suffixes=("_1", "_2"))
    right_1, right_2 = both["label_1"] == both["predicted_1"], both["label_2"] == both["predicted_2"]
    found = compare(Run(world / "runs/first"), Run(world / "runs/second"))
    assert found is not None
    assert found.n == len(both) == len(first)
    assert found.only_first == (right_1 & ~right_2).sum()
    assert found.only_second == (~right_1 & right_2).sum()
    assert found.both_right == (right_1 & right_2).sum()
    assert found.difference == pytest.approx(right_1.mean() - right_2.mean())
    assert found.ci95[0] < found.difference < found.ci95[1]
    discordant = found.only_first + found.only_second
    assert found.p_value == (binomtest(found.only_first, discordant).pvalue if discordant else 1)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (0, 6), (12, 3), (7, 7), (200, 150)])
def test_mcnemar_is_the_binomial_count(b: int, c: int) -> None:
    n = b + c
    as_far = sum(math.comb(n, k) for k in range(n + 1) if abs(k - n / 2) >= abs(b - n / 2)) / 2**n
    assert mcnemar(b, c) == pytest.approx(as_far)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_the_interval_of_the_difference_is_the_published_one() -> None:
    # Agresti & Min 2005 write it as ((c* - b*) ± z √((b* + c*) - (c* - b*)²/n*)) / n*, with 1/2 in each cell.
    b, c, n, z = 5.5, 16.5, 102, 1.959963984540054
    half = z * math.sqrt((b + c) - (c - b) ** 2 / n) / n
    assert difference_interval(16, 5, 100) == pytest.approx(((c - b) / n - half, (c - b) / n + half))
    low, high = difference_interval(0, 0, 40)
    assert low == -high < 0, "samples that agree leave a doubt, which Wald's interval does not"
    assert difference_interval(1, 0, 1)[1] <= 1


def run_of(
    folder: Path,
    answers: Sequence[tuple[str, str, str]],
    digests: Sequence[str] = (),
    val: float | None = 0.5,
    **test: Any,
) -> Run:
    """A run directory by hand; `answers` are path, label, predicted."""
    folder.mkdir(parents=True)
    accuracy = sum(label == predicted for _, label, predicted in answers) / max(1, len(answers))
    metrics: dict[str, Any] = {"test": {"accuracy": accuracy, "accuracy_ci95": [0, 1], "n": len(answers)} | test}
    if val is not None:
        metrics["val"] = {"accuracy": val}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    write_table(pd.DataFrame(answers, columns=["path", "label", "predicted"]), folder / "predictions.csv")
    if digests:
        paths = [path for path, _, _ in answers]
        write_table(pd.DataFrame({"path": paths, "digest": digests, "split": "test"}), folder / "split.csv")
    return Run(folder)


def test_identical_files_in_a_test_split_match_one_to_one(tmp_path: Path) -> None:
    one = run_of(tmp_path / "1", [("a", "x", "x"), ("b", "x", "x"), ("c", "x", "y")], ["same", "same", "other"])
    two = run_of(tmp_path / "2", [("A", "x", "y"), ("B", "x", "y"), ("C", "x", "x")], ["same", "same", "other"])
    found = compare(one, two)
    assert found is not None
    assert (found.n, found.only_first, found.only_second) == (3, 2, 1)
    three = run_of(tmp_path / "3", [("a", "x", "x"), ("c", "x", "x")], ["same", "other"])
    letters = dict(zip(*leaderboard([one, two, three])[["run", "test set"]].to_numpy().T, strict=True))
    assert letters[str(one)] == letters[str(two)] != letters[str(three)]
    found = compare(one, three)
    assert found is not None
    assert (found.n, found.only_second) == (2, 1), "what only one of them has twice counts once"


def test_without_digests_paths_decide_and_another_label_makes_another_sample(tmp_path: Path) -> None:
    one = run_of(tmp_path / "1", [("a", "x", "x"), ("b", "x", "x")], ["1", "2"])
    two = run_of(tmp_path / "2", [("a", "x", "y"), ("b", "z", "z")])
    found = compare(one, two)
    assert found is not None
    assert (found.matched_by, found.n, found.only_first) == ("path", 1, 1)
    assert set(leaderboard([one, two])["test set"]) == {"A", "B"}


def test_runs_without_a_common_sample_are_said_to_have_none(tmp_path: Path) -> None:
    one = run_of(tmp_path / "1", [("a", "x", "x")], val=0.9)
    two = run_of(tmp_path / "2", [("b", "x", "x")])
    assert compare(one, two) is None
    told = write(Run(tmp_path), leaderboard([one, two]), [], "*")
    assert told.startswith("1 and 2 share no test sample")
    assert told in Run(tmp_path).page.read_text()


def test_evaluations_alone_which_have_no_val_are_compared(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, [("a", "x", predicted)], val=None) for name, predicted in (("1", "x"), ("2", "y"))]
    told = write(Run(tmp_path), leaderboard(runs), [], "*")
    assert "chance would part them" in told
    assert "as no run has one on val" in Run(tmp_path).page.read_text()


def test_the_largest_group_is_compared_and_of_equals_the_first(tmp_path: Path) -> None:
    a, b = [("a", "x", "x")], [("b", "x", "x")]
    made = {"lone": [("c", "x", "x")], "b1": b, "a1": a, "b2": b, "a2": a}
    runs = [run_of(tmp_path / name, made[name], val=0.9 - i / 10) for i, name in enumerate(made)]
    assert [Path(run).name for run in two_best(leaderboard(runs))] == ["b1", "b2"]
    runs.append(run_of(tmp_path / "a3", a, val=0.1))
    assert [Path(run).name for run in two_best(leaderboard(runs))] == ["a1", "a2"]
    assert [Path(run).name for run in two_best(leaderboard(runs[:3]))] == ["lone", "b1"], "of all, if none share one"


def test_the_page_says_which_runs_the_two_are_and_that_test_sets_do_not_compare(tmp_path: Path) -> None:
    a, b = [("a", "x", "x")], [("b", "x", "x")]
    best, *same = (run_of(tmp_path / name, those, val=val) for name, those, val in (
        ("best", b, 0.9), ("second", a, 0.8), ("third", a, 0.7),
    ))  # fmt: skip
    told = write(Run(tmp_path), leaderboard([best, *same]), [], "*")
    assert told.startswith("The first two of those with test set B. On 1 test sample")
    assert "the accuracy of second is the same as that of third" in told
    assert "Scores on different test sets are not comparable." in Run(tmp_path).page.read_text()
    told = write(Run(tmp_path), leaderboard(same), [], "*")
    assert told.startswith("On 1 test sample")
    assert "are not comparable" not in Run(tmp_path).page.read_text()


def test_runs_are_found_in_multiruns_searches_and_folders_of_them(tmp_path: Path) -> None:
    answers = [("a", "x", "x")]
    run_of(tmp_path / "out/train/run", answers)
    for job in ("0", "1", "10"):
        run_of(tmp_path / "out/train/multi" / job, answers)
    failed = tmp_path / "out/train/multi/2"
    failed.mkdir()
    (failed / "config.yaml").write_text("seed: 0\n")
    run_of(tmp_path / "out/tune/head_ab/trial_7", answers)
    (tmp_path / "out/tune/head_ab/config.yaml").write_text("seed: 0\n")
    (tmp_path / "out/train/notes").mkdir()
    (tmp_path / "out/train/notes.txt").write_text("of a person")

    def found(*patterns: str) -> tuple[set[str], set[str]]:
        places = Run.find([str(tmp_path / pattern) for pattern in patterns])
        runs, others = ({Path(path).relative_to(tmp_path / "out").as_posix() for path in each} for each in places)
        return runs, others

    multi = {"train/multi/0", "train/multi/1", "train/multi/10"}
    assert found("out/train/*") == ({"train/run", *multi}, {"train/multi/2", "train/notes", "train/notes.txt"})
    assert found("out/train") == ({"train/run", *multi}, {"train/multi/2"})
    assert found("out/train/multi") == (multi, {"train/multi/2"})
    assert found("out/tune/*") == ({"tune/head_ab/trial_7"}, set())
    assert found("out/*/*", "out/train/r*", "out/train/../train/run")[0] == {
        "train/run", *multi, "tune/head_ab/trial_7"
    }, "each once"  # fmt: skip
    assert found("nothing/*") == (set(), set())
    assert failed not in Run.find([str(tmp_path / "out")], but=failed)[1]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "[" * 100_000, '{"test": {}}', '{"test": []}'),
        *(
            '{"test": {"accuracy": NaN}}',
            '{"test": {"accuracy": Infinity}}',
            '{"test": {"accuracy": null}}',
            '{"test": {"accuracy": "1"}}',
            '{"test": {"accuracy": true}}',
        ),
    ],
    ids=range(11),
)
def test_what_is_no_result_is_passed_over(content: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.json").write_text(content)
    assert Run.find([str(tmp_path / "*")]) == ([], [tmp_path / "run"])


def test_a_run_that_says_little_has_a_row_and_breaks_nothing(tmp_path: Path) -> None:
    bare = run_of(tmp_path / "bare", [], val=None)
    (bare.path / "metrics.json").write_text(
        '{"test": {"accuracy": 0.5, "accuracy_ci95": "?"}, "data": 3, "timing": []}'
    )
    (bare.path / "predictions.csv").write_text("something,else\n1,2\n")
    (bare.path / "config.yaml").write_text("# python -m ft_lightning.train 'unbalanced\nmodel: [unbalanced\n")
    gone = run_of(tmp_path / "gone", [("a", "x", "x")])
    (gone.path / "predictions.csv").unlink()
    board = leaderboard([bare, gone])
    assert board["test set"].tolist() == ["", ""]
    assert two_best(board) == []
    told = write(Run(tmp_path), board, [], "*")
    assert told == ""
    assert "0.5000" in Run(tmp_path).page.read_text()
    assert read_table(tmp_path / "leaderboard.csv")["n"].tolist() == ["1", ""]


def test_what_was_typed_for_some_only_is_shown_also_beside_a_run_as_it_comes(tmp_path: Path) -> None:
    typed = {"plain": "", "slow": "optimizer.lr=1e-3", "fast": "optimizer.lr=1e-1 hydra.run.dir=fast"}
    runs = {name: run_of(tmp_path / name, [("a", "x", "x")]) for name in (*typed, "python")}
    for name, words in typed.items():
        command = f"# python -m ft_lightning.train seed=1 {words}".strip()
        (runs[name].path / "config.yaml").write_text(f"{command}\nseed: 1\n")

    def shown(*names: str) -> list[str]:
        return leaderboard([runs[name] for name in names])["overrides"].tolist()

    assert shown("plain", "slow", "fast") == ["", "optimizer.lr=1e-3", "optimizer.lr=1e-1"]
    assert shown("slow", "python", "fast") == ["optimizer.lr=1e-3", "", "optimizer.lr=1e-1"], "one says nothing"
    assert shown("slow") == ["seed=1 optimizer.lr=1e-3"], "there is no other that it could share it with"
    (runs["plain"].path / "config.yaml").write_text("# python -m ft_lightning.train\nseed: 0\n")
    assert shown("plain", "slow") == ["", "seed=1 optimizer.lr=1e-3"]


def commanded(folder: Path, model: str, *words: str, data: str = "/a/long/way/to/pictures") -> Run:
    run = run_of(folder, [("a", "x", "x")])
    metrics = json.loads((run.path / "metrics.json").read_text()) | {"data": {"location": data}}
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    command = f"# python -m ft_lightning.train data.root={data} {' '.join(words)}"
    (run.path / "config.yaml").write_text(f"{command}\nmodel: {{name: {model}}}\nfinetune: {{mode: frozen}}\n")
    return run


def test_the_terminal_has_a_line_for_each_run_with_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [commanded(tmp_path / f"run{i:02d}", f"resnet{18 + i % 2}", f"optimizer.lr={i}e-3") for i in range(11)]
    default = run_of(tmp_path / "default", [("a", "x", "x")])
    show(leaderboard([*runs, default]))
    said = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(said) == 13, "a heading and a line a run"
    assert said[0].split() == ["run", "val", "test", "what", "differs", "95", "%", "interval", "of", "test"]
    assert said[1].split()[:4] == ["run00", "0.5000", "1.0000", "resnet18"]
    assert "/a/long/way" not in "".join(said)
    assert all(f"optimizer.lr={i}e-3" in said[1 + i] for i in range(11))


@pytest.mark.parametrize(
    ("more", "differing"),
    [
        ([["seed=1"], ["seed=1"]], ["", ""]),
        ([["seed=1", "head=mlp"], ["seed=2", "head=mlp"]], ["seed=1", "seed=2"]),
        ([["model.weights=/a/b/c.safetensors"], []], ["model.weights=.../c.safetensors", ""]),
        ([["data.limit=3"], ["'data.root=/x y/z'"]], ["data.limit=3", ""]),
    ],
)
def test_what_differs_is_what_not_all_have(more: list[list[str]], differing: list[str], tmp_path: Path) -> None:
    runs = [commanded(tmp_path / f"{i}", "resnet18", *words) for i, words in enumerate(more)]
    assert differences(leaderboard(runs)) == differing
    other = [commanded(tmp_path / f"data{i}", "resnet18", data=f"/a/{name}") for i, name in enumerate(("cats", "dogs"))]
    assert differences(leaderboard(other)) == ["cats", "dogs"]


def test_names_are_shown_and_never_become_markup_or_a_formula(tmp_path: Path) -> None:
    hostile = [
        "<img src=x onerror=alert(1)>",
        "=HYPERLINK(1)",
        "a[0]*",
        "$x^2$ $\\frac{",
        "new\nline",
        "日本語\x07",
        "[red]b[red]",
    ]
    runs = [run_of(tmp_path / "in" / name, [("</td>", "x", "x")]) for name in hostile]
    (runs[0].path / "config.yaml").write_text("model: {name: '<script>document.title=1</script>'}\n")
    found, _ = Run.find([str(tmp_path / "in")])
    assert sorted(map(str, found)) == sorted(map(str, runs))
    assert list(map(str, Run.find([str(runs[2])])[0])) == [str(runs[2])], "a name that exists is no glob"
    told = write(Run(tmp_path), leaderboard(found), [tmp_path / "<b>other</b>"], "<i>*")
    html = Run(tmp_path).page.read_text()
    for markup in ("<img", "<script>document", "<i>", "<b>other"):
        assert markup not in html
    assert set(read_table(tmp_path / "leaderboard.csv")["run"]) == set(map(str, runs))
    assert "p = 1" in told
    assert set(short_names(map(str, runs))) == set(hostile)


def test_no_more_than_thirty_runs_are_drawn(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "in" / f"{i:02d}", [("a", "x", "x")], val=1 - i / 100) for i in range(40)]
    write(Run(tmp_path), leaderboard(runs), [], "*")
    drawing, table = Run(tmp_path).page.read_text().partition("<svg")[2].split("</svg>")
    assert drawing.count(">29<") == 1
    assert ">30<" not in drawing
    assert ">39<" in table


def test_the_command_compares_a_multirun_and_makes_a_page_again(
    run_command: Command, pictures: Path, tmp_path: Path
) -> None:
    done = run_command(
        "train", "-m", f"data.root={pictures}", *TINY, QUIET, "optimizer.lr=1e-3,1e-2,1e39", "hydra.sweep.dir=multi"
    )
    assert done.returncode == 3, done.stderr
    done = run_command("report", 'runs="mul*"', "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    table = read_table(tmp_path / "cwd/out/leaderboard.csv")
    assert set(table["run"]) == {"multi/0", "multi/1"}
    assert set(table["overrides"]) == {"optimizer.lr=0.001", "optimizer.lr=0.01"}
    assert set(table["test set"]) == {"A"}
    assert "Passed over, as there is no finished run: 1 of 3: multi/2" in done.stderr
    assert "McNemar" in done.stdout
    assert "out/report.html" in done.stdout
    assert run_command("check", "data.root=/nowhere", "hydra.run.dir=multi_check").returncode == 2
    done = run_command("report", 'runs="mul*"', "hydra.run.dir=out2")
    assert "1 of 3: multi/2" in done.stderr, "a check is no run that failed"
    done = run_command("report", "runs=multi_check", "hydra.run.dir=out3")
    assert "passed over: multi_check" in done.stderr, "where there is nothing else it is named"
    page = tmp_path / "cwd/multi/0/report.html"
    before = page.read_bytes()
    page.unlink()
    done = run_command("report", "run=multi/0/model")
    assert done.returncode == 0, done.stderr
    assert page.read_bytes() == before, "the same files make the same page"


@pytest.mark.parametrize("name", ["predictions.csv", "config.yaml", "model/model.json", "metrics.json"])
def test_a_run_whose_files_somebody_has_changed_has_no_page_and_no_traceback(
    name: str, world: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(world / "runs/first", tmp_path / "run")
    content = '{"test": {"accuracy": 1}}' if name == "metrics.json" else "path,label\n\xff,["
    (run / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"damaged|not UTF-8"):
        report(compose("report", f"run={run}"), tmp_path)


def test_pages_and_a_look_at_files_need_no_torch(world: Path, tmp_path: Path) -> None:
    """Whose import takes longer than the work."""
    script = f"""
import sys
from pathlib import Path
from ft_lightning.check import check
from ft_lightning.cli.compose import compose
from ft_lightning.report import report
out = Path({str(tmp_path)!r})
report(compose("report", "run={world}/runs/first"), out)
report(compose("report", "runs={world}/runs/*"), out)
check(compose("check", "data.root={world}/pictures", "features=false"), out)
print({{"torch", "lightning", "sklearn", "timm"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_report_says_what_is_wrong_with_what_was_typed(world: Path, tmp_path: Path) -> None:
    for words, said in (
        ([], "run, runs: give one of them"),
        (["run=a", "runs=b"], "run, runs: give one of them"),
        ([f"run={tmp_path}/none"], "no finished run"),
        ([f"run={world}/runs"], "stands for 4 runs: name one, or compare them"),
        ([f"runs={tmp_path}/none"], "no finished run"),
        ([f"runs=[{world}/pictures,{world}/none]"], "passed over: .*pictures"),
    ):
        with pytest.raises(UserError, match=said):
            report(compose("report", *words), tmp_path)
    assert (ROOT / "conf/report.yaml").is_file()


def monitoring(folder: Path, monitor: str, val: dict[str, float], test: float) -> Run:
    run = Run(folder)
    (folder / "model").mkdir(parents=True)
    run.write("metrics", {"val": val, "test": {"accuracy": test, "loss": 0.5, "n": 10}})
    run.config_file.write_text(f"seed: 0\nmonitor: {monitor}\nmonitor_mode: null\n")
    return run


@pytest.mark.promise(31)
@pytest.mark.parametrize(
    ("monitors", "first", "columns"),
    [
        (["val/loss", "val/loss"], "calm", ["val loss", "val accuracy", "test accuracy"]),
        (["'val/f1_macro'", "val/f1_macro"], "calm", ["val macro F1", "val accuracy", "test accuracy"]),
        (["val/accuracy", "val/accuracy"], "sharp", ["val accuracy", "test accuracy"]),
        (["val/loss", "val/accuracy"], "sharp", ["val accuracy", "test accuracy"]),
        (["train/loss", "train/loss"], "sharp", ["val accuracy", "test accuracy"]),
    ],
    ids=["loss", "F1", "accuracy", "different ones", "of train"],
)
def test_runs_are_ordered_by_what_chose_their_epochs(
    monitors: list[str], first: str, columns: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharp = monitoring(tmp_path / "sharp", monitors[0], {"accuracy": 0.9, "loss": 0.8, "f1_macro": 0.6}, 0.95)
    calm = monitoring(tmp_path / "calm", monitors[1], {"accuracy": 0.8, "loss": 0.3, "f1_macro": 0.7}, 0.7)
    board = leaderboard([sharp, calm])
    assert Path(board["run"].iloc[0]).name == first
    assert board.columns[1 : len(columns) + 1].tolist() == columns
    write(Run(tmp_path), board, [], "*")
    assert f"By {columns[0].removeprefix('val ')} on val" in (tmp_path / "report.html").read_text()
    show(board)
    titles = capsys.readouterr().out.splitlines()[0].split("  ")
    titles = [title.strip() for title in titles if title.strip()]
    assert titles[1:3] == ([columns[0], "test accuracy"] if len(columns) == 3 else ["val", "test"])


def test_a_run_on_whose_test_its_metric_is_undefined_is_finished(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    (run.path / "model").mkdir(parents=True)
    run.write("model", {"task": {"name": "multilabel"}})
    run.write("metrics", {"test": {"average_precision": None, "n": 4}})
    assert run.finished
    for other in ({"average_precision": None}, {"n": 4}, {"average_precision": None, "n": "4"}):
        run.write("metrics", {"test": other})
        assert not run.finished


def test_files_that_a_glob_matches_are_not_told_but_one_that_was_named_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("0", "1"):
        run_of(tmp_path / "multi" / name, [("a", "x", "x")])
    for name in ("multirun.csv", "leaderboard.csv", "report.html"):
        (tmp_path / "multi" / name).touch()
    (tmp_path / "out").mkdir()
    compare_runs([f"{tmp_path}/multi/*"], tmp_path / "out")
    assert "Passed over" not in caplog.text
    compare_runs([f"{tmp_path}/multi/0", f"{tmp_path}/multi/multirun.csv"], tmp_path / "out")
    assert "1 of 2: " in caplog.text
