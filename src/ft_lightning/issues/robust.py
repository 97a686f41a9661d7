"""Centre, spread and outliers of numbers, whatever a few of them are."""

import numpy as np

FAR = 3.5  # modified z-score from which Iglewicz & Hoaglin (1993) call a value an outlier
_OF_A_NORMAL = 0.6745  # median absolute deviation of a normal distribution of standard deviation 1
_OF_THE_MEAN = 0.7979  # its mean absolute deviation


def centre_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median (K,) of values (N, K), and what would be the standard deviation (K,) of normal ones.

    The spread is that of the median absolute deviation or, where more than half of the values are equal, that of the
    mean absolute deviation (Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993); 1 where all are equal.
    """
    centre = np.median(values, axis=0)
    deviation = np.abs(values - centre)
    spread = np.median(deviation, axis=0) / _OF_A_NORMAL
    spread = np.where(spread > 0, spread, deviation.mean(0) / _OF_THE_MEAN)
    return centre, np.where(spread > 0, spread, 1.0)


def modified_z(values: np.ndarray) -> np.ndarray:
    """Return the modified z-scores (N, K) of values (N, K)."""
    centre, spread = centre_and_spread(values)
    return (values - centre) / spread
