"""The discriminator of Real-ESRGAN: a U-Net that judges every pixel in the light of its surroundings.

Source: Wang et al. 2021, https://arxiv.org/abs/2107.10833, section 3.4 and figure 6, after Schoenfeld et al. 2020,
https://arxiv.org/abs/2002.12655.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.generators.upscaling import to_unit
from i2i.core.image_shape import ImageShape
from i2i.core.sizes import refuse, unfit_size
from i2i.core.spectral_norm import published_spectral_norm

LEVELS = 3
SIZES = range(2**LEVELS, 4097, 2**LEVELS)


@dataclass(frozen=True, kw_only=True)
class UNetDiscriminatorSettings:
    """Three halvings and three doublings between layers at full size."""

    kind: Literal["unet"] = "unet"
    base_channels: int = 64
    """At the picture's size; doubled at each smaller one."""
    skip_connections: bool = True
    spectral_norm: bool = True
    """On all convolutions but the first and the last."""

    def __post_init__(self) -> None:
        if self.base_channels < 1:
            raise ValueError(f"base_channels is {self.base_channels}; needs at least 1")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be judged, naming the nearest that can, or None."""
        return unfit_size("unet", shape, SIZES)

    def build(self, shape: ImageShape) -> UNetDiscriminator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return UNetDiscriminator(self, shape.channels)


class UNetDiscriminator(nn.Module):
    """Judges every pixel; sums the maps of equal size on the way down and up."""

    def __init__(self, settings: UNetDiscriminatorSettings, in_channels: int = 3) -> None:
        super().__init__()
        self.skip_connections = settings.skip_connections
        widths = [settings.base_channels * 2**depth for depth in range(LEVELS + 1)]
        full = widths[0]
        # The biases left away are the release's; its weights load here only so.
        self.first = nn.Conv2d(in_channels, full, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=False) for narrow, wide in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(wide, narrow, 3, padding=1, bias=False) for wide, narrow in pairwise(reversed(widths))
        )
        self.refine = nn.ModuleList(nn.Conv2d(full, full, 3, padding=1, bias=False) for _ in range(2))
        self.judge = nn.Conv2d(full, 1, 3, padding=1)
        if settings.spectral_norm:
            for convolution in (*self.down, *self.up, *self.refine):
                published_spectral_norm(convolution)

    def forward(self, images: Tensor) -> DiscriminatorOutput:
        """(N, C, H, W) in [-1, 1], H and W multiples of 8, to logits (N, 1, H, W)."""
        features = _activated(self.first(to_unit(images)))
        skips: list[Tensor] = []
        for convolution in self.down:
            skips.append(features)
            features = _activated(convolution(features))
        for convolution in self.up:
            doubled = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = _activated(convolution(doubled))
            skip = skips.pop()
            if self.skip_connections:
                features = features + skip
        for convolution in self.refine:
            features = _activated(convolution(features))
        return DiscriminatorOutput(logits=(self.judge(features),))


def _activated(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, 0.2, inplace=True)
