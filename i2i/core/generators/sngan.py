"""The residual generator of SNGAN.

Source: Miyato et al. 2018, https://arxiv.org/abs/1802.05957, appendix B.4, tables 4 to 6; with classes Miyato & Koyama
2018, https://arxiv.org/abs/1802.05637.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from i2i.core.conditioning import check_labels, check_latents
from i2i.core.image_shape import ImageShape
from i2i.core.layers import BatchNorm, ConditionalBatchNorm, Tanh
from i2i.core.sizes import doublings, refuse, unfit_size

SIZES = (16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class SNGANGeneratorSettings:
    """A linear layer to 4x4 maps and a residual block for each doubling."""

    kind: Literal["sngan"] = "sngan"
    latent: int = 128
    widths: tuple[int, ...] = ()
    """Channels of the 4x4 maps and of each block. Empty: the paper's, 256 throughout up to 32 pixels; beyond, 64 in the
    last block and twice as many in each before it, up to 1024."""

    def __post_init__(self) -> None:
        if self.latent < 1:
            raise ValueError(f"latent is {self.latent}; needs at least 1")
        if self.widths and min(self.widths) < 1:
            raise ValueError(f"widths has {min(self.widths)}; needs at least 1 each")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be made, naming the nearest that can, or None."""
        problem = unfit_size("sngan", shape, SIZES)
        if problem is None and self.widths:
            _, count = doublings(shape.pixels)
            if len(self.widths) != count + 1:
                problem = f"widths has {len(self.widths)} entries; {shape.pixels} pixels need {count + 1}"
        return problem

    def build(self, shape: ImageShape, classes: int = 0) -> SNGANGenerator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return SNGANGenerator(self, shape, classes)


class SNGANGenerator(nn.Module):
    """Turns latents into pictures in [-1, 1]; a class chooses the scales and shifts of the batch norms."""

    def __init__(self, settings: SNGANGeneratorSettings, shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        smallest, count = doublings(shape.pixels)
        widths = list(settings.widths) or default_widths(count)
        self.latent, self.classes = settings.latent, classes
        self.start = nn.Linear(settings.latent, widths[0] * smallest**2)
        self.maps = (widths[0], smallest, smallest)
        self.blocks = nn.ModuleList(UpBlock(before, after, classes) for before, after in pairwise(widths))
        self.normalization = _batch_norm(widths[-1], classes)
        self.picture = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(widths[-1], shape.channels, 3, padding=1), Tanh())

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, latent), labels (N,) where there are classes, to (N, C, H, W).

        Raises:
            ValueError: latents or labels that do not fit.
        """
        check_latents(latents, self.latent)
        check_labels(labels, self.classes, latents.shape[0])
        features = self.start(latents).unflatten(1, self.maps)
        for block in self.blocks:
            features = block(features, labels)
        return self.picture(_normalized(self.normalization, features, labels))


class UpBlock(nn.Module):
    """A residual block to twice the size: batch norm and ReLU before each of two 3x3 convolutions."""

    def __init__(self, before: int, after: int, classes: int) -> None:
        super().__init__()
        self.first_normalization = _batch_norm(before, classes)
        # A bias in front of a normalization has no effect.
        self.first = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.second_normalization = _batch_norm(after, classes)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """(N, before, H, W) to (N, after, 2 H, 2 W)."""
        branch = functional.relu(_normalized(self.first_normalization, features, labels), inplace=True)
        branch = self.first(_doubled(branch))
        branch = functional.relu(_normalized(self.second_normalization, branch, labels), inplace=True)
        # A 1x1 convolution and repeating pixels commute; first the convolution, on a quarter of the pixels.
        return self.second(branch) + _doubled(self.shortcut(features))


def default_widths(count: int) -> list[int]:
    """The paper's widths of the 4x4 maps and of `count` blocks."""
    if count <= 3:
        return [256] * (count + 1)
    return [64 * min(2**depth, 16) for depth in reversed(range(count + 1))]


def _batch_norm(channels: int, classes: int) -> BatchNorm:
    return ConditionalBatchNorm(channels, classes) if classes else BatchNorm(channels)


def _normalized(layer: nn.Module, features: Tensor, labels: Tensor | None) -> Tensor:
    return layer(features, labels) if isinstance(layer, ConditionalBatchNorm) else layer(features)


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")
