"""A language model through every command: trained, measured beside its base, delivered merged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import ft_lightning
from chat import write_language_model
from ft_lightning.deploy.predictor import TrainedModel
from ft_lightning.language import LanguageTuner
from ft_lightning.readers.conversation import Message
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError

Do = Callable[..., Run]
LETTERS = "abcdefgh"


def pairs(n: int) -> list[dict[str, str]]:
    """Ask for a letter again: what a tiny model learns in seconds, its end included."""
    return [{"prompt": f"{i}: {LETTERS[i % 8]}", "completion": LETTERS[i % 8]} for i in range(n)]


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("language") / "tiny")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "qa.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs(80)))
    return path


@pytest.fixture(scope="module")
def do(language: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Do:
    root = tmp_path_factory.mktemp("runs")
    runs = iter(range(1000))
    train = [
        "task=instruct", "model=causal", f"model.name={language}", "data=instructions", f"data.table={table}",
        "trainer.enable_progress_bar=false", "data.batch_size=8", "task.generate=8", "task.max_new_tokens=4",
        "trainer.max_epochs=1", "precision=32-true",
    ]  # fmt: skip

    def run(verb: str, *overrides: str, **how: Any) -> Run:
        given = {"train": train, "tune": train}
        return ft_lightning.run(verb, *given.get(verb, []), *overrides, **{"run_dir": root / str(next(runs))} | how)

    return run


@pytest.fixture(scope="module")
def learnt(do: Do) -> Run:
    """A run in which everything trains for long enough."""
    return do("train", "finetune=full", "optimizer.lr=3e-3", "finetune.backbone_lr_factor=1", "trainer.max_epochs=25")


@pytest.mark.promise(47)
def test_a_short_training_learns_to_answer_and_to_stop(learnt: Run) -> None:
    test = learnt.metrics["test"]
    assert test["stop_rate"] == 1.0 > test["base"]["stop_rate"]
    assert test["exact_match"] >= 0.5 > test["base"]["exact_match"]
    assert test["difference"]["stop_rate_ci95"][0] > 0
    assert test["perplexity"] < 0.1 * test["base"]["perplexity"]
    assert test["difference"]["loss_ci95"][1] < 0
    assert test["answers"] == 8
    assert test["answer_tokens"] == pytest.approx(2, abs=0.5), "a letter and the end"
    assert learnt.metrics["val"]["answers"] == 8


def test_every_sample_has_its_loss_and_some_have_answers(learnt: Run) -> None:
    table = learnt.table("predictions")
    assert len(table) == 16
    written = table[table["exact"] != ""]
    assert len(written) == 8
    right = written["answer"].str.strip() == written["label"]
    assert (written["exact"] == "1").tolist() == right.tolist()
    assert set(written["base_stopped"]) == {"0"}
    tokens = table["tokens"].astype(int)
    mean = (table["loss"].astype(float) * tokens).sum() / tokens.sum()
    assert mean == pytest.approx(learnt.metrics["test"]["loss"], abs=1e-6)


@pytest.mark.promise(49)
def test_the_delivered_model_answers_as_it_was_measured(learnt: Run, tmp_path: Path) -> None:
    model = ft_lightning.load(learnt)
    table = learnt.table("predictions")
    table = table[table["exact"] != ""]
    rows = pd.DataFrame(pairs(80)).iloc[[int(name.rpartition("#")[2]) - 2 for name in table["path"]]]
    answers = model.predict(rows["prompt"].tolist())
    assert answers["answer"].tolist() == table["answer"].tolist()
    assert answers["stopped"].tolist() == (table["stopped"] == "1").tolist()
    assert {path.name for path in learnt.model.iterdir()} == {
        "model.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"
    }  # fmt: skip


@pytest.mark.promise(50)
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_run_resumes_to_the_bit(do: Do, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    how = [f"finetune={mode}", "optimizer.lr=1e-2", "scheduler=constant", f"task.generate={2 if mode == 'lora' else 0}"]
    how += ["finetune.dropout=0.2"] if mode == "lora" else []
    whole = do("train", *how, "trainer.max_epochs=3")
    part = do("train", *how, "trainer.max_epochs=2")
    monkeypatch.setattr(TrainedModel, "rows", None)  # the base is not measured again
    resumed = ft_lightning.run("train", f"resume={part.path}", "trainer.max_epochs=3")
    assert resumed.table("metrics")["train/loss"].tolist() == whole.table("metrics")["train/loss"].tolist()
    assert resumed.metrics["test"]["loss"] == whole.metrics["test"]["loss"]
    assert resumed.metrics["test"]["base"] == whole.metrics["test"]["base"]
    kept = resumed.record("base")
    resumed.write("base", kept | {"about": {}})  # of something else
    monkeypatch.undo()
    again = ft_lightning.run("train", f"resume={part.path}", "trainer.max_epochs=4")
    assert again.metrics["test"]["base"]["loss"] == whole.metrics["test"]["base"]["loss"]
    assert again.record("base") == kept


@pytest.mark.promise(50)
def test_a_run_that_was_stopped_within_an_epoch_resumes_to_the_bit(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    how = ["optimizer.lr=1e-2", "task.generate=0", "trainer.accumulate_grad_batches=2", "trainer.max_epochs=2"]
    whole = do("train", *how)
    step = LanguageTuner.training_step

    def stops(module: LanguageTuner, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if module.current_epoch == 1 and batch_idx == 3:
            raise UserError("the machine stops")
        return step(module, batch, batch_idx)

    monkeypatch.setattr(LanguageTuner, "training_step", stops)
    with pytest.raises(UserError, match="the machine stops"):
        do("train", *how, "checkpoint_minutes=0", run_dir=whole.path.parent / "stopped")
    monkeypatch.undo()
    resumed = ft_lightning.run("train", f"resume={whole.path.parent / 'stopped'}")
    assert resumed.table("metrics")["train/loss"].tolist() == whole.table("metrics")["train/loss"].tolist()
    assert resumed.metrics["test"]["loss"] == whole.metrics["test"]["loss"]


def test_answers_that_a_limit_leaves_out_are_said(do: Do, caplog: pytest.LogCaptureFixture) -> None:
    test = do("train", "trainer.limit_test_batches=1", "task.max_new_tokens=2").metrics["test"]
    assert test["n"] == 8
    left = 8 - test.get("answers", 0)
    assert f"trainer.limit_test_batches leaves out {left} of 8 answers" in caplog.text


@pytest.mark.promise(48)
def test_two_processes_take_the_steps_of_one(
    language: Path, table: Path, tmp_path: Path, run_command: Callable[..., Any]
) -> None:
    common = [
        "task=instruct", "model=causal", f"model.name={language}", "data=instructions", f"data.table={table}",
        "trainer.enable_progress_bar=false", "task.generate=4", "task.max_new_tokens=4", "trainer.max_epochs=1",
        "precision=32-true", "optimizer=sgd", "optimizer.lr=1.0",
    ]  # fmt: skip
    one = ft_lightning.run("train", *common, "data.batch_size=8", run_dir=tmp_path / "one")
    done = run_command(
        "train",
        *common,
        "data.batch_size=4",
        "trainer=ddp_cpu",
        "trainer.devices=2",
        f"hydra.run.dir={tmp_path / 'two'}",
    )
    assert done.returncode == 0, done.stderr
    two = Run(tmp_path / "two")
    assert two.metrics["test"]["loss"] == pytest.approx(one.metrics["test"]["loss"], abs=1e-5)
    losses = [float(run.table("metrics")["train/loss"][0]) for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    states = [torch.load(run.checkpoints / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-5) for name in states[0])
    assert two.metrics["test"]["answers"] == 4


def test_a_search_finds_a_rate_and_a_rank(do: Do, tmp_path: Path) -> None:
    study = do("tune", "tune=lora", "tune.trials=2", run_dir=tmp_path / "study")
    trials = study.table("trials")
    assert len(trials) == 2
    assert {"optimizer.lr", "finetune.rank"} <= {name.removeprefix("params.") for name in trials.columns}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["finetune=frozen"], "finetune=frozen trains a head, which task=instruct does not have"),
        (["head=mlp"], "head=mlp has no meaning for task=instruct"),
        (["module=default"], r"task=instruct needs ft_lightning\.language\.LanguageTuner"),
        (["model=resnet18"], "task=instruct needs a model that writes: use model=smollm2"),
        (["mix=mixup"], "blends images, which conversations are not"),
        (["augment=light"], "it changes images, which conversations are not"),
        (["repeats=2"], "repeats=2 trains heads on stored features"),
        (["optimizer=lbfgs"], "optimizer=lbfgs"),
        (["task.generate=-1"], "task.generate=-1"),
        (["task.max_new_tokens=0"], "task.max_new_tokens=0"),
        (["data.max_length=100000"], "the model has positions for 512 tokens"),
        (["data.learn=all"], "data.learn=all"),
        (["data.on_too_long=cut"], "data.on_too_long=cut"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(do: Do, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        do("train", *overrides)


def test_other_tasks_have_no_use_for_it(language: Path, table: Path) -> None:
    where = ["data=instructions", f"data.table={table}"]
    with pytest.raises(UserError, match="head=none: task=multiclass needs a head"):
        ft_lightning.run("train", "head=none")
    with pytest.raises(UserError, match="its samples are conversations, and model reads texts"):
        ft_lightning.run("train", "model=causal", f"model.name={language}", *where)


def test_answers_to_tables_lines_and_what_is_typed(learnt: Run, tmp_path: Path) -> None:
    runs = iter(range(100))

    def answers(*given: str) -> pd.DataFrame:
        where = tmp_path / str(next(runs))
        run = ft_lightning.run("predict", f"model_dir={learnt.path}", *given, run_dir=where)
        return run.table("predictions")

    (tmp_path / "new.jsonl").write_text(
        '{"prompt": "1: b", "completion": "x"}\n{"prompt": ""}\n{"prompt": "<|im_end|>"}\n'
    )
    rows = answers(f"input={tmp_path / 'new.jsonl'}")
    assert rows["answer"].fillna("").tolist()[1:] == ["", ""]
    assert "empty" in rows["error"][1]
    assert "it holds <|im_end|>" in rows["error"][2]
    greedy = answers('text="1: b"')["answer"].tolist()
    assert greedy == rows["answer"].tolist()[:1] == answers('text="1: b"')["answer"].tolist()
    varied = {answers('text="1: b"', "temperature=50", f"seed={seed}")["answer"].fillna("")[0] for seed in range(3)}
    assert len(varied) > 1
    assert answers('text="1: b"', "temperature=50", "seed=2")["answer"].equals(
        answers('text="1: b"', "temperature=50", "seed=2", "top_p=1")["answer"]
    )
    stopped = answers('text="1: b"', f"stop={greedy[0][0]}", "max_new_tokens=1")
    assert stopped["answer"].fillna("").tolist() == [""]
    assert answers('text="1: b"', "system=speak")["prompt"].tolist() == ["1: b"]
    with pytest.raises(UserError, match="threshold"):
        answers('text="1: b"', "threshold=0.5")


def test_answers_stream_in_a_terminal(
    learnt: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("1: b\n\n2: <|im_end|>\n3: d\n"))
    run = ft_lightning.run("predict", f"model_dir={learnt.path}", "input=-", run_dir=tmp_path / "talk")
    table = run.table("predictions")
    assert table["prompt"].tolist() == ["1: b", "2: <|im_end|>", "3: d"]
    said = capsys.readouterr().out
    for answer in table["answer"].dropna():
        assert answer in said
    assert "by which the model knows turns" in said


def test_python_answers_what_it_is_given(learnt: Run) -> None:
    model = ft_lightning.load(learnt)
    several = [(Message("user", "1: b"), Message("assistant", "b"), Message("user", "2: c"))]
    assert model.predict("1: b")["answer"].notna().all()
    assert model.predict([{"role": "user", "content": "1: b"}])["prompt"].tolist() == ["1: b"]
    assert model.predict(["1: b", "2: c"])["prompt"].tolist() == ["1: b", "2: c"]
    assert "no question" in model.predict([7])["error"][0]
    assert model.predict(several)["prompt"].tolist() == ["2: c"]
