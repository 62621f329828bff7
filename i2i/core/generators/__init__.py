"""Generators, one family a file; the unions below are the list of them."""

from __future__ import annotations

from i2i.core.generators.compact import Compact, CompactSettings
from i2i.core.generators.dcgan import DCGANGenerator, DCGANGeneratorSettings
from i2i.core.generators.mlp import MLPGenerator, MLPGeneratorSettings
from i2i.core.generators.msrresnet import MSRResNet, MSRResNetSettings
from i2i.core.generators.r3gan import R3GANGenerator, R3GANGeneratorSettings
from i2i.core.generators.resnet import ResNetGenerator, ResNetGeneratorSettings
from i2i.core.generators.rrdb import RRDB, RRDBSettings
from i2i.core.generators.sngan import SNGANGenerator, SNGANGeneratorSettings
from i2i.core.generators.srresnet import SRResNet, SRResNetSettings
from i2i.core.generators.unet import UNetGenerator, UNetGeneratorSettings

GeneratorSettings = ResNetGeneratorSettings | UNetGeneratorSettings
"""Those that turn pictures into pictures of the same size."""
UpscalerSettings = SRResNetSettings | MSRResNetSettings | RRDBSettings | CompactSettings
"""Those that enlarge pictures."""
PictureGeneratorSettings = GeneratorSettings | UpscalerSettings
"""Those that turn pictures into pictures."""
LatentGeneratorSettings = (
    DCGANGeneratorSettings | MLPGeneratorSettings | SNGANGeneratorSettings | R3GANGeneratorSettings
)
"""Those that turn latents into pictures."""

__all__ = [
    "RRDB",
    "Compact",
    "CompactSettings",
    "DCGANGenerator",
    "DCGANGeneratorSettings",
    "GeneratorSettings",
    "LatentGeneratorSettings",
    "MLPGenerator",
    "MLPGeneratorSettings",
    "MSRResNet",
    "MSRResNetSettings",
    "PictureGeneratorSettings",
    "R3GANGenerator",
    "R3GANGeneratorSettings",
    "RRDBSettings",
    "ResNetGenerator",
    "ResNetGeneratorSettings",
    "SNGANGenerator",
    "SNGANGeneratorSettings",
    "SRResNet",
    "SRResNetSettings",
    "UNetGenerator",
    "UNetGeneratorSettings",
    "UpscalerSettings",
]
