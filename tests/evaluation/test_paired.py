from __future__ import annotations

import json
import math

import numpy as np
import pytest

from i2i.errors import DataError, UsageError
from i2i.evaluation.metrics.psnr import l1, psnr
from i2i.evaluation.paired import mean_picture, paired_scores


def grey(level: float, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def brighter(direction: str, pictures: np.ndarray) -> np.ndarray:
    """B is A plus 50 levels; this translator is 2 levels off towards B and 5 towards A."""
    return pictures + np.uint8(52) if direction == "AtoB" else pictures - np.uint8(45)


A = [grey(level) for level in (10, 20, 60)]
B = [picture + np.uint8(50) for picture in A]


def test_scores_of_both_directions_and_their_baselines() -> None:
    means = {"a": np.full((8, 8, 3), 30.0, np.float32), "b": np.full((8, 8, 3), 80.4, np.float32)}
    scores = paired_scores(brighter, A, B, mean_pictures=means)
    assert scores.pictures == 3
    forth, back = scores.directions["AtoB"], scores.directions["BtoA"]
    assert forth.model.l1_levels == pytest.approx(2)
    assert forth.model.psnr_db == pytest.approx(psnr(grey(0), grey(2)))
    assert back.model.l1_levels == pytest.approx(5)
    assert back.model.psnr_db == pytest.approx(psnr(grey(0), grey(5)))
    assert forth.untranslated.l1_levels == back.untranslated.l1_levels == pytest.approx(50)
    # The mean picture of the TARGET domain, rounded to levels: 80 against 60, 70, 110 and 30 against 10, 20, 60.
    assert forth.mean_picture is not None and back.mean_picture is not None
    assert forth.mean_picture.l1_levels == back.mean_picture.l1_levels == pytest.approx((20 + 10 + 30) / 3)


def test_decibels_are_averaged_over_pictures_not_taken_of_the_averaged_error() -> None:
    offsets = iter([1, 2, 40])
    scores = paired_scores(lambda _, pictures: pictures + np.uint8(next(offsets)), A, A, directions=["AtoB"])
    expected = np.mean([psnr(grey(0), grey(offset)) for offset in (1, 2, 40)])
    assert scores.directions["AtoB"].model.psnr_db == pytest.approx(float(expected))


def test_pairs_are_kept_together_at_any_batch_and_size() -> None:
    random = np.random.default_rng(0)
    sizes = [(8, 8), (8, 8), (8, 8), (9, 5), (8, 8), (9, 5), (9, 5)]
    a = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    b = [255 - picture for picture in a]
    seen: list[int] = []

    def negative(_: str, pictures: np.ndarray) -> np.ndarray:
        seen.append(len(pictures))
        return (255 - pictures) ^ np.uint8(1)

    one = paired_scores(negative, a, b, directions=["AtoB"])
    assert seen == [1] * 7
    seen.clear()
    two = paired_scores(negative, a, b, directions=["AtoB"], batch=2)
    assert seen == [2, 1, 1, 1, 2]
    assert one == two
    assert one.directions["AtoB"].model.l1_levels == 1
    expected = np.mean([l1(left, right) for left, right in zip(a, b, strict=True)])
    assert one.directions["AtoB"].untranslated.l1_levels == pytest.approx(float(expected))


def test_every_picture_is_fetched_once_a_direction() -> None:
    class Counting(list[np.ndarray]):
        fetched = 0

        def __getitem__(self, index):
            type(self).fetched += 1
            return super().__getitem__(index)

    paired_scores(brighter, Counting(A), B, directions=["AtoB"], batch=2)
    assert Counting.fetched == 3


def test_json_and_table() -> None:
    scores = paired_scores(brighter, A, B, mean_pictures={"b": np.zeros((8, 8, 3), np.float32)})
    report = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert report["pictures"] == 3
    assert report["directions"]["AtoB"]["model"]["l1_levels"] == pytest.approx(2)
    assert report["directions"]["BtoA"]["mean_picture"] is None
    table = scores.table().splitlines()
    assert table[0].split() == ["PSNR", "(dB)", "L1", "(0..255)"]
    assert table[1].split() == ["AtoB", "model", "42.11", "2.00"]
    assert [line.split()[0] for line in table[1:6]] == ["AtoB", "untranslated", "mean", "BtoA", "untranslated"]


def test_perfect_translations_stay_json() -> None:
    scores = paired_scores(lambda _, pictures: pictures, A, A)
    assert scores.directions["AtoB"].model.psnr_db == math.inf
    assert json.loads(json.dumps(scores.to_json(), allow_nan=False))["directions"]["AtoB"]["model"]["psnr_db"] is None


def test_mean_picture_is_the_mean_and_fits_other_sizes() -> None:
    assert np.allclose(mean_picture([grey(10), grey(11)]), 10.5)
    mixed = mean_picture([grey(10), grey(30, 16, 12)])
    assert mixed.shape == (8, 8, 3)
    assert np.allclose(mixed, 20, atol=1e-3)
    scores = paired_scores(brighter, [grey(0, 5, 9)], [grey(20, 5, 9)], mean_pictures={"b": mixed}, directions=["AtoB"])
    baseline = scores.directions["AtoB"].mean_picture
    assert baseline is not None and baseline.l1_levels == 0


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(DataError, match="3 and 2"):
        paired_scores(brighter, A, B[:2])
    with pytest.raises(DataError, match="0 and 0"):
        paired_scores(brighter, [], [])
    with pytest.raises(DataError, match="one size"):
        paired_scores(brighter, A, [grey(1, 4, 4)] * 3)
    with pytest.raises(DataError, match="mean"):
        mean_picture([])
    with pytest.raises(UsageError, match="AtoB and BtoA"):
        paired_scores(brighter, A, B, directions=["AtoC"])
