"""Model files and pictures for the benches: untrained networks of known weights, and pictures drawn by code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from i2i.core.generators import PictureGeneratorSettings, ResNetGeneratorSettings, SRResNetSettings
from i2i.core.initialization import InitializationSettings, initialize
from i2i.inference.model_files.model_file import write_model_file
from i2i.pipelines.protocol import EntryPoint, LatentEntryPoint, PictureEntryPoint

RESNET = ResNetGeneratorSettings()
SRRESNET = SRResNetSettings()
_SPREAD = 0.35


def write_translator(path: Path, settings: ResNetGeneratorSettings = RESNET) -> Path:
    """A model file with a CycleGAN generator; the paper's by default: nine blocks, 64 channels."""
    return _write(path, settings, PictureEntryPoint("generator", settings, ("a", "b")))


def write_upscaler(path: Path, settings: SRResNetSettings = SRRESNET) -> Path:
    """A model file with a fourfold SRResNet by default, of 16 blocks and 64 channels."""
    return _write(path, settings, PictureEntryPoint("generator", settings, ("low", "high"), settings.scale))


def write_network(path: Path, entry_point: EntryPoint) -> Path:
    """A model file with one network that nobody trained: no weight in it is zero, which an engine could leave out."""
    network = (
        entry_point.generator.build(entry_point.shape, entry_point.classes)
        if isinstance(entry_point, LatentEntryPoint)
        else entry_point.generator.build()
    )
    random = torch.Generator().manual_seed(0)
    initialize(network, InitializationSettings(kind="kaiming", factor=0.5), random)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.01, generator=random)
    write_model_file(path, {entry_point.network: network}, {"bench": entry_point}, {"made_by": "tools/bench"})
    return path


def _write(path: Path, settings: PictureGeneratorSettings, entry_point: PictureEntryPoint) -> Path:
    network = settings.build()
    initialize(network, InitializationSettings(kind="kaiming"), torch.Generator().manual_seed(0))
    _spread_over_the_range(network, settings)
    name = "AtoB" if entry_point.scale == 1 else "upscale"
    write_model_file(path, {"generator": network}, {name: entry_point}, {"made_by": "tools/bench"})
    return path


@torch.inference_mode()
def _spread_over_the_range(network: nn.Module, settings: PictureGeneratorSettings) -> None:
    """Scale the last convolution so that pictures come out of it with contrast: seams in grey would not be seen."""
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    sides = 64, 80
    image = torch.from_numpy(drawn(sides[1], sides[0])).permute(2, 0, 1)[None] / 127.5 - 1.0
    heard: list[torch.Tensor] = []

    def listen(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        heard.append(output)

    hook = last.register_forward_hook(listen)
    network.eval()(image)
    hook.remove()
    last.weight.mul_(_SPREAD / heard[0].std())
    if last.bias is not None:
        last.bias.zero_()


def drawn(width: int, height: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: soft shades at every scale with grain on them, about as rich as a photograph."""
    rng = np.random.default_rng(seed)
    picture = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        # A channel at a time: pictures may be as large as a third of the memory.
        plane = np.zeros((height, width), np.float32)
        for octave in range(1, 7):
            coarse = rng.standard_normal((max(2, height * 2**octave // 2048), max(2, width * 2**octave // 2048)))
            plane += cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) / octave
        plane *= 40.0
        for start in range(0, height, 256):
            rows = plane[start : start + 256]
            rows += 128.0 + 6.0 * rng.standard_normal(rows.shape, np.float32)
            picture[start : start + 256, :, channel] = np.clip(rows, 0, 255)
    return picture
