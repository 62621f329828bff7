"""A ramp is a pure function of how many samples were seen."""

from __future__ import annotations

import pytest

from i2i.core.ramp import CosineRamp, bounds, value_at
from i2i.core.step import Progress


def after(images: int) -> Progress:
    return Progress(step=7, images=images, epoch=0.3)


@pytest.mark.parametrize(("start", "end"), [(0.05, 0.005), (0.9, 0.99), (0.0, 0.3)])
def test_it_meets_both_ends_exactly_and_stays_at_the_second(start: float, end: float) -> None:
    ramp = CosineRamp(start=start, end=end, images=1000)
    assert ramp.value(after(0)) == start
    assert ramp.value(after(1000)) == ramp.value(after(10**9)) == end
    assert ramp.value(after(500)) == pytest.approx((start + end) / 2)


def test_it_follows_the_cosine() -> None:
    ramp = CosineRamp(start=1.0, end=0.0, images=3000)
    assert ramp.value(after(1000)) == pytest.approx(0.75)  # (1 + cos 60 degrees) / 2
    values = [ramp.value(after(images)) for images in range(0, 3001, 100)]
    assert values == sorted(values, reverse=True)


def test_a_constant_is_a_setting_too() -> None:
    assert value_at(2.5, after(9)) == 2.5
    ramp = CosineRamp(start=2.0, end=1.0, images=10)
    assert value_at(ramp, after(10)) == 1.0
    assert bounds(2.5) == (2.5, 2.5) and bounds(ramp) == (1.0, 2.0)


def test_a_ramp_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="images is 0; needs at least 1"):
        CosineRamp(start=1.0, end=0.0, images=0)
