from __future__ import annotations

import math

import numpy as np
import pytest

from i2i.errors import DataError
from i2i.evaluation.metrics import vectors
from i2i.evaluation.metrics.parzen import parzen_likelihood, parzen_log_likelihood


def points(seed: int, count: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


def by_hand(x: np.ndarray, samples: np.ndarray, sigma: float) -> float:
    width = len(x)
    densities = [
        math.exp(-float(np.square(x - s).sum()) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) ** width
        for s in samples
    ]
    return math.log(sum(densities) / len(samples))


@pytest.mark.parametrize("rows", [4, 2048])
def test_equals_its_definition_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(vectors.blocks, "__defaults__", (rows,))
    samples, validation, test = points(0, 30), points(1, 12), points(2, 15)
    sigmas = (0.1, 0.2, 0.5, 1.0, 2.0)
    result = parzen_log_likelihood(samples, validation=validation, test=test, sigmas=sigmas)
    by_sigma = {sigma: np.mean([by_hand(x, samples, sigma) for x in validation]) for sigma in sigmas}
    assert result.sigma == max(by_sigma, key=lambda sigma: by_sigma[sigma])
    likelihoods = [by_hand(x, samples, result.sigma) for x in test]
    assert result.value == pytest.approx(np.mean(likelihoods), rel=1e-10)
    assert result.standard_error == pytest.approx(np.std(likelihoods, ddof=1) / math.sqrt(15), rel=1e-10)
    assert (result.samples, result.validation, result.test) == (30, 12, 15)
    assert not result.sigma_is_at_an_end


def test_comes_near_the_entropy_of_a_known_distribution() -> None:
    # The best possible expectation is minus the entropy of the standard normal: -(log(2 pi) + 1) / 2 a dimension.
    best = -0.5 * (math.log(2 * math.pi) + 1)
    result = parzen_likelihood(points(3, 2000, width=1), points(4, 4000, width=1))
    assert best - 0.05 < result.value < best + 0.05
    shifted = parzen_likelihood(points(3, 2000, width=1), points(4, 4000, width=1) + 2)
    assert shifted.value < best - 0.5


def test_far_away_in_many_dimensions_stays_finite() -> None:
    result = parzen_likelihood(points(5, 20, 784) + 100, points(6, 10, 784), sigmas=(0.1, 0.2))
    assert math.isfinite(result.value) and result.value < -1e7
    assert result.sigma_is_at_an_end


def test_halves_share_no_vector_and_depend_on_the_seed() -> None:
    real, fake = points(7, 41), points(8, 30)
    first = parzen_likelihood(real, fake, sigmas=(0.5,))
    assert (first.validation, first.test) == (21, 20)
    assert parzen_likelihood(real, fake, sigmas=(0.5,)) == first
    assert parzen_likelihood(real, fake, sigmas=(0.5,), seed=1).value != first.value
    order = np.random.RandomState(2020).permutation(41)
    expected = np.mean([by_hand(x, fake, 0.5) for x in real[order[21:]]])
    assert first.value == pytest.approx(expected, rel=1e-10)


def test_wrong_sets() -> None:
    with pytest.raises(DataError, match="at least 2"):
        parzen_likelihood(points(0, 3), points(1, 5))
    with pytest.raises(DataError, match="at least 1"):
        parzen_likelihood(points(0, 9), points(1, 0))
    with pytest.raises(ValueError, match="above 0"):
        parzen_likelihood(points(0, 9), points(1, 5), sigmas=(0.0, 1.0))
    with pytest.raises(ValueError, match="wide"):
        parzen_likelihood(points(0, 9), points(1, 5, width=2))
