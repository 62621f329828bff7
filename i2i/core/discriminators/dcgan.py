"""The discriminator of DCGAN.

Source: Radford et al. 2016, https://arxiv.org/abs/1511.06434, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.core.discriminators.output import ClassHead, Conditioning, DiscriminatorOutput
from i2i.core.image_shape import ImageShape
from i2i.core.layers import LatentNormalization, normalization_layer, spectral_norm
from i2i.core.sizes import doublings, refuse, unfit_size
from i2i.core.virtual_batch_norm import ReferenceBatch

SIZES = (16, 28, 32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class DCGANDiscriminatorSettings:
    """Convolutions that halve the size down to 4 pixels (28: to 7); the defaults are the paper's."""

    kind: Literal["dcgan"] = "dcgan"
    base_channels: int = 64
    """At half the picture's size; doubled at each smaller one, up to eight times as many."""
    normalization: LatentNormalization = "batch"
    spectral_norm: bool = False
    reference_rows: int = 64
    """Size of the reference batch of virtual batch norm; of no account otherwise."""

    def __post_init__(self) -> None:
        for name in ("base_channels", "reference_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 1")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be judged, naming the nearest that can, or None."""
        return unfit_size("dcgan", shape, SIZES)

    def build(
        self, shape: ImageShape, classes: int = 0, conditioning: Conditioning = "projection"
    ) -> DCGANDiscriminator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return DCGANDiscriminator(self, shape, classes, conditioning)


class DCGANDiscriminator(nn.Module):
    """Judges whole pictures; no normalization on the first and the last layer."""

    def __init__(
        self,
        settings: DCGANDiscriminatorSettings,
        shape: ImageShape,
        classes: int = 0,
        conditioning: Conditioning = "projection",
    ) -> None:
        super().__init__()
        smallest, count = doublings(shape.pixels)
        widths = [settings.base_channels * min(2**depth, 8) for depth in range(count)]
        # Biases in front of a normalization have no effect, and the paper's first and last layers have none either.
        bias = settings.normalization == "none"
        stages = [
            nn.Sequential(
                nn.Conv2d(shape.channels, widths[0], 4, stride=2, padding=1, bias=bias),
                nn.LeakyReLU(0.2, inplace=True),
            )
        ]
        for narrow, wide in pairwise(widths):
            stages.append(
                nn.Sequential(
                    nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=bias),
                    normalization_layer(settings.normalization, wide, reference_rows=settings.reference_rows),
                    nn.LeakyReLU(0.2, inplace=True),
                )
            )
        self.stages = nn.Sequential(*stages)
        self.judge = MapsToPoint(widths[-1], 1, smallest, bias=bias)
        self.head = ClassHead(widths[-1], classes, conditioning)
        self.reference: ReferenceBatch | None = None
        if settings.normalization == "virtual":
            self.reference = ReferenceBatch(settings.reference_rows, (shape.channels, shape.pixels, shape.pixels))
        if settings.spectral_norm:
            for module in [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Linear)]:
                spectral_norm(module)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        """(N, C, H, W) in [-1, 1], labels (N,) where there are classes, to logits (N, 1).

        Raises:
            ValueError: labels that do not fit, or no reference batch although virtual batch norm needs one.
        """
        self.head.check(images, labels)
        if self.reference is None or not self.training:
            features = self.stages(images)
        else:
            reference = self.reference.rows().to(images.dtype)
            features = self.stages(torch.cat([reference, images]))[len(reference) :]
        logits = self.judge(features).flatten(1)
        # Summed, as Miyato & Koyama do; without classes nobody reads it.
        pooled = features.sum(dim=(2, 3)) if self.head.classes else features
        return self.head(logits, pooled, labels, features=(features,))


class MapsToPoint(nn.Conv2d):
    """A convolution whose kernel is as large as its input, as one matrix product.

    Equal to the stock operation, which takes up to twenty times as long on a CPU.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__(in_channels, out_channels, kernel, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, kernel, kernel) to (N, out_channels, 1, 1)."""
        weight = self.weight
        if input.is_contiguous(memory_format=torch.channels_last):
            # Both in the order of memory, so that nothing is copied.
            input, weight = input.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
        points = nn.functional.linear(input.flatten(1), weight.flatten(1), self.bias)
        return points[..., None, None]
