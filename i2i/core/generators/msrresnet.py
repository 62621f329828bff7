"""The SRResNet without batch norm that ESRGAN's authors compare with.

Source: Wang et al. 2018, https://arxiv.org/abs/1809.00219, section 3.1, and their released trainer, where it is called
MSRResNet; blocks after Lim et al. 2017 (EDSR), https://arxiv.org/abs/1707.02921, figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.generators.upscaling import cells_touched, check_scale, stage_factors, to_unit
from i2i.core.layers import Normalization
from i2i.core.pixel_shuffle import ShuffleStage
from i2i.core.sizes import check_repeats


@dataclass(frozen=True, kw_only=True)
class MSRResNetSettings:
    """Residual blocks at the small size, added as detail to the picture enlarged bilinearly.

    `upsampling`: "stages" enlarges the features step by step and goes on with them at full size, as published. "direct"
    makes the pixels from the features at the small size in one convolution and shuffle (Shi et al. 2016,
    https://arxiv.org/abs/1609.05158, equation 4): a third of the time, for a little less at the very end of a long
    training.
    """

    kind: Literal["msrresnet"] = "msrresnet"
    scale: int = 4
    base_channels: int = 64
    blocks: int = 16
    upsampling: Literal["stages", "direct"] = "stages"

    def __post_init__(self) -> None:
        check_scale(self.scale)
        for name in ("base_channels", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 1")
        check_repeats("blocks", self.blocks)

    @property
    def normalization(self) -> Normalization:
        return "none"

    @property
    def size_multiple(self) -> int:
        """Pictures of every size can be enlarged."""
        return 1

    @property
    def minimum_pixels(self) -> int:
        return 1

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the window of the input that one output pixel sees."""
        # At the small size two 3x3 per block, and the first.
        body = 4 * self.blocks + 2
        if self.upsampling == "direct":
            return 1 + 2 + body
        side = 1 + 2 * 2
        for factor in stage_factors(self.scale):
            side = cells_touched(side, factor) + 2
        return side + body

    def build(self, in_channels: int = 3, out_channels: int = 3) -> MSRResNet:
        """Raises: ValueError: the enlarged picture cannot be added to a result of other channels."""
        if in_channels != out_channels:
            raise ValueError(f"in_channels is {in_channels} and out_channels is {out_channels}; must be equal")
        return MSRResNet(self, in_channels)


class MSRResNet(nn.Module):
    """Enlarges pictures in [-1, 1]; the result is not clamped."""

    def __init__(self, settings: MSRResNetSettings, channels: int = 3) -> None:
        super().__init__()
        self.scale = settings.scale
        width = settings.base_channels
        self.head = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.1, inplace=True))
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(settings.blocks)))
        if settings.upsampling == "direct":
            self.up = nn.Sequential()
            self.tail = nn.Sequential(
                nn.Conv2d(width, channels * settings.scale**2, 3, padding=1), nn.PixelShuffle(settings.scale)
            )
            return
        self.up = nn.Sequential(
            *(ShuffleStage(width, factor, nn.LeakyReLU(0.1, inplace=True)) for factor in stage_factors(settings.scale))
        )
        self.tail = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, C, H scale, W scale)."""
        detail = self.tail(self.up(self.blocks(self.head(to_unit(images)))))
        base = functional.interpolate(images, scale_factor=self.scale, mode="bilinear", align_corners=False)
        # Twice the detail, as [-1, 1] is twice as wide as [0, 1]. The sum has the number format of `images`.
        return torch.add(base, detail, alpha=2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input, with a rectifier between them only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        # In place: no derivative needs what a convolution gave before its activation or the sum.
        return self.second(functional.relu(self.first(features), inplace=True)).add_(features)
