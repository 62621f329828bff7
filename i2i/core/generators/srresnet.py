"""The generator of SRGAN.

Source: Ledig et al. 2017, https://arxiv.org/abs/1609.04802, figure 4; called SRResNet when trained on pixels alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from i2i.core.cells import FewOutputsConv2d
from i2i.core.generators.upscaling import (
    PReLU,
    cells_touched,
    check_scale,
    from_unit,
    stage_factors,
    to_unit,
)
from i2i.core.layers import Normalization, Tanh, normalization_layer
from i2i.core.pixel_shuffle import ShuffleStage
from i2i.core.sizes import check_repeats


@dataclass(frozen=True, kw_only=True)
class SRResNetSettings:
    """Residual blocks with batch norm and PReLU at the small size; the defaults are the paper's network.

    The other fields express what published weights deviate in.
    """

    kind: Literal["srresnet"] = "srresnet"
    scale: int = 4
    base_channels: int = 64
    blocks: int = 16
    normalization: Normalization = "batch"
    end_kernel: int = 9
    """Side of the kernels of the first and the last convolution."""
    convolution_bias: bool = False
    """Biases also where a normalization takes them away again."""
    trunk_end: Literal["normalization", "prelu"] = "normalization"
    """What follows the convolution behind the blocks."""
    input_range: Literal["unit", "symmetric"] = "unit"
    """Whether the first convolution sees [0, 1] or [-1, 1]."""
    output: Literal["linear", "tanh"] = "linear"
    """"linear": the last convolution gives [0, 1], and anything beside it; "tanh": it is squeezed into [-1, 1]."""

    def __post_init__(self) -> None:
        check_scale(self.scale)
        for name in ("base_channels", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 1")
        check_repeats("blocks", self.blocks)
        if self.end_kernel < 1 or self.end_kernel % 2 == 0:
            raise ValueError(f"end_kernel is {self.end_kernel}; needs an odd number")

    @property
    def size_multiple(self) -> int:
        """Pictures of every size can be enlarged."""
        return 1

    @property
    def minimum_pixels(self) -> int:
        """Shortest side; instance norm needs more than one value."""
        return 2 if self.normalization == "instance" else 1

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the window of the input that one output pixel sees (statistics of normalization aside)."""
        side = self.end_kernel
        for factor in stage_factors(self.scale):
            side = cells_touched(side, factor) + 2
        # Two 3x3 per block, one behind them, and the first.
        return side + 4 * self.blocks + 2 + self.end_kernel - 1

    def build(self, in_channels: int = 3, out_channels: int = 3) -> SRResNet:
        return SRResNet(self, in_channels, out_channels)


class SRResNet(nn.Module):
    """Enlarges pictures in [-1, 1]; a linear output is not clamped to that."""

    def __init__(self, settings: SRResNetSettings, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.settings = settings
        width, kernel, norm = settings.base_channels, settings.end_kernel, settings.normalization
        bias = settings.convolution_bias or norm == "none"
        ends_in_norm = settings.trunk_end == "normalization"
        self.head = nn.Sequential(nn.Conv2d(in_channels, width, kernel, padding=kernel // 2), PReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(width, norm, bias=bias) for _ in range(settings.blocks)))
        self.trunk = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=bias or not ends_in_norm),
            normalization_layer(norm, width) if ends_in_norm else PReLU(),
        )
        self.up = nn.Sequential(*(ShuffleStage(width, factor, PReLU()) for factor in stage_factors(settings.scale)))
        self.tail = FewOutputsConv2d(width, out_channels, kernel, padding=kernel // 2)
        self.squash = Tanh()

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] to (N, out_channels, H scale, W scale)."""
        features = self.head(to_unit(images) if self.settings.input_range == "unit" else images)
        features = features + self.trunk(self.blocks(features))
        result = self.tail(self.up(features))
        return self.squash(result) if self.settings.output == "tanh" else from_unit(result, images)


class ResidualBlock(nn.Module):
    """Two normalized 3x3 convolutions added to their input, with a PReLU between them only."""

    def __init__(self, channels: int, normalization: Normalization, *, bias: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
            normalization_layer(normalization, channels),
            PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
            normalization_layer(normalization, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)
