"""Generators, one family a file; the union below is the list of them."""

from __future__ import annotations

from i2i.core.generators.resnet import ResNetGenerator, ResNetGeneratorSettings
from i2i.core.generators.unet import UNetGenerator, UNetGeneratorSettings

GeneratorSettings = ResNetGeneratorSettings | UNetGeneratorSettings

__all__ = [
    "GeneratorSettings",
    "ResNetGenerator",
    "ResNetGeneratorSettings",
    "UNetGenerator",
    "UNetGeneratorSettings",
]
