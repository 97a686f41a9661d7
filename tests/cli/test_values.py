"""What would fail late or pass in silence ends the command."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

import ft_lightning
from composing import composed_as_it_is
from ft_lightning.cli.compose import compose
from ft_lightning.cli.values import check_kinds
from ft_lightning.system.errors import UserError
from test_conf import CHOICES, composed

TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1", "precision=32-true"]
LIGHT = "augment=light"

# Typed, and what the message says: key, value and what fits. None of them may cost a pass over the images.
WRONG = [
    (
        "+trainer.overfit_batches=1",
        "trainer.overfit_batches: every run sets it itself. Say trainer.limit_train_batches=5",
    ),
    ("seed=-1", "seed=-1: use a whole number from 0 to 4294967295"),
    ("seed=99999999999", "seed=99999999999: use a whole number from 0 to 4294967295"),
    ("seed=4294967295 repeats=2", "seed=4294967295: repeats=2"),
    ("folds=5 repeats=2", "folds=5 repeats=2: set one of them"),
    ("head=auto finetune=partial", "head=auto compares heads on stored features, but finetune=partial"),
    ("seed=null", "seed=null: use a whole number"),
    ("+trainer.val_check_interval=100", "trainer.val_check_interval=100: an epoch has 1 batch:"),
    (
        "+trainer.val_check_interval=1.5",
        "trainer.val_check_interval=1.5: use a whole number from 1 or a number from 0 to 1",
    ),
    ("+trainer.val_check_interval=0", "trainer.val_check_interval=0: use a number of batches from 1"),
    ("trainer.max_epochs=2.5", "trainer.max_epochs=2.5: use a whole number"),
    ("trainer.max_epochs=abc", "trainer.max_epochs=abc: use a whole number"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: use a whole number from 1"),
    ("trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch=0: use a whole number from 1"),
    ("trainer.limit_train_batches=-1", "trainer.limit_train_batches=-1: use a whole number from 1"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: use a number from 0 or null"),
    ("trainer.num_nodes=0", "trainer.num_nodes=0: use a whole number from 1"),
    ("trainer.log_every_n_steps=-5", "trainer.log_every_n_steps=-5: use a whole number from 0"),
    (
        "trainer.use_distributed_sampler=true",
        "trainer.use_distributed_sampler=true: use false (the datamodule's samplers",
    ),
    ("trainer.deterministic=maybe", "trainer.deterministic=maybe: use true or false or warn"),
    (
        "trainer.strategy=fast",
        "trainer.strategy=fast: lightning.Trainer refuses this: You selected an invalid strategy",
    ),
    ("+trainer.gradient_clip_algorithm=foo", "trainer.gradient_clip_algorithm=foo: lightning.Trainer refuses this"),
    ("+trainer.max_time=soon", "trainer.max_time=soon: lightning.Trainer refuses this"),
    ("+trainer.precision=64-true", "trainer.precision: every run sets it itself. Say precision="),
    ("+trainer.enable_checkpointing=false", "trainer.enable_checkpointing: every run sets it itself"),
    ("+trainer.callbacks=[]", "trainer.callbacks: every run sets it itself. Say callback="),
    ("+trainer.logger=true", "trainer.logger: every run sets it itself. Say logger="),
    ("+trainer.plugins=[]", "trainer.plugins: every run sets it itself"),
    ("+trainer.default_root_dir=/x", "trainer.default_root_dir: every run sets it itself. Say hydra.run.dir="),
    ("optimizer=lbfgs trainer.max_epochs=50", "trainer.max_epochs=50: optimizer=lbfgs has an epoch for each strength"),
    ("+head.num_classes=7", "head.num_classes=7: the command sets it itself; leave it out"),
    ("+data.memo=null", "data.memo=null: the command sets it itself; leave it out"),
    ("+loss.class_counts=[1,2]", "loss.class_counts=[1,2]: the command sets it itself; leave it out"),
    ("mix=mixup +mix.num_classes=3", "mix.num_classes=3: the command sets it itself; leave it out"),
    ("+module.seed=3", "module.seed=3: the command sets it itself; leave it out"),
    (
        "logger=tensorboard +logger.tensorboard.save_dir=/x",
        "logger.tensorboard.save_dir=/x: the command sets it itself",
    ),
    ("data.batch_size=true", "data.batch_size=true: use a whole number from 1 (larger: faster on a GPU"),
    ("data.limit=few", "data.limit=few: use a whole number from 1 or null (10: ten samples of each class"),
    ("data.val_fraction=20", "data.val_fraction=20: use a number from 0 to 1"),
    ("data.split_seed=1.5", "data.split_seed=1.5: use a whole number"),
    ("data.find=x", "data.find=x: use a _target_"),
    ("data.group_by='('", "data.group_by="),
    (f"{LIGHT} augment.flip=5", "augment.flip=5: use a number from 0 to 1"),
    (f"{LIGHT} augment.flip=often", "augment.flip=often: use a number from 0 to 1"),
    (f"{LIGHT} augment.crop_scale=[1.0,0.5]", "augment.crop_scale=[1.0,0.5]"),
    (f"{LIGHT} augment.crop_scale=0.5", "augment.crop_scale=0.5: use a list of 2, each a number from 0 to 1"),
    ("finetune=partial finetune.k=two", "finetune.k=two: use a whole number from 1 or null"),
    ("finetune=partial finetune.k=99", "finetune.k=99 does not fit: this backbone has"),
    ("head.dropout=2", "head.dropout=2: ft_lightning.heads.build_head refuses this: dropout probability has to be"),
    ("head=mlp head.hidden=2.5", "head.hidden=2.5: ft_lightning.heads.build_head refuses this"),
    ("head.init=zero", "head.init=zero: use one of random, probe"),
    ("optimizer.lr=fast", "optimizer.lr=fast: use a number"),
    ("optimizer.lr=-1", "optimizer.lr=-1: torch.optim.Adam refuses this: Invalid learning rate: -1"),
    ("optimizer.betas=[0.9]", "optimizer.betas=[0.9]: use a list of 2, each a number"),
    ("optimizer.betas=[0.9,2]", "optimizer.betas=[0.9,2]: torch.optim.Adam refuses this: Invalid beta"),
    ("scheduler=plateau scheduler.patience=x", "scheduler.patience=x: use a whole number"),
    ("scheduler=plateau scheduler.factor=3", "scheduler.factor=3 does not reduce the learning rate"),
    (
        "scheduler=plateau scheduler.monitor=val_loss",
        "scheduler.monitor=val_loss is not measured each epoch: use one of val/accuracy",
    ),
    ("scheduler.warmup_fraction=7", "scheduler.warmup_fraction=7 does not fit"),
    ("loss.label_smoothing=x", "loss.label_smoothing=x: use a number"),
    ("model.name=7", "model.name=7 is not a model of timm"),
    ("scheduler=null", "no scheduler=null: use one of constant, cosine"),
    ("model._target_=null", "model._target_=null: use the name of a function or class"),
    ("augment._partial_=1", "augment._partial_=1: use true or false"),
    ("model._convert_=list", "model._convert_=list: use one of none, partial, object, all"),
    ("data.max_pixels={_target_:builtins.dict}", "data.max_pixels={'_target_': 'builtins.dict'}: use a whole number"),
    ("folds={_target_:builtins.int}", "folds={'_target_': 'builtins.int'}: use a whole number from 1"),
    ("model.arguments=7", "model.arguments=7: use keys and values"),
    ("model.arguments={depth:0}", "no key model.arguments.depth: +model.arguments.depth=... adds it"),
    ("+model.arguments.depth=0", "model.arguments"),
    ("trainer.limit_train_batches=0.1", "trainer.limit_train_batches=0.1: of 1 batch this leaves none"),
    ("data.csv=''", "data.csv is empty"),
    ("model.name=''", "model.name is empty"),
    ("data.exclude=${oc.env:NO_SUCH,''}", "data.exclude is empty"),
    ("cache=false", "cache=false: it holds other keys"),
    ("repeats={}", "repeats={}: use a whole number from 1"),
    ("folds={}", "folds={}: use a whole number from 1"),
    ("data=2024", "or did you mean data.root=2024?"),
    ("callback=[[1]]", "no callback=[[1]]: use one of "),
    ("optimizer=2.5", "no optimizer=2.5: use one of "),
    ("cache.dir=true", "cache.dir=true: use text or null"),
    ("checkpoint_minutes=often", "checkpoint_minutes=often: use a number from 0"),
    (
        "callback=early_stopping callback.early_stopping.monitor=val_loss",
        "callback.early_stopping.monitor=val_loss is not",
    ),
    ("callback=early_stopping callback.early_stopping.patience=x", "callback.early_stopping.patience=x: use a whole"),
    ("callback=ema callback.ema.multi_avg_fn.decay=5", "callback.ema"),
    ("+callback.x._target_=lightning.pytorch.callbacks.BackboneFinetuning", "use finetune=partial or finetune=full"),
    ("optimizer._target_=torch.optim.Adamm", "optimizer._target_=torch.optim.Adamm: it cannot be imported"),
    ("scheduler._target_=torch.optim.lr_scheduler.StepLR", "StepLR has no argument warmup_fraction"),
]


@pytest.mark.promise(41)
@pytest.mark.parametrize(("typed", "said"), WRONG, ids=[typed for typed, _ in WRONG])
def test_a_wrong_value_is_refused_before_time_is_spent(typed: str, said: str, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = typed.split(" ")
    usual = [word for word in TINY if word.partition("=")[0] not in typed]
    with pytest.raises(UserError) as refused:
        ft_lightning.run("train", f"data.root={pictures}", *usual, *words, run_dir=run)
    assert said in str(refused.value)
    assert not (run / "split.csv").exists(), "before features are computed"


@pytest.mark.parametrize(
    "typed",
    [
        "data.limit=5 data.group_by=null +trainer.val_check_interval=1",
        "+trainer.val_check_interval=0.5 +trainer.min_epochs=0",
        "trainer.limit_train_batches=0.9 trainer.deterministic=warn data.batch_size=6",
        "model._convert_=none callback=ema trainer.enable_progress_bar=false",
        "optimizer=lbfgs optimizer.weight_decay=[1e-2,1] trainer.max_epochs=2",
        "scheduler=plateau callback=early_stopping seed=4294967295",
        "augment=light augment.crop_scale=[1,1] augment.flip=1",
    ],
)
def test_an_unusual_value_that_fits_trains(typed: str, pictures: Path, tmp_path: Path) -> None:
    usual = [word for word in TINY if word.partition("=")[0] not in typed]
    run = ft_lightning.run("train", f"data.root={pictures}", *usual, *typed.split(" "), run_dir=tmp_path / "run")
    assert run.metrics["test"]["n"] > 0


@pytest.mark.parametrize("typed", ["seed=${oc.env:TOKEN}", "optimizer.lr=${oc.env:TOKEN}", "+loss.x=${oc.env:TOKEN}"])
def test_a_message_holds_no_value_of_the_environment(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hush-0123456789")
    with pytest.raises(UserError) as refused:
        ft_lightning.run("train", "data.limit=3", *TINY, typed, run_dir=tmp_path)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("key", ["cache.enabled", "data.allow_leak", "data.case_sensitive", "finetune.freeze_bn"])
@pytest.mark.parametrize("value", ["off", "no", "0", "null"])
def test_what_is_neither_true_nor_false_is_refused(key: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{key}=.*: use true or false"):
        check_kinds(compose("train", f"{key}={value}"))


def test_what_is_said_of_a_key_is_of_the_chosen_file() -> None:
    for data, said in {"texts": "longer texts are cut", "instructions": "of a whole conversation"}.items():
        cfg = compose("train", ["model=minilm", f"data={data}", "data.max_length=0"])
        with pytest.raises(UserError, match=rf"data\.max_length=0: use a whole number from 1 or null \(.*{said}"):
            check_kinds(cfg)


def test_true_and_false_are_fine_and_so_are_keys_a_command_lacks() -> None:
    check_kinds(compose("train", "cache.enabled=false", "data.allow_leak=true", "optimizer=sgd"))
    check_kinds(compose("evaluate", "model_dir=x", "cache.enabled=true"))


@pytest.mark.parametrize("name", ["2024_01", "2024_01_15", "1e3", "1_0", "1.50", "007"])
def test_a_folder_whose_name_yaml_reads_as_a_number_is_that_folder(name: str) -> None:
    typed = ["data.root=elsewhere", f"data.root={name}", f"+cache.dir={name}", "optimizer.lr=1e-3", f"init_from={name}"]
    cfg = compose("train", *(word.lstrip("+") for word in typed))
    check_kinds(cfg, typed)
    assert (cfg.data.root, cfg.cache.dir, cfg.init_from, cfg.optimizer.lr) == (name, name, name, 1e-3)


def test_a_number_becomes_text_where_only_text_fits() -> None:
    cfg = compose("train", "data.root=2024", "data.group_by=7", "cache.dir=1.5", "data.limit=5", "data.csv=${seed}")
    check_kinds(cfg)
    assert (cfg.data.root, cfg.data.group_by, cfg.cache.dir, cfg.data.limit) == ("2024", "7", "1.5", 5)
    assert cfg.data.csv == "0"
    for verb, typed in (
        ("evaluate", ["device=2.5", "model_dir=1"]),
        ("report", ["run=7"]),
        ("tune", ["tune.storage=1"]),
    ):
        cfg = compose(verb, *typed)
        check_kinds(cfg)
        for word in typed:
            key, _, value = word.partition("=")
            assert OmegaConf.select(cfg, key) == value


@pytest.mark.parametrize("verb", ["check", "evaluate", "predict", "train"])
def test_a_precision_is_one_of_four_in_every_command(verb: str) -> None:
    with pytest.raises(UserError, match=r"precision=64: use one of auto, 32-true, bf16-mixed, 16-mixed"):
        check_kinds(compose(verb, "precision=64"))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_conf_fits(choice: str) -> None:
    with composed_as_it_is():
        check_kinds(composed(choice))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("+optimizer.epsilon=1", "torch.optim.Adam has no argument epsilon: did you mean optimizer.eps?"),
        ("+optimizer.zzzz=1", "torch.optim.Adam has no argument zzzz: it takes params, lr, betas, eps"),
    ],
)
def test_an_argument_that_there_is_not_leads_to_the_nearest_or_to_all(typed: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        check_kinds(compose("train", typed))
    assert said in str(refused.value)
