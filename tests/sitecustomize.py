"""Python runs this first in each process that tests start where a project has changed values of conf/."""

from contextlib import ExitStack

from composing import composed_once

as_in_tests = ExitStack()
as_in_tests.enter_context(composed_once())
