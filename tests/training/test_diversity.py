"""The measures of a sheet tell a healthy generator from one that makes one picture, or few."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from i2i.training.diversity import RealSet, diversity, measure, midtones, repeated_share


def scenes(count: int, seed: int, *, channels: int = 3, size: int = 32) -> Tensor:
    """Smooth random pictures, all different: (count, channels, size, size) in [-1, 1]."""
    coarse = torch.randn(count, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear"))


REAL = RealSet.of(scenes(64, seed=1))


def test_pictures_like_the_real_ones_score_one() -> None:
    values = measure(scenes(64, seed=2), REAL)
    assert values["sample/diversity"] == pytest.approx(1.0, abs=0.05)
    assert values["sample/midtones"] == pytest.approx(1.0, abs=0.05)
    assert values["sample/repeated"] == 0.0
    assert measure(scenes(64, seed=1), REAL)["sample/diversity"] == 1.0


@pytest.mark.parametrize("channels", [1, 3])
def test_one_picture_scores_zero_exactly(channels: int) -> None:
    real = RealSet.of(scenes(16, seed=1, channels=channels))
    same = scenes(1, seed=3, channels=channels).expand(16, -1, -1, -1)
    assert diversity(same, real) == 0.0
    assert repeated_share(same, real) == 1.0


@pytest.mark.parametrize("modes", [2, 4])
def test_few_modes_score_one_less_their_share(modes: int) -> None:
    """k equally frequent pictures: 1 - 1/k of the pairs differ, and everyone has a twin."""
    made = scenes(modes, seed=4).repeat(64 // modes, 1, 1, 1) + 0.01 * scenes(64, seed=5)
    assert diversity(made, REAL) == pytest.approx(1 - 1 / modes, abs=0.12)
    assert repeated_share(made, REAL) == 1.0


def test_half_a_collapse_is_seen_in_part() -> None:
    made = torch.cat([scenes(32, seed=6), scenes(1, seed=7).expand(32, -1, -1, -1)])
    assert repeated_share(made, REAL) == 0.5
    assert 0.6 < diversity(made, REAL) < 0.9


def test_noise_of_a_pixel_is_no_diversity() -> None:
    noise = torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    made = (scenes(1, seed=8, size=64) + 0.3 * noise).clamp(-1, 1)
    assert diversity(made, RealSet.of(scenes(64, seed=1, size=64))) < 0.3


def test_saturated_pictures_have_no_midtones() -> None:
    made = scenes(64, seed=9)
    assert midtones(made.sign(), REAL) == 0.0
    assert midtones(torch.zeros_like(made), REAL) == pytest.approx(1.0, abs=0.05)


def test_a_measure_without_a_scale_is_left_out() -> None:
    line_art = RealSet.of(scenes(16, seed=1).sign())
    assert set(measure(scenes(16, seed=2), line_art)) == {"sample/diversity", "sample/repeated"}
    all_the_same = RealSet.of(torch.zeros(16, 3, 32, 32))
    assert set(measure(scenes(16, seed=2), all_the_same)) == {"sample/midtones"}


def test_values_out_of_range_are_clipped_and_broken_ones_said() -> None:
    made = scenes(16, seed=2)
    real = RealSet.of(scenes(16, seed=1))
    assert measure(100 * made, real) == measure((100 * made).clamp(-1, 1), real)
    made[3, 0, 0, 0] = math.nan
    values = measure(made, real)
    assert len(values) == 3 and all(math.isnan(value) for value in values.values())


def test_the_inputs_are_left_alone_and_any_size_and_type_will_do() -> None:
    made = scenes(8, seed=2, size=28)
    before = made.clone()
    real = RealSet.of(scenes(8, seed=1, size=28))
    assert diversity(made.double(), real) == pytest.approx(diversity(made, real), rel=1e-6)
    assert torch.equal(made, before)
    assert diversity(scenes(8, seed=2, size=8), RealSet.of(scenes(8, seed=1, size=8))) > 0


def test_a_single_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        RealSet.of(scenes(1, seed=1))
