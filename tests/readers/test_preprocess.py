"""Preprocessing equals the libraries' own, to the bit, on real pictures of many shapes."""

import json
import random

import numpy as np
import pytest
import skimage.data
import timm
import timm.data
import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from torchvision.models import get_model_weights, list_models
from torchvision.transforms.v2 import functional as F

from conftest import ROOT
from ft_lightning.augment import augmentation
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.system.errors import UserError
from test_conf import SHIPPED

CONF = ROOT / "conf/augment"
SOME = Preprocess((40,), (32, 32), "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))

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


def timm_settings() -> dict[str, dict]:
    """Pretrained tags that show every geometry and every pair of mean and std in timm, each with its data config."""
    seen, settings = set(), {}
    for name in timm.list_pretrained():
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        geometry = tuple(config[k] for k in ("input_size", "crop_pct", "crop_mode", "interpolation"))
        colour = (config["mean"], config["std"])
        if not {geometry, colour} <= seen:
            settings[name] = config
        seen |= {geometry, colour}
    return settings


@pytest.mark.parametrize("weights", torchvision_settings().values(), ids=str)
def test_equals_every_setting_of_torchvision(weights: object) -> None:
    preprocess = Preprocess.from_torchvision(weights.transforms())
    for image in PHOTOGRAPHS:
        assert torch.equal(normalised(preprocess, image), weights.transforms()(image))


def test_equals_every_setting_of_timm_but_the_border_mode_which_is_refused_by_name() -> None:
    for name, config in timm_settings().items():
        if config["crop_mode"] == "border":
            with pytest.raises(UserError, match=f"{name}.*border"):
                Preprocess.from_timm(config, name)
            continue
        preprocess, theirs = Preprocess.from_timm(config, name), timm.data.create_transform(**config)
        for image in PHOTOGRAPHS:
            assert torch.equal(normalised(preprocess, image), theirs(image)), name


def test_survives_json() -> None:
    assert Preprocess.from_dict(json.loads(json.dumps(SOME.to_dict()))) == SOME


def test_without_anything_random_train_images_look_as_the_others() -> None:
    assert augmentation(SOME, crop_scale=None, flip=0.0, trivial=False, erase=0.0) is SOME


@pytest.mark.parametrize("name", SHIPPED["augment"])
def test_augmentations_keep_the_size_and_draw_from_torch_alone(name: str) -> None:
    augment = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))(SOME)

    def draw(seed: int) -> torch.Tensor:
        random.seed()
        np.random.seed()  # noqa: NPY002  the other generators must not matter
        torch.manual_seed(seed)
        return torch.stack([augment(image) for image in PHOTOGRAPHS * 2])

    assert draw(0).shape[1:] == (3, *SOME.crop)
    assert draw(0).dtype == torch.uint8
    assert torch.equal(draw(0), draw(0))
    assert torch.equal(draw(0), draw(1)) == (name == "none")


def test_a_flip_mirrors_what_preprocess_gives() -> None:
    augment = augmentation(SOME, crop_scale=None, flip=1.0, trivial=False, erase=0.0)
    assert torch.equal(augment(PHOTOGRAPHS[0]), SOME(PHOTOGRAPHS[0]).flip(2))


def test_what_is_erased_gets_the_mean_colour() -> None:
    pixels = augmentation(SOME, crop_scale=None, flip=0.0, trivial=False, erase=1.0)(PHOTOGRAPHS[0])
    changed = (pixels != SOME(PHOTOGRAPHS[0])).any(0)
    assert changed.any()
    assert {tuple(colour) for colour in pixels[:, changed].T.tolist()} == {tuple(round(255 * m) for m in SOME.mean)}


@pytest.mark.parametrize(("scale", "fits"), [((0.5, 1.0), True), ((0.5, 0.5), True), ((0.5, 0.4), False)])
def test_a_crop_keeps_from_the_smaller_share_to_the_larger(scale: tuple[float, float], fits: bool) -> None:
    def made() -> object:
        return augmentation(SOME, crop_scale=scale, flip=0.0, trivial=False, erase=0.0)

    if fits:
        assert made()
    else:
        with pytest.raises(UserError, match=r"augment\.crop_scale=\[0\.5,0\.4\]: use the smaller share first"):
            made()


@pytest.mark.parametrize("size", [(100, 50), (50, 100), (33, 33), (1001, 7)])
@pytest.mark.parametrize("resize", [(24,), (24, 40)])
def test_the_size_of_a_resize_is_told_beforehand(resize: tuple[int, ...], size: tuple[int, int]) -> None:
    resized = F.resize(Image.new("L", size), list(resize))
    assert Preprocess(resize, (8, 8), "bilinear", (0.5,), (0.5,)).resized(*size) == resized.size
