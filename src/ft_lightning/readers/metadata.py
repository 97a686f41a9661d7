"""What stands in an image file beside its pixels: one tag of it is read, and none of it costs an intact image."""

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"  # a decoder takes YCbCr from it; nothing else of it matters
# Tags of a TIFF that say where its pixels are and what they mean; all others are about the image.
_PIXEL_TAGS = {
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, ORIENTATION, 277, 278, 279, 280, 281, 284, 292, 293, 317, 320),
    *(322, 323, 324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532),
}
_UNKNOWN_TAG = 65_000


def orientation(info: Mapping[Any, Any]) -> int:
    """Return the orientation, 1 to 8, in Pillow's `info` of an image: of EXIF, or else of XMP; 1 without any."""
    block = info.get("exif") or _raw_profile(info.get("Raw profile type exif"))
    value = tag(block, ORIENTATION) if isinstance(block, bytes) else None
    if value is None:
        xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
        text = xmp if isinstance(xmp, bytes) else str(xmp).encode("utf-8", "replace")
        value = int(found[2]) if (found := re.search(rb'tiff:Orientation(="|>)([0-9])', text)) else 1
    return value if 1 <= value <= 8 else 1


def tag(block: bytes, wanted: int) -> int | None:
    """Return a number of the first directory of an EXIF block, whatever else is in the block; None if it has none."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            number, kind, values = struct.unpack_from(f"{order}HHI", block, at)
            if number == wanted:
                code = {3: "H", 4: "I"}.get(kind)
                return struct.unpack_from(f"{order}{code}", block, at + 8)[0] if code and values == 1 else 1
    except struct.error:  # it ends before
        pass
    return None


def bare(content: bytes) -> tuple[bytes, bytes] | None:
    """Return an image file without what is not needed for its pixels, and its EXIF block; None: nothing is known of it.

    For files that a decoder refuses because of what stands beside the pixels. The pixels' own bytes are untouched, so
    damage to them still shows.
    """
    try:
        if content.startswith(b"\xff\xd8"):
            return _bare_jpeg(content)
        if content.startswith(_PNG):
            return _bare_png(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _bare_tiff(content), b""
        if content[4:8] == b"ftyp":  # HEIC and AVIF keep orientation and pixels apart from EXIF
            return re.sub(rb"(infe.{8,10}?)Exif", rb"\1none", content, flags=re.DOTALL), b""
    except (struct.error, IndexError):  # it ends before its pixels
        pass
    return None


def _bare_jpeg(content: bytes) -> tuple[bytes, bytes]:
    kept, exif, at = [b"\xff\xd8"], b"", 2
    while True:
        while content[at] != 0xFF or content[at + 1] in (0x00, 0xFF):  # padding
            at += 1
        marker = content[at + 1]
        if marker == 0xDA:  # the pixels
            return b"".join([*kept, content[at:]]), exif
        end = at + 2
        if not (0xD0 <= marker <= 0xD9 or marker == 0x01):  # these have no length
            end += struct.unpack_from(">H", content, at + 2)[0]
        body = content[at + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif += body[6:]
        elif marker == 0xE0 and body.startswith(b"JFIF"):
            kept.append(_JFIF)
        # Adobe's marker says how colours are stored, all other application data and comments say nothing about pixels.
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE) or (marker == 0xEE and len(body) >= 12):
            kept.append(content[at:end])
        at = end


def _bare_png(content: bytes) -> tuple[bytes, bytes]:
    kept, exif = [_PNG], b""
    for kind, start, end in _chunks(content):
        if kind == b"eXIf":
            exif = content[start + 8 : end - 4]
        elif kind[:1].isupper() or kind == b"tRNS":  # what a decoder must know, and transparency
            kept.append(content[start:end])
    return b"".join(kept), exif


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = len(_PNG)
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        yield kind, at, at + 12 + length
        at += 12 + length


def _bare_tiff(content: bytes) -> bytes:
    order, changed = ("<" if content[:2] == b"II" else ">"), bytearray(content)
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", content, at)[0] not in _PIXEL_TAGS:
            struct.pack_into(f"{order}HHII", changed, at, _UNKNOWN_TAG, 1, 1, 0)
    return bytes(changed)


def _raw_profile(text: object) -> bytes:
    """Return the EXIF block that some programs write into a PNG as a text of hexadecimal digits."""
    try:
        return bytes.fromhex("".join(str(text).split("\n")[3:])) if text else b""
    except ValueError:
        return b""
