"""Instance noise: real and generated pictures under noise that fades away."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress


@dataclass(frozen=True, kw_only=True)
class InstanceNoiseSettings:
    """Gaussian noise on whatever the discriminator sees, so that the two sets of pictures overlap while both are far
    apart; it fades linearly to none.

    Sources: Sonderby et al. 2017, https://arxiv.org/abs/1610.04490, section 2.4; Arjovsky & Bottou 2017,
    https://arxiv.org/abs/1701.04862, section 3.
    """

    standard_deviation: float = 0.1
    """At the start, for pictures in [-1, 1]."""
    images: int = 1_000_000
    """Samples seen after which there is no noise any more."""

    def __post_init__(self) -> None:
        if self.standard_deviation <= 0:
            raise ValueError(f"standard_deviation is {self.standard_deviation:g}; needs more than 0")
        if self.images < 1:
            raise ValueError(f"images is {self.images}; needs at least 1")

    def deviation_at(self, progress: Progress) -> float:
        """The standard deviation at that point of the training."""
        return self.standard_deviation * max(0.0, 1.0 - progress.images / self.images)

    def add(self, images: Tensor, progress: Progress, random: SampleRandom, purpose: str) -> Tensor:
        """Pictures (own rows, C, H, W) with the noise of this moment; the same tensor when there is none."""
        deviation = self.deviation_at(progress)
        if deviation == 0.0:
            return images
        return images + deviation * random.normal(purpose, images.shape[1:]).to(images)
