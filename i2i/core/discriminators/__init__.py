"""Discriminators, one family a file; the unions below are the list of them."""

from __future__ import annotations

from i2i.core.discriminators.dcgan import DCGANDiscriminator, DCGANDiscriminatorSettings
from i2i.core.discriminators.mlp import (
    MaxoutDiscriminatorSettings,
    MLPDiscriminator,
    MLPDiscriminatorSettings,
)
from i2i.core.discriminators.output import Conditioning, DiscriminatorOutput
from i2i.core.discriminators.patch import (
    PatchDiscriminator,
    PatchDiscriminatorSettings,
    PixelDiscriminator,
    PixelDiscriminatorSettings,
)
from i2i.core.discriminators.r3gan import R3GANDiscriminator, R3GANDiscriminatorSettings
from i2i.core.discriminators.sngan import SNGANDiscriminator, SNGANDiscriminatorSettings
from i2i.core.discriminators.unet import UNetDiscriminator, UNetDiscriminatorSettings
from i2i.core.discriminators.vgg import VGGDiscriminator, VGGDiscriminatorSettings

DiscriminatorSettings = PatchDiscriminatorSettings | PixelDiscriminatorSettings
"""Those that judge patches or pixels."""
ImageDiscriminatorSettings = (
    DCGANDiscriminatorSettings
    | MLPDiscriminatorSettings
    | MaxoutDiscriminatorSettings
    | SNGANDiscriminatorSettings
    | R3GANDiscriminatorSettings
)
"""Those that judge whole pictures of one size."""
UpscalingDiscriminatorSettings = VGGDiscriminatorSettings | UNetDiscriminatorSettings | PatchDiscriminatorSettings
"""Those that judge enlarged pictures: as wholes, pixel by pixel, or by patches."""

__all__ = [
    "Conditioning",
    "DCGANDiscriminator",
    "DCGANDiscriminatorSettings",
    "DiscriminatorOutput",
    "DiscriminatorSettings",
    "ImageDiscriminatorSettings",
    "MLPDiscriminator",
    "MLPDiscriminatorSettings",
    "MaxoutDiscriminatorSettings",
    "PatchDiscriminator",
    "PatchDiscriminatorSettings",
    "PixelDiscriminator",
    "PixelDiscriminatorSettings",
    "R3GANDiscriminator",
    "R3GANDiscriminatorSettings",
    "SNGANDiscriminator",
    "SNGANDiscriminatorSettings",
    "UNetDiscriminator",
    "UNetDiscriminatorSettings",
    "UpscalingDiscriminatorSettings",
    "VGGDiscriminator",
    "VGGDiscriminatorSettings",
]
