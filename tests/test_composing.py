"""What tests compose from a copy is what Hydra composes."""

from unittest import mock

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ft_lightning.cli.compose import compose_with_hydra

WORDS = [
    [],
    ["seed=3", "optimizer.lr=1e-3"],
    ["optimizer=sgd", "model=timm", "model.name=test_resnet", "seed=4"],
    ["seed=5", "model=timm", "optimizer=sgd", "model.name=test_vit", "+trainer.max_time=null"],
    ["callback=[early_stopping,ema]", "~scheduler.warmup_fraction", "optimizer={lr:2.0}"],
    ["+tune=head", "experiment=classic", "finetune=partial"],
    ["optimizer=none_such"],
    ["no.such.key=1"],
]


def composed(words: list[str]) -> str:
    try:
        return OmegaConf.to_yaml(compose_with_hydra("train", words))
    except HydraException as error:
        return str(error)


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_copy_is_what_hydra_composes(words: list[str]) -> None:
    with mock.patch("composing._looks_into_conf_alone", return_value=False):
        hydra_s = composed(words)
    assert composed(words) == composed(words) == hydra_s
