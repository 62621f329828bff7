"""The kernel distance between two sets of feature vectors; with Inception's pool features it is the KID.

Unlike the Frechet distance its estimate is unbiased: sets of different size compare, and equal distributions come out
around 0 (a little below as often as a little above).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2i.errors import DataError
from i2i.evaluation.metrics.vectors import blocks, checked_pair

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020
"""Of the draw of the subsets: torch-fidelity's, so that the same features give the same figure."""


@dataclass(frozen=True, kw_only=True)
class PolynomialKernel:
    """k(x, y) = (scale x.y + offset)^degree."""

    degree: int = 3
    scale: float | None = None
    """1 / width of the features if None."""
    offset: float = 1.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The kernel of every row of `x` (N, D) with every row of `y` (M, D), both float64; (N, M) float64."""
        # Of an array with itself numpy computes one half of the product only.
        base = x @ y.T
        base *= 1 / x.shape[1] if self.scale is None else self.scale
        base += self.offset
        # Multiplied out: a general power takes longer than the product above.
        values = base.copy()
        for _ in range(self.degree - 1):
            values *= base
        return values


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """Mean over random subsets of the squared maximum mean discrepancy."""

    value: float
    deviation: float
    """Population standard deviation over the subsets."""
    subsets: int
    subset_size: int


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
    kernel: PolynomialKernel | None = None,
) -> KernelDistance:
    """Unbiased squared MMD between subsets drawn from two sets of features, in float64.

    Args:
        real: features (N, D), float, in memory or memory-mapped.
        fake: features (M, D) of the same width.
        subsets: so many pairs of subsets are drawn, each without replacement.
        subset_size: vectors in a subset, 2 at least and no more than the smaller set has.
        seed: of the draw. Made and real pictures take turns at one generator, as in torch-fidelity when the made ones
            are its first input.
        kernel: the degree-3 polynomial of the KID if None.

    Raises:
        DataError: a set smaller than a subset, or features that are not finite.
        ValueError: arrays of the wrong shape or of different width, or a subset of fewer than two.

    Source: Binkowski et al. 2018, https://arxiv.org/abs/1801.01401, section 4; Gretton et al. 2012, equation 3.
    torch-fidelity multiplies in float32; here everything is float64, hence figures equal to five or six digits.
    """
    if subset_size < 2 or subsets < 1:
        raise ValueError(f"{subsets} subsets of {subset_size}: needs at least 1 of at least 2")
    real, fake = checked_pair(real, fake)
    fewest = min(len(real), len(fake))
    if fewest < subset_size:
        raise DataError(
            f"KID: {fewest} pictures are fewer than the {subset_size} of a subset - give more, or smaller subsets"
        )
    kernel = kernel or PolynomialKernel()
    generator = np.random.RandomState(seed)
    values = np.empty(subsets)
    for index in range(subsets):
        from_fake = generator.choice(len(fake), subset_size, replace=False)
        from_real = generator.choice(len(real), subset_size, replace=False)
        values[index] = squared_discrepancy(_rows(fake, from_fake), _rows(real, from_real), kernel)
    return KernelDistance(
        value=float(values.mean()), deviation=float(values.std()), subsets=subsets, subset_size=subset_size
    )


def squared_discrepancy(first: np.ndarray, second: np.ndarray, kernel: PolynomialKernel | None = None) -> float:
    """Unbiased squared MMD of two whole sets (N, D) and (M, D), float, in float64; may lie below 0.

        sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum k(x_i, y_j) / (n m)

    Memory is bounded: the sums run over blocks.

    Raises:
        DataError: a set of fewer than two vectors, or features that are not finite.
        ValueError: arrays of the wrong shape or of different width.
    """
    first, second = checked_pair(first, second, at_least=2)
    kernel = kernel or PolynomialKernel()
    n, m = len(first), len(second)
    within = _sum_within(first, kernel) / (n * (n - 1)) + _sum_within(second, kernel) / (m * (m - 1))
    across = sum(kernel(x, y).sum() for _, x in blocks(first) for _, y in blocks(second))
    return float(within - 2 * across / (n * m))


def _sum_within(vectors: np.ndarray, kernel: PolynomialKernel) -> float:
    """Sum of the kernel over all ordered pairs of different rows."""
    total = 0.0
    for start, x in blocks(vectors):
        values = kernel(x, x)
        total += float(values.sum() - values.trace())
        # The kernel is symmetric: blocks beside the diagonal count twice.
        total += 2 * sum(float(kernel(x, y).sum()) for _, y in blocks(vectors[start + len(x) :]))
    return total


def _rows(vectors: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The rows in float64, in the order in which they lie on a disk: the sums over them do not depend on it."""
    return np.asarray(vectors[np.sort(numbers)], np.float64)
