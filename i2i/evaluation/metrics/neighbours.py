"""Precision and recall, density and coverage: how much of the made set lies among the real one, and the reverse.

All four ask which points lie in balls around other points, each ball reaching to its centre's k-th nearest neighbour
in its own set. One number a set (as of the Frechet distance) cannot tell pictures of poor quality from missing kinds;
these can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from i2i.evaluation.metrics.vectors import blocks, checked_pair

PRECISION_RECALL_NEIGHBOURS = 3
DENSITY_COVERAGE_NEIGHBOURS = 5

# A point on the very edge of a ball is inside, also where rounding moved it: relative to the squared radius, and to
# the largest squared length of a vector, of which a squared distance of 0 may keep some 1e-15.
_EDGE = 1e-9
_EDGE_OF_LENGTH = 1e-12


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """Shares from 0 to 1."""

    precision: float
    """Of the made pictures, those inside a ball of a real one."""
    recall: float
    """Of the real pictures, those inside a ball of a made one."""


@dataclass(frozen=True, kw_only=True)
class DensityCoverage:
    """Both about 1 for equal distributions."""

    density: float
    """Mean number of real balls around a made picture, over k; may exceed 1."""
    coverage: float
    """Share of the real balls that hold a made picture."""


def precision_recall(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    neighbours: int = PRECISION_RECALL_NEIGHBOURS,
    real_reach: np.ndarray | None = None,
) -> PrecisionRecall:
    """Improved precision and recall, with Euclidean distances in float64.

    Args:
        real: features (N, D), float, in memory or memory-mapped; bounded memory, a time of N^2 + M^2 + N M.
        fake: features (M, D) of the same width.
        neighbours: k; the centre itself does not count.
        real_reach: `squared_reach` of `real` and k, where it is known: N^2 of the time.

    Raises:
        DataError: a set of no more than k vectors, or features that are not finite.
        ValueError: arrays of the wrong shape or of different width, or k below 1.

    Source: Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2. Balls are closed.
    """
    space = _Space.of(real, fake, neighbours)
    real_edges, fake_edges = space.squared_edges(real, real_reach), space.squared_edges(fake)
    in_real, in_fake = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, columns, distances in space.squared_distances(real, fake):
        in_real[columns] |= (distances <= real_edges[rows, None]).any(axis=0)
        in_fake[rows] |= (distances <= fake_edges[None, columns]).any(axis=1)
    return PrecisionRecall(precision=float(in_real.mean()), recall=float(in_fake.mean()))


def density_coverage(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    neighbours: int = DENSITY_COVERAGE_NEIGHBOURS,
    real_reach: np.ndarray | None = None,
) -> DensityCoverage:
    """Density and coverage, which one outlier among the real pictures does not spoil as it does precision and recall.

    Args:
        real: features (N, D), float, in memory or memory-mapped; bounded memory, a time of N^2 + N M.
        fake: features (M, D) of the same width.
        neighbours: k; the centre itself does not count.
        real_reach: as for `precision_recall`.

    Raises:
        DataError: a set of no more than k vectors, or features that are not finite.
        ValueError: arrays of the wrong shape or of different width, or k below 1.

    Source: Naeem et al. 2020, https://arxiv.org/abs/2002.09797, equations 3 and 4. Balls are closed, as in
    `precision_recall`; the authors' program takes open ones, which differs only for points on an edge.
    """
    space = _Space.of(real, fake, neighbours)
    edges = space.squared_edges(real, real_reach)
    inside, covered = 0, np.zeros(len(real), bool)
    for rows, _, distances in space.squared_distances(real, fake):
        within = distances <= edges[rows, None]
        inside += int(np.count_nonzero(within))
        covered[rows] |= within.any(axis=1)
    return DensityCoverage(density=inside / (neighbours * len(fake)), coverage=float(covered.mean()))


def squared_reach(real: np.ndarray, neighbours: int) -> np.ndarray:
    """Squared distance of every vector of `real` (N, D) from its k-th nearest other one, float64 (N,).

    It depends on the real set alone, so one who measures several made sets computes it once.

    Raises:
        DataError: no more than k vectors, or features that are not finite.
        ValueError: not a two-dimensional array, or k below 1.
    """
    return _Space.of(real, real, neighbours).squared_reach(real)


@dataclass(frozen=True, kw_only=True)
class _Space:
    """Where both sets lie, seen from the mean of the real one.

    Distances do not depend on the origin, their rounding does: it grows with the vectors' length.
    """

    origin: np.ndarray  # (D,)
    slack: float
    """What rounding may add to a squared distance."""
    neighbours: int

    @classmethod
    def of(cls, real: np.ndarray, fake: np.ndarray, neighbours: int) -> _Space:
        if neighbours < 1:
            raise ValueError(f"{neighbours} neighbours: needs at least 1")
        checked_pair(real, fake, at_least=neighbours + 1)
        origin = np.zeros(real.shape[1])
        for _, block in blocks(real):
            origin += block.sum(axis=0) / len(real)
        longest = max(
            float(np.square(x - origin).sum(axis=1).max()) for points in (real, fake) for _, x in blocks(points)
        )
        return cls(origin=origin, slack=_EDGE_OF_LENGTH * longest, neighbours=neighbours)

    def squared_edges(self, points: np.ndarray, reach: np.ndarray | None = None) -> np.ndarray:
        """Up to which squared distance from each point its ball reaches, (N,): to the k-th nearest other point."""
        reach = self.squared_reach(points) if reach is None else reach
        if reach.shape != (len(points),):
            raise ValueError(f"reaches have the shape {reach.shape}; needs ({len(points)},)")
        return reach * (1 + _EDGE) + self.slack

    def squared_reach(self, points: np.ndarray) -> np.ndarray:
        """Squared distance of each point from the k-th nearest other one, (N,)."""
        nearest = np.full((len(points), self.neighbours), np.inf)
        for start, x in blocks(points):
            x = x - self.origin
            rows = slice(start, start + len(x))
            own = _squared_distances(x, x)
            np.fill_diagonal(own, np.inf)
            _keep_nearest(nearest, rows, own)
            # Each pair of blocks once: the distances down its columns are those of the other block.
            for offset, y in blocks(points[rows.stop :]):
                distances = _squared_distances(x, y - self.origin)
                _keep_nearest(nearest, rows, distances)
                _keep_nearest(nearest, slice(rows.stop + offset, rows.stop + offset + len(y)), distances.T)
        return nearest.max(axis=1)

    def squared_distances(self, a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """(rows of a, rows of b, their squared distances) block by block."""
        for i, x in blocks(a):
            for j, y in blocks(b):
                distances = _squared_distances(x - self.origin, y - self.origin)
                yield slice(i, i + len(x)), slice(j, j + len(y)), distances


def _keep_nearest(nearest: np.ndarray, rows: slice, distances: np.ndarray) -> None:
    """Keep the smallest of `nearest[rows]` and of `distances` in each row."""
    k = nearest.shape[1]
    smallest = np.partition(distances, k - 1, axis=1)[:, :k] if distances.shape[1] > k else distances
    together = np.concatenate([nearest[rows], smallest], axis=1)
    nearest[rows] = np.partition(together, k - 1, axis=1)[:, :k]


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x|^2 + |y|^2 - 2 x.y of every row of `x` (N, D) with every row of `y` (M, D); (N, M), never below 0."""
    distances = x @ y.T
    distances *= -2
    distances += np.square(x).sum(axis=1)[:, None]
    distances += np.square(y).sum(axis=1)[None]
    return np.maximum(distances, 0, out=distances)
