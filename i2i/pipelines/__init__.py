"""Training methods, one file each, composed from the core; the union below is the list of them."""

from __future__ import annotations

from i2i.pipelines.cyclegan import CycleGAN, CycleGANSettings
from i2i.pipelines.protocol import EntryPoint, LatentEntryPoint, PictureEntryPoint, Pipeline
from i2i.pipelines.srgan import SRGAN, SRGANSettings
from i2i.pipelines.unconditional import Unconditional, UnconditionalSettings

PipelineSettings = CycleGANSettings | UnconditionalSettings | SRGANSettings

__all__ = [
    "SRGAN",
    "CycleGAN",
    "CycleGANSettings",
    "EntryPoint",
    "LatentEntryPoint",
    "PictureEntryPoint",
    "Pipeline",
    "PipelineSettings",
    "SRGANSettings",
    "Unconditional",
    "UnconditionalSettings",
]
