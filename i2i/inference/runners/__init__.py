"""What computes a network: one engine a file, all with the same face."""

from __future__ import annotations

from i2i.inference.runners.choice import WORTHWHILE_PIXELS, RunnerChoice, choose_runner
from i2i.inference.runners.computation import Computation
from i2i.inference.runners.engines import RUNNERS, RunnerName, candidates
from i2i.inference.runners.protocol import Runner
from i2i.inference.runners.pytorch import PyTorchRunner

__all__ = [
    "RUNNERS",
    "WORTHWHILE_PIXELS",
    "Computation",
    "PyTorchRunner",
    "Runner",
    "RunnerChoice",
    "RunnerName",
    "candidates",
    "choose_runner",
]
