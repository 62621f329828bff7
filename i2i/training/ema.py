"""Running averages of weights, from which pictures are made."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

# The half-life is at most this share of the samples seen: without it the average of a short training is still mostly
# the network's first weights, and its pictures are noise.
_RAMP_UP = 0.25


class ExponentialMovingAverage:
    """Averaged copies of networks; after `half_life_images` an old weight counts half.

    Source: Karras et al. 2018 (progressive growing), section 6.1, with the half-life in images of Karras et al. 2020.
    The half-life grows with the training as in the released code of the latter, faster (there 5 % of the images seen).
    Buffers (batch-norm statistics) are copied, not averaged.
    """

    def __init__(self, networks: Mapping[str, nn.Module], half_life_images: float) -> None:
        self.half_life_images = half_life_images
        self._live = networks
        self.networks: dict[str, nn.Module] = {name: _frozen_copy(network) for name, network in networks.items()}

    def restart(self) -> None:
        """Begin anew at the live weights."""
        for name, averaged in self.networks.items():
            averaged.load_state_dict(self._live[name].state_dict())

    @torch.no_grad()
    def update(self, images: int, seen: int) -> None:
        """Move towards the live weights after a step of `images` samples, `seen` in the whole training so far."""
        half_life_images = min(self.half_life_images, _RAMP_UP * seen)
        # The share of the old average that remains: one half after the half-life.
        kept = 0.5 ** (images / half_life_images)
        for name, averaged in self.networks.items():
            live = self._live[name]
            # One call for all weights: on a GPU a launch for each would take longer than the arithmetic.
            targets: list[Tensor] = list(averaged.parameters())
            sources: list[Tensor] = list(live.parameters())
            torch._foreach_lerp_(targets, sources, 1.0 - kept)  # pyright: ignore[reportPrivateImportUsage]
            if buffers := list(averaged.buffers()):
                torch._foreach_copy_(buffers, list(live.buffers()))  # pyright: ignore[reportPrivateImportUsage]


def _frozen_copy(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).requires_grad_(False).eval()
