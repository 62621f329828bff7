"""Discriminators without convolutions: the maxout network of the first GAN, and a plain one.

Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 5, with the numbers of their program; maxout:
Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from i2i.core.discriminators.output import ClassHead, Conditioning, DiscriminatorOutput
from i2i.core.image_shape import ImageShape
from i2i.core.layers import Dropout


@dataclass(frozen=True, kw_only=True)
class MaxoutDiscriminatorSettings:
    """Maxout layers with dropout in front of each; the defaults are the paper's on MNIST."""

    kind: Literal["maxout"] = "maxout"
    units: int = 240
    """Of each layer."""
    pieces: int = 5
    """Linear functions of which a unit takes the largest."""
    layers: int = 2
    input_dropout: float = 0.2
    """Share of the pixels left out."""
    dropout: float = 0.5
    """Share of the units left out after each layer."""

    def __post_init__(self) -> None:
        for name in ("units", "pieces", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 1")
        for name in ("input_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; needs 0 up to, not including, 1")

    def size_problem(self, shape: ImageShape) -> None:
        """Pictures of every shape can be judged."""
        return None

    def build(self, shape: ImageShape, classes: int = 0, conditioning: Conditioning = "projection") -> MLPDiscriminator:
        widths = (_values(shape), *(self.units,) * self.layers)
        layers = [
            nn.Sequential(Maxout(before, after, self.pieces), Dropout(self.dropout))
            for before, after in pairwise(widths)
        ]
        return MLPDiscriminator(nn.Sequential(Dropout(self.input_dropout), *layers), self.units, classes, conditioning)


@dataclass(frozen=True, kw_only=True)
class MLPDiscriminatorSettings:
    """Fully connected layers with leaky ReLU."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (512, 256)
    """Units of each hidden layer."""
    dropout: float = 0.0
    """Share of the units left out after each layer."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden is {list(self.hidden)}; needs at least one layer, of at least 1 unit each")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; needs 0 up to, not including, 1")

    def size_problem(self, shape: ImageShape) -> None:
        """Pictures of every shape can be judged."""
        return None

    def build(self, shape: ImageShape, classes: int = 0, conditioning: Conditioning = "projection") -> MLPDiscriminator:
        widths = (_values(shape), *self.hidden)
        layers = [
            nn.Sequential(nn.Linear(before, after), nn.LeakyReLU(0.2), Dropout(self.dropout))
            for before, after in pairwise(widths)
        ]
        return MLPDiscriminator(nn.Sequential(*layers), self.hidden[-1], classes, conditioning)


class Maxout(nn.Module):
    """Units that are the largest of several linear functions (Goodfellow et al. 2013, section 3)."""

    def __init__(self, in_features: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.linear = nn.Linear(in_features, units * pieces)

    def forward(self, values: Tensor) -> Tensor:
        """(N, in_features) to (N, units)."""
        return self.linear(values).unflatten(1, (self.units, self.pieces)).max(dim=2).values


class MLPDiscriminator(nn.Module):
    """Judges whole pictures by their values in a row."""

    def __init__(self, layers: nn.Module, features: int, classes: int, conditioning: Conditioning) -> None:
        super().__init__()
        self.layers = layers
        self.judge = nn.Linear(features, 1)
        self.head = ClassHead(features, classes, conditioning)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        """(N, C, H, W) in [-1, 1], labels (N,) where there are classes, to logits (N, 1).

        Raises:
            ValueError: labels that do not fit.
        """
        self.head.check(images, labels)
        features = self.layers(images.flatten(1))
        return self.head(self.judge(features), features, labels, features=(features,))


def _values(shape: ImageShape) -> int:
    return shape.channels * shape.pixels**2
