"""Blur kernels as cameras, motion and editing make them: Gaussians, their relatives, and the sinc filter.

Source: Wang et al. 2021 (Real-ESRGAN), section 3.1 and 3.2; the weights of the kinds are those of its reference code.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2i.data.degradation_settings import FirstRoundSettings, Range

Kernel = NDArray[np.float32]
"""(side, side), side odd; its values add up to 1."""
Profile = Literal["gaussian", "generalized", "plateau"]

_WEIGHTS: dict[tuple[Profile, bool], float] = {
    ("gaussian", True): 0.45,
    ("gaussian", False): 0.25,
    ("generalized", True): 0.12,
    ("generalized", False): 0.03,
    ("plateau", True): 0.12,
    ("plateau", False): 0.03,
}
"""How often each profile is drawn, round (True) or stretched."""
_SHORT_SINC_PIXELS = 13
# Enough for arguments up to twice their number; the largest kernel's are below 67.
_BESSEL_STEPS = 64


def draw_blur(rng: np.random.Generator, sides: tuple[int, int], settings: FirstRoundSettings) -> Kernel:
    """Draw the kernel of a blur, of a side among the odd numbers from `sides`."""
    side = _draw_side(rng, sides)
    if rng.random() < settings.sinc_probability:
        lowest = math.pi / 3 if side < _SHORT_SINC_PIXELS else math.pi / 5
        return sinc(rng.uniform(lowest, math.pi), side)
    kinds = list(_WEIGHTS)
    profile, is_round = kinds[int(np.searchsorted(np.cumsum(list(_WEIGHTS.values())), rng.random(), side="right"))]
    sigma = rng.uniform(*settings.blur_sigma)
    across, angle = (sigma, 0.0) if is_round else (rng.uniform(*settings.blur_sigma), rng.uniform(-math.pi, math.pi))
    shape = 1.0
    if profile != "gaussian":
        shape = _draw_shape(rng, settings.generalized_shape if profile == "generalized" else settings.plateau_shape)
    return blob(profile, side, (sigma, across), angle, shape)


def draw_sinc(rng: np.random.Generator, sides: tuple[int, int]) -> Kernel:
    """Draw the kernel of the last filter."""
    side = _draw_side(rng, sides)
    return sinc(rng.uniform(math.pi / 3, math.pi), side)


def blob(profile: Profile, side: int, sigmas: tuple[float, float], angle: float = 0.0, shape: float = 1.0) -> Kernel:
    """A kernel that falls off from its middle.

    Args:
        profile: with d the distance in units of sigma, exp(-d^2 / 2) for "gaussian", exp(-d^(2 shape) / 2) for
            "generalized", 1 / (1 + d^(2 shape)) for "plateau".
        side: height and width, odd.
        sigmas: pixels, along the first axis and across it; the same twice is a round kernel.
        angle: of the first axis, in radians from that of the columns.
        shape: exponent *beta*.
    """
    x, y = _grid(side)
    cosine, sine = math.cos(angle), math.sin(angle)
    along, across = (cosine * x + sine * y) / sigmas[0], (cosine * y - sine * x) / sigmas[1]
    distance = along * along + across * across
    if profile != "gaussian" and shape != 1:
        distance **= shape
    values = 1 / (1 + distance) if profile == "plateau" else np.exp(-0.5 * distance)
    return (values / values.sum()).astype(np.float32)


def sinc(cutoff: float, side: int) -> Kernel:
    """The ideal low-pass filter, round, cut to a square: it blurs and rings.

    Args:
        cutoff: frequency in radians a pixel, up to pi.
        side: height and width, odd.
    """
    places, index = _radii(side)
    values = np.full(len(places), cutoff * cutoff / (4 * math.pi))
    values[1:] = cutoff / (2 * math.pi * places[1:]) * _bessel_j1(cutoff * places[1:])
    kernel = values[index]
    return (kernel / kernel.sum()).astype(np.float32)


def _draw_side(rng: np.random.Generator, sides: tuple[int, int]) -> int:
    return sides[0] + 2 * int(rng.integers((sides[1] - sides[0]) // 2 + 1))


def _draw_shape(rng: np.random.Generator, limits: Range) -> float:
    """Below 1 as often as above it, where the limits allow it."""
    low, high = limits
    if low < 1 < high:
        return rng.uniform(low, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, high)
    return rng.uniform(low, high)


@functools.lru_cache(maxsize=32)
def _grid(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows, counted from the middle: (1, side) and (side, 1)."""
    places = np.arange(side, dtype=np.float64) - side // 2
    return places[None, :], places[:, None]


@functools.lru_cache(maxsize=32)
def _radii(side: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """All distances from the middle that occur, the smallest (0) first, and which of them each place has."""
    x, y = _grid(side)
    squares, index = np.unique(x * x + y * y, return_inverse=True)
    return np.sqrt(squares), index.reshape(side, side)


def _bessel_j1(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Bessel function of the first kind and order 1, for x (n,) up to 70.

    Its integral over a period, for which sums of equally spaced values converge faster than any power.
    """
    angles = (np.arange(_BESSEL_STEPS) + 0.5) * (math.pi / _BESSEL_STEPS)
    return np.cos(angles - x[:, None] * np.sin(angles)).mean(axis=1)
