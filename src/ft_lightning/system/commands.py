"""Command lines to copy: quoted for Hydra, which reads the words, and for the shell, which splits them."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence

_PACKAGE = __name__.partition(".")[0]
_PLAIN = re.compile(r"[\w./-][\w./@+-]*")  # read by Hydra as it stands
_MEANT_OTHERWISE = re.compile(r"null|true|false|on|off|yes|no|[+-]?(nan|inf|[\d.][\d._e+-]*)", re.IGNORECASE)


def quoted(value: object) -> str:
    """Quote a value where Hydra would read it as something else, such as a path with spaces, quotes or `${`."""
    text = str(value)
    if _PLAIN.fullmatch(text) and text.isascii() and not _MEANT_OTHERWISE.fullmatch(text):
        return text
    # A backslash is read as it stands, except before a quote and before a reference, `${`, which it escapes.
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ("\\" + found[2] if found[2] else ""), text)
    return '"' + re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", escaped) + '"'


def command_line(verb: str, words: Sequence[str] = (), **values: object) -> str:
    """Return `python -m <package>.<verb> <words> <key>=<value>`, to be pasted into a shell.

    Args:
        words: overrides as they were typed.
        values: overrides to be quoted.
    """
    own = [f"{key}={quoted(value)}" for key, value in values.items()]
    return shell_line(["python", "-m", f"{_PACKAGE}.{verb}", *own, *words])


def shell_line(words: Sequence[str]) -> str:
    """Join the words of a command for this system's shell."""
    return shlex.join(words) if os.name == "posix" else subprocess.list2cmdline(words)
