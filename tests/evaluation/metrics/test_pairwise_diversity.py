from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from i2i.errors import DataError
from i2i.evaluation.metrics.pairwise_diversity import drawn_pairs, pairwise_diversity, vector_diversity


def test_all_pairs_of_a_small_set() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    expected = [np.linalg.norm(a.astype(float) - b.astype(float)) for a, b in itertools.combinations(vectors, 2)]
    result = vector_diversity(vectors)
    assert result.value == pytest.approx(np.mean(expected), rel=1e-12)
    assert (result.pairs, result.pictures) == (36, 9)
    assert vector_diversity(vectors, per_value=True).value == pytest.approx(np.mean(expected) / 2, rel=1e-12)


@pytest.mark.parametrize("pictures", [2, 3, 10, 101])
def test_pairs_are_all_there_are(pictures: int) -> None:
    first, second = drawn_pairs(pictures, 10_000, seed=0)
    assert sorted(zip(first, second, strict=True)) == list(itertools.combinations(range(pictures), 2))


def test_drawn_pairs_differ_and_do_not_repeat() -> None:
    # So many pictures that rounding of the root would show.
    for pictures, pairs in ((150, 10_000), (100_000, 5000)):
        first, second = drawn_pairs(pictures, pairs, seed=3)
        assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == pairs
        assert (first >= 0).all() and (first < second).all() and (second < pictures).all()
        assert len(np.unique(np.concatenate([first, second]))) > 0.08 * min(pictures, pairs)
    np.testing.assert_array_equal(first, drawn_pairs(100_000, 5000, seed=3)[0])
    assert not np.array_equal(first, drawn_pairs(100_000, 5000, seed=4)[0])


def test_a_sample_comes_near_all_pairs() -> None:
    vectors = np.random.default_rng(1).normal(size=(300, 8))
    everything = vector_diversity(vectors, pairs=1_000_000).value
    assert vector_diversity(vectors, pairs=4000).value == pytest.approx(everything, rel=0.02)
    assert everything == pytest.approx(math.sqrt(2 * 8), rel=0.05)


def test_a_collapsed_set_has_none() -> None:
    assert vector_diversity(np.ones((50, 3))).value == 0


def test_any_distance() -> None:
    seen: list[int] = []

    def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        seen.append(len(first))
        return (second - first).astype(np.float32)

    result = pairwise_diversity(80, distance, pairs=3000)
    assert sum(seen) == result.pairs == 3000 and max(seen) == 1024
    assert result.value == pytest.approx(81 / 3, rel=0.05)


def test_too_few() -> None:
    with pytest.raises(DataError, match="at least 2"):
        vector_diversity(np.ones((1, 3)))
    with pytest.raises(DataError, match="1 picture"):
        drawn_pairs(1, 10, seed=0)
    with pytest.raises(ValueError, match="0 pairs"):
        drawn_pairs(5, 0, seed=0)
