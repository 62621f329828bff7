"""Pixel by pixel measures between two 8-bit pictures."""

from __future__ import annotations

import math

import numpy as np

PEAK = 255.0
"""Data range: pictures are 8-bit."""


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared difference of two uint8 pictures of one shape over all pixels and channels, in squared levels."""
    return float(np.mean(np.square(_difference(a, b))))


def l1(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two uint8 pictures of one shape over all pixels and channels, in levels 0..255."""
    return float(np.mean(np.abs(_difference(a, b))))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 RGB pictures (H, W, 3) in dB; infinite for equal ones.

    10 log10(255^2 / MSE), the mean squared error taken over all pixels and the three channels together. Papers on
    super-resolution quote it on luma with the border cut off instead, which gives other numbers.

    Raises:
        ValueError: the pictures differ in shape or are not uint8.
    """
    error = mean_squared_error(a, b)
    return math.inf if error == 0 else 10.0 * math.log10(PEAK**2 / error)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"two uint8 pictures of one shape are needed, not {a.shape} {a.dtype} and {b.shape} {b.dtype}")
    # float64: uint8 would wrap around.
    return a.astype(np.float64) - b.astype(np.float64)
