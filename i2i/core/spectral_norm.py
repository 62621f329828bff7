"""Spectral normalization in the paper's order, so that published weights with their singular vectors fit.

Source: Miyato et al. 2018, https://arxiv.org/abs/1802.05957, algorithm 1.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize


def published_spectral_norm(layer: nn.Module) -> nn.Module:
    """Keep the largest singular value of the layer's weight at 1, in place; gives the layer back.

    With one power iteration for each call in training mode, first the right singular vector and then the left, as
    networks were published that carry these vectors; `layers.spectral_norm`, which is torch's, goes the other way
    round and serves all others. Calls are counted: a batch in two halves is not the same as in one.
    """
    weight = layer.get_parameter("weight")
    transposed = isinstance(layer, nn.ConvTranspose2d)
    parametrize.register_parametrization(layer, "weight", SpectralNorm(weight, transposed=transposed))
    layer.couples_batch = True  # type: ignore[assignment]
    layer.coupling = "spectral norm"  # type: ignore[assignment]
    return layer


class SpectralNorm(nn.Module):
    """Divides a weight by an estimate of its largest singular value.

    Torch's own parametrization moves the left vector first, with the right one of the call before. The paper and the
    older hook, whose weights are published, start with the right one; estimates differ by half an iteration.
    """

    def __init__(self, weight: Tensor, *, transposed: bool = False) -> None:
        super().__init__()
        self.transposed = transposed
        rows, columns = self._matrix(weight).shape
        # Names as in torch's own, where the initialization looks for them.
        self.register_buffer("_u", functional.normalize(torch.randn(rows).to(weight), dim=0))
        self.register_buffer("_v", functional.normalize(torch.randn(columns).to(weight), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape whose first (transposed: second) dimension is the output, to the same."""
        # Autocast would take the estimate in a narrow format, and every weight with it.
        with _without_autocast(weight.device):
            matrix = self._matrix(weight)
            left, right = self.get_buffer("_u"), self.get_buffer("_v")
            if self.training:
                with torch.no_grad():
                    right.copy_(functional.normalize(matrix.T @ left, dim=0))
                    left.copy_(functional.normalize(matrix @ right, dim=0))
            # Cloned: the next call moves the vectors before this one's derivative is taken.
            return weight / (left.clone() @ (matrix @ right.clone()))

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)


def _without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    # Where there are only shapes, there is no autocast to switch off.
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
