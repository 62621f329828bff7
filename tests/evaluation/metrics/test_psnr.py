from __future__ import annotations

import math

import numpy as np
import pytest

from i2i.evaluation.metrics.psnr import l1, mean_squared_error, psnr


def grey(level: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_known_differences() -> None:
    assert l1(grey(10), grey(13)) == 3
    assert mean_squared_error(grey(10), grey(13)) == 9
    assert psnr(grey(10), grey(13)) == pytest.approx(10 * math.log10(65025 / 9))
    assert psnr(grey(0), grey(255)) == 0


def test_no_wrap_around_and_symmetric() -> None:
    assert l1(grey(250), grey(5)) == l1(grey(5), grey(250)) == 245
    assert psnr(grey(250), grey(5)) == psnr(grey(5), grey(250))


def test_equal_pictures_are_infinitely_good() -> None:
    assert psnr(grey(7), grey(7)) == math.inf
    assert l1(grey(7), grey(7)) == 0


def test_all_three_channels_count_together() -> None:
    changed = grey(100)
    changed[..., 2] = 130
    assert mean_squared_error(grey(100), changed) == 300
    assert psnr(grey(100), changed) == pytest.approx(10 * math.log10(65025 / 300))


def test_agrees_with_opencv() -> None:
    import cv2

    random = np.random.default_rng(0)
    a, b = (random.integers(0, 256, (31, 17, 3), dtype=np.uint8) for _ in range(2))
    assert psnr(a, b) == pytest.approx(cv2.PSNR(a, b), abs=1e-9)


@pytest.mark.parametrize("other", [grey(1, 5, 6), grey(1).astype(np.float32), grey(1)[..., :1]])
def test_other_shapes_and_types_are_refused(other: np.ndarray) -> None:
    for measure in (psnr, l1, mean_squared_error):
        with pytest.raises(ValueError, match="uint8 pictures of one shape"):
            measure(grey(1), other)
