"""The generator of DCGAN.

Source: Radford et al. 2016, https://arxiv.org/abs/1511.06434, section 3 and figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.core.conditioning import LatentInput
from i2i.core.image_shape import ImageShape
from i2i.core.layers import LatentNormalization, Tanh, normalization_layer
from i2i.core.sizes import doublings, refuse, unfit_size
from i2i.core.virtual_batch_norm import ReferenceLatents

SIZES = (16, 28, 32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class DCGANGeneratorSettings:
    """Transposed convolutions that double the size from 4 pixels (28: from 7) up; the defaults are the paper's."""

    kind: Literal["dcgan"] = "dcgan"
    latent: int = 100
    base_channels: int = 64
    """At half the picture's size; doubled at each smaller one, up to eight times as many."""
    normalization: LatentNormalization = "batch"
    reference_rows: int = 64
    """Size of the reference batch of virtual batch norm; of no account otherwise."""

    def __post_init__(self) -> None:
        for name in ("latent", "base_channels", "reference_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 1")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be made, naming the nearest that can, or None."""
        return unfit_size("dcgan", shape, SIZES)

    def build(self, shape: ImageShape, classes: int = 0) -> DCGANGenerator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return DCGANGenerator(self, shape, classes)


class DCGANGenerator(nn.Module):
    """Turns latents into pictures in [-1, 1]."""

    def __init__(self, settings: DCGANGeneratorSettings, shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        smallest, count = doublings(shape.pixels)
        widths = [settings.base_channels * min(2**depth, 8) for depth in reversed(range(count))]
        # Biases in front of a normalization have no effect, and the paper's last layer has none either.
        bias = settings.normalization == "none"
        self.input = LatentInput(settings.latent, classes)
        convolutions = [
            PointToMaps(self.input.features, widths[0], smallest, bias=bias),
            *(nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=bias) for wide, narrow in pairwise(widths)),
        ]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    convolution,
                    normalization_layer(settings.normalization, width, reference_rows=settings.reference_rows),
                    nn.ReLU(inplace=True),
                )
                for convolution, width in zip(convolutions, widths, strict=True)
            )
        )
        self.picture = nn.Sequential(
            nn.ConvTranspose2d(widths[-1], shape.channels, 4, stride=2, padding=1, bias=bias), Tanh()
        )
        self.reference: ReferenceLatents | None = None
        if settings.normalization == "virtual":
            self.reference = ReferenceLatents(settings.reference_rows, (settings.latent,))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, latent), labels (N,) where there are classes, to (N, C, H, W).

        Raises:
            ValueError: latents or labels that do not fit, or no reference latents because nobody initialised them.
        """
        inputs = self.input(latents, labels)
        if self.reference is None or not self.training:
            return self.picture(self.stages(inputs[..., None, None]))
        reference = self._reference_inputs(self.reference).to(inputs.dtype)
        features = self.stages(torch.cat([reference, inputs])[..., None, None])
        return self.picture(features[len(reference) :])

    def _reference_inputs(self, reference: ReferenceLatents) -> Tensor:
        """The reference latents, with the classes in turn where there are some."""
        latents, classes = reference.rows(), self.input.classes
        labels = torch.arange(len(latents), device=latents.device) % classes if classes else None
        return self.input(latents, labels)


class PointToMaps(nn.ConvTranspose2d):
    """A transposed convolution from one point to maps as large as its kernel, as one matrix product.

    Equal to the stock operation, which takes up to twenty times as long on a CPU.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__(in_channels, out_channels, kernel, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, in_channels, 1, 1) to (N, out_channels, kernel, kernel), in the memory layout of the weight."""
        weight, kernel = self.weight, self.kernel_size
        points = input.flatten(1)
        if weight.is_contiguous(memory_format=torch.channels_last):
            rows = weight.permute(0, 2, 3, 1)  # a view: (in, k, k, out) is how the weight lies in memory
            maps = (points @ rows.flatten(1)).unflatten(1, (*kernel, self.out_channels)).permute(0, 3, 1, 2)
        else:
            maps = (points @ weight.flatten(1)).unflatten(1, (self.out_channels, *kernel))
        return maps if self.bias is None else maps + self.bias[:, None, None].to(maps.dtype)
