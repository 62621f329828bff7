from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from i2i.errors import DataError
from i2i.evaluation.metrics import vectors
from i2i.evaluation.metrics.kernel_distance import PolynomialKernel, kernel_distance, squared_discrepancy


def features(seed: int, count: int = 60, width: int = 5, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)) + shift


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    across = sum(k(a, b) for a in x for b in y)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)


@pytest.mark.parametrize("rows", [7, 2048])
def test_equals_its_definition_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(vectors.blocks, "__defaults__", (rows,))
    x, y = features(0, 20), features(1, 17, shift=0.5)
    assert squared_discrepancy(x, y) == pytest.approx(by_hand(x, y), rel=1e-12)
    assert squared_discrepancy(y, x) == pytest.approx(by_hand(x, y), rel=1e-12)


def test_one_subset_of_everything_is_the_whole() -> None:
    x, y = features(2), features(3, shift=0.3)
    result = kernel_distance(x, y, subsets=3, subset_size=len(x))
    assert result.value == pytest.approx(squared_discrepancy(x, y), rel=1e-12)
    assert result.deviation == pytest.approx(0, abs=1e-12)
    assert (result.subsets, result.subset_size) == (3, 60)


def test_equal_distributions_lie_around_zero() -> None:
    # Unbiased: over many pairs of sets the mean is 0, and about half of the values lie below.
    values = np.array([squared_discrepancy(features(2 * seed, 40), features(2 * seed + 1, 40)) for seed in range(200)])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert 60 < np.count_nonzero(values < 0) < 160
    assert kernel_distance(features(1), features(2, shift=1), subset_size=50).value > 10 * np.abs(values).max()


def test_unmoved_by_a_rotation_and_kept_by_the_seed() -> None:
    x, y = features(4), features(5, shift=0.2)
    rotation = np.linalg.qr(features(6, 5))[0]
    first = kernel_distance(x, y, subsets=10, subset_size=30)
    assert kernel_distance(x @ rotation, y @ rotation, subsets=10, subset_size=30).value == pytest.approx(first.value)
    assert kernel_distance(x, y, subsets=10, subset_size=30) == first
    assert kernel_distance(x, y, subsets=10, subset_size=30, seed=7).value != first.value


def test_features_on_the_disk(tmp_path: Path) -> None:
    x, y = features(7).astype(np.float32), features(8).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert kernel_distance(mapped, y, subsets=5, subset_size=20) == kernel_distance(x, y, subsets=5, subset_size=20)


def test_inputs_stay_as_they_are() -> None:
    x = features(9)
    before = x.copy()
    kernel_distance(x, x, subsets=2, subset_size=20)
    squared_discrepancy(x, x, PolynomialKernel(degree=2))
    np.testing.assert_array_equal(x, before)


def test_too_few_pictures() -> None:
    with pytest.raises(DataError, match="60 pictures are fewer than the 1000 of a subset"):
        kernel_distance(features(0, 2000), features(1))
    with pytest.raises(DataError, match="at least 2"):
        squared_discrepancy(features(0, 1), features(1))
    with pytest.raises(ValueError, match="0 subsets"):
        kernel_distance(features(0), features(1), subsets=0, subset_size=10)
    with pytest.raises(ValueError, match="subsets of 1"):
        kernel_distance(features(0), features(1), subset_size=1)
