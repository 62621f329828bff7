"""Parts of networks without normalization: layers that start at the right scale, residual blocks, smooth resampling.

Source: Huang et al. 2024 (R3GAN), https://arxiv.org/abs/2501.05441, sections 3 and 4 and their program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.sizes import check_repeats

SIZES = (8, 16, 32, 64, 128, 256, 512)
"""Sides of pictures that stages from 4 pixels on can make or judge."""
LEAKY_SLOPE = 0.2
# Keeps the variance of a signal through a leaky ReLU (He et al. 2015, equation 15).
LEAKY_GAIN = math.sqrt(2.0 / (1.0 + LEAKY_SLOPE**2))


class ScaledConv2d(nn.Conv2d):
    """A convolution that keeps its size of picture, whose weights start at N(0, gain^2 / fan_in) and biases at 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        gain: float = 1.0,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=bias)
        self.gain = gain

    def initialize_weights(self, generator: torch.Generator) -> None:
        """A gain of 0 gives zeros."""
        _fill(self.weight, self.gain, generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ScaledLinear(nn.Linear):
    """A linear layer whose weights start at N(0, 1 / fan_in) and biases at 0."""

    def initialize_weights(self, generator: torch.Generator) -> None:
        """As said above."""
        _fill(self.weight, 1.0, generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def _fill(weight: Tensor, gain: float, generator: torch.Generator) -> None:
    if gain == 0:
        nn.init.zeros_(weight)
    else:
        nn.init.normal_(weight, 0.0, gain / math.sqrt(weight[0].numel()), generator=generator)


class NormFreeBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution, leaky ReLU between them, added to the input.

    The last layer starts at zero, so that a new block passes its input through; the first two start smaller the more
    blocks there are (Zhang et al. 2019, https://arxiv.org/abs/1901.09321, section 3). `blocks` is L, how many the
    network has.
    """

    def __init__(self, channels: int, cardinality: int, expansion: int, blocks: int) -> None:
        super().__init__()
        wide = channels * expansion
        gain = LEAKY_GAIN * blocks ** (-1.0 / 4.0)
        # The biases are those of the activations in the released program.
        self.branch = nn.Sequential(
            ScaledConv2d(channels, wide, 1, gain=gain, bias=True),
            nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
            ScaledConv2d(wide, wide, 3, gain=gain, groups=cardinality, bias=True),
            nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
            ScaledConv2d(wide, channels, 1, gain=0.0),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        # In this order: a sum takes the memory layout of its first summand, here that of the weights.
        return self.branch(features) + features


class SmoothResample(nn.Module):
    """Twice or half the size, through the filter [1, 3, 3, 1] in both directions ([1, 2, 1] on [1, 1] pixels)."""

    kernel: Tensor

    def __init__(self, direction: int) -> None:
        """`direction` is 1 for up and -1 for down."""
        super().__init__()
        self.up = direction > 0
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8.0
        kernel = torch.outer(line, line)[None, None]
        # Spreading pixels out leaves three of four empty; the sum must stay.
        self.register_buffer("kernel", 4.0 * kernel if self.up else kernel, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2 H, 2 W) or (N, C, H / 2, W / 2)."""
        values = features
        if features.device.type == "cpu" and features.dtype in (torch.bfloat16, torch.float16):
            # Narrow depth-wise convolutions take fifty times as long there.
            values = features.float()
        channels = values.shape[1]
        kernel = self.kernel.to(values.dtype).expand(channels, 1, 4, 4)
        resample = functional.conv_transpose2d if self.up else functional.conv2d
        with torch.autocast(values.device.type, enabled=False):
            return resample(values, kernel, stride=2, padding=1, groups=channels).to(features.dtype)

    def extra_repr(self) -> str:
        return "up" if self.up else "down"


@dataclass(frozen=True)
class Stage:
    """All blocks of one size."""

    width: int
    cardinality: int
    blocks: int


def plan_stages(
    pixels: Sequence[int], widths: Sequence[int], cardinalities: Sequence[int], blocks: Sequence[int], expansion: int
) -> list[Stage]:
    """A stage for each size in `pixels`; empty sequences stand for defaults.

    Defaults follow the configurations of the paper: 768 channels up to 32 pixels and half as many with every doubling
    beyond, two blocks a stage, and groups of 8 channels (16 after an expansion of 2).

    Raises:
        ValueError: a sequence has another length, or groups that do not divide the expanded channels.
    """
    for name, values in (("widths", widths), ("cardinalities", cardinalities), ("blocks", blocks)):
        if values and len(values) != len(pixels):
            raise ValueError(
                f"{name} has {len(values)} entries; {max(pixels)} pixels need {len(pixels)}, one for each size from"
                f" {pixels[0]} to {pixels[-1]}"
            )
    widths = widths or [max(8, 768 * 32 // max(32, size)) for size in pixels]
    cardinalities = cardinalities or [_groups(width, expansion) for width in widths]
    for width, cardinality in zip(widths, cardinalities, strict=True):
        if width * expansion % cardinality:
            raise ValueError(
                f"cardinalities has {cardinality}, which does not divide {width * expansion} channels; nearest:"
                f" {_groups(width, expansion, cardinality)}"
            )
    blocks = blocks or [2] * len(pixels)
    return [Stage(*stage) for stage in zip(widths, cardinalities, blocks, strict=True)]


def check_stages(widths: Sequence[int], cardinalities: Sequence[int], blocks: Sequence[int], expansion: int) -> None:
    """Refuse numbers below 1.

    Raises:
        ValueError: naming the setting.
    """
    for name, values in (("widths", widths), ("cardinalities", cardinalities), ("blocks", blocks)):
        if values and min(values) < 1:
            raise ValueError(f"{name} has {min(values)}; needs at least 1 each")
    check_repeats("blocks", max(blocks, default=1))
    # Groups are found by trying one after the other.
    check_repeats("widths", max(widths, default=1), most=2**20)
    check_repeats("expansion", expansion)
    if expansion < 1:
        raise ValueError(f"expansion is {expansion}; needs at least 1")


def _groups(width: int, expansion: int, most: int | None = None) -> int:
    """The largest number of groups up to `most` (an eighth of the width) that divides the expanded channels."""
    most = max(1, width // 8) if most is None else most
    return next(count for count in range(most, 0, -1) if width * expansion % count == 0)
