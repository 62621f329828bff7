"""VGG16 and AlexNet as torchvision publishes their weights: eyes for sets that Inception's classes say little about.

Vectors are those behind the second fully connected layer and its ReLU, 4096 wide, as precision and recall were first
measured with (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991, section 3); logits are the 1000 classes.
Preparation is torch-fidelity's: TensorFlow 1's bilinear filter to 224 pixels.

Source: Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556, configuration D; Krizhevsky 2014,
https://arxiv.org/abs/1404.5997, section 5, in torchvision's form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from i2i.core.losses.perceptual import IMAGENET_DEVIATION, IMAGENET_MEAN
from i2i.data.weight_files import read_fitting_tensors
from i2i.evaluation.features.network import NetworkExtractor, as_colour
from i2i.evaluation.features.tensorflow_resize import tensorflow_resize
from i2i.files import sha256_of_file

PIXELS = 224
WIDTH = 4096
CLASSES = 1000
PREPROCESSING = (
    "uint8, grey repeated to RGB, TensorFlow 1 bilinear to 224x224 without antialiasing, ImageNet's mean and deviation"
)
_VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class ClassifyingNetwork(nn.Module):
    """Convolutions, then three fully connected layers: (N, 3, 224, 224) to vectors (N, 4096) and logits (N, 1000)."""

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Values behind the ReLU before the last layer, and the logits."""
        # Of 224 pixels the maps have the size that torchvision pools those of other pictures to.
        maps = self.features(images).contiguous().flatten(1)
        vectors = self.classifier[:-1](maps)
        return vectors, self.classifier[-1](vectors)


def vgg16() -> ClassifyingNetwork:
    """VGG16 without batch norm, without weights worth having; dropout, which does nothing here, keeps its place."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, convolutions in _VGG16_BLOCKS:
        for _ in range(convolutions):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    classifier = nn.Sequential(
        nn.Linear(512 * 7 * 7, WIDTH), nn.ReLU(inplace=True), nn.Identity(),
        nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True), nn.Identity(),
        nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip
    return ClassifyingNetwork(nn.Sequential(*layers), classifier)


def alexnet() -> ClassifyingNetwork:
    """AlexNet in torchvision's form; as `vgg16`."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2),
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Identity(), nn.Linear(256 * 6 * 6, WIDTH), nn.ReLU(inplace=True),
        nn.Identity(), nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True),
        nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip
    return ClassifyingNetwork(features, classifier)


@dataclass(frozen=True)
class TorchvisionNetwork:
    """One network, and what it is called in messages."""

    build: Callable[[], ClassifyingNetwork]
    title: str


TORCHVISION_NETWORKS: Mapping[str, TorchvisionNetwork] = {
    "vgg16": TorchvisionNetwork(vgg16, "VGG16"),
    "alexnet": TorchvisionNetwork(alexnet, "AlexNet"),
}
"""Every network of this kind; the names are those of their published weights."""


def load_torchvision_network(name: str, path: Path) -> ClassifyingNetwork:
    """The network `name` with the weights of `path`, on the CPU, in evaluation mode.

    Raises:
        ModelError: damaged, or weights of another network.
    """
    entry = TORCHVISION_NETWORKS[name]
    with torch.device("meta"):
        network = entry.build()
    wanted = network.state_dict()
    layout = f"the weights of torchvision's {name}"
    found = read_fitting_tensors(path, wanted, network=entry.title, instead=layout, fitting=layout)
    network.load_state_dict({key: tensor.float() for key, tensor in found.items()}, assign=True)
    return network.eval().requires_grad_(False)


def open_torchvision_network(
    name: str, path: Path, device: torch.device, weights_sha256: str | None = None
) -> NetworkExtractor:
    """The extractor `name` with the weights of `path`, whose hash is computed where the caller does not know it.

    Raises:
        ModelError: damaged, or weights of another network.
    """
    network = load_torchvision_network(name, path).to(device).to(memory_format=torch.channels_last)
    # In levels, as torch-fidelity computes it.
    mean = 255 * torch.tensor(IMAGENET_MEAN, device=device)
    deviation = 255 * torch.tensor(IMAGENET_DEVIATION, device=device)

    def prepare(pictures: Tensor) -> Tensor:
        levels = as_colour(tensorflow_resize(pictures, PIXELS))
        return ((levels - mean) / deviation).permute(0, 3, 1, 2)

    return NetworkExtractor(
        name=name,
        weights_sha256=weights_sha256 or sha256_of_file(path),
        preprocessing=PREPROCESSING,
        width=WIDTH,
        classes=CLASSES,
        device=device,
        prepare=prepare,
        compute=network,
    )
