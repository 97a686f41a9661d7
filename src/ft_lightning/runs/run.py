"""A run's directory: the one place that knows its file names."""

from pathlib import Path


class Run:
    """What a command left in a directory, read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)
