"""How far predicted numbers (N,) are from true ones: functions of one target, in its own unit."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mae(predicted: "Tensor", true: "Tensor") -> "Tensor":
    """Return the mean absolute error."""
    return (predicted - true).abs().mean()


def rmse(predicted: "Tensor", true: "Tensor") -> "Tensor":
    """Return the root mean squared error."""
    return (predicted - true).square().mean().sqrt()


def r2(predicted: "Tensor", true: "Tensor") -> "Tensor":
    """Return the share of the variance that is explained; NaN where the true values are all the same."""
    spread = (true - true.mean()).square().sum()
    error = (predicted - true).square().sum()
    return 1 - error / spread if (true != true[0]).any() else error.new_tensor(math.nan)


def spearman(predicted: "Tensor", true: "Tensor") -> "Tensor":
    """Return the correlation of ranks, equal values sharing theirs; NaN where one side is all the same."""
    import pandas as pd

    if any((values == values[0]).all() for values in (predicted, true)):
        return predicted.new_tensor(math.nan)
    one, other = (pd.Series(values.numpy()).rank() for values in (predicted, true))
    return predicted.new_tensor(one.corr(other))
