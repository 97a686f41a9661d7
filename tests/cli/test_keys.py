"""The keys of a command: the most used of them in `--help`, and what is meant by one that there is not."""

import re
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

import ft_lightning
from ft_lightning.cli import meanings
from ft_lightning.cli.compose import CONF, compose
from ft_lightning.cli.keys import explain, keys_of, nearest, refuse_unread, refuse_unread_of_files, refuse_words
from ft_lightning.cli.meanings import most_used
from ft_lightning.system.errors import UserError


def choices(group: str, key: str = ":", between: str = " or ") -> str:
    """Those of conf/ that have a key; a project adds some."""
    return between.join(sorted(path.stem for path in (CONF / group).glob("*.yaml") if key in path.read_text()))


VERBS = ("train", "tune", "evaluate", "predict", "check", "report", "export")


@pytest.mark.parametrize("verb", VERBS)
def test_the_most_used_keys_are_keys_with_their_comments(verb: str) -> None:
    known = set(keys_of(compose(verb))) | {path.name for path in CONF.iterdir() if path.is_dir()}
    _, *lines = most_used(verb).splitlines()
    assert len(lines) == {"report": 2, "export": 4}.get(verb, 10), "ten, where there are as many"
    for line in lines:
        match = re.match(r"  ([\w.]+)=(\S+)( +(.*))?$", line)
        assert match, line
        assert match[1] in known
        if comment := match[4]:
            assert any(comment.removesuffix(" ...")[:20].partition(" | ")[0] in text for text in texts()), line
        assert len(line) <= 120


def test_the_line_of_a_group_has_its_choices_and_what_the_default_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "train.yaml": "defaults:\n  - model: b\n  - head: c  # after model\n",
        "model/a.yaml": "# The other.\nx: 1\n",
        "model/b.yaml": "# @package _global_\n# This one.\nmodel: 1\n",
        "head/c.yaml": "says: nothing\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(meanings, "CONF", tmp_path)
    assert meanings._choices("train", "model") == ("b", "a | b; b: This one.")
    assert meanings._choices("train", "head") == ("c", "c")


@pytest.mark.parametrize(
    "defaults",
    ["", "defaults: []\n", "defaults:\n- _self_\n- optional optimizer: adam\n", "defaults:\n    - {callback: [ema]}\n"],
)
def test_a_project_may_write_its_defaults_otherwise_or_leave_them_out(
    defaults: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group, name in (("optimizer", "adam"), ("model", "b"), ("callback", "ema")):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text("lr: 1  # of the head\n")
    (tmp_path / "train.yaml").write_text(f"{defaults}seed: 0  # as ever\n")
    monkeypatch.setattr(meanings, "CONF", tmp_path)
    meanings.files.cache_clear()
    shown = most_used("train")
    meanings.files.cache_clear()
    assert "optimizer.lr=1" in shown
    assert f"model={'...':20} b" in shown
    assert ("optimizer=adam " in shown) == ("adam" in defaults)
    assert "data.root" not in shown, "which no file has"


def texts() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml")] + [path.stem for path in CONF.rglob("*")]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["train", "lr=0.01"], "no key lr: did you mean optimizer.lr=0.01?"),
        (["train", "epochs=3"], "no key epochs: did you mean trainer.max_epochs=3?"),
        (["train", "batch_size=16"], "no key batch_size: did you mean data.batch_size=16?"),
        (["train", "data=texts", "data.csv=x"], "no key data.csv with this data: did you mean data.table=x?"),
        (["train", "data.rot=/x"], "no key data.rot: did you mean data.root=/x?"),
        (["train", "data=/path/to/folder"], "data=/path/to/folder: did you mean data.root=/path/to/folder?"),
        (["train", "data=labels.csv"], "data=labels.csv: did you mean data.csv=labels.csv?"),
        (["train", "model=weights/mine.pth"], "did you mean model.weights=weights/mine.pth?"),
        (["train", "/my/folder"], "/my/folder has no key: did you mean data.root=/my/folder?"),
        (["check", "labels.csv"], "labels.csv has no key: did you mean data.csv=labels.csv?"),
        (["train", "/my images"], "did you mean 'data.root=\"/my images\"'?"),
        (["evaluate", "model_dir=x", "data.limit=5"], "no key data.limit: --cfg job shows those of evaluate"),
        (["predict", "a.jpg", "model_dir=x"], "a.jpg has no key: did you mean input=a.jpg?"),
        (["evaluate", "outputs/train/x"], "did you mean model_dir=outputs/train/x?"),
        (["train", "optimizer.lr"], "optimizer.lr has no value: say optimizer.lr=... ."),
        (["train", "--data.root=/x"], "--data.root=/x: keys have no dashes; say data.root=/x."),
        (["train", "optimiser=adam"], "did you mean optimizer=adam?"),
        (
            ["train", "optimizer=adm"],
            f"no optimizer=adm: did you mean optimizer=adam? There are {choices('optimizer', between=', ')}.",
        ),
        (["train", "model=convnext_atto"], "model=timm model.name=convnext_atto for one of timm's"),
        (["train", "callback.early_stopping.patience=3"], "with this callback: say callback=early_stopping too."),
        (
            ["train", "optimizer.momentum=0.9"],
            f"no key optimizer.momentum with this optimizer: say optimizer={choices('optimizer', 'momentum:')} too.",
        ),
        (["train", "mix.alpha=1"], f"say mix={choices('mix', 'alpha:')} too."),
        (["train", "workers=2"], "did you mean data.num_workers=2?"),
        (["tune", "trials=3"], "did you mean tune.trials=3?"),
        (["predict", "model=x"], "did you mean model_dir=x?"),
        (["train", "hydra.run.dr=x"], "did you mean hydra.run.dir=x?"),
        (["train", "xyzzy=1"], "no key xyzzy: --cfg job shows those of train; +xyzzy=... adds one of your own."),
        (["train", "+lr=0.1"], "+lr=0.1: nothing reads lr: did you mean optimizer.lr=0.1?"),
        (["train", "+epochs=3"], "+epochs=3: nothing reads epochs: did you mean trainer.max_epochs=3?"),
        (["train", "+finetune.freeze=true"], "did you mean finetune.freeze_bn=true?"),
        (["train", "+trainer.max_epoch=3"], "has no argument max_epoch: did you mean trainer.max_epochs?"),
        (["train", "data.root="], "data.root is empty: give it a value, or leave data.root= out."),
        (["train", "hydra.run.dir="], "hydra.run.dir is empty"),
        (["train", "resume="], "resume is empty"),
        (["train", "model="], "model is empty"),
        (["predict", "model_dir=x", "+input= "], "input is empty"),
        (["evaluate", "data.find=[1]"], "data.find=[1]: it holds other keys; see --cfg job."),
        (["train", "cache=[1]"], "cache=[1]: it holds other keys; see --cfg job."),
        (["evaluate", "data.find.database=x.db"], "say +data.find.database=x.db where data.find._target_ takes it"),
        (["predict"], "model_dir: not set. For example:\npython -m ft_lightning.predict model_dir="),
        (["evaluate"], "model_dir: not set. For example:\npython -m ft_lightning.evaluate model_dir="),
        (["train", "model=timm"], "model.name: not set. Say model.name=... too."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_key_that_there_is_not_leads_to_the_one_that_was_meant(
    typed: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        ft_lightning.run(*typed)
    assert said in str(refused.value)
    assert "full_key" not in str(refused.value)


def test_a_key_of_other_data_cannot_change_when_a_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(UserError, match=r"^data\.text=\[a,b\] cannot change when a run goes on: leave it out"):
        ft_lightning.run("train", f"resume={tmp_path}", "data.text=[a,b]")
    with pytest.raises(UserError, match=r"no key trainer\.max_epoch: did you mean trainer\.max_epochs=9"):
        ft_lightning.run("train", f"resume={tmp_path}", "trainer.max_epoch=9")


def test_a_key_of_one_s_own_that_something_reads_is_fine() -> None:
    refuse_unread(compose("train", "+lr=0.1", "optimizer.lr=${lr}"), ["+lr=0.1", "optimizer.lr=${lr}"])
    for word in ("+note=x", "+secret=x", "+again=x", "+project=x", "+name_of_run=x", "+patient=3", "+version=2"):
        refuse_unread(compose("train", word), [word])
    for word in ("+model.arguments.dropout=0.1", "+callback.x={_target_:a.b,lr:1}", "+trainer.min_epochs=1"):
        refuse_unread(compose("train", word), [word])
    refuse_unread(compose("tune", "+tune.space.seed={low:0,high:9}"), ["+tune.space.seed={low:0,high:9}"])
    refuse_words(["-m", "~callback", "--cfg", "--info=config", "data.root=x", "logger.tensorboard.version=''"])


@pytest.mark.parametrize(
    ("own", "meant"),
    [
        ({"sed": 5}, "sed: .* did you mean seed?"),
        ({"mointor": "val/loss"}, "mointor: .* did you mean monitor?"),
        ({"optimiser": {"lr": 1}}, "optimiser: .* did you mean optimizer?"),
        (
            {"finetune": {"backbone_lr_facto": 1}},
            "finetune.backbone_lr_facto: .* did you mean finetune.backbone_lr_factor?",
        ),
        ({"tags": ["a"], "note": "x", "size": 3, "name": "y"}, ""),
        ({"sed": 5, "seed": "${sed}"}, ""),
        ({"sed": 5, "seed": "${.sed}"}, ""),
        ({"sed": 5, "seed": "${oc.select:sed,1}"}, ""),
        ({"sed": 5, "seed": "${tune.sed}"}, "sed: .* did you mean seed?"),
        ({}, ""),
    ],
    ids=str,
)
def test_a_misspelt_key_in_a_file_of_one_s_own_is_told(own: dict[str, object], meant: str) -> None:
    cfg = compose("train")
    OmegaConf.set_struct(cfg, False)
    cfg.merge_with(own)
    if not meant:
        refuse_unread_of_files(cfg)
        return
    with pytest.raises(UserError, match=f"^{re.escape(meant).replace(re.escape('.*'), '.*')}$"):
        refuse_unread_of_files(cfg)


@pytest.mark.parametrize("verb", VERBS)
def test_no_key_of_ours_is_taken_for_a_misspelt_one(verb: str) -> None:
    refuse_unread_of_files(compose(verb))


def test_what_is_wrong_in_an_experiment_is_said_of_its_file() -> None:
    for reason, said in (
        (
            "Could not override 'hed'. No match in the defaults list.",
            "Could not override 'hed'. No match in the defaults list.",
        ),
        (
            "Could not override 'head@experiment.head'.\nDid you mean to override head?",
            "Could not override 'head@experiment.head'. Did you mean to override head? Does it lack its first line, "
            "`# @package _global_`?",
        ),
    ):
        error = explain("train", ["experiment=mine"], ConfigCompositionException(f"In 'experiment/mine': {reason}"))
        assert str(error) == f"conf/experiment/mine.yaml: {said}"


@pytest.mark.parametrize(
    ("key", "meant"),
    [("lr", "optimizer.lr"), ("optimizer.learning_rate", None), ("optim.lr", "optimizer.lr"), ("rooot", "data.root")],
)
def test_the_nearest_key(key: str, meant: str | None) -> None:
    assert nearest(key, keys_of(compose("train"))) == meant


@pytest.mark.parametrize(
    ("key", "other", "alike"),
    [("k", "a.mask", False), ("lr", "a.lr_min", True), ("lr_min", "a.lr", True), ("x.seeds", "seed", True)],
)
def test_a_part_of_a_name_is_like_the_name_unless_it_is_a_letter(key: str, other: str, alike: bool) -> None:
    assert nearest(key, [other]) == (other if alike else None)
