"""Settings of other projects' networks, out of the names and shapes of their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from i2i.core.generators import (
    CompactSettings,
    DCGANGeneratorSettings,
    LatentGeneratorSettings,
    MLPGeneratorSettings,
    MSRResNetSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.generators.resnet import Sampling
from i2i.core.image_shape import ImageShape
from i2i.core.sizes import refuse

Weights = Mapping[str, Tensor]


class Unlike(Exception):  # noqa: N818 - it is an answer, not a failure
    """These weights are not of the layout in question; the message says why, a phrase."""


@dataclass(frozen=True)
class LatentNetwork:
    """A generator that starts from latents, whose settings leave the shape of its pictures open."""

    settings: LatentGeneratorSettings
    shape: ImageShape

    def build(self) -> nn.Module:
        """The network, untrained."""
        return self.settings.build(self.shape)


def _shape(weights: Weights, name: str) -> tuple[int, ...]:
    """Of a convolution's weight.

    Raises:
        KeyError: there is none of this name.
        Unlike: it is none of a convolution.
    """
    shape = tuple(weights[name].shape)
    if len(shape) != 4 or 0 in shape:
        raise Unlike(f"needs {name} of four dimensions, here it is {shape}")
    return shape


def _count(weights: Weights, pattern: str) -> int:
    """How many names match `pattern` whole. Not the largest number in one: a file may claim any."""
    return sum(re.fullmatch(pattern, name) is not None for name in weights)


def basicsr_msrresnet(weights: Weights) -> MSRResNetSettings:
    """``MSRResNet`` of BasicSR."""
    channels = _shape(weights, "conv_first.weight")[0]
    factor = math.isqrt(_shape(weights, "upconv1.weight")[0] // channels)
    blocks = _count(weights, r"body\.\d+\.conv1\.weight")
    return MSRResNetSettings(
        scale=factor ** _count(weights, r"upconv\d\.weight"), base_channels=channels, blocks=blocks
    )


def basicsr_rrdb(weights: Weights) -> RRDBSettings:
    """``RRDBNet`` of BasicSR and Real-ESRGAN."""
    channels, inputs = _shape(weights, "conv_first.weight")[:2]
    # Pictures whose pixels became channels: the scale is that much smaller than the network's own.
    unshuffled = {12: 2, 48: 1}
    scale = unshuffled[inputs] if inputs in unshuffled else 2 ** _count(weights, r"conv_up\d\.weight")
    return RRDBSettings(
        scale=scale,
        base_channels=channels,
        growth_channels=_shape(weights, "body.0.rdb1.conv1.weight")[0],
        blocks=_count(weights, r"body\.\d+\.rdb1\.conv1\.weight"),
    )


def esrgan_rrdb(weights: Weights) -> RRDBSettings:
    """``RRDBNet`` of ESRGAN."""
    return RRDBSettings(
        scale=2 ** _count(weights, r"upconv\d\.weight"),
        base_channels=_shape(weights, "conv_first.weight")[0],
        growth_channels=_shape(weights, "RRDB_trunk.0.RDB1.conv1.weight")[0],
        blocks=_count(weights, r"RRDB_trunk\.\d+\.RDB1\.conv1\.weight"),
        unshuffle=False,
    )


def old_esrgan_rrdb(weights: Weights) -> RRDBSettings:
    """``RRDB_Net`` of the first ESRGAN. One stage is taken for a doubling: a tripling has the same names and shapes."""
    # The head, one a stage, and the two of the tail.
    stages = _count(weights, r"model\.\d+\.weight") - 3
    return RRDBSettings(
        scale=2 ** max(stages, 0),
        base_channels=_shape(weights, "model.0.weight")[0],
        growth_channels=_shape(weights, "model.1.sub.0.RDB1.conv1.0.weight")[0],
        blocks=_count(weights, r"model\.1\.sub\.\d+\.RDB1\.conv1\.0\.weight"),
        unshuffle=False,
    )


def basicsr_compact(weights: Weights) -> CompactSettings:
    """``SRVGGNetCompact`` of BasicSR and Real-ESRGAN."""
    convolutions = [name for name, weight in weights.items() if weight.ndim == 4]
    channels = _shape(weights, "body.0.weight")[0]
    if weights["body.1.weight"].ndim != 1:
        raise Unlike("needs body.1 as PReLU")
    last = f"body.{2 * (len(convolutions) - 1)}.weight"
    return CompactSettings(
        scale=math.isqrt(_shape(weights, last)[0] // 3), base_channels=channels, convs=len(convolutions) - 2
    )


def lornatang_srresnet(weights: Weights) -> SRResNetSettings:
    """``SRResNet`` of Lornatang/SRGAN-PyTorch."""
    channels = _shape(weights, "conv1.0.weight")[0]
    factor = math.isqrt(_shape(weights, "upsampling.0.upsample_block.0.weight")[0] // channels)
    return SRResNetSettings(
        scale=factor ** _count(weights, r"upsampling\.\d\.upsample_block\.0\.weight"),
        base_channels=channels,
        blocks=_count(weights, r"trunk\.\d+\.rcb\.0\.weight"),
        end_kernel=_shape(weights, "conv1.0.weight")[2],
    )


def leftthomas_srresnet(weights: Weights) -> SRResNetSettings:
    """``Generator`` of leftthomas/SRGAN."""
    blocks = _count(weights, r"block\d+\.conv1\.weight")
    return SRResNetSettings(
        scale=2 ** _count(weights, rf"block{blocks + 3}\.\d\.conv\.weight"),
        base_channels=_shape(weights, "block1.0.weight")[0],
        blocks=blocks,
        end_kernel=_shape(weights, "block1.0.weight")[2],
        convolution_bias=True,
        trunk_end="prelu",
        output="tanh",
    )


def hasnainraz_srresnet(weights: Weights) -> SRResNetSettings:
    """``Generator`` of HasnainRaz/Fast-SRGAN."""
    return SRResNetSettings(
        scale=2 ** _count(weights, r"upsampling\.\d\.conv\.weight"),
        base_channels=_shape(weights, "neck.0.weight")[0],
        blocks=_count(weights, r"stem\.\d+\.conv1\.weight"),
        normalization="instance",
        end_kernel=_shape(weights, "neck.0.weight")[2],
        input_range="symmetric",
        output="tanh",
    )


def junyanz_resnet(weights: Weights) -> ResNetGeneratorSettings:
    """``ResnetGenerator`` of CycleGAN and pix2pix."""
    return _resnet(weights, first_block=10, sampling="strided")


def taesungp_resnet(weights: Weights) -> ResNetGeneratorSettings:
    """``ResnetGenerator`` of CUT, whose blurs shift all layers behind them."""
    _shape(weights, "model.8.weight")  # in the other one this is a norm or nothing
    return _resnet(weights, first_block=12, sampling="antialiased")


def _resnet(weights: Weights, first_block: int, sampling: Sampling) -> ResNetGeneratorSettings:
    # Dropout stands between the two convolutions of a block and moves the second on by one.
    second = weights.get(f"model.{first_block}.conv_block.6.weight")
    return ResNetGeneratorSettings(
        base_channels=_shape(weights, "model.1.weight")[0],
        blocks=_count(weights, r"model\.\d+\.conv_block\.1\.weight"),
        normalization=_junyanz_normalization(weights, "model.1", "model.2"),
        dropout=0.5 if second is not None and second.ndim == 4 else 0.0,
        sampling=sampling,
    )


def junyanz_unet(weights: Weights) -> UNetGeneratorSettings:
    """``UnetGenerator`` of the same project."""
    inner = "model.model.1.model"
    levels, prefix = 1, inner
    while f"{prefix}.1.weight" in weights:
        levels, prefix = levels + 1, f"{prefix}.3.model"
    return UNetGeneratorSettings(
        base_channels=_shape(weights, "model.model.0.weight")[0],
        levels=levels,
        normalization=_junyanz_normalization(weights, f"{inner}.1", f"{inner}.2"),
    )


def _junyanz_normalization(weights: Weights, convolution: str, norm: str) -> Any:
    if f"{norm}.weight" in weights:
        return "batch"
    # Their instance norm has no weights, but only in front of it have convolutions biases.
    return "instance" if f"{convolution}.bias" in weights else "none"


def pytorch_dcgan_generator(weights: Weights) -> LatentNetwork:
    """``Generator`` of the DCGAN example in pytorch/examples, of any size that ours has."""
    convolutions = sum(weight.ndim == 4 for weight in weights.values())
    latent, _, smallest, _ = _shape(weights, "main.0.weight")
    base_channels, channels = _shape(weights, f"main.{3 * (convolutions - 1)}.weight")[:2]
    return _latent_network(
        DCGANGeneratorSettings(
            latent=latent,
            base_channels=base_channels,
            normalization="batch" if "main.1.weight" in weights else "none",
        ),
        ImageShape(channels, smallest * 2 ** (convolutions - 1)),
    )


def csinva_mlp(weights: Weights) -> LatentNetwork:
    """``G`` of the plain GAN in csinva/gan-vae-pretrained-pytorch. Its ReLUs are taken for granted: they have no names.

    Raises:
        KeyError: layers are not numbered like that.
    """
    layers = [weights[f"{2 * index}.weight"] for index in range(_count(weights, r"\d+\.weight"))]
    if len(layers) < 2 or any(layer.ndim != 2 or 0 in layer.shape for layer in layers):
        raise Unlike("needs two or more fully connected layers, numbered 0, 2, 4, ...")
    outputs = len(layers[-1])
    channels = 1 if math.isqrt(outputs) ** 2 == outputs else 3
    pixels = math.isqrt(outputs // channels)
    if channels * pixels**2 != outputs or outputs == 1:
        raise Unlike(f"needs a square picture's worth of outputs, here they are {outputs}")
    return _latent_network(
        MLPGeneratorSettings(latent=layers[0].shape[1], hidden=tuple(len(layer) for layer in layers[:-1])),
        ImageShape(channels, pixels),
    )


def _latent_network(settings: LatentGeneratorSettings, shape: ImageShape) -> LatentNetwork:
    refuse(settings.size_problem(shape))
    return LatentNetwork(settings, shape)
