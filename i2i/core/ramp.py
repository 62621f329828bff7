"""Numbers that change while a training goes on, as functions of its progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

from i2i.core.step import Progress


@dataclass(frozen=True, kw_only=True)
class CosineRamp:
    """From `start` to `end` along half a cosine over the first `images` samples, and `end` from then on.

    Source: Huang et al. 2024 (R3GAN), https://arxiv.org/abs/2501.05441, whose settings all change this way.
    """

    start: float
    end: float
    images: int

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images is {self.images}; needs at least 1")

    def value(self, progress: Progress) -> float:
        """Where the ramp is; a pure function of `progress.images`."""
        done = min(1.0, progress.images / self.images)
        remaining = 0.5 * (1.0 + math.cos(math.pi * done))
        # Written so that both ends are met exactly.
        return self.start * remaining + self.end * (1.0 - remaining)


def value_at(value: float | CosineRamp, progress: Progress) -> float:
    """A setting that may be a constant or a ramp, as a number."""
    return value.value(progress) if isinstance(value, CosineRamp) else value


def bounds(value: float | CosineRamp) -> tuple[float, float]:
    """The least and the greatest number that such a setting takes, for checking its range."""
    ends = (value.start, value.end) if isinstance(value, CosineRamp) else (value, value)
    return min(ends), max(ends)
