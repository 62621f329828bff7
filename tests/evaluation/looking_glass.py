"""What the tests of evaluations share: a small network of known weights, and sets of pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.evaluation.features.callable import callable_extractor
from i2i.evaluation.features.network import NetworkExtractor
from i2i.evaluation.pictures.sources import ArraySource

WIDTH = 6


class TinyNetwork(nn.Module):
    """Averages pictures down and projects them: vectors of 6 and logits of 4 numbers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("projection", torch.randn(48, WIDTH, generator=generator))
        self.register_buffer("classifier", torch.randn(WIDTH, 4, generator=generator) * 3)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        small = functional.adaptive_avg_pool2d(pictures.float() / 255, 4).flatten(1)
        vectors = small @ self.get_buffer("projection")
        return vectors, vectors @ self.get_buffer("classifier")


def tiny_extractor(seed: int = 0) -> NetworkExtractor:
    """The tiny network as metrics take it."""
    return callable_extractor(TinyNetwork(seed).eval(), name="tiny")


def noise(count: int, seed: int, *, side: int = 16, most: int = 256, channels: int = 3) -> ArraySource:
    """Pictures of random levels below `most`."""
    levels = np.random.default_rng(seed).integers(0, most, (count, side, side, channels), dtype=np.uint8)
    return ArraySource(images=levels, description=f"noise {seed}")


class Watched:
    """A source that counts how often each of its pictures is asked for."""

    def __init__(self, source: ArraySource) -> None:
        self.source = source
        self.asked = np.zeros(source.count, np.int64)
        self.count, self.description, self.sha256 = source.count, source.description, source.sha256

    def pictures(self, first: int, last: int):
        self.asked[first:last] += 1
        return self.source.pictures(first, last)
