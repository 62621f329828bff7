"""The face that every engine shows to the models that run on it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from i2i.inference.runtime import Precision


class Runner(Protocol):
    """A network in evaluation mode, computed by some engine; pictures of every size from one pixel on may go in."""

    @property
    def name(self) -> str:
        """Of the engine, as ``--runner`` takes it."""
        ...

    @property
    def device(self) -> torch.device:
        """Where inputs are taken and results are given."""
        ...

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network."""
        ...

    @property
    def network(self) -> nn.Module | None:
        """The bare network, where the engine is PyTorch's own and its layers can be run one by one."""
        ...

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """Pictures (N, 3, H, W), or latents (N, latent) and labels (N,) or None, float32, to float32 pictures.

        Raises:
            RuntimeError: the engine failed, for want of memory for instance.
        """
        ...
