"""How far the pictures of a set lie from each other on average; near 0 when a model has collapsed to one picture.

A figure means something beside that of as many real pictures, by the same distance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from i2i.errors import DataError
from i2i.evaluation.metrics.vectors import checked_vectors

PAIRS = 10_000
SEED = 2020
_PAIRS_PER_BLOCK = 1024

PairDistance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(numbers of the first pictures (P,), numbers of the second (P,)) to their distances (P,)."""


@dataclass(frozen=True, kw_only=True)
class PairwiseDiversity:
    """Mean distance of two different pictures of a set."""

    value: float
    pairs: int
    """So many were compared: all there are, or a sample of them."""
    pictures: int


def vector_diversity(
    vectors: np.ndarray, *, pairs: int = PAIRS, seed: int = SEED, per_value: bool = False
) -> PairwiseDiversity:
    """Mean Euclidean distance between two of the vectors (N, D), float, in memory or memory-mapped.

    Args:
        vectors: features, or flattened pictures.
        pairs: so many at most are compared, drawn without repetition.
        seed: of that draw.
        per_value: divide by sqrt(D), which makes it the root mean square difference: of pixels, in their unit.

    Raises:
        DataError: fewer than two vectors, or one that is not finite.
        ValueError: not a two-dimensional array, or no pair asked for.
    """
    checked_vectors(vectors, at_least=2)
    scale = vectors.shape[1] if per_value else 1

    def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        difference = np.asarray(vectors[first], np.float64) - np.asarray(vectors[second], np.float64)
        return np.sqrt(np.square(difference).sum(axis=1) / scale)

    return pairwise_diversity(len(vectors), distance, pairs=pairs, seed=seed)


def pairwise_diversity(
    pictures: int, distance: PairDistance, *, pairs: int = PAIRS, seed: int = SEED
) -> PairwiseDiversity:
    """Mean of any distance, such as LPIPS, over pairs of different pictures; see `vector_diversity`.

    Raises:
        DataError: fewer than two pictures.
        ValueError: no pair asked for.
    """
    first, second = drawn_pairs(pictures, pairs, seed)
    total = 0.0
    for start in range(0, len(first), _PAIRS_PER_BLOCK):
        part = slice(start, start + _PAIRS_PER_BLOCK)
        total += float(np.sum(distance(first[part], second[part]), dtype=np.float64))
    return PairwiseDiversity(value=total / len(first), pairs=len(first), pictures=pictures)


def drawn_pairs(pictures: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (P,), (P,) of pairs i < j, each at most once: all of them where there are no more than `pairs`.

    Raises:
        DataError: fewer than two pictures.
        ValueError: no pair asked for.
    """
    if pictures < 2:
        raise DataError(f"diversity: {pictures} picture(s) have no distance - give at least 2")
    if pairs < 1:
        raise ValueError(f"{pairs} pairs: needs at least 1")
    available = pictures * (pictures - 1) // 2
    if available <= pairs:
        numbers = np.arange(available)
    else:
        numbers = np.sort(np.random.Generator(np.random.Philox(seed)).choice(available, pairs, replace=False))
    # Pair number t of (0,1), (0,2), (1,2), (0,3), ...: j (j - 1) / 2 pairs come before the first one of j.
    second = ((1 + np.sqrt(1 + 8 * numbers.astype(np.float64))) / 2).astype(np.int64)
    # The root is rounded: it may have ended one too high or too low.
    second -= second * (second - 1) // 2 > numbers
    second += (second + 1) * second // 2 <= numbers
    return numbers - second * (second - 1) // 2, second
