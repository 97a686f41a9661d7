"""95 % intervals of shares of samples."""

import math

_Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_interval(successes: int, n: int) -> list[float]:
    """Wilson's 95 % score interval of a proportion (Wilson 1927), which has a width at 0 % and 100 % too."""
    p, z2 = successes / n, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def difference_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired proportions: Wald's with 1/2 added to each of the four cells.

    Agresti & Min (2005), Statistics in Medicine 24. For 30 to 1,000 samples, accuracies of 0.7 to 0.97 and 2 to 20 %
    discordant samples it covers the truth in at least 94.8 %, and is narrower than Newcombe's and Bonett & Price's;
    Wald's own covers as little as 45 %.
    """
    b, c, total = only_first + 0.5, only_second + 0.5, n + 2
    centre = (b - c) / total
    half = _Z95 * (((b + c) / total - centre**2) / total) ** 0.5
    return max(-1.0, centre - half), min(1.0, centre + half)
