"""How close enlarged pictures come to the true ones, by the protocols that papers on super-resolution quote.

All measures take batches of 8-bit pictures, compute in float64 where the pictures lie, and leave out a border of as
many pixels as the scale: there an enlargement lacks neighbours. A figure means nothing without its protocol: for the
same pictures, those on luma and on RGB lie two decibels apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from i2i.core.resize import resize_levels, to_float64

PEAK = 255.0
"""Data range: pictures are 8-bit."""

_LUMA = (65.481, 128.553, 24.966)
_LUMA_OFFSET = 16.0
_WINDOW_PIXELS, _WINDOW_SIGMA = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
_DAALA_WEIGHT = 256


@dataclass(frozen=True, kw_only=True)
class MetricProtocol:
    """One way to score enlarged pictures."""

    label: str
    definition: str
    digits: int
    """Behind the point, in a table."""
    measure: Callable[[Tensor, Tensor, int], Tensor]
    """(pictures, truth, border in pixels) to one number a picture."""


def luma(images: Tensor) -> Tensor:
    """The Y of (N, 3, H, W) RGB on 0..255: ITU-R BT.601, studio range 16..235, not rounded; (N, 1, H, W) float64."""
    red, green, blue = to_float64(images).unbind(1)
    return (_LUMA_OFFSET + (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue) / PEAK).unsqueeze(1)


def psnr(images: Tensor, truth: Tensor, border_pixels: int = 0) -> Tensor:
    """Peak signal-to-noise ratio of (N, C, H, W) on 0..255, in dB, (N,) float64; infinite for equal pictures.

    10 log10(255^2 / MSE), the mean squared error over all pixels and channels together.
    """
    first, second = _inner(images, truth, border_pixels)
    return 10.0 * torch.log10(PEAK**2 / (first - second).square().mean((1, 2, 3)))


def ssim(images: Tensor, truth: Tensor, border_pixels: int = 0) -> Tensor:
    """Structural similarity of (N, C, H, W) on 0..255, mean over positions and channels, (N,) float64.

    A Gaussian window of 11x11 pixels with sigma 1.5, only where it lies wholly within the picture; K1 0.01, K2 0.03.

    Raises:
        ValueError: a picture is smaller than the window.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    """
    first, second = _inner(images, truth, border_pixels)
    if min(first.shape[-2:]) < _WINDOW_PIXELS:
        raise ValueError(
            f"pictures are {images.shape[-1]}x{images.shape[-2]}; the similarity needs sides of {_WINDOW_PIXELS} pixels"
            f" inside a border of {border_pixels}"
        )
    offsets = [index - _WINDOW_PIXELS // 2 for index in range(_WINDOW_PIXELS)]
    window = [math.exp(-(offset**2) / (2 * _WINDOW_SIGMA**2)) for offset in offsets]
    window = [weight / sum(window) for weight in window]
    mean_1, mean_2, squares, product = (
        _filtered(maps, window) for maps in (first, second, first.square() + second.square(), first * second)
    )
    return _similarity(mean_1, mean_2, squares, product, 1.0).mean((1, 2, 3))


def daala_ssim(images: Tensor, truth: Tensor, border_pixels: int = 0) -> Tensor:
    """The similarity that the SRGAN paper quotes: that of daala's tool on luma of 8 bits; (N,) float64.

    Its window grows with the picture, sigma = 1.5 height / 256, in whole 256ths; it is cut off at the borders, and a
    position counts by how much of the window lies within the picture. The paper says that it left out 4 pixels at each
    border. For bicubic enlargement of Set5 by 4 it prints 0.8211; this gives 0.8202 without the border and 0.8221 with
    it, so that something in how the paper made its pictures was different.

    Args:
        images: (N, 3, H, W), RGB on 0..255.
        truth: the same, of the same shape.
        border_pixels: left out at each border before anything else.

    Source: ``tools/dump_ssim.c`` of the video codec daala; Ledig et al. 2017, https://arxiv.org/abs/1609.04802,
    section 3.1.
    """
    first, second = _inner(luma(images).round(), luma(truth).round(), border_pixels)
    height, width = first.shape[-2:]
    window = _daala_window(1.5 * height / 256, min(height, width))
    reach = len(window) // 2
    # Beyond the border there is nothing: neither values nor weight.
    weight, mean_1, mean_2, squares, product = (
        _filtered(functional.pad(maps, (reach,) * 4), window)
        for maps in (torch.ones_like(first[:1]), first, second, first.square() + second.square(), first * second)
    )
    similarity = _similarity(mean_1, mean_2, squares, product, weight)
    return (similarity * weight).sum((1, 2, 3)) / weight.sum()


PROTOCOLS: Mapping[str, MetricProtocol] = {
    "psnr_y": MetricProtocol(
        label="PSNR-Y",
        definition="dB, on luma (BT.601, studio range, not rounded)",
        digits=2,
        measure=lambda images, truth, border: psnr(luma(images), luma(truth), border),
    ),
    "ssim_y": MetricProtocol(
        label="SSIM-Y",
        definition="11x11 Gaussian window, sigma 1.5, on the same luma",
        digits=4,
        measure=lambda images, truth, border: ssim(luma(images), luma(truth), border),
    ),
    "psnr_rgb": MetricProtocol(
        label="PSNR-RGB", definition="dB, over the three channels together", digits=2, measure=psnr
    ),
    "ssim_rgb": MetricProtocol(
        label="SSIM-RGB", definition="the same window, mean of the three channels", digits=4, measure=ssim
    ),
    "ssim_daala": MetricProtocol(
        label="SSIM-daala",
        definition="as the SRGAN paper: luma rounded to 8 bits, sigma 1.5 height / 256",
        digits=4,
        measure=daala_ssim,
    ),
}
"""All of them, in the order of the table."""


def minimum_pixels(border_pixels: int) -> int:
    """Shortest side of a picture that every protocol can score."""
    return _WINDOW_PIXELS + 2 * border_pixels


def measure_all(images: Tensor, truth: Tensor, border_pixels: int) -> dict[str, Tensor]:
    """Every protocol's number for each of (N, 3, H, W) pictures of levels 0..255, (N,) float64 by protocol.

    Raises:
        ValueError: shapes differ, or pictures are smaller than `minimum_pixels`.
    """
    return {name: protocol.measure(images, truth, border_pixels) for name, protocol in PROTOCOLS.items()}


def luma_psnr(picture: np.ndarray, truth: np.ndarray, *, border_pixels: int) -> float:
    """The protocol ``psnr_y`` for two uint8 RGB pictures (H, W, 3), in dB."""
    first, second = (torch.from_numpy(np.array(one)).permute(2, 0, 1)[None] for one in (picture, truth))
    return float(psnr(luma(first), luma(second), border_pixels))


@dataclass(frozen=True, kw_only=True)
class PictureScores:
    """One picture's numbers by protocol: of the model's enlargement, and of the bicubic one beside it."""

    name: str
    model: Mapping[str, float]
    bicubic: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class UpscalingScores:
    """Scores of a model on test pictures."""

    scale: int
    pictures: Sequence[PictureScores]

    @property
    def border_pixels(self) -> int:
        """Left out at each border."""
        return self.scale

    def mean(self) -> PictureScores:
        """Means over the pictures, protocol by protocol; decibels are averaged as they are."""
        count = len(self.pictures)
        model, bicubic = (
            {name: sum(getattr(one, which)[name] for one in self.pictures) / count for name in PROTOCOLS}
            for which in ("model", "bicubic")
        )
        return PictureScores(name=f"mean of {count}", model=model, bicubic=bicubic)

    def to_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; the infinite PSNR of equal pictures becomes None."""
        return {
            "scale": self.scale,
            "border_pixels": self.border_pixels,
            "protocols": {name: f"{protocol.label}: {protocol.definition}" for name, protocol in PROTOCOLS.items()},
            "pictures": [_as_json(one) for one in self.pictures],
            "mean": _as_json(self.mean()),
        }

    def table(self) -> str:
        """The scores as aligned plain text, model and bicubic below each other, and what the columns mean."""
        rows = [*self.pictures, self.mean()]
        first = max(len(one.name) for one in rows) + 2
        widths = {name: max(len(protocol.label), 6) + 2 for name, protocol in PROTOCOLS.items()}
        heads = "".join(f"{PROTOCOLS[name].label:>{width}}" for name, width in widths.items())
        lines = [f"{'':<{first}}{'':<8}{heads}"]
        for one in rows:
            for index, (who, numbers) in enumerate((("model", one.model), ("bicubic", one.bicubic))):
                cells = "".join(f"{numbers[name]:>{width}.{PROTOCOLS[name].digits}f}" for name, width in widths.items())
                lines.append(f"{one.name if index == 0 else '':<{first}}{who:<8}{cells}")
        lines.append(f"x{self.scale}, 8-bit pictures without a border of {self.border_pixels} pixels")
        return "\n".join([*lines, *(f"{protocol.label}: {protocol.definition}" for protocol in PROTOCOLS.values())])


def score_picture(name: str, upscaled: Tensor, low: Tensor, truth: Tensor, scale: int) -> PictureScores:
    """Score one enlargement and the bicubic one.

    Args:
        name: of the picture, for the table.
        upscaled: what a model made of `low`, (3, H, W) uint8.
        low: the small picture, (3, H / scale, W / scale) uint8.
        truth: (3, H, W) uint8.
        scale: output side over input side.

    Raises:
        ValueError: sizes do not fit each other, or are smaller than `minimum_pixels`.
    """
    bicubic = resize_levels(low[None], scale)
    both = torch.cat([upscaled[None].to(bicubic.device), bicubic])
    numbers = measure_all(both, truth[None].to(bicubic.device).expand_as(both), scale)
    model, baseline = ({metric: float(values[index]) for metric, values in numbers.items()} for index in (0, 1))
    return PictureScores(name=name, model=model, bicubic=baseline)


def _inner(images: Tensor, truth: Tensor, border_pixels: int) -> tuple[Tensor, Tensor]:
    """Both in float64 without their border."""
    if images.shape != truth.shape or images.ndim != 4:
        raise ValueError(
            f"pictures are {tuple(images.shape)} and {tuple(truth.shape)}; needs (N, C, H, W) of one shape"
        )
    height, width = images.shape[-2:]
    if min(height, width) <= 2 * border_pixels:
        raise ValueError(f"pictures are {width}x{height}; nothing is left inside a border of {border_pixels} pixels")
    rows, columns = slice(border_pixels, height - border_pixels), slice(border_pixels, width - border_pixels)
    return to_float64(images[..., rows, columns]), to_float64(truth[..., rows, columns])


def _as_json(scores: PictureScores) -> dict[str, Any]:
    model, bicubic = (
        {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        for numbers in (scores.model, scores.bicubic)
    )
    return {"name": scores.name, "model": model, "bicubic": bicubic}


def _filtered(maps: Tensor, window: list[float]) -> Tensor:
    """`maps` under the window, down and across, where it lies wholly within them.

    As sums of shifted maps: convolutions of float64 take eleven times the memory and no less time.
    """
    for axis in (-2, -1):
        length = maps.shape[axis] - len(window) + 1
        total = maps.narrow(axis, 0, length) * window[0]
        for index, weight in enumerate(window[1:], start=1):
            total.add_(maps.narrow(axis, index, length), alpha=weight)
        maps = total
    return maps


def _similarity(mean_1: Tensor, mean_2: Tensor, squares: Tensor, product: Tensor, weight: Tensor | float) -> Tensor:
    """The index out of weighted sums of values, of both their squares and of products, and the sum of the weights."""
    c1, c2 = _C1 * weight * weight, _C2 * weight * weight
    of_means, means = mean_1 * mean_2, mean_1.square() + mean_2.square()
    covariance, variances = product * weight - of_means, squares * weight - means
    return (2 * of_means + c1) * (2 * covariance + c2) / ((means + c1) * (variances + c2))


def _daala_window(sigma: float, longest: int) -> list[float]:
    """A Gaussian in whole 256ths, as long as its coefficients are not zero."""
    smallest = math.sqrt(math.pi / 2) * sigma / _DAALA_WEIGHT
    reach = 0 if smallest >= 1 else math.floor(sigma * math.sqrt(-2 * math.log(smallest)))
    reach = min(reach, longest - 1)
    scale = _DAALA_WEIGHT / (math.sqrt(2 * math.pi) * sigma)
    tail = [math.floor(scale * math.exp(-(offset**2) / (2 * sigma**2)) + 0.5) for offset in range(reach, 0, -1)]
    return [float(weight) for weight in (*tail, _DAALA_WEIGHT - 2 * sum(tail), *reversed(tail))]
