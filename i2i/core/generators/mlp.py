"""The generator of the first generative adversarial network, without convolutions.

Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from i2i.core.conditioning import LatentInput
from i2i.core.image_shape import ImageShape
from i2i.core.layers import Tanh


@dataclass(frozen=True, kw_only=True)
class MLPGeneratorSettings:
    """Fully connected layers with ReLU; the defaults are the paper's on MNIST."""

    kind: Literal["mlp"] = "mlp"
    latent: int = 100
    hidden: tuple[int, ...] = (1200, 1200)
    """Units of each hidden layer."""

    def __post_init__(self) -> None:
        if self.latent < 1:
            raise ValueError(f"latent is {self.latent}; needs at least 1")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden is {list(self.hidden)}; needs at least one layer, of at least 1 unit each")

    def size_problem(self, shape: ImageShape) -> None:
        """Pictures of every shape can be made."""
        return None

    def build(self, shape: ImageShape, classes: int = 0) -> MLPGenerator:
        return MLPGenerator(self, shape, classes)


class MLPGenerator(nn.Module):
    """Turns latents into pictures in [-1, 1].

    The paper's pictures are in [0, 1] and its last layer a sigmoid; a tanh is the same curve over [-1, 1].
    """

    def __init__(self, settings: MLPGeneratorSettings, shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        self.shape = (shape.channels, shape.pixels, shape.pixels)
        self.input = LatentInput(settings.latent, classes)
        widths = (self.input.features, *settings.hidden)
        hidden = [nn.Sequential(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)]
        self.hidden = nn.Sequential(*hidden)
        self.picture = nn.Sequential(nn.Linear(widths[-1], shape.channels * shape.pixels**2), Tanh())

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, latent), labels (N,) where there are classes, to (N, C, H, W).

        Raises:
            ValueError: latents or labels that do not fit.
        """
        pixels = self.picture(self.hidden(self.input(latents, labels)))
        return pixels.unflatten(1, self.shape)
