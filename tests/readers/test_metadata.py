"""What stands beside the pixels never costs an image, and only its orientation counts."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ft_lightning.readers import metadata
from ft_lightning.readers.images import inspect_image, read_image

LIMIT = 10_000
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)

pytestmark = pytest.mark.filterwarnings("ignore")  # what Pillow says of odd metadata


def saved(kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, kind, **how)  # type: ignore[arg-type]
    return file.getvalue()


def block(order: str, entries: list[tuple[int, int, int, bytes]], more: int = 0, after: bytes = b"") -> bytes:
    """An EXIF block whose directory says that it has `more` entries than it has."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries) + more) + body + after


def turn(order: str, value: int, kind: int = 3) -> tuple[int, int, int, bytes]:
    return 0x0112, kind, 1, struct.pack(f"{order}{ {3: 'H2x', 4: 'I'}[kind] }", value)


FIELDS = st.tuples(
    st.sampled_from([0x011A, 0x011B, 0x0128, 0x8769, 0x8825, 0xA005, 700, 33723, 34675]) | st.integers(0x0113, 0xFFFF),
    st.integers(0, 15),
    st.sampled_from([0, 1, 2, 1000, 2**31, 2**32 - 1]),
    st.binary(min_size=4, max_size=4),
)


@pytest.mark.promise(33)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    order=st.sampled_from("<>"),
    value=st.integers(1, 8),
    odd=st.lists(FIELDS, max_size=6),
    first=st.booleans(),
    more=st.sampled_from([0, 0, 3, 500]),
    after=st.binary(max_size=40),
)
def test_whatever_exif_holds_the_image_is_used_and_turned(
    kind: str,
    order: str,
    value: int,
    odd: list[tuple[int, int, int, bytes]],
    first: bool,
    more: int,
    after: bytes,
) -> None:
    entries = [turn(order, value), *odd] if first else [*odd, turn(order, value)]
    exif = block(order, entries, more, after)
    found, said = inspect_image(saved(kind, exif=exif), LIMIT)
    assert found is not None, said
    assert found.size == ((8, 6) if value > 4 else (6, 8))
    if kind == "PNG":
        assert np.array_equal(np.asarray(found), np.asarray(turned(value)))


def turned(value: int) -> Image.Image:
    picture = PICTURE.copy()
    picture.getexif()[0x0112] = value
    return ImageOps.exif_transpose(picture)


@pytest.mark.promise(33)
@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=80), kind=st.sampled_from(["JPEG", "PNG", "WEBP", "AVIF"]))
def test_a_block_of_noise_turns_nothing(noise: bytes, kind: str) -> None:
    content = saved(kind) if kind == "AVIF" else saved(kind, exif=b"Exif\0\0" + noise)
    assert metadata.tag(noise, metadata.ORIENTATION) is None or noise[:2] in (b"II", b"MM")
    assert inspect_image(content, LIMIT)[0] is not None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("value", range(10))
def test_the_tag_is_read_as_pillow_reads_it(order: str, kind: int, value: int) -> None:
    exif = block(order, [turn(order, value, kind)])
    theirs = Image.Exif()
    theirs.load(exif)
    assert metadata.tag(exif, 0x0112) == theirs[0x0112] == value
    assert metadata.orientation({"exif": exif}) == (value if 1 <= value <= 8 else 1)


def test_without_exif_xmp_says_it() -> None:
    for text in ('<x tiff:Orientation="6"/>', "<tiff:Orientation>6</tiff:Orientation>"):
        assert metadata.orientation({"xmp": text.encode()}) == 6
        assert metadata.orientation({"XML:com.adobe.xmp": text}) == 6
        assert metadata.orientation({"xmp": text.encode(), "exif": block("<", [turn("<", 3)])}) == 3
    raw = {"Raw profile type exif": f"\nexif\n      20\n{block('<', [turn('<', 8)]).hex()}\n"}
    assert metadata.orientation(raw) == 8
    assert metadata.orientation({"Raw profile type exif": "\nexif\n 4\nzz"}) == 1


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


def png(extra: bytes) -> bytes:
    whole = saved("PNG")
    return whole[:33] + extra + whole[33:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(extra: bytes) -> bytes:
    whole = saved("JPEG")
    return whole[:2] + extra + whole[2:]


def tiff(*extra: tuple[int, int, int, int]) -> bytes:
    """A TIFF of 8 bits, RGB, with further tags."""
    raw = PIXELS.tobytes()
    tags = [(256, 4, 1, 6), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
            (277, 3, 1, 3), (278, 4, 1, 8), (279, 4, 1, len(raw)), *extra]  # fmt: skip
    at = 8 + len(raw)
    bits = struct.pack("<HHH", 8, 8, 8)
    tags[2] = (258, 3, 3, at)
    at += len(bits)
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(tags))
    return b"II*\0" + struct.pack("<I", at) + raw + bits + struct.pack("<H", len(tags)) + body + struct.pack("<I", 0)


BOMB = zlib.compress(bytes(70_000_000), 9)
ODD: dict[str, Callable[[], bytes]] = {
    "png: a text of 70 MB": lambda: png(chunk(b"zTXt", b"Comment\0\0" + BOMB)),
    "png: a profile of 70 MB": lambda: png(chunk(b"iCCP", b"x\0\0" + BOMB)),
    "png: a text with a wrong checksum": lambda: png(chunk(b"tEXt", b"Comment\0x", 1)),
    "png: exif with a wrong checksum": lambda: png(chunk(b"eXIf", block("<", [turn("<", 1)])[6:], 1)),
    "png: a resolution that ends early": lambda: png(chunk(b"pHYs", b"\0")),
    "png: gamma that ends early": lambda: png(chunk(b"gAMA", b"\0")),
    "jpeg: JFIF that ends early": lambda: jpeg(segment(0xE0, b"JFIF\0")),
    "jpeg: Adobe that ends early": lambda: jpeg(segment(0xEE, b"Adobe")),
    "jpeg: a second image that is none": lambda: jpeg(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x01\0")),
    "jpeg: a profile of which a part is missing": lambda: jpeg(segment(0xE2, b"ICC_PROFILE\0")),
    "jpeg: photoshop": lambda: jpeg(segment(0xED, b"Photoshop 3.0\x008BIM")),
    "jpeg: noise in each": lambda: jpeg(b"".join(segment(0xE0 + n, bytes(range(n, 200))) for n in range(16))),
    "tiff: exif at no place": lambda: tiff((0x8769, 4, 1, 2**31)),
    "tiff: gps in the header": lambda: tiff((0x8825, 4, 1, 0), (0x8769, 4, 1, 0)),
    "tiff: exif that is text": lambda: tiff((0x8769, 2, 1, 65)),
    "tiff: a resolution at no place": lambda: tiff((282, 5, 1, 2**31), (296, 2, 1, 65)),
}


@pytest.mark.promise(33)
@pytest.mark.parametrize("name", ODD)
def test_other_metadata_costs_no_image_either(name: str) -> None:
    kind = name.partition(":")[0].upper()
    plain = np.asarray(Image.open(io.BytesIO(saved(kind))).convert("RGB")) if kind == "JPEG" else PIXELS
    found, said = inspect_image(ODD[name](), LIMIT)
    assert found is not None, said
    assert np.array_equal(np.asarray(found), plain)


@pytest.mark.promise(33)
def test_exif_of_an_avif_costs_nothing_either() -> None:
    broken = saved("AVIF", exif=block("<", [turn("<", 6)])).replace(b"II*\0\x08\0\0\0", b"XX*\0\xff\xff\xff\xff")
    found, said = inspect_image(broken, LIMIT)
    assert found is not None, said


@pytest.mark.promise(33)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_to_the_pixels_shows_beside_broken_metadata(kind: str) -> None:
    exif = block("<", [turn("<", 6), (0x8769, 4, 1, struct.pack("<I", 2**31))])
    content = saved(kind, exif=exif)
    assert inspect_image(content, LIMIT)[0] is not None
    assert inspect_image(content[: len(content) * 3 // 4], LIMIT)[1].error
    broken = jpeg(segment(0xE0, b"JFIF\0")) if kind == "JPEG" else png(chunk(b"tEXt", b"x", 1))
    assert inspect_image(broken, LIMIT)[0] is not None
    assert "cannot be read" in inspect_image(broken[:-40], LIMIT)[1].error


@pytest.mark.promise(33)
def test_the_two_of_the_field(tmp_path: object) -> None:
    for kind, count, value in ((10, 1, struct.pack("<ii", -1, 0)), (2, 12, b"seventy-two\0")):  # -1/0, text
        entries = [turn("<", 6), (0x011A, kind, count, struct.pack("<I", 8 + 2 + 24 + 4))]
        content = saved("JPEG", exif=block("<", entries, after=bytes(4) + value))
        assert read_image(content, LIMIT).size == (8, 6)


def test_of_a_jpeg_all_is_kept_that_says_what_its_pixels_mean() -> None:
    beside = [segment(0xE0, b"JFXX\0thumbnail"), segment(0xE1, b"http://ns.adobe.com"), segment(0xEF, b"the last"),
              segment(0xED, b"Photoshop"), segment(0xFE, b"a comment"), segment(0xEE, b"Adobe")]  # fmt: skip
    adobe = segment(0xEE, b"Adobe" + bytes(7))
    exif = block("<", [turn("<", 6)])
    bare = metadata.bare(jpeg(b"".join([*beside, adobe, segment(0xE1, exif), b"\xff\xff"])))
    assert bare is not None
    assert bare == (metadata.bare(saved("JPEG"))[0].replace(b"\xff\xd8", b"\xff\xd8" + adobe, 1), exif[6:])  # type: ignore[index]
    plain = saved("JPEG")
    assert metadata.bare(plain) == (plain, b""), "JFIF itself, tables, sizes and pixels"


def test_of_a_tiff_all_tags_are_kept_that_say_what_its_pixels_mean() -> None:
    kept = [
        254,
        255,
        274,
        280,
        281,
        284,
        292,
        293,
        317,
        320,
        322,
        323,
        324,
        325,
        332,
        338,
        339,
        347,
        512,
        521,
        529,
        532,
    ]
    content = tiff(*((number, 3, 1, 1) for number in (*kept, 270, 282, 296, 315, 511, 522, 700, 34665)))
    found = metadata.bare(content)
    assert found is not None
    assert len(found[0]) == len(content)

    def tags(of: bytes) -> list[int]:
        (at,) = struct.unpack_from("<I", of, 4)
        (count,) = struct.unpack_from("<H", of, at)
        return [struct.unpack_from("<H", of, at + 2 + 12 * i)[0] for i in range(count)]

    always = [256, 257, 258, 259, 262, 273, 277, 278, 279]
    assert sorted(tags(found[0])) == sorted([*always, *kept, *[65_000] * 8])
