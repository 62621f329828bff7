from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2i.errors import DataError
from i2i.evaluation.metrics import vectors
from i2i.evaluation.metrics.neighbours import density_coverage, precision_recall


def points(seed: int, count: int, shift: float = 0.0, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)) + shift


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """From the differences themselves, whose rounding leaves equal points at exactly 0."""
    return np.sqrt(np.square(a[:, None] - b[None]).sum(-1))


def radii(a: np.ndarray, k: int) -> np.ndarray:
    return np.sort(distances(a, a), axis=1)[:, k]  # column 0 is the point itself


@pytest.mark.parametrize("rows", [3, 16, 2048])
def test_equal_their_definitions_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(vectors.blocks, "__defaults__", (rows,))
    real, fake = points(0, 50), points(1, 37, shift=0.7)
    between = distances(real, fake)
    for k in (1, 3, 5):
        inside = between <= radii(real, k)[:, None]
        scores = precision_recall(real, fake, neighbours=k)
        assert scores.precision == np.mean(inside.any(0))
        assert scores.recall == np.mean((between <= radii(fake, k)[None]).any(1))
        others = density_coverage(real, fake, neighbours=k)
        assert others.density == pytest.approx(inside.sum() / (k * 37), rel=1e-15)
        assert others.coverage == np.mean(inside.any(1))
        assert 0 < scores.precision < 1 and 0 < scores.recall < 1 and 0 < others.coverage < 1


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=4, max_size=25), st.floats(-1e3, 1e3))
def test_points_on_an_edge_are_inside(corners: list[tuple[int, int]], offset: float) -> None:
    # On a grid most points lie on an edge and many coincide; rounding (here of the offset) must put none outside.
    grid = np.array(corners, np.float64)
    real, fake = grid[::2], grid[1::2]
    if len(fake) < 2:
        return
    inside = np.rint(distances(real, fake) ** 2) <= np.rint(radii(real, 1) ** 2)[:, None]
    assert precision_recall(real + offset, fake + offset, neighbours=1).precision == np.mean(inside.any(0))
    assert density_coverage(real + offset, fake + offset, neighbours=1).coverage == np.mean(inside.any(1))


def test_a_set_and_itself() -> None:
    real = points(2, 40) + 1e4
    scores, others = precision_recall(real, real.copy()), density_coverage(real, real.copy())
    assert (scores.precision, scores.recall, others.coverage) == (1, 1, 1)
    # Each ball holds its centre and its k neighbours.
    assert others.density == pytest.approx(6 / 5)


def test_far_sets_and_a_collapsed_one() -> None:
    real = points(3, 60)
    away = precision_recall(real, real + 100)
    assert (away.precision, away.recall) == (0, 0)
    assert density_coverage(real, real + 100).coverage == 0
    # All made pictures are one real picture: precise, and nothing else is recalled.
    collapsed = np.repeat(real[:1], 60, axis=0)
    scores = precision_recall(real, collapsed)
    assert (scores.precision, scores.recall) == (1, 1 / 60)
    assert density_coverage(real, collapsed).coverage < 0.3


def test_an_outlier_spoils_precision_but_not_density() -> None:
    # The case of Naeem et al. 2020, figure 3: a real outlier's ball takes in whatever lies between.
    real = np.concatenate([points(4, 200, width=2), [[60.0, 0.0]]])
    fake = points(5, 200, width=2) + np.array([30.0, 0.0])
    assert precision_recall(real, fake).precision == 1
    assert density_coverage(real, fake).density < 0.21


def test_features_on_the_disk_and_untouched(tmp_path: Path) -> None:
    real, fake = points(6, 30), points(7, 30)
    before = real.copy()
    np.save(tmp_path / "real.npy", real)
    mapped = np.load(tmp_path / "real.npy", mmap_mode="r")
    assert precision_recall(mapped, fake) == precision_recall(real, fake)
    assert density_coverage(mapped, fake) == density_coverage(real, fake)
    np.testing.assert_array_equal(real, before)


def test_too_few() -> None:
    with pytest.raises(DataError, match=r"3 feature vector.*at least 4"):
        precision_recall(points(0, 3), points(1, 9))
    with pytest.raises(DataError, match=r"5 feature vector.*at least 6"):
        density_coverage(points(0, 9), points(1, 5))
    with pytest.raises(ValueError, match="0 neighbours"):
        precision_recall(points(0, 9), points(1, 9), neighbours=0)
