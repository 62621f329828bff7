"""The Frechet distance between two sets of feature vectors, and the running statistics it is made from.

With Inception's pool features it is the FID; any network's features will do, and figures compare only when the same
network, the same preparation of the pictures and the same number of pictures made them: the distance of a smaller set
comes out larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2i.errors import DataError


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean (D,) and covariance (D, D) of `count` feature vectors, float64; the covariance divides by `count` - 1."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> FeatureStatistics:
        """Statistics of `features` (N, D), float.

        Raises:
            DataError: fewer than two vectors, or one that is not finite.
            ValueError: not a two-dimensional array.
        """
        running = RunningStatistics()
        running.add(features)
        return running.result()


class RunningStatistics:
    """Mean and scatter of feature vectors that come in batches, in float64.

    What two processes gathered can be merged; order and batch size change the result by rounding only.

    Source: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    Sums of products, as often seen, would cancel where the mean is large beside the spread.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: np.ndarray | None = None  # (D,)
        self._scatter: np.ndarray | None = None  # (D, D): sum of outer products of the deviations

    def add(self, features: np.ndarray) -> None:
        """Take in `features` (N, D), float; N may be 0.

        Raises:
            DataError: a feature is not finite.
            ValueError: not a two-dimensional array, or another width than before.
        """
        batch = np.asarray(features, np.float64)
        if batch.ndim != 2 or batch.shape[1] == 0:
            raise ValueError(f"features have the shape {batch.shape}; needs (vectors, width)")
        finite = np.isfinite(batch).all(axis=1)
        if not finite.all():
            first = self.count + int(np.argmin(finite))
            raise DataError(
                f"feature vectors: {np.count_nonzero(~finite)} of {len(batch)} hold NaN or infinity, the first is "
                f"number {first} - look at that picture, or compute the features in float32"
            )
        if len(batch):
            mean = batch.mean(axis=0)
            deviations = batch - mean
            self._join(len(batch), mean, deviations.T @ deviations)

    def merge(self, other: RunningStatistics) -> None:
        """Take in all that `other` has seen.

        Raises:
            ValueError: vectors of another width.
        """
        if other._mean is not None and other._scatter is not None:
            self._join(other.count, other._mean, other._scatter)

    def result(self) -> FeatureStatistics:
        """The statistics so far.

        Raises:
            DataError: fewer than two vectors, which have no covariance.
        """
        if self._mean is None or self._scatter is None or self.count < 2:
            raise DataError(f"{self.count} feature vector(s): a covariance needs at least 2 pictures - give more")
        return FeatureStatistics(self.count, self._mean.copy(), self._scatter / (self.count - 1))

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if self._mean is None or self._scatter is None:
            self.count, self._mean, self._scatter = count, mean.copy(), scatter.copy()
            return
        if mean.shape != self._mean.shape:
            raise ValueError(f"features are {len(mean)} wide, those before {len(self._mean)}; needs one width")
        total = self.count + count
        shift = mean - self._mean
        self._mean += shift * (count / total)
        self._scatter += scatter + np.outer(shift, shift) * (self.count * count / total)
        self.count = total


def frechet_distance(a: np.ndarray | FeatureStatistics, b: np.ndarray | FeatureStatistics) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features; 0 for equal sets, never below.

        |mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2))

    The last trace is the sum of the square roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric and has
    the eigenvalues of A B: no complex numbers, and no matrix that must be invertible. Sets of fewer vectors than the
    features are wide are therefore allowed, though their covariances say little: compare at equal, large numbers.

    Args:
        a: features (N, D), float, or their statistics.
        b: features (M, D) of the same width, or their statistics.

    Raises:
        DataError: a set of fewer than two vectors, or features or statistics that are not finite.
        ValueError: arrays of the wrong shape, or sets of different width.

    Source: Heusel et al. 2017, https://arxiv.org/abs/1706.08500, equation 6; Dowson & Landau 1982.
    """
    first, second = _checked(a), _checked(b)
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features are {len(first.mean)} and {len(second.mean)} wide; needs one width")
    root = _square_root(first.covariance)
    product = root @ second.covariance @ root
    # Rounding leaves it a little asymmetric, and eigenvalues that are 0 a little negative.
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    overlap = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    shift = first.mean - second.mean
    distance = shift @ shift + np.trace(first.covariance) + np.trace(second.covariance) - 2 * overlap
    return max(0.0, float(distance))


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a symmetric, positive semidefinite matrix."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(eigenvalues, 0, None))) @ vectors.T


def _checked(given: np.ndarray | FeatureStatistics) -> FeatureStatistics:
    """Statistics in float64 whose shapes and values will do."""
    if not isinstance(given, FeatureStatistics):
        return FeatureStatistics.of(given)
    mean, covariance = np.asarray(given.mean, np.float64), np.asarray(given.covariance, np.float64)
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"mean has the shape {mean.shape}, covariance {covariance.shape}; needs (D,) and (D, D)")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise DataError("feature statistics hold NaN or infinity - compute them again from finite features")
    return FeatureStatistics(given.count, mean, covariance)
