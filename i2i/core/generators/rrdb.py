"""The generator of ESRGAN: residual-in-residual dense blocks.

Source: Wang et al. 2018, https://arxiv.org/abs/1809.00219, figures 2 and 4; small scales on pixel-unshuffled pictures
after Wang et al. 2021 (Real-ESRGAN), https://arxiv.org/abs/2107.10833, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.generators.upscaling import cells_touched, check_scale, from_unit, stage_factors, to_unit
from i2i.core.layers import Normalization
from i2i.core.sizes import check_repeats

SCALES = (1, 2, 3, 4, 8)

RESIDUAL_SCALE = 0.2
"""beta in figure 4."""


@dataclass(frozen=True, kw_only=True)
class RRDBSettings:
    """Dense blocks without normalization; the defaults are the paper's."""

    kind: Literal["rrdb"] = "rrdb"
    scale: int = 4
    base_channels: int = 64
    growth_channels: int = 32
    """Channels that each convolution of a dense block adds."""
    blocks: int = 23
    unshuffle: bool = True
    """Scales 1 and 2: the network for scale 4 on pictures whose cells of 4 or 2 pixels have become channels. Off: fewer
    doublings instead, as ESRGAN's first release has it. Of no account for other scales."""

    def __post_init__(self) -> None:
        check_scale(self.scale, SCALES)
        for name in ("base_channels", "growth_channels", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 1")
        check_repeats("blocks", self.blocks)

    @property
    def normalization(self) -> Normalization:
        return "none"

    @property
    def cell(self) -> int:
        """Side in pixels of the cells that become channels at the entrance."""
        return 4 // self.scale if self.unshuffle and self.scale in (1, 2) else 1

    @property
    def factors(self) -> tuple[int, ...]:
        """How much each stage enlarges."""
        return stage_factors(self.scale * self.cell)

    @property
    def size_multiple(self) -> int:
        """Picture sides must be multiples of this."""
        return self.cell

    @property
    def minimum_pixels(self) -> int:
        return self.cell

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the window of the input that one output pixel sees."""
        side = 1 + 2 * 2
        for factor in self.factors:
            side = cells_touched(side + 2, factor)
        # Fifteen 3x3 per block, one behind them, and the first.
        return self.cell * (side + 30 * self.blocks + 2 + 2)

    def build(self, in_channels: int = 3, out_channels: int = 3) -> RRDB:
        return RRDB(self, in_channels, out_channels)


class RRDB(nn.Module):
    """Enlarges pictures in [-1, 1]; the result is not clamped."""

    def __init__(self, settings: RRDBSettings, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.cell = settings.cell
        width = settings.base_channels
        self.head = nn.Conv2d(in_channels * self.cell**2, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(ResidualDenseBlocks(width, settings.growth_channels) for _ in range(settings.blocks))
        )
        self.trunk = nn.Conv2d(width, width, 3, padding=1)
        self.up = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Upsample(scale_factor=factor, mode="nearest"),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.LeakyReLU(0.2, inplace=True),
                )
                for factor in settings.factors
            )
        )
        self.tail = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, out_channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] to (N, out_channels, H scale, W scale).

        H and W multiples of the settings' `size_multiple`.
        """
        inputs = to_unit(images)
        features = self.head(functional.pixel_unshuffle(inputs, self.cell) if self.cell > 1 else inputs)
        # In place: no derivative needs what a convolution gave before the sum.
        features = self.trunk(self.blocks(features)).add_(features)
        return from_unit(self.tail(self.up(features)), images)


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks, the sum scaled and added to their input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, features: Tensor) -> Tensor:
        return torch.add(features, self.dense(features), alpha=RESIDUAL_SCALE)


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each of which sees what all before it gave; the last is scaled and added to the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.growing = nn.ModuleList(nn.Conv2d(channels + index * growth, growth, 3, padding=1) for index in range(4))
        self.last = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        seen = features
        for convolution in self.growing:
            seen = torch.cat([seen, functional.leaky_relu(convolution(seen), 0.2, inplace=True)], dim=1)
        return torch.add(features, self.last(seen), alpha=RESIDUAL_SCALE)
