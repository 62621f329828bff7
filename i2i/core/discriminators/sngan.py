"""The residual discriminator of SNGAN.

Source: Miyato et al. 2018, https://arxiv.org/abs/1802.05957, appendix B.4, tables 4 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from i2i.core.discriminators.output import ClassHead, Conditioning, DiscriminatorOutput
from i2i.core.image_shape import ImageShape
from i2i.core.layers import spectral_norm
from i2i.core.sizes import refuse, unfit_size

SIZES = (16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class SNGANDiscriminatorSettings:
    """Residual blocks, the first of them halving the size, and a sum over all positions."""

    kind: Literal["sngan"] = "sngan"
    widths: tuple[int, ...] = ()
    """Channels of each block. Empty: the paper's, four of 128 up to 32 pixels (halved down to 8); beyond, 64 in the
    first, twice as many in each after it up to 1024, one block for each halving down to 4 and one more."""
    spectral_norm: bool = True

    def __post_init__(self) -> None:
        if self.widths and min(self.widths) < 1:
            raise ValueError(f"widths has {min(self.widths)}; needs at least 1 each")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be judged, naming the nearest that can, or None."""
        problem = unfit_size("sngan", shape, SIZES)
        if problem is None and self.widths and len(self.widths) != len(default_widths(shape.pixels)):
            needed = len(default_widths(shape.pixels))
            problem = f"widths has {len(self.widths)} entries; {shape.pixels} pixels need {needed}"
        return problem

    def build(
        self, shape: ImageShape, classes: int = 0, conditioning: Conditioning = "projection"
    ) -> SNGANDiscriminator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return SNGANDiscriminator(self, shape, classes, conditioning)


class SNGANDiscriminator(nn.Module):
    """Judges whole pictures; every weight is spectrally normalized."""

    def __init__(
        self,
        settings: SNGANDiscriminatorSettings,
        shape: ImageShape,
        classes: int = 0,
        conditioning: Conditioning = "projection",
    ) -> None:
        super().__init__()
        widths = list(settings.widths) or default_widths(shape.pixels)
        # Down to 8 pixels where the paper has four equal blocks, else to 4.
        halvings = (shape.pixels // (8 if shape.pixels <= 32 else 4)).bit_length() - 1
        self.first = FirstBlock(shape.channels, widths[0])
        self.blocks = nn.Sequential(
            *(
                DownBlock(before, after, halve=index < halvings)
                for index, (before, after) in enumerate(pairwise(widths), start=1)
            )
        )
        self.judge = nn.Linear(widths[-1], 1)
        self.head = ClassHead(widths[-1], classes, conditioning)
        if settings.spectral_norm:
            for module in [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Linear)]:
                spectral_norm(module)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        """(N, C, H, W) in [-1, 1], labels (N,) where there are classes, to logits (N, 1).

        Raises:
            ValueError: labels that do not fit.
        """
        self.head.check(images, labels)
        features = functional.relu(self.blocks(self.first(images)))
        pooled = features.sum(dim=(2, 3))
        return self.head(self.judge(pooled), pooled, labels, features=(features,))


class FirstBlock(nn.Module):
    """The block that sees the picture: no activation in front, and its shortcut works at half the size."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H / 2, W / 2)."""
        branch = _halved(self.second(functional.relu(self.first(images), inplace=True)))
        return branch + self.shortcut(_halved(images))


class DownBlock(nn.Module):
    """A residual block with ReLU before each of two 3x3 convolutions, halving the size where told to."""

    def __init__(self, before: int, after: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(before, before, 3, padding=1)
        self.second = nn.Conv2d(before, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if halve or before != after else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(N, before, H, W) to (N, after, H, W), or half the size."""
        branch = self.second(functional.relu(self.first(functional.relu(features)), inplace=True))
        if not self.halve:
            return branch + self.shortcut(features)
        # Means and a 1x1 convolution commute; first the means, for then the convolution has a quarter of the pixels.
        return _halved(branch) + self.shortcut(_halved(features))


def default_widths(pixels: int) -> list[int]:
    """The paper's widths of the blocks."""
    if pixels <= 32:
        return [128] * 4
    halvings = (pixels // 4).bit_length() - 1
    return [64 * min(2**depth, 16) for depth in range(halvings + 1)]


def _halved(features: Tensor) -> Tensor:
    return functional.avg_pool2d(features, 2)
