"""Inception v3 as TensorFlow published it in 2015: the network that FID, KID and the Inception Score are defined by.

It differs from the Inception v3 of today's libraries in its poolings, its 1008 outputs and its weights; figures made
with those are something else.

Source: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, table 1 and figures 5 to 7; the file of weights and the
names of its tensors are those of torch-fidelity and pytorch-fid. Weights never train here, so every batch norm is
folded into the convolution before it, in float64: features change by rounding only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.data.weight_files import read_fitting_tensors
from i2i.evaluation.features.network import NetworkExtractor, as_colour
from i2i.evaluation.features.tensorflow_resize import tensorflow_resize
from i2i.files import sha256_of_file

NAME = "inception-2015-12-05"
PREPROCESSING = "uint8, grey repeated to RGB, TensorFlow 1 bilinear to 299x299 without antialiasing, (x - 128) / 128"
PIXELS = 299
WIDTH = 2048
CLASSES = 1008
_EPSILON = 0.001
"""Of the batch norms."""
_TENSORS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
"""What a convolution has in the file; ``bn.num_batches_tracked`` is of no use."""


class Convolution(nn.Module):
    """A convolution with its batch norm folded in, and a ReLU; `name` is that of the file."""

    def __init__(
        self, name: str, inputs: int, outputs: int, kernel: int | tuple[int, int], *, stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        self.name = name
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if pad else (0, 0)
        self.layer = nn.Conv2d(inputs, outputs, (height, width), stride=stride, padding=padding)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) to the outputs' maps."""
        return functional.relu_(self.layer(maps))

    def wanted(self) -> dict[str, Tensor]:
        """Names in the file, with tensors of the shapes that they must have."""
        weight = self.layer.weight
        tensors = [weight, *[weight[:, 0, 0, 0]] * 4]
        return {f"{self.name}.{part}": tensor for part, tensor in zip(_TENSORS, tensors, strict=True)}

    def fold(self, tensors: dict[str, Tensor]) -> None:
        """Take the weights out of the file's `tensors`: w * scale, and shift - mean * scale as the bias."""
        weight, scale, shift, mean, variance = (tensors[f"{self.name}.{part}"].double() for part in _TENSORS)
        scale = scale / torch.sqrt(variance + _EPSILON)
        self.layer.weight = nn.Parameter((weight * scale.reshape(-1, 1, 1, 1)).float())
        self.layer.bias = nn.Parameter((shift - mean * scale).float())


class Branches(nn.Module):
    """Several ways for the same maps, their results side by side as channels."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) to (N, sum of the ways' channels, h', w')."""
        return torch.cat([way(maps) for way in self.ways], 1)


def _average_pool() -> nn.Module:
    # TensorFlow's does not count the padding.
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def _block_35(name: str, inputs: int, pooled: int) -> nn.Module:
    """At 35 x 35 pixels; figure 5."""
    return Branches(
        Convolution(f"{name}.branch1x1", inputs, 64, 1),
        nn.Sequential(
            Convolution(f"{name}.branch5x5_1", inputs, 48, 1),
            Convolution(f"{name}.branch5x5_2", 48, 64, 5),
        ),
        nn.Sequential(
            Convolution(f"{name}.branch3x3dbl_1", inputs, 64, 1),
            Convolution(f"{name}.branch3x3dbl_2", 64, 96, 3),
            Convolution(f"{name}.branch3x3dbl_3", 96, 96, 3),
        ),
        nn.Sequential(_average_pool(), Convolution(f"{name}.branch_pool", inputs, pooled, 1)),
    )


def _reduction_17(name: str, inputs: int) -> nn.Module:
    """From 35 x 35 to 17 x 17 pixels; figure 10."""
    return Branches(
        Convolution(f"{name}.branch3x3", inputs, 384, 3, stride=2, pad=False),
        nn.Sequential(
            Convolution(f"{name}.branch3x3dbl_1", inputs, 64, 1),
            Convolution(f"{name}.branch3x3dbl_2", 64, 96, 3),
            Convolution(f"{name}.branch3x3dbl_3", 96, 96, 3, stride=2, pad=False),
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _block_17(name: str, inner: int) -> nn.Module:
    """At 17 x 17 pixels; figure 6 with n = 7."""
    inputs = 768
    return Branches(
        Convolution(f"{name}.branch1x1", inputs, 192, 1),
        nn.Sequential(
            Convolution(f"{name}.branch7x7_1", inputs, inner, 1),
            Convolution(f"{name}.branch7x7_2", inner, inner, (1, 7)),
            Convolution(f"{name}.branch7x7_3", inner, 192, (7, 1)),
        ),
        nn.Sequential(
            Convolution(f"{name}.branch7x7dbl_1", inputs, inner, 1),
            Convolution(f"{name}.branch7x7dbl_2", inner, inner, (7, 1)),
            Convolution(f"{name}.branch7x7dbl_3", inner, inner, (1, 7)),
            Convolution(f"{name}.branch7x7dbl_4", inner, inner, (7, 1)),
            Convolution(f"{name}.branch7x7dbl_5", inner, 192, (1, 7)),
        ),
        nn.Sequential(_average_pool(), Convolution(f"{name}.branch_pool", inputs, 192, 1)),
    )


def _reduction_8(name: str, inputs: int) -> nn.Module:
    """From 17 x 17 to 8 x 8 pixels."""
    return Branches(
        nn.Sequential(
            Convolution(f"{name}.branch3x3_1", inputs, 192, 1),
            Convolution(f"{name}.branch3x3_2", 192, 320, 3, stride=2, pad=False),
        ),
        nn.Sequential(
            Convolution(f"{name}.branch7x7x3_1", inputs, 192, 1),
            Convolution(f"{name}.branch7x7x3_2", 192, 192, (1, 7)),
            Convolution(f"{name}.branch7x7x3_3", 192, 192, (7, 1)),
            Convolution(f"{name}.branch7x7x3_4", 192, 192, 3, stride=2, pad=False),
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _block_8(name: str, inputs: int, pool: nn.Module) -> nn.Module:
    """At 8 x 8 pixels; figure 7."""
    return Branches(
        Convolution(f"{name}.branch1x1", inputs, 320, 1),
        nn.Sequential(
            Convolution(f"{name}.branch3x3_1", inputs, 384, 1),
            Branches(
                Convolution(f"{name}.branch3x3_2a", 384, 384, (1, 3)),
                Convolution(f"{name}.branch3x3_2b", 384, 384, (3, 1)),
            ),
        ),
        nn.Sequential(
            Convolution(f"{name}.branch3x3dbl_1", inputs, 448, 1),
            Convolution(f"{name}.branch3x3dbl_2", 448, 384, 3),
            Branches(
                Convolution(f"{name}.branch3x3dbl_3a", 384, 384, (1, 3)),
                Convolution(f"{name}.branch3x3dbl_3b", 384, 384, (3, 1)),
            ),
        ),
        nn.Sequential(pool, Convolution(f"{name}.branch_pool", inputs, 192, 1)),
    )


class Inception(nn.Module):
    """(N, 3, 299, 299) in [-1, 1] to pool features (N, 2048) and logits (N, 1008)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Convolution("Conv2d_1a_3x3", 3, 32, 3, stride=2, pad=False),
            Convolution("Conv2d_2a_3x3", 32, 32, 3, pad=False),
            Convolution("Conv2d_2b_3x3", 32, 64, 3),
            nn.MaxPool2d(3, stride=2),
            Convolution("Conv2d_3b_1x1", 64, 80, 1),
            Convolution("Conv2d_4a_3x3", 80, 192, 3, pad=False),
            nn.MaxPool2d(3, stride=2),
            _block_35("Mixed_5b", 192, 32),
            _block_35("Mixed_5c", 256, 64),
            _block_35("Mixed_5d", 288, 64),
            _reduction_17("Mixed_6a", 288),
            _block_17("Mixed_6b", 128),
            _block_17("Mixed_6c", 160),
            _block_17("Mixed_6d", 160),
            _block_17("Mixed_6e", 192),
            _reduction_8("Mixed_7a", 768),
            _block_8("Mixed_7b", 1280, _average_pool()),
            # A maximum: the published network has it so, unlike the paper.
            _block_8("Mixed_7c", 2048, nn.MaxPool2d(3, stride=1, padding=1)),
        )
        # The Inception Score's reference reads the logits before their bias is added, and so does everyone since.
        self.fc = nn.Linear(WIDTH, CLASSES, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pool features and logits without bias."""
        features = self.layers(images).mean((2, 3))
        return features, self.fc(features)

    def convolutions(self) -> Iterator[Convolution]:
        """All of them, in no order that matters."""
        return (module for module in self.modules() if isinstance(module, Convolution))


def load_inception(path: Path) -> Inception:
    """The network with the weights of `path`, on the CPU, in evaluation mode.

    Raises:
        ModelError: damaged, or weights of another network.
    """
    with torch.device("meta"):
        network = Inception()
    wanted: dict[str, Tensor] = {"fc.weight": network.fc.weight}
    for convolution in network.convolutions():
        wanted |= convolution.wanted()
    found = read_fitting_tensors(
        path,
        wanted,
        network="the Inception of FID",
        instead="weights-inception-2015-12-05-6726825d.pth of torch-fidelity, or pytorch-fid's, which is the same",
        fitting="weights-inception-2015-12-05-6726825d.pth; torchvision's inception_v3 is another network",
    )
    for convolution in network.convolutions():
        convolution.fold(found)
    network.fc.weight = nn.Parameter(found["fc.weight"].float().clone())
    return network.eval().requires_grad_(False)


def open_inception(path: Path, device: torch.device, weights_sha256: str | None = None) -> NetworkExtractor:
    """The extractor of FID with the weights of `path`, whose hash is computed where the caller does not know it.

    Raises:
        ModelError: damaged, or weights of another network.
    """
    network = load_inception(path).to(device).to(memory_format=torch.channels_last)

    def prepare(pictures: Tensor) -> Tensor:
        # In channels-last memory already, for pictures are.
        resized = tensorflow_resize(pictures, PIXELS)
        return as_colour((resized - 128) / 128).contiguous().permute(0, 3, 1, 2)

    return NetworkExtractor(
        name=NAME,
        weights_sha256=weights_sha256 or sha256_of_file(path),
        preprocessing=PREPROCESSING,
        width=WIDTH,
        classes=CLASSES,
        device=device,
        prepare=prepare,
        compute=network,
    )
