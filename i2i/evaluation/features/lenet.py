"""LeNet-5, small enough to train in seconds: what MNIST's digits are judged by, for Inception never saw any.

Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B, with rectifiers and
maximum pooling in place of what they had. The key layout of the file is that of a widely copied PyTorch version.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.data.weight_files import read_fitting_tensors
from i2i.errors import DataError, ModelError
from i2i.evaluation.features.network import NetworkExtractor
from i2i.files import sha256_of_file
from i2i.inference.tensor_files import write_tensors

NAME = "lenet5"
PREPROCESSING = "uint8, RGB to grey by ITU-R 601, bilinear to 32x32 without antialiasing, rounded, x / 255"
PIXELS = 32
WIDTH = 84
CLASSES = 10
_BATCH = 64
# Red, green and blue of luma, in thousandths: grey that was written as RGB comes back exactly.
_LUMA = (299, 587, 114)


class LeNet(nn.Module):
    """LeNet-5 with rectifiers and maximum pooling: (N, 1, 32, 32) in [0, 1] to features (N, 84) and logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.convnet = nn.ModuleDict({"c1": nn.Conv2d(1, 6, 5), "c3": nn.Conv2d(6, 16, 5), "c5": nn.Conv2d(16, 120, 5)})
        self.fc = nn.ModuleDict({"f6": nn.Linear(120, 84), "f7": nn.Linear(84, 10)})

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features before the last layer, and the logits."""
        x = functional.max_pool2d(functional.relu(self.convnet["c1"](images)), 2)
        x = functional.max_pool2d(functional.relu(self.convnet["c3"](x)), 2)
        x = functional.relu(self.convnet["c5"](x)).flatten(1)
        features = functional.relu(self.fc["f6"](x))
        return features, self.fc["f7"](features)


def resized(pictures: Tensor, pixels: int) -> Tensor:
    """Pictures (N, C, H, W) uint8 as squares, uint8: bilinear, four neighbours, pixel areas aligned, rounded."""
    result = functional.interpolate(pictures.float(), size=(pixels, pixels), mode="bilinear", align_corners=False)
    return result.round_().to(torch.uint8)


def lenet_input(pictures: Tensor) -> Tensor:
    """Grey pictures (N, 1, H, W) uint8 as LeNet takes them, (N, 1, 32, 32) in [0, 1]."""
    return resized(pictures, PIXELS).float() / 255


def grey(pictures: Tensor) -> Tensor:
    """(N, H, W, C) uint8 with 1 or 3 channels to (N, 1, H, W) uint8: luma, rounded."""
    if pictures.shape[3] == 1:
        return pictures.permute(0, 3, 1, 2)
    luma = (pictures.int() * torch.tensor(_LUMA, device=pictures.device)).sum(3)
    return ((luma + 500) // 1000).to(torch.uint8).unsqueeze(1)


def load_lenet(path: Path) -> LeNet:
    """The network with the weights of `path`, on the CPU, in evaluation mode.

    Raises:
        ModelError: missing, damaged, or weights of another network.
    """
    path = path.expanduser()
    if not path.is_file():
        raise ModelError(f"{path}: no such file of LeNet weights - give one, as lenet:FILE")
    network = LeNet()
    wanted = network.state_dict()
    layout = "the weights of a LeNet-5 for 32 pixels: convnet.c1, c3, c5 and fc.f6, f7"
    found = read_fitting_tensors(path, wanted, network="LeNet-5", instead=layout, fitting=layout)
    network.load_state_dict(found)
    return network.eval().requires_grad_(False)


def open_lenet(path: Path, device: torch.device) -> NetworkExtractor:
    """The extractor for digits of 28 or 32 pixels with the weights of `path`.

    Raises:
        ModelError: missing, damaged, or weights of another network.
    """
    network = load_lenet(path).to(device)
    return NetworkExtractor(
        name=NAME,
        weights_sha256=sha256_of_file(path.expanduser()),
        preprocessing=PREPROCESSING,
        width=WIDTH,
        classes=CLASSES,
        device=device,
        prepare=lambda pictures: lenet_input(grey(pictures)),
        compute=network,
    )


def train_lenet(pictures: np.ndarray, labels: np.ndarray, *, epochs: int = 2, seed: int = 0) -> LeNet:
    """A LeNet that tells these digits apart, on the CPU, in evaluation mode; no random state of the process changes.

    Args:
        pictures: (N, H, W, C) uint8.
        labels: (N,) integers, 0 to 9.
        epochs: passes over the pictures; 2 over 2,000 drawn digits take a second or two.
        seed: of the initial weights and of the order.

    Raises:
        DataError: pictures and labels do not fit each other.
    """
    if pictures.ndim != 4 or len(pictures) != len(labels) or pictures.dtype != np.uint8 or not len(pictures):
        raise DataError(
            f"pictures {pictures.shape} {pictures.dtype} with {len(labels)} labels - give (N, H, W, C) uint8 and N"
        )
    inputs = lenet_input(grey(torch.from_numpy(np.ascontiguousarray(pictures))))
    targets = torch.from_numpy(np.asarray(labels, np.int64))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = LeNet()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs)).split(_BATCH):
                _, logits = network(inputs[rows])
                optimizer.zero_grad()
                functional.cross_entropy(logits, targets[rows]).backward()
                optimizer.step()
    return network.eval().requires_grad_(False)


def save_lenet(network: LeNet, path: Path) -> None:
    """Write the weights as ``.safetensors``, whole or not at all.

    Raises:
        StorageError: the disk is full or may not be written to.
    """
    write_tensors(path, network.state_dict())
