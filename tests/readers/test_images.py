"""What a person sees is what the model gets: orientation, colour modes, limits, damage."""

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ft_lightning.cli.compose import compose
from ft_lightning.readers.image_reader import MAX_PIXELS
from ft_lightning.readers.images import inspect_image, read_image
from ft_lightning.readers.sample import Sample, SampleError
from ft_lightning.system.errors import UserError

LIMIT = 10_000


def pixels(path: Path) -> np.ndarray:
    image = read_image(path, LIMIT)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.promise(8)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = (255, 0, 0)  # top left
    upright[0, -1] = (0, 255, 0)  # top right
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Store what a camera held that way stores: the inverse of what a viewer undoes.
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turned = Image.fromarray(upright)
    turned.getexif()[0x0112] = inverse
    ImageOps.exif_transpose(turned).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "x.png"), upright)


@pytest.mark.promise(8)
def test_a_16_bit_grey_ramp_keeps_its_levels_and_its_ends(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    read = pixels(tmp_path / "ramp.png")
    assert len(np.unique(read)) >= 250
    assert (read.min(), read.max()) == (0, 255)


@pytest.mark.promise(8)
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composited_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))  # black, and not to be seen
    image.putpixel((0, 0), (0, 0, 0, 255))
    if mode == "P":
        palette = Image.new("P", (4, 4), 0)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.putpixel((0, 0), 1)
        palette.save(tmp_path / "x.png", transparency=0)
    else:
        image.convert(mode).save(tmp_path / "x.png")
    read = pixels(tmp_path / "x.png")
    assert tuple(read[0, 0]) == (0, 0, 0)
    assert (read[1:, 1:] == 255).all()


@pytest.mark.promise(8)
def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    red, green, blue = pixels(tmp_path / "red.jpg")[4, 4]
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
def test_every_promised_format_is_read(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (8, 8), (200, 30, 30)).save(tmp_path / f"x.{kind}")
    assert np.abs(pixels(tmp_path / f"x.{kind}")[4, 4].astype(int) - (200, 30, 30)).max() <= 6


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert tuple(pixels(tmp_path / "x.gif")[0, 0]) == (255, 0, 0)


@pytest.mark.promise(8)
def test_a_float_tiff_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(SampleError, match=r"float\.tif: float pixels"):
        read_image(tmp_path / "float.tif", LIMIT)


def damage(path: Path, kind: str) -> None:
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "broken link":
        path.unlink()
        path.symlink_to("nowhere.jpg")


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "broken link"])
def test_damage_names_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    damage(path, kind)
    with pytest.raises(SampleError, match=str(path)):
        read_image(path, LIMIT)


@pytest.mark.parametrize("dtype", [">u2", "<u2", "<i4"])
def test_16_bits_in_a_tiff_keep_their_levels_whatever_the_byte_order(tmp_path: Path, dtype: str) -> None:
    ramp = np.linspace(0, 65535, 4096).astype(dtype).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "ramp.tif")
    assert np.array_equal(pixels(tmp_path / "ramp.tif")[..., 0], (ramp / 257).round())


def test_a_transparent_value_of_16_bit_grey_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 7, 65535]], np.uint16)).save(tmp_path / "x.png", transparency=7)
    assert pixels(tmp_path / "x.png")[0, :, 0].tolist() == [0, 255, 255]


def test_grey_beyond_16_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-1, 70_000]], np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(SampleError, match=r"x\.tif: grey from -1 to 70000"):
        read_image(tmp_path / "x.tif", LIMIT)


@pytest.mark.filterwarnings("ignore")  # what Pillow says of a damaged file depends on where the bit is
@pytest.mark.parametrize(
    ("kind", "caught"), [("png", 0.95), ("jpg", 0.02), ("webp", 0.02), ("gif", 0.02), ("tiff", 0.0)]
)
def test_a_flipped_bit_is_an_image_error_or_a_picture_but_never_another_failure(
    tmp_path: Path, kind: str, caught: float
) -> None:
    """Only PNG has checksums: what can still be decoded of the others does not show that it is wrong."""
    rng = np.random.default_rng(0)
    path = tmp_path / f"x.{kind}"
    Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)
    whole, refused, tries = path.read_bytes(), 0, 200
    for _ in range(tries):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read_image(path, LIMIT)
        except SampleError:
            refused += 1
    assert refused >= caught * tries


def test_a_damaged_orientation_does_not_cost_the_picture(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0"  # orientation 99
    Image.new("RGB", (6, 4), "red").save(tmp_path / "x.jpg", exif=exif)
    assert pixels(tmp_path / "x.jpg").shape == (4, 6, 3)


def test_only_our_limit_counts_and_pillows_own_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (60, 60)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: read_image(tmp_path / "x.png", LIMIT).size, range(200)))
    assert set(sizes) == {(60, 60)}
    assert Image.MAX_IMAGE_PIXELS == 16


@pytest.mark.promise(13)
def test_too_many_pixels_are_refused_and_the_limit_can_be_raised(tmp_path: Path) -> None:
    Image.new("L", (200, 200)).save(tmp_path / "large.png")
    with pytest.raises(SampleError, match="max_pixels=10000"):
        read_image(tmp_path / "large.png", LIMIT)
    assert read_image(tmp_path / "large.png", 40_000).size == (200, 200)


@pytest.mark.promise(13)
def test_a_decompression_bomb_is_refused_without_its_memory(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 14_000, 14_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(14_000 * 3 + 1))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    script = (
        "import resource; from ft_lightning.readers.images import *;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try: read_image({str(tmp_path / 'bomb.png')!r}, 100_000_000)\n"
        "except SampleError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    message, grown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "14000 x 14000" in message
    assert int(grown) < 300_000  # kB


def test_of_two_reasons_the_one_is_told_that_says_more() -> None:
    file = BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "JPEG")
    whole = file.getvalue()
    unknown = whole[:2] + b"\xff\xe0\x00\x07JFIF\0" + whole[2:]  # Pillow alone does not know it
    assert inspect_image(unknown, 10**6)[0] is not None
    assert "truncated" in inspect_image(unknown[:-40], 10**6)[1].error
    assert "truncated" in inspect_image(whole[:-40], 10**6)[1].error
    assert "a JPEG of a rare kind" in inspect_image(b"\xff\xd8\xff" + bytes(40), 10**6)[1].error


@pytest.mark.parametrize("verb", ["predict", "check", "train"])
def test_the_limit_of_conf_is_that_of_a_reader(verb: str) -> None:
    cfg = compose(verb)
    assert cfg.get("max_pixels", cfg.get("data", {}).get("max_pixels")) == MAX_PIXELS


class Table:
    columns = ("path", "label")


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ("a.png", ["a.png"]),
        (Path("a.png"), ["a.png"]),
        (["a.png", Path("b.png")], ["a.png", "b.png"]),
        (b"bytes", ["input 0"]),
        ([b"bytes", bytearray(b"more"), "c.png"], ["input 0", "input 1", "c.png"]),
        (Image.new("L", (2, 2)), ["input 0"]),
        (np.zeros((2, 2)), ["input 0"]),
        (np.zeros((2, 2, 3)), ["input 0"]),
        (np.zeros((4, 2, 2, 3)), ["input 0", "input 1", "input 2", "input 3"]),
        (np.array(["a.png", "b.png"]), ["a.png", "b.png"]),
        (np.array(["a.png", "b.png"], dtype=object), ["a.png", "b.png"]),
        ((name for name in "ab"), ["a", "b"]),
        ([], []),
    ],
    ids=lambda given: type(given).__name__,
)
def test_one_or_several_become_samples(given: object, paths: list[str]) -> None:
    assert [sample.path for sample in Sample.several(given)] == paths


@pytest.mark.parametrize(
    "given", [{"path": "a.png"}, Table(), 3, [3], [None], [["a.png"]]], ids=lambda given: type(given).__name__
)
def test_what_is_no_sample_is_refused(given: object) -> None:
    with pytest.raises(UserError, match=r"give a path|use a path"):
        Sample.several(given)
