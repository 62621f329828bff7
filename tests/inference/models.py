"""Small model files for tests, of known output or of known seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from i2i.core.generators import (
    DCGANGeneratorSettings,
    LatentGeneratorSettings,
    MLPGeneratorSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    SNGANGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.inference.model_file import write_model_file
from i2i.pipelines.protocol import LatentEntryPoint, PictureEntryPoint

CONSTANT = ResNetGeneratorSettings(base_channels=2, blocks=1)
MLP = MLPGeneratorSettings(latent=5, hidden=(16,))
DCGAN = DCGANGeneratorSettings(latent=12, base_channels=4)
SNGAN = SNGANGeneratorSettings(latent=6, widths=(8, 8, 8, 8))
R3GAN = R3GANGeneratorSettings(latent=7, widths=(8, 8, 8, 8), cardinalities=(2, 2, 2, 2), blocks=(1, 1, 1, 1))
GREY = ImageShape(1, 28)
COLOUR = ImageShape(3, 32)


def write_constant_model(path: Path, levels: Mapping[str, Sequence[float]]) -> Path:
    """A model file whose directions give one known colour each, whatever goes in."""
    networks, entry_points = {}, {}
    for name, colour in levels.items():
        network = CONSTANT.build()
        last = network.tail[1]
        assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.atanh(torch.tensor(colour) / 127.5 - 1))
        networks[f"net_{name}"] = network
        entry_points[name] = PictureEntryPoint(f"net_{name}", CONSTANT, (name[0].lower(), name[-1].lower()))
    write_model_file(path, networks, entry_points, {"recipe": "test", "step": 3}, pipeline="cyclegan")
    return path


def generator_network(
    settings: LatentGeneratorSettings, shape: ImageShape, classes: int = 0, seed: int = 0
) -> torch.nn.Module:
    """An untrained generator of known weights whose pictures differ visibly from each other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = settings.build(shape, classes)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.running_var is not None:
                # Of an untrained network the pictures would all be grey.
                module.running_var.fill_(0.05)
    return network


def write_generator(
    path: Path,
    settings: LatentGeneratorSettings = DCGAN,
    shape: ImageShape = GREY,
    classes: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """A model file of an untrained generator of known weights."""
    networks = {"generator": generator_network(settings, shape, classes)}
    entry_points = {"generate": LatentEntryPoint("generator", settings, shape, classes)}
    write_model_file(path, networks, entry_points, provenance or {"recipe": "test"}, pipeline="unconditional")
    return path
