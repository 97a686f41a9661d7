"""Several trainings share what is the same for them, and nothing else."""

from typing import Any

import pytest
from torch import nn

from ft_lightning.build import Pretrained
from ft_lightning.cli.compose import compose
from ft_lightning.search import workbench
from ft_lightning.search.workbench import Workbench


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was built anew."""
    found: list[str] = []

    def data(cfg: Any) -> object:
        found.append("data")
        return object()

    def pretrained(cfg: Any) -> Pretrained:
        found.append("pretrained")
        return Pretrained(nn.Linear(2, 2), None)  # type: ignore[arg-type]

    monkeypatch.setattr(workbench.build, "data", data)
    monkeypatch.setattr(workbench.build, "pretrained", pretrained)
    return found


def test_data_are_looked_through_again_only_where_they_differ(built: list[str]) -> None:
    bench = Workbench(["train"])
    first = bench.data(compose("train"))
    assert bench.data(compose("train", "optimizer.lr=1", "seed=3")) is first
    assert built == ["data"]
    assert bench.data(compose("train", "data.limit=5")) is not first
    bench.data(compose("train", "data.limit=5", "cache.enabled=false"))
    assert built == ["data"] * 3


@pytest.mark.parametrize(
    ("one", "other", "times"),
    [
        ([], ["optimizer.lr=1", "data.limit=5"], 1),
        ([], ["seed=3"], 1),
        ([], ["model=resnet18"], 2),
        ([], ["init_from=/x"], 2),
        (["model.weights=null"], ["model.weights=null", "seed=3"], 2),
        (["model.weights=null"], ["model.weights=null", "data.limit=5"], 1),
    ],
)
def test_a_backbone_is_loaded_again_only_where_it_differs(
    one: list[str], other: list[str], times: int, built: list[str]
) -> None:
    bench = Workbench(["train"])
    first, second = bench.pretrained(compose("train", *one)), bench.pretrained(compose("train", *other))
    assert built == ["pretrained"] * times
    assert (first is second) == (times == 1)


def test_a_backbone_that_trains_is_a_copy(built: list[str]) -> None:
    bench = Workbench(["train"])
    shared = bench.pretrained(compose("train"))
    copies = [bench.pretrained(compose("train", "finetune=full")) for _ in range(2)]
    assert built == ["pretrained"]
    assert len({id(one.backbone) for one in (shared, *copies)}) == 3
    assert all(one.earlier is shared.earlier for one in copies)


def test_what_is_given_is_used_whatever_the_config(built: list[str]) -> None:
    data: Any = object()
    pretrained = Pretrained(nn.Linear(2, 2), None)  # type: ignore[arg-type]
    bench = Workbench(["train"], data, pretrained)
    assert bench.data(compose("train", "data.limit=5")) is data
    assert bench.pretrained(compose("train", "model=resnet18")) is pretrained
    assert built == []
