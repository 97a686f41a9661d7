"""Grey of any depth looks as a person sees it, or is refused by name; arrays are what their values say."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from ft_lightning.readers.depth import UnusableError, refuse_dark
from ft_lightning.readers.images import inspect_image, read_image

LIMIT = 10**6
GREY = skimage.data.camera()[::8, ::8]  # 64 x 64, 8 bits


def tiff(
    values: np.ndarray, bits: int, white_is_zero: bool, order: str = "<", deflate: bool = False, sign: int = 1
) -> bytes:
    """A grey TIFF written by hand; values of `bits` bits, each row on whole bytes."""
    if bits < 8 or bits == 12:
        flat = ((values[..., None] >> np.arange(bits - 1, -1, -1)) & 1).reshape(len(values), -1).astype(np.uint8)
        raw = np.packbits(flat, axis=1).tobytes()
    else:
        raw = values.astype(f"{order}{'i' if sign == 2 else 'u'}{bits // 8}").tobytes()
    raw = zlib.compress(raw) if deflate else raw
    height, width = values.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 8 if deflate else 1),
            (262, 3, 0 if white_is_zero else 1), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(raw)),
            (339, 3, sign)]  # fmt: skip
    body = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'I' if kind == 4 else 'Hxx'}", value)
        for tag, kind, value in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(raw))
    return head + raw + struct.pack(f"{order}H", len(tags)) + body + struct.pack(f"{order}I", 0)


def look(source: bytes | np.ndarray) -> np.ndarray:
    return np.asarray(read_image(source, LIMIT))[..., 0]


@pytest.mark.promise(8)
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_tiff_whose_zero_is_white_is_no_negative(bits: int, order: str, deflate: bool) -> None:
    white = 2**bits - 1
    if (bits, order) == (16, ">"):  # which Pillow does not know
        assert "a TIFF of a rare kind" in inspect_image(tiff(GREY, bits, True, order, deflate), LIMIT)[1].error
        return
    values = (GREY.astype(np.int64) * white + 127) // 255
    plain, inverse = (look(tiff(v, bits, v is not values, order, deflate)) for v in (values, white - values))
    assert np.array_equal(plain, inverse)
    assert np.abs(plain.astype(int) - GREY).max() <= 255 / white / 2 + 1
    file = BytesIO()
    Image.fromarray(plain).save(file, "png")
    assert np.array_equal(plain, look(file.getvalue()))


def test_12_bits_are_scaled_to_their_own_white() -> None:
    values = GREY.astype(np.int64) * 4095 // 255
    assert np.array_equal(look(tiff(values, 12, False)), GREY)


@pytest.mark.parametrize("highest", [1, 255, 1023, 4095])
@pytest.mark.parametrize("kind", ["tif", "png", "int32", "array", "colour"])
def test_few_bits_in_16_are_refused_by_name_as_they_look_black(kind: str, highest: int, tmp_path: Path) -> None:
    values = GREY.astype(np.int64) * highest // 255
    file = BytesIO()
    source: bytes | np.ndarray = values.astype(np.uint16)
    if kind in ("tif", "int32"):
        source = tiff(values, 16 if kind == "tif" else 32, False, sign=1 if kind == "tif" else 2)
    elif kind == "png":
        Image.fromarray(values.astype(np.uint16)).save(file, "png")
        source = file.getvalue()
    elif kind == "colour":
        rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in values)
        header = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
        chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
        source = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks.items()
        )
    found, said = inspect_image(source, LIMIT)
    if kind == "colour" and highest < 256:  # the upper eight bits are all that Pillow keeps: it is black
        assert found is not None
        assert not np.asarray(found).any()
    else:
        assert found is None
        assert "looks black, as 12 bits stored in 16 do" in said.error


def test_from_the_first_value_that_shows_an_image_is_used() -> None:
    values = (GREY.astype(np.int64) * 4096 // 255).astype(np.uint16)
    assert look(values).max() == 16
    refuse_dark(16, 255)
    with pytest.raises(UnusableError, match="its values end at 15 of 255"):
        refuse_dark(15, 255)


def test_black_is_black() -> None:
    for source in (np.zeros((4, 4), np.uint16), tiff(np.zeros((4, 4), np.int64), 16, False)):
        assert not look(source).any()


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_pixels_are_refused_by_name(bits: int) -> None:
    error = inspect_image(tiff(GREY.astype(np.int64) // 2, bits, False, sign=2), LIMIT)[1].error
    assert "signed pixels have no agreed black" in error


def test_32_bits_within_16_look_as_16_do() -> None:
    values = GREY.astype(np.int64) * 257
    assert np.array_equal(look(tiff(values, 32, False, sign=2)), GREY)
    assert np.array_equal(look(tiff(values, 32, False)), GREY)
    assert "does not fit 16 bits" in inspect_image(tiff(values * 257, 32, False), LIMIT)[1].error


def test_a_kind_that_is_not_known_is_told_from_what_is_no_image() -> None:
    assert "a TIFF of a rare kind" in inspect_image(tiff(GREY.astype(np.int64), 32, True), LIMIT)[1].error
    assert (
        "a JPEG of a rare kind"
        in inspect_image(b"\xff\xd8\xff\xc0\0\x0b\x0c\0\1\0\1\1\1\x11\0\xff\xda\0\2", LIMIT)[1].error
    )
    assert "AVIF or HEIC" in inspect_image(b"\0\0\0\x18ftypheic" + bytes(40), LIMIT)[1].error
    assert "whatever its name says" in inspect_image(b"nothing of the kind", LIMIT)[1].error


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (GREY, (64, 64)),
        (GREY[..., None], (64, 64)),
        (np.repeat(GREY[..., None], 3, 2), (64, 64)),
        (np.repeat(GREY[..., None], 4, 2)[::2], (32, 64)),
        (GREY[::-1, ::2], (64, 32)),
        (GREY > 100, (64, 64)),
        (GREY.astype(np.uint16) * 257, (64, 64)),
    ],
)
def test_arrays(array: np.ndarray, shape: tuple[int, int]) -> None:
    assert look(array).shape == shape
    if array.shape[-1] != 4:
        grey = array if array.ndim == 2 else array[..., 0]
        expected = {np.dtype(bool): 255}.get(array.dtype, 1) * (grey // 257 if array.dtype == np.uint16 else grey)
        assert np.array_equal(look(array), expected)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4)), "an array of float64 has no agreed range"),
        (np.zeros((4, 4, 3), np.int64), "an array of int64 has no agreed range"),
        (np.zeros((4, 4, 3), np.uint16), "an array of uint16 has no agreed range"),
        (np.zeros((3, 4, 4), np.uint8)[..., :2], "an array of shape"),
        (np.zeros((0, 4), np.uint8), "an array of shape"),
        (np.zeros(4, np.uint8), "an array of shape"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, said: str) -> None:
    assert said in inspect_image(array, LIMIT)[1].error


@pytest.mark.filterwarnings("ignore")
def test_a_large_tiff_is_held_to_our_limit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    assert look(tiff(GREY.astype(np.int64), 8, False)).shape == (64, 64)
    assert Image.MAX_IMAGE_PIXELS == 16
