"""From the bytes of a text file to its text: UTF-8, or UTF-16 and UTF-32 with their mark; else the reason."""

import codecs
import re
import stat
from pathlib import Path

_MARKS = (  # the longer first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HALF = re.compile(r"[\ud800-\udfff]")  # of a pair in UTF-16, as "\\ud83d" in JSON gives it
_SAVE = "save it as UTF-8"


class UnusableTextError(ValueError):
    """There is no text to read: none, no text, or in an encoding that is not said; the message says why."""


class ChangedError(UnusableTextError):
    """The file cannot be read here and now, or is another one than before."""


def read_file(path: str) -> bytes:
    """Return a file's bytes; raise ChangedError where it cannot be read."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a named pipe would wait for ever
            raise ChangedError("a folder, not a file" if Path(path).is_dir() else "not a file")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ChangedError("no such file") from None
    except OSError as error:
        raise ChangedError(f"cannot be read ({error.strerror})") from error


def decoded(content: bytes) -> str:
    """Return the text of a file's bytes, without the mark of its encoding.

    Raises:
        UnusableTextError: names the byte, its position and the encoding that it looks like. No encoding is guessed and
            used, because a wrong guess gives other letters without an error.
    """
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    body = content[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnusableTextError(_reason(content, len(mark) + error.start, encoding)) from None
    if "\0" in text:
        raise UnusableTextError(_about_nul(content))
    return text


def problem_of(text: str) -> str:
    """Say why there is nothing to read in a text, or not a whole one; "" for a text that can be used."""
    if any(one.isprintable() and not one.isspace() for one in text):
        return "" if text.isascii() or not _HALF.search(text) else "it holds half a character of UTF-16"
    if not text:
        return "it is empty"
    return "it holds only white space" if text.isspace() else "it holds only white space and control characters"


def _reason(content: bytes, position: int, encoding: str) -> str:
    if encoding != "utf-8":
        name = encoding[:6].upper()
        return f"it begins with the mark of {name}, but byte {position:,} does not fit; {_SAVE}"
    if b"\0" in content:
        return _about_nul(content)
    line = content.count(b"\n", 0, position) + 1
    return f"byte 0x{content[position]:02x} at position {position:,} (line {line:,}) is not UTF-8: {_look(content)}"


def _about_nul(content: bytes) -> str:
    position, head = content.index(b"\0"), content[:4096]
    if max(head[0::2].count(0), head[1::2].count(0)) > len(head) / 5:  # every other byte, for letters of Europe
        return f"byte 0x00 at position {position:,}: it looks like UTF-16 without its mark; {_SAVE}"
    return f"byte 0x00 at position {position:,}: it looks like a binary file; give texts"


def _look(content: bytes) -> str:
    if sum(byte > 0x7F for byte in content) > 0.3 * len(content):
        return f"it looks like an older encoding of another script, such as GB18030, Shift-JIS or Windows-1251; {_SAVE}"
    western = "Windows-1252" if any(0x80 <= byte < 0xA0 for byte in content) else "Latin-1 (or Windows-1252)"
    return f"it looks like {western}; {_SAVE}"
