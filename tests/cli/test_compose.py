"""Configs for Python: overrides one by one or as a list, and the user's own conf/."""

from pathlib import Path

import pytest

from ft_lightning.cli import compose as module
from ft_lightning.cli.compose import CONF, compose, is_group, recompose


def test_overrides_come_one_by_one_or_as_lists() -> None:
    cfg = compose("train", "seed=3", ["optimizer=sgd", "optimizer.lr=0.5"], "data.limit=7")
    assert (cfg.seed, cfg.optimizer._target_, cfg.optimizer.lr, cfg.data.limit) == (3, "torch.optim.SGD", 0.5, 7)


@pytest.mark.parametrize("more", [["seed=4"], ["seed=4", "optimizer.lr=0.5"], ["optimizer=sgd"], ["+a.b=1"], []])
def test_more_overrides_give_what_all_at_once_give(more: list[str]) -> None:
    typed = ["trainer.max_epochs=3", "seed=1"]
    cfg = compose("train", *typed)
    assert recompose(cfg, "train", typed, more) == compose("train", *typed, *more)
    assert cfg.seed == 1


def test_groups_are_told_from_keys() -> None:
    assert all(map(is_group, ("model", "optimizer", "model@x")))
    assert not any(map(is_group, ("seed", "data.root", "nothing")))


def test_a_conf_folder_of_one_s_own_is_searched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 77\n")
    monkeypatch.chdir(tmp_path)
    assert compose("train", "experiment=mine").seed == 77


@pytest.mark.parametrize("place", ["ours", "nothing", "another"])
def test_our_own_conf_is_not_searched_twice(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SearchPath:
        def __init__(self) -> None:
            self.places: list[str] = []

        def prepend(self, provider: str, path: str) -> None:
            self.places.append(path)

    if place == "another":
        (tmp_path / "conf").mkdir()
    monkeypatch.chdir(CONF.parent if place == "ours" else tmp_path)
    searched = SearchPath()
    module._WorkingDirectoryConf().manipulate_search_path(searched)  # type: ignore[arg-type]
    assert searched.places == ([f"file://{tmp_path / 'conf'}"] if place == "another" else [])
