"""The Frechet distance between two sets of feature vectors, and the running statistics it is made from.

With Inception's pool features it is the FID; any network's features will do, and figures compare only when the same
network, the same preparation of the pictures and the same number of pictures made them: the distance of a smaller set
comes out larger. That bias is also why it has no interval here: resampling the pictures adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2i.errors import DataError
from i2i.evaluation.metrics.vectors import ROWS_PER_BLOCK, checked_vectors


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
    """Mean and scatter of feature vectors that come in batches, in float64 and constant memory.

    The vectors are gathered into blocks of one size before they are multiplied: batch size does not change a bit of
    the result, and matrix products are as large as the processor likes. What several processes gathered can be merged;
    that changes the result by rounding only.

    Source: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    Sums of products, as often seen, would cancel where the mean is large beside the spread.
    """

    def __init__(self) -> None:
        self._moments: _Moments | None = None
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0

    @property
    def count(self) -> int:
        """Vectors so far."""
        return self._pending_rows + (self._moments.count if self._moments is not None else 0)

    def add(self, features: np.ndarray) -> None:
        """Take in `features` (N, D), float; N may be 0.

        Raises:
            DataError: a feature is not finite.
            ValueError: not a two-dimensional array, or another width than before.
        """
        batch = checked_vectors(features, at_least=0, first_number=self.count)
        self._check_width(batch.shape[1])
        while len(batch):
            room = ROWS_PER_BLOCK - self._pending_rows
            # A copy: the caller may fill the same array again.
            self._pending.append(np.array(batch[:room]))
            self._pending_rows += len(self._pending[-1])
            batch = batch[room:]
            if self._pending_rows == ROWS_PER_BLOCK:
                self._moments = self._all()
                self._pending, self._pending_rows = [], 0

    def merge(self, other: RunningStatistics) -> None:
        """Take in all that `other` has seen.

        Raises:
            ValueError: vectors of another width.
        """
        theirs = other._all()
        if theirs is None:
            return
        self._check_width(len(theirs.mean))
        mine = self._all()
        self._moments = theirs if mine is None else mine.joined(theirs)
        self._pending, self._pending_rows = [], 0

    def result(self) -> FeatureStatistics:
        """The statistics so far.

        Raises:
            DataError: fewer than two vectors, which have no covariance.
        """
        moments = self._all()
        if moments is None or moments.count < 2:
            raise DataError(f"{self.count} feature vector(s): a covariance needs at least 2 pictures - give more")
        return FeatureStatistics(moments.count, moments.mean.copy(), moments.scatter / (moments.count - 1))

    def _all(self) -> _Moments | None:
        """Of everything so far, the pending vectors included."""
        if not self._pending_rows:
            return self._moments
        block = _Moments.of(np.concatenate(self._pending, dtype=np.float64))
        return block if self._moments is None else self._moments.joined(block)

    def _check_width(self, width: int) -> None:
        before = self._pending[0].shape[1] if self._pending else len(self._moments.mean) if self._moments else width
        if width != before:
            raise ValueError(f"features are {width} wide, those before {before}; needs one width")


@dataclass(frozen=True)
class _Moments:
    """Never changed once made, so that several may share their arrays."""

    count: int
    mean: np.ndarray  # (D,)
    scatter: np.ndarray  # (D, D): sum of outer products of the deviations

    @classmethod
    def of(cls, vectors: np.ndarray) -> _Moments:
        """Of `vectors` (N, D), float64, which are overwritten."""
        mean = vectors.mean(axis=0)
        vectors -= mean
        # Of an array with itself numpy computes one half of the product only.
        return cls(len(vectors), mean, vectors.T @ vectors)

    def joined(self, other: _Moments) -> _Moments:
        total = self.count + other.count
        shift = other.mean - self.mean
        scatter = np.outer(shift, shift)
        scatter *= self.count * other.count / total
        scatter += self.scatter
        scatter += other.scatter
        return _Moments(total, self.mean + shift * (other.count / total), scatter)


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
