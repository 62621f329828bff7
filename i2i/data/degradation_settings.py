"""How low-resolution pictures are made from high-resolution ones; every variant is told apart by `kind`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Range = tuple[float, float]
"""The smallest and the largest of a number that is drawn uniformly."""

LARGEST_KERNEL_PIXELS = 31
_LARGEST_MARGIN_PIXELS = 1024


@dataclass(frozen=True, kw_only=True)
class BicubicSettings:
    """Bicubic with antialias, as MATLAB's imresize has it and as the published test sets are made with.

    It is done once, on whole pictures, and rounded to 8 bits; crops are taken from the result.
    """

    kind: Literal["bicubic"] = "bicubic"


@dataclass(frozen=True, kw_only=True)
class FirstRoundSettings:
    """The first of two rounds of blur, resizing, noise and JPEG; every number is drawn anew for each sample.

    Blur: done with `blur_probability`; then it is a sinc filter (ringing) with `sinc_probability`, and else a Gaussian,
    a generalized Gaussian or a plateau, round or stretched, of `blur_sigma` pixels. `generalized_shape` and
    `plateau_shape` are the exponents *beta* of those two; 1 is a plain Gaussian's.

    Resizing: larger with `up_probability`, smaller with `down_probability`, else not at all, by a factor from
    `resize_factor`; by area, bilinear or bicubic, without antialias, each as often.

    Noise: Gaussian with `gaussian_probability` (standard deviation `gaussian_sigma`, in levels of 0..255), else Poisson
    (shot noise, `poisson_scale` times as strong as that of 255 levels); the same on all colours with
    `grey_noise_probability`.

    JPEG: at a quality from `jpeg_quality`.
    """

    blur_probability: float = 1.0
    sinc_probability: float = 0.1
    blur_sigma: Range = (0.2, 3.0)
    generalized_shape: Range = (0.5, 4.0)
    plateau_shape: Range = (1.0, 2.0)
    up_probability: float = 0.2
    down_probability: float = 0.7
    resize_factor: Range = (0.15, 1.5)
    gaussian_probability: float = 0.5
    gaussian_sigma: Range = (1.0, 30.0)
    poisson_scale: Range = (0.05, 3.0)
    grey_noise_probability: float = 0.4
    jpeg_quality: tuple[int, int] = (30, 95)

    def __post_init__(self) -> None:
        for name in ("blur", "sinc", "up", "down", "gaussian", "grey_noise"):
            _check_probability(f"{name}_probability", getattr(self, f"{name}_probability"))
        if self.up_probability + self.down_probability > 1:
            raise ValueError(
                f"down_probability is {self.down_probability}; with up_probability {self.up_probability} it needs at"
                f" most {1 - self.up_probability:g}"
            )
        _check_range("blur_sigma", self.blur_sigma, 0.05, 20)
        _check_range("generalized_shape", self.generalized_shape, 0.1, 10)
        _check_range("plateau_shape", self.plateau_shape, 0.1, 10)
        _check_range("resize_factor", self.resize_factor, 0.05, 4)
        if not self.resize_factor[0] <= 1 <= self.resize_factor[1]:
            raise ValueError(f"resize_factor is {_shown(self.resize_factor)}; needs one number up to 1 and one from 1")
        _check_range("gaussian_sigma", self.gaussian_sigma, 0, 255)
        _check_range("poisson_scale", self.poisson_scale, 0, 100)
        _check_range("jpeg_quality", self.jpeg_quality, 1, 100)


@dataclass(frozen=True, kw_only=True)
class SecondRoundSettings(FirstRoundSettings):
    """The second round, which is weaker; resizing is relative to the size of the result. See the first one."""

    blur_probability: float = 0.8
    blur_sigma: Range = (0.2, 1.5)
    up_probability: float = 0.3
    down_probability: float = 0.4
    resize_factor: Range = (0.3, 1.2)
    gaussian_sigma: Range = (1.0, 25.0)
    poisson_scale: Range = (0.05, 2.5)


@dataclass(frozen=True, kw_only=True)
class SecondOrderSettings:
    """Blind degradation: two rounds of blur, resizing, noise and JPEG, and a sinc filter before or after the last JPEG.

    `kernel_pixels`: the smallest and the largest side of a blur kernel, both odd.
    `final_sinc_probability`: how often the result is filtered with a sinc at all.
    `margin_pixels`: what is degraded is larger than the crop by this, taken from all sides together, so that the crop
    sees the borders of the filters as seldom as a whole picture does; 0 is fastest.

    Source: Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
    section 3, and the settings of its reference code, which degrades 400 pixels, crops 256, and sharpens the high
    pictures beforehand; they are left as they are here.
    """

    kind: Literal["second_order"] = "second_order"
    first: FirstRoundSettings = field(default_factory=FirstRoundSettings)
    second: SecondRoundSettings = field(default_factory=SecondRoundSettings)
    kernel_pixels: tuple[int, int] = (7, 21)
    final_sinc_probability: float = 0.8
    margin_pixels: int = 64

    def __post_init__(self) -> None:
        _check_range("kernel_pixels", self.kernel_pixels, 3, LARGEST_KERNEL_PIXELS)
        if any(side % 2 == 0 for side in self.kernel_pixels):
            raise ValueError(f"kernel_pixels is {_shown(self.kernel_pixels)}; needs odd numbers")
        _check_probability("final_sinc_probability", self.final_sinc_probability)
        if not 0 <= self.margin_pixels <= _LARGEST_MARGIN_PIXELS:
            raise ValueError(f"margin_pixels is {self.margin_pixels}; needs 0 to {_LARGEST_MARGIN_PIXELS}")


DegradationSettings = BicubicSettings | SecondOrderSettings
"""Every way a recipe may name how low-resolution pictures are made."""


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; needs 0 to 1")


def _check_range(name: str, value: tuple[float, float], low: float, high: float) -> None:
    if not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} is {_shown(value)}; needs two numbers of {low:g} to {high:g}, the smaller first")


def _shown(value: tuple[float, float]) -> str:
    return f"[{value[0]:g}, {value[1]:g}]"
