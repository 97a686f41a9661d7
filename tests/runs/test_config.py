"""Which configs are of one search or of one run."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.compose import compose, compose_with_hydra
from ft_lightning.runs.config import refuse_other_run, study_digest, without_password, write_config
from ft_lightning.system.errors import UserError


def tuned(*typed: str) -> DictConfig:
    return compose("tune", *typed)


def test_how_much_where_and_how_fast_makes_no_other_study() -> None:
    study = study_digest(tuned())
    assert study_digest(compose_with_hydra("tune", ["hydra.run.dir=/elsewhere"])) == study
    for typed in ("tune.trials=7", "tune.storage=/x.db", "cache.dir=/x", "data.num_workers=3", "logger=csv"):
        assert study_digest(tuned(typed)) == study, typed
    others = ("seed=1", "data.root=/x", "optimizer.lr=0.5", "data.decode=fast", "tune.prune_after=9", "data.limit=9")
    digests = {study_digest(tuned(typed)) for typed in others}
    assert len(digests | {study}) == 1 + len(others)


def test_a_config_from_before_a_key_is_that_of_its_default() -> None:
    old = tuned()
    OmegaConf.set_struct(old, False)
    old.data.pop("decode")
    old.data.pop("sampler")
    assert study_digest(old) == study_digest(tuned())
    fast = tuned("data.decode=fast")
    OmegaConf.set_struct(fast, False)
    fast.data.pop("sampler")
    assert study_digest(fast) == study_digest(tuned("data.decode=fast")) != study_digest(tuned())


def test_places_are_kept_for_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    typed = [f"data.{key}=here/x" for key in ("root", "csv", "table", "exclude")]
    write_config(compose("train", *typed), tmp_path)
    kept = OmegaConf.load(tmp_path / "config.yaml").data
    assert {kept[key] for key in ("root", "csv", "table", "exclude")} == {str(tmp_path / "here/x")}
    here = study_digest(tuned("data.table=t.csv"))
    monkeypatch.chdir("/")
    assert study_digest(tuned("data.table=t.csv")) != here, "another table"


def test_a_directory_is_of_one_config(tmp_path: Path) -> None:
    refuse_other_run(compose("train"), tmp_path)
    write_config(compose("train"), tmp_path)
    refuse_other_run(compose("train", "cache.dir=/x"), tmp_path)
    for typed in ("seed=1", "data.decode=fast", "+data.more=1"):
        with pytest.raises(UserError, match="holds a run of another config: move it away"):
            refuse_other_run(compose("train", typed), tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se@cret@host/db?password=x&a=1", "postgresql://me:***@host/db?password=***&a=1"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_a_password_is_masked(url: str, shown: str) -> None:
    assert without_password(url) == shown
