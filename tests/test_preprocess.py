"""Preprocessing equals the libraries' own, to the bit, on real pictures of many shapes."""

import json

import pytest
import skimage.data
import timm
import timm.data
import torch
import torchvision
from PIL import Image
from torchvision.models import get_model_weights, list_models

from ft_lightning.errors import UserError
from ft_lightning.preprocess import Preprocess

PHOTOGRAPHS = [
    Image.fromarray(skimage.data.chelsea()),  # 451 x 300
    Image.fromarray(skimage.data.coffee()).resize((120, 333)),
    Image.fromarray(skimage.data.astronaut()).resize((97, 61)),  # smaller than any crop
]


def normalised(preprocess: Preprocess, image: Image.Image) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    return preprocess(image).float().div(255).sub(mean).div(std)


def torchvision_settings() -> dict[str, object]:
    """One set of weights for each different preprocessing in torchvision."""
    weights = [w for name in list_models(module=torchvision.models) for w in get_model_weights(name)]
    return {repr(w.transforms()): w for w in weights}


def timm_settings() -> dict[tuple, tuple[str, dict]]:
    """One pretrained tag for each different preprocessing in timm."""
    settings = {}
    for name in timm.list_models(pretrained=True):
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        key = tuple(config[k] for k in ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std"))
        settings.setdefault(key, (name, config))
    return settings


@pytest.mark.parametrize("weights", torchvision_settings().values(), ids=str)
def test_equals_every_setting_of_torchvision(weights: object) -> None:
    preprocess = Preprocess.from_torchvision(weights.transforms())
    for image in PHOTOGRAPHS:
        assert torch.equal(normalised(preprocess, image), weights.transforms()(image))


def test_equals_every_setting_of_timm_but_those_it_refuses() -> None:
    settings = timm_settings()
    refused = set()
    for name, config in settings.values():
        try:
            preprocess = Preprocess.from_timm(config, name)
        except UserError as error:
            assert name in str(error)
            refused.add(config["crop_mode"])
            continue
        theirs = timm.data.create_transform(**config, is_training=False)
        for image in PHOTOGRAPHS:
            assert torch.equal(normalised(preprocess, image), theirs(image)), name
    assert refused <= {"border"}
    assert len(settings) > 100


def test_survives_json() -> None:
    preprocess = Preprocess((232,), (224, 224), "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess
