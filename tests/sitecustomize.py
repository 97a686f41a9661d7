"""Python runs this first in each process that tests start where a project has changed values of conf/."""

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from types import ModuleType

COMPOSES = "ft_lightning.cli.compose"
as_in_tests = ExitStack()


class ComposedOnce(importlib.abc.MetaPathFinder):
    """Has a process compose as tests do, once it imports what composes: commands count what else is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != COMPOSES or "composing" in sys.modules:  # which composes so anyway
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec
        assert spec.loader
        load = spec.loader.exec_module

        def load_and_compose(module: ModuleType) -> None:
            load(module)
            from composing import composed_once

            as_in_tests.enter_context(composed_once())

        spec.loader.exec_module = load_and_compose  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, ComposedOnce())
