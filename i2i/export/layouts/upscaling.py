"""Weight names of projects that enlarge pictures.

The settings must be those of their network: each docstring says which of ours express what is fixed there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from i2i.core.discriminators import UNetDiscriminatorSettings, VGGDiscriminatorSettings
from i2i.core.discriminators.vgg import halvings
from i2i.core.generators import CompactSettings, MSRResNetSettings, RRDBSettings, SRResNetSettings, UpscalerSettings
from i2i.core.generators.upscaling import stage_factors
from i2i.core.image_shape import ImageShape

# The older hook of torch beside parametrizations.
SPECTRAL_NORM = {
    "parametrizations.weight.original": "weight_orig",
    "parametrizations.weight.0._u": "weight_u",
    "parametrizations.weight.0._v": "weight_v",
}


def basicsr_msrresnet(settings: MSRResNetSettings) -> dict[str, str]:
    """``MSRResNet`` of XPixelGroup/BasicSR."""
    layers = {"head.0": "conv_first", "tail.0": "conv_hr", "tail.2": "conv_last"}
    for block in range(settings.blocks):
        layers |= {f"blocks.{block}.first": f"body.{block}.conv1", f"blocks.{block}.second": f"body.{block}.conv2"}
    for stage in range(len(stage_factors(settings.scale))):
        layers[f"up.{stage}.0"] = f"upconv{stage + 1}"
    return _keys(_generator(settings), layers)


def basicsr_rrdb(settings: RRDBSettings) -> dict[str, str]:
    """``RRDBNet`` of the same project, as Real-ESRGAN has it."""
    layers = {"head": "conv_first", "trunk": "conv_body", "tail.0": "conv_hr", "tail.2": "conv_last"}
    for stage in range(len(settings.factors)):
        layers[f"up.{stage}.1"] = f"conv_up{stage + 1}"
    return _keys(_generator(settings), layers | _dense(settings, "body.{}.rdb{}.conv{}"))


def esrgan_rrdb(settings: RRDBSettings) -> dict[str, str]:
    """``RRDBNet`` of xinntao/ESRGAN (without `unshuffle`)."""
    layers = {"head": "conv_first", "trunk": "trunk_conv", "tail.0": "HRconv", "tail.2": "conv_last"}
    for stage in range(len(settings.factors)):
        layers[f"up.{stage}.1"] = f"upconv{stage + 1}"
    return _keys(_generator(settings), layers | _dense(settings, "RRDB_trunk.{}.RDB{}.conv{}"))


def old_esrgan_rrdb(settings: RRDBSettings) -> dict[str, str]:
    """``RRDB_Net`` of the first release of the same project (without `unshuffle`): layers counted, not named."""
    stages = len(settings.factors)
    layers = {
        "head": "model.0",
        "trunk": f"model.1.sub.{settings.blocks}",
        # Each stage is an enlargement, a convolution and an activation.
        "tail.0": f"model.{2 + 3 * stages}",
        "tail.2": f"model.{4 + 3 * stages}",
    }
    for stage in range(stages):
        layers[f"up.{stage}.1"] = f"model.{3 + 3 * stage}"
    return _keys(_generator(settings), layers | _dense(settings, "model.1.sub.{}.RDB{}.conv{}.0"))


def basicsr_compact(settings: CompactSettings) -> dict[str, str]:
    """``SRVGGNetCompact`` of BasicSR and Real-ESRGAN, whose names are ours."""
    return {key: key for key in _generator(settings).state_dict()}


def lornatang_srresnet(settings: SRResNetSettings) -> dict[str, str]:
    """``SRResNet`` of Lornatang/SRGAN-PyTorch: the default settings; its output is clamped to [0, 1]."""
    layers = {"head": "conv1", "trunk": "conv2", "tail": "conv3"}
    layers |= {f"blocks.{block}.branch": f"trunk.{block}.rcb" for block in range(settings.blocks)}
    for stage in _stages(settings):
        theirs = f"upsampling.{stage}.upsample_block"
        layers |= {f"up.{stage}.0": f"{theirs}.0", f"up.{stage}.2": f"{theirs}.2"}
    return _keys(_generator(settings), layers)


def leftthomas_srresnet(settings: SRResNetSettings) -> dict[str, str]:
    """``Generator`` of leftthomas/SRGAN: `convolution_bias`, `trunk_end` "prelu", `output` "tanh", 5 `blocks`.

    Its files are older than the counters of batch norm.
    """
    last = settings.blocks + 3
    layers = {"head": "block1", "trunk": f"block{last - 1}", "tail": f"block{last}.{len(_stages(settings))}"}
    for block in range(settings.blocks):
        layers |= _block(block, f"block{block + 2}", ("conv1", "bn1", "prelu", "conv2", "bn2"))
    for stage in _stages(settings):
        layers |= {
            f"up.{stage}.0": f"block{last}.{stage}.conv",
            f"up.{stage}.2": f"block{last}.{stage}.prelu",
        }
    layout = _keys(_generator(settings), layers)
    return {ours: theirs for ours, theirs in layout.items() if not ours.endswith(".num_batches_tracked")}


def hasnainraz_srresnet(settings: SRResNetSettings) -> dict[str, str]:
    """``Generator`` of HasnainRaz/Fast-SRGAN.

    It has `normalization` "instance", `end_kernel` 3, `input_range` "symmetric", `output` "tanh", 8 `blocks`.
    """
    layers = {"head": "neck", "trunk": "bottleneck", "tail": "head.0"}
    for block in range(settings.blocks):
        layers |= _block(block, f"stem.{block}", ("conv1", "bn1", "relu1", "conv2", "bn2"))
    for stage in _stages(settings):
        layers |= {
            f"up.{stage}.0": f"upsampling.{stage}.conv",
            f"up.{stage}.2": f"upsampling.{stage}.relu",
        }
    return _keys(_generator(settings), layers)


def basicsr_vgg(settings: VGGDiscriminatorSettings, shape: ImageShape) -> dict[str, str]:
    """``VGGStyleDiscriminator`` of BasicSR, which is made for 128 and 256 pixels."""
    layers = {"hidden": "linear1", "judge": "linear2"}
    _, count = halvings(shape.pixels)
    for stage in range(count):
        layers |= {
            f"stages.{stage}.0": f"conv{stage}_0",
            f"stages.{stage}.1": f"bn{stage}_0",
            f"stages.{stage}.3": f"conv{stage}_1",
            f"stages.{stage}.4": f"bn{stage}_1",
        }
    with torch.device("meta"):
        return _keys(settings.build(shape), layers)


def basicsr_unet(settings: UNetDiscriminatorSettings) -> dict[str, str]:
    """``UNetDiscriminatorSN`` of BasicSR and Real-ESRGAN, whose spectral norm is torch's older hook."""
    layers = {"first": "conv0", "judge": "conv9"}
    for index in range(3):
        layers |= {f"down.{index}": f"conv{index + 1}", f"up.{index}": f"conv{index + 4}"}
    layers |= {f"refine.{index}": f"conv{index + 7}" for index in range(2)}
    with torch.device("meta"):
        return _keys(settings.build(ImageShape(3, 64)), layers)


def _generator(settings: UpscalerSettings) -> nn.Module:
    """Names and shapes of the network, without memory for its weights."""
    with torch.device("meta"):
        return settings.build()


def _stages(settings: SRResNetSettings) -> range:
    return range(len(stage_factors(settings.scale)))


def _block(block: int, theirs: str, names: tuple[str, ...]) -> dict[str, str]:
    return {f"blocks.{block}.branch.{index}": f"{theirs}.{name}" for index, name in enumerate(names)}


def _dense(settings: RRDBSettings, pattern: str) -> dict[str, str]:
    """Layers of the dense blocks; `pattern` takes the block, the dense block and the convolution in it."""
    layers = {}
    for block in range(settings.blocks):
        for dense in range(3):
            ours = f"blocks.{block}.dense.{dense}"
            for index, name in enumerate(("growing.0", "growing.1", "growing.2", "growing.3", "last")):
                layers[f"{ours}.{name}"] = pattern.format(block, dense + 1, index + 1)
    return layers


def _keys(network: nn.Module, layers: Mapping[str, str]) -> dict[str, str]:
    """Keys of `network` with its layers' names, or the names of what holds them, exchanged."""
    layout = {}
    for key in network.state_dict():
        layer, _, rest = key.rpartition(".")
        for ours, theirs in SPECTRAL_NORM.items():
            if key.endswith(f".{ours}"):
                layer, rest = key.removesuffix(f".{ours}"), theirs
        while layer not in layers:
            layer, _, last = layer.rpartition(".")
            assert layer, f"a layer without a name: {key}"
            rest = f"{last}.{rest}"
        layout[key] = f"{layers[layer]}.{rest}"
    return layout
