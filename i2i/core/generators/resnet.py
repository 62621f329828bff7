"""The ResNet generator of CycleGAN, and its anti-aliased form of CUT.

Source: Zhu et al. 2017, https://arxiv.org/abs/1703.10593, section 4 and appendix 7.2, after Johnson et al. 2016; Park
et al. 2020, https://arxiv.org/abs/2007.15651, whose released code changes the size as in Zhang 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from i2i.core.cells import FewOutputsConv2d
from i2i.core.layers import BlurDown, BlurUp, Dropout, Normalization, ReflectionPad, Tanh, normalization_layer
from i2i.core.sizes import check_repeats

Sampling = Literal["strided", "antialiased"]


@dataclass(frozen=True, kw_only=True)
class ResNetGeneratorSettings:
    """Two down-samplings, residual blocks, two up-samplings; 9 blocks at 256 pixels, 6 at 128 in the paper."""

    kind: Literal["resnet"] = "resnet"
    base_channels: int = 64
    blocks: int = 9
    normalization: Normalization = "instance"
    dropout: float = 0.0
    sampling: Sampling = "strided"
    """How the size changes: by strides of the convolutions, or by blurring between them (CUT)."""

    def __post_init__(self) -> None:
        if self.base_channels < 1:
            raise ValueError(f"base_channels is {self.base_channels}; needs at least 1")
        if self.blocks < 0:
            raise ValueError(f"blocks is {self.blocks}; cannot be negative")
        check_repeats("blocks", self.blocks)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; needs 0 up to, not including, 1")

    @property
    def size_multiple(self) -> int:
        """Picture sides that are multiples of this come back unchanged."""
        return 4

    @property
    def minimum_pixels(self) -> int:
        """Shortest side that the reflection padding of 3 at full and of 1 at quarter size can take."""
        return 8

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the window that one output pixel sees (statistics of normalization left aside)."""
        # 7x7 head and tail at full size, two 3x3 at rising stride, 2 per block at stride 4, two transposed 3x3.
        strided = 1 + 6 + 2 + 4 + self.blocks * 2 * 2 * 4 + 4 + 2 + 6
        # On top going down 3x3 blurs at full and half size; going up 9 pixels of full size see 6 of half size, with the
        # next convolution 8, and those 6 of quarter size: two more at stride 4 than the transposed ones.
        return strided + (2 + 4 + 2 * 4 if self.sampling == "antialiased" else 0)

    def build(self, in_channels: int = 3, out_channels: int = 3) -> ResNetGenerator:
        return ResNetGenerator(self, in_channels, out_channels)


class ResNetGenerator(nn.Module):
    """Translates pictures in [-1, 1] to pictures in [-1, 1] of the same size."""

    def __init__(self, settings: ResNetGeneratorSettings, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        kind, width = settings.normalization, settings.base_channels
        # Biases in front of a normalization have no effect.
        bias = kind == "none"
        self.head = nn.Sequential(
            ReflectionPad(3),
            nn.Conv2d(in_channels, width, 7, bias=bias),
            normalization_layer(kind, width),
            nn.ReLU(inplace=True),
        )
        down, up = (_strided_down, _strided_up) if settings.sampling == "strided" else (_blurred_down, _blurred_up)
        self.down = nn.Sequential(*(down(channels, kind) for channels in (width, 2 * width)))
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width, kind, settings.dropout) for _ in range(settings.blocks)))
        self.up = nn.Sequential(*(up(channels, kind) for channels in (4 * width, 2 * width)))
        self.tail = nn.Sequential(ReflectionPad(3), FewOutputsConv2d(width, out_channels, 7), Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W); other sides are rounded up to a multiple of 4."""
        return self.tail(self.up(self.blocks(self.down(self.head(images)))))


def _strided_down(channels: int, kind: Normalization) -> nn.Module:
    convolution = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=kind == "none")
    return nn.Sequential(convolution, normalization_layer(kind, 2 * channels), nn.ReLU(inplace=True))


def _blurred_down(channels: int, kind: Normalization) -> nn.Module:
    convolution = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=kind == "none")
    return nn.Sequential(convolution, normalization_layer(kind, 2 * channels), nn.ReLU(inplace=True), BlurDown())


def _strided_up(channels: int, kind: Normalization) -> nn.Module:
    convolution = nn.ConvTranspose2d(
        channels, channels // 2, 3, stride=2, padding=1, output_padding=1, bias=kind == "none"
    )
    return nn.Sequential(convolution, normalization_layer(kind, channels // 2), nn.ReLU(inplace=True))


def _blurred_up(channels: int, kind: Normalization) -> nn.Module:
    convolution = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=kind == "none")
    return nn.Sequential(BlurUp(), convolution, normalization_layer(kind, channels // 2), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """Two reflection-padded 3x3 convolutions added to their input, without an activation after the sum."""

    def __init__(self, channels: int, kind: Normalization, dropout: float) -> None:
        super().__init__()
        bias = kind == "none"
        self.branch = nn.Sequential(
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            normalization_layer(kind, channels),
            nn.ReLU(inplace=True),
            Dropout(dropout),
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            normalization_layer(kind, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)
