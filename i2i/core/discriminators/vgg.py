"""The discriminator of SRGAN and ESRGAN, after the VGG networks.

Source: Ledig et al. 2017, https://arxiv.org/abs/1609.04802, figure 4, in the form that the released trainer of ESRGAN
(Wang et al. 2018, https://arxiv.org/abs/1809.00219) gave it. That form deviates from the figure: kernels of the halving
convolutions are 4x4, not 3x3; there is a stage more (at 128 pixels five, not four); the hidden layer has 100 features,
not 1024 (see `hidden_features`); there is no sigmoid, as losses here take logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.generators.upscaling import to_unit
from i2i.core.image_shape import ImageShape
from i2i.core.layers import Normalization, normalization_layer
from i2i.core.sizes import refuse, unfit_size

SMALLEST_MAP = 4
SIZES = range(2 * SMALLEST_MAP, 4097)


@dataclass(frozen=True, kw_only=True)
class VGGDiscriminatorSettings:
    """Stages that each halve the size, down to maps of 4 to 7 pixels, and two linear layers."""

    kind: Literal["vgg"] = "vgg"
    base_channels: int = 64
    """At the picture's size; doubled at each smaller one, up to eight times as many."""
    normalization: Normalization = "batch"
    hidden_features: int = 100

    def __post_init__(self) -> None:
        for name in ("base_channels", "hidden_features"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 1")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be judged, naming the nearest that can, or None."""
        return unfit_size("vgg", shape, SIZES)

    def build(self, shape: ImageShape) -> VGGDiscriminator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return VGGDiscriminator(self, shape)


class VGGDiscriminator(nn.Module):
    """Judges whole pictures of one size; no normalization on the first layer."""

    def __init__(self, settings: VGGDiscriminatorSettings, shape: ImageShape) -> None:
        super().__init__()
        smallest, count = halvings(shape.pixels)
        widths = [settings.base_channels * min(2**depth, 8) for depth in range(count)]
        self.stages = nn.Sequential(
            *(
                _stage(before, width, settings.normalization, first=depth == 0)
                for depth, (before, width) in enumerate(zip([shape.channels, *widths], widths, strict=False))
            )
        )
        self.hidden = nn.Linear(widths[-1] * smallest**2, settings.hidden_features)
        self.activation = nn.LeakyReLU(0.2, inplace=True)
        self.judge = nn.Linear(settings.hidden_features, 1)

    def forward(self, images: Tensor) -> DiscriminatorOutput:
        """(N, C, H, W) in [-1, 1] to logits (N, 1)."""
        features = self.stages(to_unit(images)).flatten(1)
        return DiscriminatorOutput(logits=(self.judge(self.activation(self.hidden(features))),))


def halvings(pixels: int) -> tuple[int, int]:
    """Side of the smallest map and how many halvings lead to it: 128 is 4 after five, 96 is 6 after four.

    An odd side loses half a pixel of padding, none of the picture.
    """
    count = 0
    while pixels // 2 >= SMALLEST_MAP:
        pixels, count = pixels // 2, count + 1
    return pixels, count


def _stage(before: int, width: int, kind: Normalization, *, first: bool) -> nn.Sequential:
    """A 3x3 convolution, and a 4x4 one to half the size."""
    # Biases in front of a normalization have no effect.
    bias = kind == "none"
    return nn.Sequential(
        nn.Conv2d(before, width, 3, padding=1, bias=bias or first),
        nn.Identity() if first else normalization_layer(kind, width),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, width, 4, stride=2, padding=1, bias=bias),
        normalization_layer(kind, width),
        nn.LeakyReLU(0.2, inplace=True),
    )
