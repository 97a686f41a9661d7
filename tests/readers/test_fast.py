"""data.decode=fast: nearly the same pixels of a large JPEG, the same of everything else, damage noticed alike."""

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from ft_lightning.readers.fast import shrink_on_load
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.images import inspect_image, preview
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError

PHOTO = Image.fromarray(skimage.data.chelsea())  # 451 x 300
EXACT = ImageReader(Preprocess((64,), (56, 56), "bicubic", (0.0,) * 3, (1.0,) * 3))
FAST = EXACT.decoding("fast")


def saved(kind: str = "JPEG", size: tuple[int, int] = (1804, 1200), **how: object) -> Sample:
    file = io.BytesIO()
    PHOTO.resize(size, Image.Resampling.BICUBIC).save(file, kind, **how)  # type: ignore[arg-type]
    return Sample.unlabelled("x", file.getvalue())


def difference(sample: Sample, exact: ImageReader = EXACT, fast: ImageReader = FAST) -> float:
    return (exact(sample).float() - fast(sample).float()).abs().mean().item()


@pytest.mark.parametrize("size", [(1804, 1200), (1801, 1199), (1200, 1804), (2401, 700), (530, 520)])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}], ids=str)
def test_a_large_jpeg_differs_little(size: tuple[int, int], how: dict[str, object]) -> None:
    sample = saved(size=size, **how)
    assert 0 < difference(sample) < 3
    assert (EXACT(sample).int() - FAST(sample).int()).abs().max() < 40


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_too(mode: str) -> None:
    file = io.BytesIO()
    PHOTO.resize((1804, 1200)).convert(mode).save(file, "JPEG")
    assert 0 < difference(Sample.unlabelled("x", file.getvalue())) < 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_formats_are_the_same_to_the_bit(kind: str) -> None:
    assert torch.equal(EXACT(saved(kind, (900, 600))), FAST(saved(kind, (900, 600))))


def test_a_jpeg_that_is_not_large_is_the_same_to_the_bit() -> None:
    for size in ((451, 200), (240, 255), (64, 64), (20, 30), (700, 250)):  # less than four times 64
        assert torch.equal(EXACT(saved(size=size)), FAST(saved(size=size))), size


@pytest.mark.parametrize(("long", "scale"), [(255, 1), (256, 2), (511, 2), (512, 4), (1023, 4), (1024, 8), (4000, 8)])
def test_the_smallest_scale_that_leaves_twice_what_is_needed(long: int, scale: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (long, long)).save(file, "JPEG")
    with Image.open(file) as image:
        shrink_on_load(image, EXACT.preprocess.resized)
        assert image.size == (-(-long // scale),) * 2
        assert scale == 1 or min(image.size) >= 2 * 64


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_turned_images_too_and_those_squashed_to_a_size(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    squashed = ImageReader(Preprocess((30, 200), (30, 200), "bicubic", (0.0,) * 3, (1.0,) * 3))
    for exact in (EXACT, squashed):
        sample = saved(size=(1804, 1200), exif=exif)
        assert exact(sample).shape[1:] == exact.preprocess.crop
        assert difference(sample, exact, exact.decoding("fast")) < 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("decode", ["exact", "fast"])
def test_damage_is_noticed_alike(decode: str, tmp_path: Path) -> None:
    whole = saved().content
    path = tmp_path / "x.jpg"
    rng = np.random.default_rng(0)
    verdicts = []
    for cut in rng.integers(30, len(whole) - 3, 12):
        path.write_bytes(whole[:cut])
        verdicts.append(EXACT.decoding(decode).inspect(Sample.unlabelled(str(path)))[1].error)
    assert all(verdicts), "a JPEG that ends before its end"
    # What the look through a dataset finds, which decodes as small as it gets, is what reading finds.
    for cut in (2, 50, 5000):
        smallest = inspect_image(whole[:-cut], 10**8, None, lambda *_: (1, 1), fast=True)[1].error
        assert bool(smallest) == bool(FAST.inspect(Sample.unlabelled("x", whole[:-cut]))[1].error)


@pytest.mark.promise(29)
def test_the_key_of_exact_is_what_it_was_before_there_was_another() -> None:
    assert EXACT.key() == {
        "kind": "image",
        "versions": {"image": 1, "preprocess": 1},
        "preprocess": {
            "resize": [64], "crop": [56, 56], "interpolation": "bicubic", "mean": [0.0] * 3, "std": [1.0] * 3,
        },
    }  # fmt: skip
    assert EXACT.decoding("exact").key() == EXACT.key()
    assert FAST.key() != EXACT.key()
    assert FAST.adapted({"max_pixels": 5}).decode == "fast"


def test_a_model_directory_says_how_and_without_a_word_it_is_exact() -> None:
    assert ImageReader.from_dict(FAST.to_dict()) == FAST
    assert ImageReader.from_dict(EXACT.to_dict()) == EXACT
    assert "decode" not in EXACT.to_dict()
    for wrong in ("quick", None, 3, True):
        with pytest.raises(UserError, match=f"data.decode={wrong} is unknown: use one of exact, fast"):
            ImageReader.from_dict(EXACT.to_dict() | {"decode": wrong})


def test_a_preview_of_a_large_jpeg_looks_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(saved().content)
    shown = Image.open(io.BytesIO(preview(path, 10**8)))
    assert shown.size == (240, 160)
    expected = PHOTO.resize((240, 160), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(expected)).mean() < 5


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(("wanted", "upright", "on_its_side"), [((200, 50), 4, 2), ((50, 200), 2, 4)])
def test_the_scale_is_that_of_the_image_as_it_is_looked_at(
    turn: int, wanted: tuple[int, int], upright: int, on_its_side: int
) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    Image.new("RGB", (1600, 800)).save(file, "JPEG", exif=exif)
    image = Image.open(file)
    shrink_on_load(image, lambda width, height: wanted)
    assert image.size[0] == 1600 // (on_its_side if turn > 4 else upright)
