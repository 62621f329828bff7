from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2i.errors import DataError
from i2i.evaluation.metrics.frechet import FeatureStatistics, RunningStatistics, frechet_distance
from i2i.evaluation.metrics.vectors import ROWS_PER_BLOCK


def features(seed: int, count: int = 200, width: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, width)) @ random.normal(size=(width, width)) + random.normal(size=width)


def gaussian(mean: list[float], variances: list[float]) -> FeatureStatistics:
    return FeatureStatistics(1000, np.array(mean), np.diag(variances))


def test_gaussians_on_the_axes() -> None:
    # Commuting covariances: the sum of (difference of means)^2 + (difference of standard deviations)^2.
    assert frechet_distance(gaussian([0, 0], [1, 4]), gaussian([3, 0], [9, 4])) == pytest.approx(9 + 4)
    assert frechet_distance(gaussian([1, 2], [0, 0]), gaussian([1, 0], [0, 0])) == pytest.approx(4)


def test_symmetric_and_unmoved_by_a_rotation() -> None:
    a, b = features(0), features(1)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0]
    distance = frechet_distance(a, b)
    assert distance > 1
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(distance, rel=1e-10)


def test_trace_of_the_root_agrees_with_the_general_eigenvalues() -> None:
    a, b = features(3), features(4)
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    overlap = np.real(np.sqrt(np.linalg.eigvals(s @ t).astype(complex))).sum()
    expected = shift @ shift + np.trace(s) + np.trace(t) - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_equal_sets_are_at_distance_zero() -> None:
    a = features(5)
    assert 0 <= frechet_distance(a, a.copy()) < 1e-9


def test_fewer_vectors_than_they_are_wide() -> None:
    a, b = features(6, count=4, width=12), features(7, count=3, width=12)
    assert math.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, a) < 1e-5
    # Spans that meet at right angles: nothing overlaps.
    low, high = np.zeros((3, 4)), np.zeros((3, 4))
    low[:, 0], high[:, 3] = [-1, 0, 1], [-2, 0, 2]
    assert frechet_distance(low, high) == pytest.approx(1 + 4)


@given(cuts=st.lists(st.integers(0, 50), max_size=6))
def test_batches_and_merging_equal_the_whole(cuts: list[int]) -> None:
    # A mean far from zero would cost sums of squares eight digits.
    whole = features(8, count=50) + 1e4
    parts = np.split(whole, sorted(cuts))
    merged = RunningStatistics()
    for part in parts:
        running = RunningStatistics()
        running.add(part[: len(part) // 2])
        running.add(part[len(part) // 2 :])
        merged.merge(running)
    statistics = merged.result()
    assert statistics.count == 50
    np.testing.assert_allclose(statistics.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(whole, rowvar=False), rtol=1e-8, atol=1e-10)


@given(cuts=st.lists(st.integers(0, 300), max_size=6), ranks=st.integers(1, 4))
def test_distance_does_not_depend_on_batches_and_ranks(cuts: list[int], ranks: int) -> None:
    a, b = features(22, count=300), features(23, count=300)
    gathered = [RunningStatistics() for _ in range(ranks)]
    for index, part in enumerate(np.split(a, sorted(cuts))):
        gathered[index % ranks].add(part)
    merged = RunningStatistics()
    for running in gathered:
        # As they travel from process to process.
        merged.merge(pickle.loads(pickle.dumps(running)))
    assert frechet_distance(merged.result(), b) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_batch_size_changes_no_bit() -> None:
    whole = features(24, count=ROWS_PER_BLOCK + 700)
    expected = FeatureStatistics.of(whole)
    for size in (1, 31, 1000):
        running = RunningStatistics()
        batch = np.empty((size, 6))
        for start in range(0, len(whole), size):
            part = whole[start : start + size]
            # One array filled again and again, as a reader of files would.
            batch[: len(part)] = part
            running.add(batch[: len(part)])
        # To look in between must not move the blocks.
        running.result()
        np.testing.assert_array_equal(running.result().mean, expected.mean)
        np.testing.assert_array_equal(running.result().covariance, expected.covariance)


def test_shifted_and_scaled_sets() -> None:
    a = features(25)
    shift = np.arange(6.0)
    assert frechet_distance(a, a + shift) == pytest.approx(shift @ shift, rel=1e-9)
    # Standard deviations times 3 about one mean: (3 - 1)^2 times the trace of the covariance.
    centred = a - a.mean(0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * np.trace(np.cov(a, rowvar=False)), rel=1e-9)


def test_merging_leaves_the_other_alone() -> None:
    first, second = RunningStatistics(), RunningStatistics()
    second.add(features(9))
    before = second.result()
    first.merge(second)
    first.add(features(10))
    first.merge(RunningStatistics())
    np.testing.assert_array_equal(second.result().covariance, before.covariance)
    np.testing.assert_array_equal(second.result().mean, before.mean)
    assert first.count == 400


def test_float32_features_are_summed_in_float64() -> None:
    narrow = (features(11, count=3000) + 1000).astype(np.float32)
    statistics = FeatureStatistics.of(narrow)
    assert statistics.covariance.dtype == np.float64
    np.testing.assert_allclose(statistics.covariance, np.cov(narrow.astype(np.float64), rowvar=False), rtol=1e-9)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures(count: int) -> None:
    with pytest.raises(DataError, match=f"{count} feature vector.*at least 2"):
        frechet_distance(features(12)[:count], features(13))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite(value: float) -> None:
    broken = features(14)
    broken[17, 2] = value
    running = RunningStatistics()
    running.add(features(15, count=100))
    with pytest.raises(DataError, match="1 of 200 hold NaN or infinity, the first is number 117"):
        running.add(broken)
    assert running.count == 100
    with pytest.raises(DataError, match="NaN or infinity"):
        frechet_distance(gaussian([0, value], [1, 1]), gaussian([0, 0], [1, 1]))


def test_shapes() -> None:
    with pytest.raises(ValueError, match="wide"):
        frechet_distance(features(16), features(17, width=5))
    with pytest.raises(ValueError, match=r"\(vectors, width\)"):
        frechet_distance(features(18)[0], features(18))
    with pytest.raises(ValueError, match="covariance"):
        frechet_distance(FeatureStatistics(9, np.zeros(3), np.eye(2)), features(19))
    running = RunningStatistics()
    running.add(features(20))
    with pytest.raises(ValueError, match="one width"):
        running.add(features(21, width=7))
