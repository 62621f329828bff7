"""What computes a network: one engine a file, all with the same face."""

from __future__ import annotations

from i2i.inference.runners.protocol import Runner
from i2i.inference.runners.pytorch import PyTorchRunner

__all__ = ["PyTorchRunner", "Runner"]
