"""`python -m ft_lightning`, and `ft-lightning` once installed: list the commands, or run `ft-lightning train ...`."""

import difflib
import os
import subprocess
import sys
from pathlib import Path

VERBS = ("train", "evaluate", "predict", "tune", "check", "report", "export", "rename")
_PACKAGE = Path(__file__).parent


def main() -> int:
    """Run `python -m ft_lightning.<verb>`, or list the verbs."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        print("\n".join(f"python -m {_PACKAGE.name}.{name:9}{_purpose(name)}" for name in VERBS))  # noqa: T201
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"use one of {', '.join(VERBS)}."
        print(f"error: {verb!r} is no command: {meant}", file=sys.stderr)  # noqa: T201
        return 2
    # A fresh Python with the verb as its main module, because Lightning starts a run's other processes from it.
    command = [sys.executable, "-m", f"{_PACKAGE.name}.{verb}", *sys.argv[2:]]
    if os.name == "posix":
        os.execv(command[0], command)
    return subprocess.call(command)  # on Windows the terminal does not wait for a program started by exec


def _purpose(verb: str) -> str:
    """Read a verb's purpose from the first line of its module; importing the module would take seconds."""
    first = (_PACKAGE / f"{verb}.py").read_text(encoding="utf-8").partition("\n")[0]
    return first.partition("`: ")[2].strip('".')


if __name__ == "__main__":
    sys.exit(main())
