"""Discriminators, one family a file; the table below is the list of them."""

from __future__ import annotations

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.discriminators.patch import (
    PatchDiscriminator,
    PatchDiscriminatorSettings,
    PixelDiscriminator,
    PixelDiscriminatorSettings,
)

DiscriminatorSettings = PatchDiscriminatorSettings | PixelDiscriminatorSettings

__all__ = [
    "DiscriminatorOutput",
    "DiscriminatorSettings",
    "PatchDiscriminator",
    "PatchDiscriminatorSettings",
    "PixelDiscriminator",
    "PixelDiscriminatorSettings",
]
