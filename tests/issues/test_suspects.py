"""Planted label errors, near-duplicates and outliers are found, and little else."""

import random
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs
from sklearn.datasets import load_sample_image

from ft_lightning.backbones.load import load_backbone
from ft_lightning.issues.suspects import label_errors, near_duplicates, out_of_fold, outliers


@pytest.mark.parametrize("seed", [0, 1])
def test_four_of_five_flipped_labels_are_within_the_first_twice_as_many(
    digits: tuple[torch.Tensor, torch.Tensor], seed: int
) -> None:
    features, targets = digits
    generator = torch.Generator().manual_seed(seed)
    planted = torch.randperm(len(targets), generator=generator)[: round(0.03 * len(targets))]
    labels = targets.clone()
    labels[planted] = (labels[planted] + torch.randint(1, 10, (len(planted),), generator=generator)) % 10
    found, estimated = label_errors(features, labels, None, seed=0)
    first = {position for position, _, _ in found[: 2 * len(planted)]}
    assert len(first & set(planted.tolist())) >= 0.8 * len(planted)
    right = [likely == targets[position] for position, likely, _ in found if position in set(planted.tolist())]
    assert sum(right) >= 0.8 * len(right), "it says which class they look like"
    assert 0.5 * len(planted) < estimated < 2 * len(planted)
    scores = [score for _, _, score in found]
    assert scores == sorted(scores, reverse=True)


def test_a_head_never_judges_what_it_was_trained_on() -> None:
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(60, 200, generator=generator), torch.arange(60) % 3  # noise: all can be learned
    answers = out_of_fold(features, targets, None, seed=0)
    assert torch.allclose(answers.sum(1), torch.ones(60), atol=1e-5)
    assert (answers.argmax(1) == targets).float().mean() < 0.6
    groups = [str(i // 2) for i in range(60)]
    features[1::2] = features[::2]  # each group holds a copy of the same sample
    targets = (torch.arange(60) // 2) % 3
    alone = out_of_fold(features, targets, None, seed=0)
    kept_whole = out_of_fold(features, targets, groups, seed=0)
    assert (alone.argmax(1) == targets).float().mean() > (kept_whole.argmax(1) == targets).float().mean() + 0.2


def test_small_classes_are_not_judged() -> None:
    features = torch.cat([torch.randn(10, 4) + 5, torch.randn(10, 4) - 5, torch.randn(2, 4) + 5])
    targets = torch.tensor([0] * 10 + [1] * 10 + [2] * 2)
    found, _ = label_errors(features, targets, None, seed=0)
    assert not {20, 21} & {position for position, _, _ in found}
    assert label_errors(features[:10], targets[:10], None, seed=0) == ([], 0)


def test_a_class_of_few_groups_is_not_judged_by_heads_that_never_saw_it() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([0] * 30 + [1] * 30 + [2] * 10)
    features = torch.nn.functional.one_hot(targets, 8) * 5 + torch.randn(70, 8, generator=generator) * 0.1
    groups = [str(i) for i in range(60)] + ["one patient"] * 10
    assert label_errors(features, targets, groups, seed=0) == ([], 0)
    assert label_errors(features, targets, [str(i % 4) for i in range(70)], seed=0) == ([], 0), "fewer than folds"


def test_what_is_far_from_all_is_an_outlier() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 1, generator=generator) * 0.1 + torch.randn(200, 16, generator=generator) * 0.05 + 1
    features[7] = -torch.rand(16, generator=generator)
    found, scores = outliers(features)
    assert found[0] == 7
    assert len(found) < 5
    assert scores.argmax() == 7
    assert outliers(features[:5])[0] == []


def cuts(count: int, seed: int) -> list[Image.Image]:
    """Different, partly overlapping cuts of real photographs, 200 x 150 pixels."""
    rng = random.Random(seed)
    sources = [photographs.chelsea(), photographs.astronaut(), photographs.coffee(), photographs.rocket()]
    sources += [load_sample_image(name) for name in ("flower.jpg", "china.jpg")]
    found = []
    for number in range(count):
        whole = Image.fromarray(sources[number % len(sources)])
        left, top = rng.randrange(whole.width - 200), rng.randrange(whole.height - 150)
        found.append(whole.crop((left, top, left + 200, top + 150)))
    return found


def test_resized_and_re_encoded_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(1)
    pictures = cuts(160, seed=0)
    splits = ["train"] * 120 + ["val"] * 20 + ["test"] * 20
    planted = set()
    for number, original in enumerate(rng.sample(range(140), 16)):
        scale = rng.uniform(0.5, 0.8)
        copy = pictures[original].resize((int(200 * scale), int(150 * scale)))
        copy.save(tmp_path / f"{number}.jpg", quality=60)
        planted.add((original, len(pictures)))
        pictures.append(Image.open(tmp_path / f"{number}.jpg").convert("RGB"))
        splits.append("val" if original < 120 and number % 2 else "test")
    backbone = load_backbone("timm", "tf_efficientnet_lite0", "embedded", {}).eval()
    with torch.inference_mode():
        features = torch.cat(
            [backbone(backbone.prepare(backbone.preprocess(picture)[None])).float() for picture in pictures]
        )
    found = near_duplicates(features, splits, pictures.__getitem__)
    assert {(kept, tested) for kept, tested, _ in found} == planted
    correlations = [value for _, _, value in found]
    assert correlations == sorted(correlations, reverse=True)


def test_of_each_picture_only_a_small_one_is_kept() -> None:
    pictures: list[weakref.ref[Image.Image]] = []
    most = 0

    def read(position: int) -> Image.Image:
        nonlocal most
        picture = Image.new("RGB", (40, 30), (position,) * 3)
        pictures.append(weakref.ref(picture))
        most = max(most, sum(picture() is not None for picture in pictures))
        return picture

    near_duplicates(torch.ones(200, 8), ["train", "test"] * 100, read)
    assert most < 50


def test_pictures_without_contrast_are_copies_only_where_they_are_equal() -> None:
    grey = [Image.new("RGB", (40, 30), (value,) * 3) for value in (100, 101, 140)]
    features = torch.ones(3, 8) + torch.tensor(np.eye(3, 8) * 0.01, dtype=torch.float32)
    found = near_duplicates(features, ["train", "test", "test"], grey.__getitem__)
    assert found == [(0, 1, 1.0)]
