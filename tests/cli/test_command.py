"""Exit codes, messages, directories and multirun, as a person meets them."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import hydra
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import ft_lightning
from conftest import Commands, files_below, patience, write_pictures
from ft_lightning.cli.compose import compose
from ft_lightning.runs import config as run_config
from ft_lightning.runs.run import Run as Directory

Run = Callable[..., CompletedProcess[str]]
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1", "precision=32-true"]


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict", "check"])
def test_help_and_cfg_answer_without_the_heavy_imports(verb: str, run_command: Run) -> None:
    for flag in ("--help", "--cfg=job"):
        done = run_command(verb, flag)
        assert done.returncode == 0, done.stderr
        assert "precision: auto" in done.stdout
    script = f"import sys, ft_lightning.{verb}; print({{'torch', 'lightning', 'pandas'}} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimiser.lr=1"], "optimiser"),
        (["model=resnet51"], "resnet18, resnet50"),
        (["data.root=/no/such/folder"], "data.root=/no/such/folder: no such folder"),
        (["data=mydata"], "data.root is not set"),
        (["model=timm"], "model.name"),
        (["optimizer.lr=", *TINY[:3]], "optimizer"),
        (["+trainer.max_epoch=3", *TINY[:3]], "max_epoch"),
        (["trainer.accelerator=gpu", *TINY[:3]], "no such device"),
        (["precision=64", *TINY[:3]], "precision=64: use one of auto, 32-true, bf16-mixed, 16-mixed"),
        (["finetune=full", "finetune.k=2", *TINY[:3]], "say finetune=partial too"),
        (["trainer.limit_val_batches=0", *TINY[:3]], "trainer.limit_val_batches=0"),
        (["monitor=val/acc"], "use one of val/accuracy"),
        (["seed=abc"], "seed=abc"),
        (["checkpoint_minutes=-1"], "checkpoint_minutes=-1"),
        (["finetune.backbone_lr_factor=-1"], "finetune.backbone_lr_factor=-1: use a number from 0"),
        (["data.batch_size=0"], "batch_size=0"),
        (["data.num_workers=-1"], "num_workers=-1"),
        (["data.root=2024"], "data.root=2024: no such folder"),
        (["data.root=~/my images"], "quote the value"),
        (["hydra.run.dir=/proc/none"], "/proc/none"),
    ],
)
def test_what_the_user_can_fix_ends_with_2_and_a_few_words(overrides: list[str], said: str, run_command: Run) -> None:
    if said in ("no such device",):
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has that device")
    done = run_command("train", *overrides)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 6


def test_a_bug_keeps_its_traceback(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def head(in_features, num_classes):\n    return 1 / 0\n")
    done = run_command(
        "train",
        "head._target_=broken.head",
        "~head.name",
        "~head.dropout",
        *TINY,
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_run_prints_its_summary_and_result_and_no_noise(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    done = run_command("train", f"data.root={pictures}", *TINY, fresh=True)
    assert done.returncode == 0, done.stderr
    for word in (
        "train 21 · val 9 · test 6",
        "3: ant, bee, cat",
        "test_resnet.r160_in1k (timm)",
        "frozen",
        "cpu, precision 32-true",
        "accuracy",
        "predict model_dir=outputs/train/",
    ):
        assert word in done.stdout
    for noise in ("Warning", "warn", "GPU available", "litlogger", "Restoring", "num_workers"):
        assert noise not in done.stdout + done.stderr
    (run,) = (tmp_path / "cwd/outputs/train").iterdir()
    assert OmegaConf.load(run / "config.yaml").data.root == str(pictures)


@pytest.mark.promise(22)
def test_values_of_the_environment_stay_out_of_the_config(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    run_command(
        "train",
        f"data.root={pictures}",
        *TINY,
        "+secret=${oc.env:TOKEN}",
        "+again=${secret}",
        "hydra.run.dir=run",
        env={"TOKEN": "hush-0123456789"},
    )
    for name in files_below(tmp_path / "cwd/run"):
        assert b"hush-0123456789" not in (tmp_path / "cwd/run" / name).read_bytes()
    assert "${oc.env:TOKEN}" in (tmp_path / "cwd/run/config.yaml").read_text()


def test_a_run_inside_the_dataset_is_refused_and_leaves_it_as_it_was(run_command: Run, pictures: Path) -> None:
    before = sorted(pictures.rglob("*"))
    done = run_command("train", "data.root=.", *TINY, cwd=pictures)
    assert done.returncode == 2
    assert "lies inside the dataset" in done.stderr
    assert sorted(pictures.rglob("*")) == before


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("train", ["data.root=pictures"]),
        ("check", ["data.csv=pictures/t.csv"]),
        ("predict", ["model_dir=/x", "input=pictures/*.png"]),
        ("evaluate", ["model_dir=pictures", "data.root=/x"]),
        ("report", ["runs=outputs/*"]),
    ],
)
def test_relative_paths_get_a_hint_where_hydra_changes_the_directory(
    run_command: Run, pictures: Path, verb: str, given: list[str]
) -> None:
    done = run_command(verb, "hydra.job.chdir=true", *given, cwd=pictures.parent)
    assert done.returncode == 2, done.stderr
    key, place = next(word.split("=", 1) for word in given if "=/" not in word)
    assert f"{key}={place}: with hydra.job.chdir=true a relative path starts at" in done.stderr
    assert f"write {pictures.parent / place}." in done.stderr


def test_a_full_path_works_where_hydra_changes_the_directory(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    options = [f"data.root={pictures}", *TINY, f"hydra.run.dir={tmp_path / 'run'}", "hydra.job.chdir=true"]
    done = run_command("train", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/report.html").is_file()


def test_a_feature_store_inside_the_dataset_is_refused(run_command: Run, pictures: Path) -> None:
    before = sorted(pictures.rglob("*"))
    done = run_command("train", f"data.root={pictures}", f"cache.dir={pictures}/store", *TINY)
    assert done.returncode == 2
    assert f"cache.dir={pictures}/store lies inside the dataset" in done.stderr
    assert sorted(pictures.rglob("*")) == before


def test_a_folder_that_holds_something_else_is_no_run_directory(
    run_command: Run, pictures: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "cwd/project/model/notes.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    done = run_command("train", f"data.root={pictures}", *TINY, "hydra.run.dir=project")
    assert done.returncode == 2
    assert "or something else (model)" in done.stderr
    assert files_below(tmp_path / "cwd/project") == {"model/notes.txt"}


def test_a_second_run_does_not_mix_with_the_first(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    overrides = ["train", f"data.root={pictures}", *TINY, "hydra.run.dir=run"]
    assert run_command(*overrides).returncode == 0
    before = {name: (tmp_path / "cwd/run" / name).read_bytes() for name in files_below(tmp_path / "cwd/run")}
    done = run_command(*overrides)
    assert done.returncode == 2
    assert "holds a run already" in done.stderr
    assert {name: (tmp_path / "cwd/run" / name).read_bytes() for name in before} == before


def test_a_start_that_failed_does_not_block_its_directory_and_a_sweep_keeps_its_table(
    run_command: Run, pictures: Path, tmp_path: Path
) -> None:
    assert run_command("train", "data.root=/none", "hydra.run.dir=run").returncode == 2
    sweep = ["train", "-m", f"data.root={pictures}", *TINY, "optimizer.lr=1e-3", "hydra.sweep.dir=run"]
    assert run_command(*sweep).returncode == 0
    table = (tmp_path / "cwd/run/multirun.csv").read_bytes()
    done = run_command(*sweep)
    assert done.returncode == 2
    assert "holds a multirun already" in done.stderr
    assert (tmp_path / "cwd/run/multirun.csv").read_bytes() == table


def test_a_conf_folder_where_one_stands_is_searched(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    own = tmp_path / "cwd/conf/data/flowers.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(f"defaults: [image_folder]\nroot: {pictures}\n")
    done = run_command("train", "data=flowers", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert f"root: {pictures}" in done.stdout


def test_a_multirun_goes_on_after_a_failure_and_ends_with_the_worst_code(
    run_command: Run, pictures: Path, tmp_path: Path
) -> None:
    done = run_command(
        "train", "-m", f"data.root={pictures}", *TINY, "model.name=test_resnet,no_such_net,test_convnext"
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: model.name=no_such_net") == 1
    (sweep,) = (tmp_path / "cwd/outputs/train").iterdir()
    table = pd.read_csv(sweep / "multirun.csv")
    assert table["exit_code"].tolist() == [0, 2, 0]
    assert table["test_accuracy"].notna().tolist() == [True, False, True]
    assert {"model/model.json", "metrics.json"} <= files_below(sweep / "0") & files_below(sweep / "2")
    first, last = (sweep / "0/log.txt").read_text(), (sweep / "2/log.txt").read_text()
    for log in (first, last):
        assert "samples    train" in log
        assert "accuracy of the commonest class" in log, "a job's log has all that it would print alone"
        assert "input=FOLDER" in log
    assert "features" in first
    jobs = [line for line in done.stdout.splitlines() if line.startswith("job ")]
    assert re.fullmatch(r"job 0  model.name=test_resnet    val accuracy [01]\.\d{4}  \d+ s", jobs[0])
    assert re.fullmatch(r"job 1  model.name=no_such_net    exit code 2  \d+ s", jobs[1])
    assert re.fullmatch(r"job 2  model.name=test_convnext  val accuracy [01]\.\d{4}  \d+ s", jobs[2])
    rows = [line.split() for line in done.stdout.splitlines() if "model.name=" in line][3:6]
    best = f"model.name={table.loc[table['val_accuracy'].idxmax(), 'overrides'].partition('=')[2]}"
    assert rows[0][0] == "best"
    assert [row[0] == "best" for row in rows].count(True) == 1
    assert rows[0][2] == best or table["val_accuracy"].nunique() < 3, "the lower loss decides between equal values"
    assert done.stdout.count("95 %") == 1, "only the winner's number on test is shown"
    for word in ("majority", "trainable", "loading", "Epoch"):
        assert word not in done.stdout
    assert "outputs/train/" + sweep.name + "/report.html" in done.stdout
    assert "2 runs compared" in (sweep / "report.html").read_text()
    assert len(pd.read_csv(sweep / "leaderboard.csv")) == 2


def test_an_outcome_is_a_file_that_does_not_block_its_directory(
    run_command: Run, pictures: Path, tmp_path: Path
) -> None:
    failed = run_command("train", "data.root=/none", *TINY, "hydra.run.dir=run")
    said = {"exit_code": 2, "overrides": ["data.root=/none", *TINY], "error": "data.root=/none: no such folder."}
    assert failed.returncode == 2
    assert Directory(tmp_path / "cwd/run").outcome == said
    (tmp_path / "cwd/run/log.txt").touch()
    done = run_command("train", f"data.root={pictures}", *TINY, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    good = {"exit_code": 0, "overrides": [f"data.root={pictures}", *TINY], "error": ""}
    assert Directory(tmp_path / "cwd/run").outcome == good
    assert run_command("train", "resume=run", "data.root=/none").returncode == 2
    assert Directory(tmp_path / "cwd/run").outcome == good, "a run that cannot go on stays what it was"


def test_another_application_s_hydra_is_set_aside() -> None:
    with hydra.initialize(version_base=None, config_path=None):
        assert compose("train", "seed=7").seed == 7
        assert GlobalHydra.instance().is_initialized()


def test_a_multirun_over_processes_is_refused_with_a_sentence(run_command: Run, pictures: Path) -> None:
    done = run_command("train", "-m", f"data.root={pictures}", *TINY, "trainer=ddp_cpu", "optimizer.lr=1e-3,1e-2")
    assert done.returncode == 2
    assert "as more would each run the whole command" in done.stderr


def test_two_runs_in_one_second_have_their_own_directories(run_command: Run) -> None:
    flags = ("--cfg", "hydra", "--package", "hydra.run", "--resolve")
    folders = [run_command("predict", "model_dir=x", "input=y", *flags).stdout for _ in range(2)]
    assert "dir: outputs/predict/" in folders[0]
    assert folders[0] != folders[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_soon_with_its_own_code(
    number: signal.Signals, code: int, pictures: Path, commands: Commands, tmp_path: Path
) -> None:
    words = [f"data.root={pictures}", *TINY, "trainer.max_epochs=10000", f"hydra.run.dir={tmp_path / 'run'}"]
    command = commands.start("ft_lightning.train", *words, cwd=tmp_path)
    deadline = time.monotonic() + patience(60)
    while not (tmp_path / "run/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    command.send_signal(number)
    assert command.wait(30) == code, command.stderr
    ended = Directory(tmp_path / "run").outcome
    assert ended
    assert ended["exit_code"] == code
    assert "Traceback" not in command.stderr


def test_metrics_json_tells_seconds_and_versions(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    run_command("train", f"data.root={pictures}", *TINY, "hydra.run.dir=run")
    metrics = json.loads((tmp_path / "cwd/run/metrics.json").read_text())
    assert metrics.keys() - {"differences"} == {"val", "test", "calibration", "timing", "data", "versions"}
    timing = metrics["timing"]
    phases = ("setup_s", "features_s", "fit_s", "test_s")
    assert timing["total_s"] == pytest.approx(sum(timing[phase] for phase in phases))
    assert set(metrics["versions"]) >= {"torch", "torchvision", "lightning", "timm"}


def test_a_config_is_headed_by_the_command_that_it_came_from(pictures: Path, tmp_path: Path, run_command: Run) -> None:
    run = tmp_path / "cwd/run"
    typed = [f"data.root={pictures}", "model=timm", "model.name=test_resnet", "model.weights=null", "+note='two words'"]
    done = run_command("train", *typed, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    first = (run / "config.yaml").read_text().splitlines()[0]
    assert shlex.split(first) == ["#", "python", "-m", "ft_lightning.train", *typed, "trainer.max_epochs=1"]
    assert shlex.join(Directory(run).command) == first.removeprefix("# ")
    assert OmegaConf.load(run / "config.yaml").note == "two words"
    longer = run_command("train", f"resume={run}", "trainer.max_epochs=2")
    assert longer.returncode == 0, longer.stderr
    assert (run / "config.yaml").read_text().splitlines()[0] == first, "the run's, not what took it up again"
    assert "two words" in (run / "report.html").read_text()


def test_a_config_made_in_python_has_no_heading(tmp_path: Path) -> None:
    run_config.write_config(compose("train", "seed=7"), tmp_path)
    assert Directory(tmp_path).command == []
    assert (tmp_path / "config.yaml").read_text()[0] != "#"
    assert OmegaConf.load(tmp_path / "config.yaml").seed == 7
    assert Directory(tmp_path / "nowhere").command == []


WORDS = [
    "plain",
    "two words",
    "it's",
    '"a"',
    "$HOME",
    "`x`",
    "#hash",
    "a;b",
    "*",
    "",
    "日本語 😀",
    "~/pictures",
    "a: b",
]


@pytest.mark.parametrize("word", WORDS)
def test_the_heading_is_the_command_word_by_word_as_a_shell_reads_it(word: str, tmp_path: Path) -> None:
    typed = ["python", "-m", "ft_lightning.train", f"+note={word}", "seed=3"]
    run_config.write_config(compose("train"), tmp_path, typed)
    assert Directory(tmp_path).command == typed
    run_config.write_config(compose("train", "seed=7"), tmp_path)
    assert Directory(tmp_path).command == typed, "a run that is taken up again keeps it"


@pytest.mark.parametrize(
    "word", ["a\nseed: 9", "a\r\nseed: 9", "a\x85seed: 9", "a\u2028seed: 9", "a\x07", "\x7f", "caf\udce9"]
)
def test_nothing_in_a_command_changes_what_is_read_from_the_config(word: str, tmp_path: Path) -> None:
    """Neither a line that would become a key, nor a character that YAML refuses the whole file for."""
    (tmp_path / "plain").mkdir()
    run_config.write_config(compose("train"), tmp_path / "plain")
    for typed in (["python", "-m", "x", f"+note={word}"], None):
        run_config.write_config(compose("train"), tmp_path, typed)
        assert Directory(tmp_path).config == Directory(tmp_path / "plain").config != {}
        assert shlex.join(Directory(tmp_path).command).startswith("python -m x '+note=")


def test_a_run_whose_command_had_a_control_character_goes_on(pictures: Path, tmp_path: Path, run_command: Run) -> None:
    first = run_command("train", f"data.root={pictures}", *TINY, "+note='a\x07b'", "hydra.run.dir=run")
    assert first.returncode == 0, first.stderr
    assert OmegaConf.load(tmp_path / "cwd/run/config.yaml").note == "a\x07b"
    longer = run_command("train", "resume=run", "trainer.max_epochs=2")
    assert longer.returncode == 0, longer.stderr


@pytest.mark.promise(36)
@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_a_terminal_that_cannot_show_a_name_ends_no_command(encoding: str, commands: Commands, tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "изображения", {"кот": 12, "пёс": 12, "猫 [b]": 12})
    verb, *words = {
        "cp1252": ["train", f"data.root='{root}'", *TINY],
        "cp932": ["check", f"data.root='{root}'", *TINY[:3]],
        "ascii": ["predict", "model_dir=run", f"input='{root}'"],
    }[encoding]
    if verb == "predict":
        ft_lightning.run("train", f"data.root='{root}'", *TINY, run_dir=tmp_path / "run")
    env = {"PYTHONIOENCODING": encoding}
    command = commands.start(f"ft_lightning.{verb}", *words, cwd=tmp_path, env=env, fresh=verb == "predict")
    assert command.wait() == 0, command.stderr
    shown = command.printed.decode(encoding)
    assert "кот".encode(encoding, "backslashreplace").decode(encoding) in shown
    assert "Traceback" not in command.stderr


def test_what_hydra_itself_writes_is_no_run(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    own = ["hydra/job_logging=default", "hydra.output_subdir=.hydra", "hydra.run.dir=run"]
    refused = run_command("train", "data.root=/none", *TINY, *own)
    assert refused.returncode == 2
    assert "no such folder" in refused.stderr
    done = run_command("train", f"data.root={pictures}", *TINY, *own)
    assert done.returncode == 0, done.stderr
    assert {"train.log", ".hydra/overrides.yaml", "metrics.json"} <= files_below(tmp_path / "cwd/run")
    again = run_command("train", f"data.root={pictures}", *TINY, *own)
    assert again.returncode == 2
    assert "holds a run already" in again.stderr


def test_help_begins_with_the_keys_that_are_used_most(run_command: Run) -> None:
    first, *lines = run_command("train", "--help").stdout.splitlines()
    assert "used most" in first
    assert lines[0].startswith("  data.root=... ")
    assert lines[10:12] == ["", "train is powered by Hydra."]
