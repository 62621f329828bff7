"""Training methods, one file each, composed from the core; the union below is the list of them."""

from __future__ import annotations

from i2i.pipelines.cyclegan import CycleGAN, CycleGANSettings
from i2i.pipelines.protocol import EntryPoint, Pipeline

PipelineSettings = CycleGANSettings

__all__ = ["CycleGAN", "CycleGANSettings", "EntryPoint", "Pipeline", "PipelineSettings"]
