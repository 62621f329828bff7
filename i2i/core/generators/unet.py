"""The U-Net generator of pix2pix.

Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 3.2.1 and appendix 6.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.core.layers import Dropout, Normalization, Tanh, normalization_layer
from i2i.core.sizes import check_repeats


@dataclass(frozen=True, kw_only=True)
class UNetGeneratorSettings:
    """An encoder and decoder with skip connections; 7 levels at 128 pixels, 8 at 256 in the paper."""

    kind: Literal["unet"] = "unet"
    base_channels: int = 64
    levels: int = 8
    normalization: Normalization = "batch"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.levels < 5:
            raise ValueError(f"levels is {self.levels}; a U-Net needs at least 5")
        check_repeats("levels", self.levels, most=16)
        if self.base_channels < 1:
            raise ValueError(f"base_channels is {self.base_channels}; needs at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; needs 0 up to, not including, 1")

    @property
    def size_multiple(self) -> int:
        """Picture sides must be multiples of this."""
        return 2**self.levels

    @property
    def minimum_pixels(self) -> int:
        """Shortest side; with instance norm the level above the innermost must have more than one pixel."""
        return 2**self.levels

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the window that one output pixel sees (statistics of normalization left aside)."""
        # Through the innermost level. Going up, 4x4 at stride 2 turns a window of s into one of s // 2 + 2, thus 1 into
        # 2, 3, 3 ... Going down from there it turns s into 2 s + 2, which is 2 (s + 2) - 2.
        return (3 + 2) * 2**self.levels - 2

    def build(self, in_channels: int = 3, out_channels: int = 3) -> UNetGenerator:
        return UNetGenerator(self, in_channels, out_channels)


class UNetGenerator(nn.Module):
    """Translates pictures in [-1, 1] to pictures in [-1, 1] of the same size."""

    def __init__(self, settings: UNetGeneratorSettings, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        kind, levels = settings.normalization, settings.levels
        widths = [settings.base_channels * min(2**depth, 8) for depth in range(levels)]
        # Between two levels a normalization follows and a bias would have no effect. The outermost and the innermost
        # convolution have none after them; the released code gives them a bias except with batch norm.
        inner_bias, outer_bias = kind == "none", kind != "batch"
        down, up = [], []
        for depth, width in enumerate(widths):
            outermost, innermost = depth == 0, depth == levels - 1
            source = in_channels if outermost else widths[depth - 1]
            target = out_channels if outermost else widths[depth - 1]
            bias = outer_bias if outermost or innermost else inner_bias
            down.append(
                nn.Sequential(
                    nn.Identity() if outermost else nn.LeakyReLU(0.2),
                    nn.Conv2d(source, width, 4, stride=2, padding=1, bias=bias),
                    nn.Identity() if outermost or innermost else normalization_layer(kind, width),
                )
            )
            up.append(
                nn.Sequential(
                    nn.ReLU(),
                    nn.ConvTranspose2d(
                        width if innermost else 2 * width, target, 4, stride=2, padding=1, bias=outermost or inner_bias
                    ),
                    Tanh() if outermost else normalization_layer(kind, target),
                    # Dropout stands in the levels of full width between the innermost and the four outermost ones.
                    Dropout(settings.dropout if 4 <= depth < levels - 1 else 0.0),
                )
            )
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(up)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W); H and W multiples of 2^levels."""
        skips: list[Tensor] = []
        features = images
        for level in self.down:
            features = level(features)
            skips.append(features)
        features = self.up[-1](skips.pop())
        for level in reversed(self.up[:-1]):  # type: ignore[arg-type]
            features = level(torch.cat([skips.pop(), features], dim=1))
        return features
