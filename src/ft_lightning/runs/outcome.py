"""outcome.json: how the last job in a run's directory ended."""

import json
from pathlib import Path
from typing import Any

from ft_lightning.system.files import write_json

FILE = "outcome.json"


def write_outcome(run_dir: Path, exit_code: int, overrides: list[str], error: str) -> None:
    """Write outcome.json.

    Args:
        overrides: as they were typed; what they take from the environment stays a reference.
        error: what the user was told; empty where all went well.
    """
    write_json(run_dir / FILE, {"exit_code": exit_code, "overrides": overrides, "error": error})


def read_outcome(run_dir: Path) -> dict[str, Any] | None:
    """What `write_outcome` wrote; None where no job has come to an end."""
    path = run_dir / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
