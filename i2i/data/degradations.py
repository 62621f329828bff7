"""Low-resolution pictures from high-resolution ones: MATLAB's bicubic, and blind second-order degradation."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from i2i.data.blur_kernels import Kernel, draw_blur, draw_sinc
from i2i.data.degradation_settings import (
    BicubicSettings,
    DegradationSettings,
    FirstRoundSettings,
    SecondOrderSettings,
)
from i2i.data.keyed import keyed_words

PIXELS_VERSION = 1
"""To be raised with any change of what comes out here, so that no old cache is taken."""

Levels = NDArray[np.float32]
"""(H, W, 3), in levels of 0..255, which blurring and noise may leave."""

_MANY_QUANTA = 8.0
_INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def degrade(picture: np.ndarray, scale: int, settings: DegradationSettings, *key: int | str) -> np.ndarray:
    """Make the low-resolution counterpart of a picture.

    Args:
        picture: uint8 RGB (H, W, 3), both sides multiples of `scale`; not written to.
        scale: high over low side.
        settings: how.
        key: what tells this draw from all others; bicubic has nothing to draw.

    Returns:
        uint8 RGB (H / scale, W / scale, 3), contiguous: a pure function of the arguments.
    """
    assert picture.shape[0] % scale == 0 and picture.shape[1] % scale == 0
    match settings:
        case BicubicSettings():
            return bicubic(picture, scale)
        case SecondOrderSettings():
            return second_order(picture, scale, settings, *key)


def bicubic(picture: np.ndarray, scale: int) -> np.ndarray:
    """Shrink as MATLAB's imresize does; see :func:`degrade`."""
    import torch

    from i2i.core.resize import resize_levels

    images = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    return np.ascontiguousarray(resize_levels(images, Fraction(1, scale))[0].permute(1, 2, 0).numpy())


def second_order(picture: np.ndarray, scale: int, settings: SecondOrderSettings, *key: int | str) -> np.ndarray:
    """Degrade blindly; see :func:`degrade` and :class:`i2i.data.degradation_settings.SecondOrderSettings`."""
    first, second, _, _ = keyed_words("second order", *key)
    rng = np.random.Generator(np.random.Philox(key=first | second << 64))
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    levels = picture.astype(np.float32)
    levels = _blur_resize_noise(levels, picture.shape[:2], settings.first, settings.kernel_pixels, rng)
    levels = jpeg(levels, _draw_quality(settings.first, rng))
    levels = _blur_resize_noise(levels, (height, width), settings.second, settings.kernel_pixels, rng)
    ringing = draw_sinc(rng, settings.kernel_pixels) if rng.random() < settings.final_sinc_probability else None
    interpolation, quality = _draw_interpolation(rng), _draw_quality(settings.second, rng)
    if rng.random() < 0.5:
        levels = jpeg(_filtered(_resized(levels, height, width, interpolation), ringing), quality)
    else:
        levels = _filtered(_resized(jpeg(levels, quality), height, width, interpolation), ringing)
    return to_bytes(levels)


def jpeg(levels: Levels, quality: int) -> Levels:
    """Encode as JPEG (colours at half the resolution) and decode."""
    blue_first = cv2.cvtColor(to_bytes(levels), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    read = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert read is not None
    decoded = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
    return decoded.astype(np.float32)


def add_gaussian_noise(levels: Levels, sigma: float, grey: bool, rng: np.random.Generator) -> Levels:
    """Add noise of standard deviation `sigma`, in levels; the same on all colours if `grey`."""
    noise = rng.standard_normal((*levels.shape[:2], 1 if grey else 3), np.float32)
    noise *= np.float32(sigma)
    return levels + noise


def add_poisson_noise(levels: Levels, scale: float, grey: bool, rng: np.random.Generator) -> Levels:
    """Add the noise of counting light, times `scale`; the same on all colours if `grey`.

    As many quanta are counted as the picture has different levels, rounded up to a power of two.
    """
    seen = to_bytes(levels)
    if grey:
        seen = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.uint8, copy=False)
    different = int(np.count_nonzero(np.bincount(seen.ravel(), minlength=256)))
    quanta = 1 << (different - 1).bit_length()
    noise = _poisson(seen, quanta, rng)
    noise *= np.float32(255 / quanta)
    noise -= seen
    noise *= np.float32(scale)
    return levels + noise


def _poisson(seen: NDArray[np.uint8], quanta: int, rng: np.random.Generator) -> Levels:
    """Count the quanta of each pixel, `quanta` of them expected at level 255."""
    expected = (np.arange(256) * (quanta / 255)).astype(np.float32)
    # NumPy's own takes eight times as long. Where many are expected, their number is as good as normal, but for its
    # skewness, which the square term of Cornish and Fisher's expansion gives.
    normal = rng.standard_normal(seen.shape, np.float32)
    counts = normal * np.sqrt(expected)[seen]
    normal *= normal
    normal -= 1
    normal *= np.float32(1 / 6)
    counts += normal
    counts += expected[seen]
    np.maximum(np.rint(counts, out=counts), 0, out=counts)
    few = seen < np.searchsorted(expected, _MANY_QUANTA)
    counts[few] = rng.poisson(expected[seen[few]])
    return counts


def to_bytes(levels: Levels) -> NDArray[np.uint8]:
    """Round, halves to even, and clip to 0..255."""
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _blur_resize_noise(
    levels: Levels,
    size: tuple[int, int],
    settings: FirstRoundSettings,
    sides: tuple[int, int],
    rng: np.random.Generator,
) -> Levels:
    """One round without its JPEG; a factor is relative to `size` (height, width)."""
    if rng.random() < settings.blur_probability:
        levels = _filtered(levels, draw_blur(rng, sides, settings))
    factor = _draw_factor(settings, rng)
    height, width = (max(1, int(side * factor)) for side in size)
    levels = _resized(levels, height, width, _draw_interpolation(rng))
    is_gaussian = rng.random() < settings.gaussian_probability
    strength = rng.uniform(*(settings.gaussian_sigma if is_gaussian else settings.poisson_scale))
    grey = bool(rng.random() < settings.grey_noise_probability)
    noisy = (add_gaussian_noise if is_gaussian else add_poisson_noise)(levels, strength, grey, rng)
    return np.clip(noisy, 0, 255, out=noisy)


def _draw_factor(settings: FirstRoundSettings, rng: np.random.Generator) -> float:
    low, high = settings.resize_factor
    choice = rng.random()
    if choice < settings.up_probability:
        return rng.uniform(1.0, high)
    return rng.uniform(low, 1.0) if choice < settings.up_probability + settings.down_probability else 1.0


def _draw_interpolation(rng: np.random.Generator) -> int:
    return _INTERPOLATIONS[int(rng.integers(len(_INTERPOLATIONS)))]


def _draw_quality(settings: FirstRoundSettings, rng: np.random.Generator) -> int:
    return int(rng.integers(settings.jpeg_quality[0], settings.jpeg_quality[1] + 1))


def _resized(levels: Levels, height: int, width: int, interpolation: int) -> Levels:
    if levels.shape[:2] == (height, width):
        return levels
    return cv2.resize(levels, (width, height), interpolation=interpolation).astype(np.float32, copy=False)


def _filtered(levels: Levels, kernel: Kernel | None) -> Levels:
    if kernel is None:
        return levels
    return cv2.filter2D(levels, -1, kernel, borderType=cv2.BORDER_REFLECT_101).astype(np.float32, copy=False)
