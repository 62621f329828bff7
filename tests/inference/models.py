"""Small model files for tests, of known output or of known seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from i2i.core.generators import (
    CompactSettings,
    DCGANGeneratorSettings,
    LatentGeneratorSettings,
    MLPGeneratorSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    SNGANGeneratorSettings,
    SRResNetSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.inference.image_model import ImageModel
from i2i.inference.latent_model import LatentModel
from i2i.inference.model_files.model_file import write_model_file
from i2i.inference.runners import PyTorchRunner
from i2i.inference.runtime import Precision
from i2i.pipelines.protocol import LatentEntryPoint, PictureEntryPoint

CONSTANT = ResNetGeneratorSettings(base_channels=2, blocks=1)
MLP = MLPGeneratorSettings(latent=5, hidden=(16,))
DCGAN = DCGANGeneratorSettings(latent=12, base_channels=4)
SNGAN = SNGANGeneratorSettings(latent=6, widths=(8, 8, 8, 8))
R3GAN = R3GANGeneratorSettings(latent=7, widths=(8, 8, 8, 8), cardinalities=(2, 2, 2, 2), blocks=(1, 1, 1, 1))
SRRESNET = SRResNetSettings(scale=2, base_channels=4, blocks=1)
NEAREST = CompactSettings(scale=2, base_channels=2, convs=0)
GREY = ImageShape(1, 28)
COLOUR = ImageShape(3, 32)


def image_model(
    network: torch.nn.Module,
    entry_point: PictureEntryPoint,
    *,
    name: str = "AtoB",
    device: str = "cpu",
    precision: Precision = "fp32",
) -> ImageModel:
    """The model that runs `network` in PyTorch."""
    return ImageModel(PyTorchRunner(network, entry_point, device, precision), entry_point, name=name)


def latent_model(
    network: torch.nn.Module, entry_point: LatentEntryPoint, *, device: str = "cpu", precision: Precision = "fp32"
) -> LatentModel:
    """The model that runs `network` in PyTorch."""
    return LatentModel(PyTorchRunner(network, entry_point, device, precision), entry_point)


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


def write_upscaler(path: Path, *, with_pixel_network: bool = True) -> Path:
    """A model file of an untrained upscaler for scale 2, whose two networks and their statistics differ."""
    networks = {name: upscaling_network(seed) for seed, name in enumerate(("generator", "generator_pixel"))}
    pixel_network = "generator_pixel" if with_pixel_network else None
    entry_points = {"upscale": PictureEntryPoint("generator", SRRESNET, ("low", "high"), 2, pixel_network)}
    write_model_file(path, networks, entry_points, {"recipe": "test"}, pipeline="srgan")
    return path


def upscaling_network(seed: int) -> torch.nn.Module:
    """An untrained SRResNet of known weights and of statistics as a training might leave them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SRRESNET.build()
        for name, buffer in network.named_buffers():
            # Counters in integers, variances above zero.
            buffer.copy_(torch.full_like(buffer, 7 + seed) if "tracked" in name else torch.rand_like(buffer) + 0.5)
    return network.eval()


def write_nearest_upscaler(path: Path, tint: Sequence[float] = (0.0, 0.0, 0.0)) -> Path:
    """A model file that doubles every pixel and adds `tint`, in levels of 255, to each channel."""
    network = NEAREST.build()
    last = network.body[-1]
    assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
    with torch.no_grad():
        last.weight.zero_()
        # Four outputs a channel, one for each pixel of a cell.
        last.bias.copy_((torch.tensor(tint) / 255.0).repeat_interleave(4))
    entry_points = {"upscale": PictureEntryPoint("generator", NEAREST, ("low", "high"), 2)}
    write_model_file(path, {"generator": network}, entry_points, {"recipe": "test"}, pipeline="srgan")
    return path


def paint(path: Path, level: int = 0, size: tuple[int, int] = (12, 8)) -> Path:
    """A picture file of one colour, (height, width) large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), level, np.uint8)).save(path)
    return path
