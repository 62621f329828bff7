"""A plain and fast generator without residual blocks.

Source: the compact networks (SRVGGNetCompact) released with Wang et al. 2021 (Real-ESRGAN),
https://arxiv.org/abs/2107.10833; no paper describes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.generators.upscaling import PReLU, cells_touched, check_scale, to_unit
from i2i.core.layers import Normalization
from i2i.core.sizes import check_repeats

SCALES = (1, 2, 3, 4, 8)


@dataclass(frozen=True, kw_only=True)
class CompactSettings:
    """A row of 3x3 convolutions at the small size, all the enlarging in one step at the end."""

    kind: Literal["compact"] = "compact"
    scale: int = 4
    base_channels: int = 64
    convs: int = 16
    """Convolutions between the first and the last; 16 and 32 are published."""
    activation: Literal["prelu", "relu", "leaky_relu"] = "prelu"

    def __post_init__(self) -> None:
        check_scale(self.scale, SCALES)
        if self.base_channels < 1:
            raise ValueError(f"base_channels is {self.base_channels}; needs at least 1")
        if self.convs < 0:
            raise ValueError(f"convs is {self.convs}; cannot be negative")
        check_repeats("convs", self.convs)

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
        return cells_touched(1, self.scale) + 2 * (self.convs + 2)

    def build(self, in_channels: int = 3, out_channels: int = 3) -> Compact:
        """Raises: ValueError: the enlarged picture cannot be added to a result of other channels."""
        if in_channels != out_channels:
            raise ValueError(f"in_channels is {in_channels} and out_channels is {out_channels}; must be equal")
        return Compact(self, in_channels)


class Compact(nn.Module):
    """Enlarges pictures in [-1, 1]; the result is not clamped."""

    def __init__(self, settings: CompactSettings, channels: int = 3) -> None:
        super().__init__()
        self.scale = settings.scale
        width = settings.base_channels
        layers: list[nn.Module] = []
        for before in (channels, *(width,) * settings.convs):
            layers += [nn.Conv2d(before, width, 3, padding=1), _activation(settings.activation, width)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, channels * settings.scale**2, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, C, H scale, W scale)."""
        detail = functional.pixel_shuffle(self.body(to_unit(images)), self.scale)
        base = functional.interpolate(images, scale_factor=self.scale, mode="nearest")
        # Twice the detail, as [-1, 1] is twice as wide as [0, 1]. The sum has the number format of `images`.
        return torch.add(base, detail, alpha=2)


def _activation(kind: Literal["prelu", "relu", "leaky_relu"], channels: int) -> nn.Module:
    match kind:
        case "prelu":
            return PReLU(channels)
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(0.1, inplace=True)
