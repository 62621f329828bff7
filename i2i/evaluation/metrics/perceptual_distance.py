"""LPIPS: the distance of two pictures in the eyes of a trained network, calibrated on what people found similar.

The network's maps are normalized along the channels, squared differences weighted channel by channel by learnt heads,
and averaged over the positions. Nothing here opens files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from i2i.core.losses.perceptual import IMAGENET_DEVIATION, IMAGENET_MEAN, FrozenFeatures
from i2i.errors import DataError, ModelError
from i2i.inference.runtime import exact_float32, out_of_memory_as_help

BackboneName = Literal["alexnet", "vgg16"]
LPIPSVersion = Literal["0.1", "0.0"]
"""0.1 is what papers quote; 0.0, of the paper's first edition, left pictures in [-1, 1] unprepared."""

_TINY = 1e-10
"""Added to a vector's length before it divides, as in the authors' program."""


@dataclass(frozen=True, kw_only=True)
class _Backbone:
    """A network up to its last layer that counts, numbered as torchvision's ``features``."""

    layers: Sequence[nn.Module]
    tapped: Sequence[int]
    """Layers whose outputs are compared: the ReLU at the end of every block."""
    channels: Sequence[int]
    minimum_pixels: int


def _alexnet() -> _Backbone:
    return _Backbone(
        layers=[
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        ],
        tapped=(1, 4, 7, 9, 11),
        channels=(64, 192, 384, 256, 256),
        minimum_pixels=31,
    )  # fmt: skip


def _vgg16() -> _Backbone:
    layers: list[nn.Module] = []
    tapped: list[int] = []
    entering = 3
    widths = (64, 128, 256, 512, 512)
    for convolutions, width in zip((2, 2, 3, 3, 3), widths, strict=True):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(entering, width, 3, padding=1), nn.ReLU()]
            entering = width
        tapped.append(len(layers) - 1)
    return _Backbone(layers=layers, tapped=tapped, channels=widths, minimum_pixels=16)


_BACKBONES = {"alexnet": _alexnet, "vgg16": _vgg16}


class PerceptualDistance(FrozenFeatures):
    """LPIPS with one of its backbones; without meaning until `load` gave it trained weights.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1801.03924, equation 1.
    """

    def __init__(self, backbone: BackboneName = "alexnet", version: LPIPSVersion = "0.1") -> None:
        if version == "0.1":
            super().__init__(IMAGENET_MEAN, IMAGENET_DEVIATION)
        else:
            super().__init__((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        parts = _BACKBONES[backbone]()
        self.backbone, self.version = backbone, version
        self.tapped, self.minimum_pixels = tuple(parts.tapped), parts.minimum_pixels
        self.features = nn.Sequential(*parts.layers)
        self.heads = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in parts.channels)
        self.freeze()

    def load(self, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        """Fill in trained weights.

        Args:
            backbone: torchvision's keys, ``features.N.weight`` and ``.bias``; others (its classifier) are left out.
            heads: the authors' keys, ``linK.model.1.weight`` of (1, channels, 1, 1), nothing else.

        Raises:
            ModelError: a weight is missing or has another shape: it belongs to another network.
        """
        own = {name: weight for name, weight in self.state_dict().items() if name.startswith("features.")}
        _check_shapes(f"{self.backbone} weights", backbone, {name: tuple(weight.shape) for name, weight in own.items()})
        expected = {f"lin{index}.model.1.weight": (1, len(head), 1, 1) for index, head in enumerate(self.heads)}
        _check_shapes(f"LPIPS heads for {self.backbone}", heads, expected)
        if len(heads) != len(expected):
            raise ModelError(
                f"LPIPS heads for {self.backbone}: {len(heads)} tensors, not {len(expected)} - other heads"
            )
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(backbone[name])
            for head, name in zip(self.heads, expected, strict=True):
                head.copy_(heads[name].flatten())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Distances of two batches of pictures (N, 3, H, W) in [-1, 1], (N,); 0 for equal pictures.

        Raises:
            DataError: pictures too small for the network.
            ValueError: batches of different shape.
        """
        if first.shape != second.shape:
            raise ValueError(f"pictures have the shapes {tuple(first.shape)} and {tuple(second.shape)}; needs one")
        if min(first.shape[-2:]) < self.minimum_pixels:
            raise DataError(
                f"LPIPS: pictures of {first.shape[-1]}x{first.shape[-2]} pixels are too small for {self.backbone} - "
                f"give at least {self.minimum_pixels} a side"
            )
        total = first.new_zeros(len(first))
        for head, a, b in zip(self.heads, self._maps(first), self._maps(second), strict=True):
            total = total + ((a - b).square() * head.reshape(1, -1, 1, 1)).sum(1).mean((1, 2))
        return total

    @torch.inference_mode()
    def between(self, first: np.ndarray, second: np.ndarray) -> float:
        """The distance of two pictures (H, W, 3) uint8 of one size.

        Raises:
            DataError: pictures too small for the network.
            OutOfMemoryError: the device cannot hold pictures of this size.
            ValueError: pictures of different size.
        """
        device, (height, width) = self.mean.device, first.shape[:2]
        with (
            out_of_memory_as_help(2, height, width, "shrink them, leave lpips out or run it on the CPU"),
            exact_float32(device),
        ):
            a, b = (
                torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
                for picture in (np.ascontiguousarray(first), np.ascontiguousarray(second))
            )
            return float(self(a, b))

    def _maps(self, images: Tensor) -> list[Tensor]:
        """The tapped maps (N, C, h, w), each position's vector brought to length 1."""
        maps, found = self.prepared(images), []
        for index, layer in enumerate(self.features):
            maps = layer(maps)
            if index in self.tapped:
                found.append(maps / (maps.square().sum(1, keepdim=True).sqrt() + _TINY))
        return found


def _check_shapes(what: str, given: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        found = tuple(given[name].shape) if name in given else None
        if found != shape:
            has = "has no" if found is None else f"has {found} in"
            raise ModelError(f"{what}: {has} {name}, which needs {shape} - give the file of this network")
