"""Feature vectors as the metrics take them: two-dimensional, finite, read in float64 a block of rows at a time.

They may lie on the disk (`numpy.memmap`): nothing here ever holds more of them than a block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from i2i.errors import DataError

ROWS_PER_BLOCK = 2048
"""So many vectors are worked on at once: 32 MiB of Inception's in float64."""


def checked_vectors(features: np.ndarray, *, at_least: int = 1, first_number: int = 0) -> np.ndarray:
    """`features` (N, D) themselves, float of any precision, when a metric can be computed from them.

    Args:
        features: in memory or memory-mapped; not copied.
        at_least: so many vectors the metric needs.
        first_number: number of the first of them in its set, for the message.

    Raises:
        DataError: too few vectors, or one that is not finite.
        ValueError: not a two-dimensional array with a width.
    """
    vectors = features if isinstance(features, np.ndarray) else np.asarray(features)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"features have the shape {vectors.shape}; needs (vectors, width)")
    if len(vectors) < at_least:
        raise DataError(f"{len(vectors)} feature vector(s): this metric needs at least {at_least} pictures - give more")
    parts = (vectors[start : start + ROWS_PER_BLOCK] for start in range(0, len(vectors), ROWS_PER_BLOCK))
    finite = np.concatenate([np.isfinite(part).all(axis=1) for part in parts] or [np.ones(0, bool)])
    if not finite.all():
        raise DataError(
            f"feature vectors: {np.count_nonzero(~finite)} of {len(vectors)} hold NaN or infinity, the first is "
            f"number {first_number + int(np.argmin(finite))} - look at that picture, or compute the features in float32"
        )
    return vectors


def checked_pair(real: np.ndarray, fake: np.ndarray, *, at_least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features of one width; see `checked_vectors`.

    Raises:
        DataError: too few vectors, or one that is not finite.
        ValueError: arrays of the wrong shape, or of different width.
    """
    first, second = checked_vectors(real, at_least=at_least), checked_vectors(fake, at_least=at_least)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features are {first.shape[1]} and {second.shape[1]} wide; needs one width")
    return first, second


def blocks(vectors: np.ndarray, rows: int = ROWS_PER_BLOCK) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, up to `rows` rows as float64) from first to last."""
    for start in range(0, len(vectors), rows):
        yield start, np.asarray(vectors[start : start + rows], np.float64)
