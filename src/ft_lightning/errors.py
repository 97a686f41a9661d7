"""The two failures a command answers with a few lines instead of a traceback."""


class UserError(Exception):
    """The user can fix it: bad data, config or place. The message names the file or key, the value and the fix."""

    exit_code = 2


class NumericalError(Exception):
    """Training failed numerically, for example with a loss that is not finite."""

    exit_code = 3
