"""Kernels add up to one, have the shapes they are called after, and are drawn as often as they should be."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from i2i.data.blur_kernels import Profile, blob, draw_blur, draw_sinc, sinc
from i2i.data.degradation_settings import LARGEST_KERNEL_PIXELS, FirstRoundSettings


@pytest.mark.parametrize("profile", ["gaussian", "generalized", "plateau"])
@pytest.mark.parametrize("side", [3, 7, 21, LARGEST_KERNEL_PIXELS])
def test_blobs_are_symmetric_about_their_middle(profile: Profile, side: int) -> None:
    kernel = blob(profile, side, (2.0, 0.7), angle=0.6, shape=1.5)
    assert kernel.shape == (side, side) and kernel.dtype == np.float32
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel.argmax() == side * side // 2
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)


def test_a_round_gaussian_is_opencv_s() -> None:
    line = cv2.getGaussianKernel(15, 1.7)
    np.testing.assert_allclose(blob("gaussian", 15, (1.7, 1.7)), line @ line.T, atol=1e-7)


def test_the_first_sigma_lies_along_the_angle() -> None:
    wide, tall = blob("gaussian", 15, (3.0, 1.0)), blob("gaussian", 15, (3.0, 1.0), angle=math.pi / 2)
    assert wide[7, 11] > 10 * wide[11, 7]
    np.testing.assert_allclose(wide, tall.T, atol=1e-7)
    slanted = blob("gaussian", 15, (3.0, 1.0), angle=math.pi / 4)
    assert slanted[10, 10] > 5 * slanted[4, 10], "rows go downward"


def test_exponents() -> None:
    plain = blob("gaussian", 9, (1.5, 1.5))
    np.testing.assert_allclose(blob("generalized", 9, (1.5, 1.5), shape=1.0), plain, atol=1e-7)
    flat, pointed = (blob("generalized", 9, (2.0, 2.0), shape=shape) for shape in (4.0, 0.5))
    assert flat[4, 5] / flat[4, 4] > 0.99 > 0.8 > pointed[4, 5] / pointed[4, 4]
    plateau = blob("plateau", 9, (2.0, 2.0), shape=2.0)
    assert plateau[4, 6] / plateau[4, 4] == pytest.approx(0.5)


@pytest.mark.parametrize("side", [7, 21, LARGEST_KERNEL_PIXELS])
@pytest.mark.parametrize("cutoff", [math.pi / 5, math.pi / 3, math.pi])
def test_the_sinc_filter_is_its_formula(side: int, cutoff: float) -> None:
    place = torch.arange(side, dtype=torch.float64) - side // 2
    radius = torch.hypot(place[:, None], place[None, :])
    expected = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    expected[side // 2, side // 2] = cutoff**2 / (4 * math.pi)
    np.testing.assert_allclose(sinc(cutoff, side), (expected / expected.sum()).numpy(), atol=1e-6)


def test_what_is_drawn_is_within_the_settings() -> None:
    rng = np.random.default_rng(0)
    kernels = [draw_blur(rng, (7, 11), FirstRoundSettings()) for _ in range(300)]
    assert {kernel.shape for kernel in kernels} == {(7, 7), (9, 9), (11, 11)}
    assert all(kernel.sum() == pytest.approx(1, abs=1e-4) for kernel in kernels)
    ringing = sum(kernel.min() < -1e-4 for kernel in kernels)
    assert 15 < ringing < 50, "one in ten"
    assert all(draw_blur(rng, (7, 7), FirstRoundSettings(sinc_probability=1.0)).min() < 0 for _ in range(20))
    assert not any(draw_blur(rng, (7, 7), FirstRoundSettings(sinc_probability=0.0)).min() < 0 for _ in range(20))
    sharp = draw_blur(rng, (7, 7), FirstRoundSettings(sinc_probability=0, blur_sigma=(0.05, 0.05)))
    assert sharp[3, 3] > 0.95
    assert {draw_sinc(rng, (5, 5)).shape for _ in range(5)} == {(5, 5)}
