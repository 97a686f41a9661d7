"""Names of a package whose modules are imported once somebody asks for them: `--help` must not wait for torch."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__` (PEP 562), by the module of each name, relative to the package."""

    def of_package(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return imported(f"{package}.{places[name]}", name)

    return of_package


def imported(module: str, name: str) -> Any:
    """Import a module, and return what it has by this name."""
    return getattr(importlib.import_module(module), name)
