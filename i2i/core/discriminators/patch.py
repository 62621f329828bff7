"""Discriminators that judge overlapping patches of a picture.

Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 3.2 and appendix 6.1.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.layers import Normalization, normalization_layer
from i2i.core.sizes import check_repeats


@dataclass(frozen=True, kw_only=True)
class PatchDiscriminatorSettings:
    """A PatchGAN; three layers judge patches of 70 x 70 pixels."""

    kind: Literal["patch"] = "patch"
    base_channels: int = 64
    layers: int = 3
    normalization: Normalization = "instance"

    def __post_init__(self) -> None:
        if self.base_channels < 1:
            raise ValueError(f"base_channels is {self.base_channels}; needs at least 1")
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}; needs at least 1")
        check_repeats("layers", self.layers, most=16)

    @property
    def minimum_pixels(self) -> int:
        """Shortest picture side that still gives a judgement: the last two convolutions each take a pixel away."""
        return 3 * 2**self.layers

    def build(self, in_channels: int = 3) -> PatchDiscriminator:
        return PatchDiscriminator(self, in_channels)


class PatchDiscriminator(nn.Module):
    """4x4 convolutions, `layers` of them with stride 2, then two with stride 1; LeakyReLU 0.2; one logit a patch."""

    def __init__(self, settings: PatchDiscriminatorSettings, in_channels: int = 3) -> None:
        super().__init__()
        widths = [settings.base_channels * min(2**depth, 8) for depth in range(settings.layers + 1)]
        first = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)
        )
        stages = [first]
        for depth, (narrow, wide) in enumerate(pairwise(widths), start=1):
            stages.append(
                nn.Sequential(
                    # Biases in front of a normalization have no effect.
                    nn.Conv2d(
                        narrow,
                        wide,
                        4,
                        stride=2 if depth < settings.layers else 1,
                        padding=1,
                        bias=settings.normalization == "none",
                    ),
                    normalization_layer(settings.normalization, wide),
                    nn.LeakyReLU(0.2, inplace=True),
                )
            )
        self.stages = nn.ModuleList(stages)
        self.judge = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, images: Tensor) -> DiscriminatorOutput:
        """(N, in_channels, H, W) in [-1, 1] to logits (N, 1, h, w); at 256 pixels and three layers h = w = 30."""
        features = images
        for stage in self.stages:
            features = stage(features)
        return DiscriminatorOutput(logits=(self.judge(features),))


@dataclass(frozen=True, kw_only=True)
class PixelDiscriminatorSettings:
    """A discriminator that judges every pixel by itself (Isola et al. 2017, section 4.4, 1 x 1 patches)."""

    kind: Literal["pixel"] = "pixel"
    base_channels: int = 64
    normalization: Normalization = "instance"

    def __post_init__(self) -> None:
        if self.base_channels < 1:
            raise ValueError(f"base_channels is {self.base_channels}; needs at least 1")

    @property
    def minimum_pixels(self) -> int:
        """Shortest picture side; instance norm needs more than one value."""
        return 2 if self.normalization == "instance" else 1

    def build(self, in_channels: int = 3) -> PixelDiscriminator:
        return PixelDiscriminator(self, in_channels)


class PixelDiscriminator(nn.Module):
    """Three 1x1 convolutions."""

    def __init__(self, settings: PixelDiscriminatorSettings, in_channels: int = 3) -> None:
        super().__init__()
        width = settings.base_channels
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 1, bias=settings.normalization == "none"),
            normalization_layer(settings.normalization, 2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            # The released code leaves this bias away with batch norm; its weights load here only so.
            nn.Conv2d(2 * width, 1, 1, bias=settings.normalization != "batch"),
        )

    def forward(self, images: Tensor) -> DiscriminatorOutput:
        """(N, in_channels, H, W) in [-1, 1] to logits (N, 1, H, W)."""
        return DiscriminatorOutput(logits=(self.layers(images),))
