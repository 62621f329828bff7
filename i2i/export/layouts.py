"""Weight names of other projects beside ours.

Each function gives ``{our key: their key}`` for one network. Keys of theirs that are missing from the values carry
nothing: biases in front of a normalization, and the statistics that old files store for instance norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from i2i.core.discriminators import (
    DCGANDiscriminatorSettings,
    PatchDiscriminatorSettings,
    PixelDiscriminatorSettings,
    R3GANDiscriminatorSettings,
)
from i2i.core.generators import (
    DCGANGeneratorSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.core.sizes import doublings


def rename(state: Mapping[str, Tensor], layout: Mapping[str, str]) -> dict[str, Tensor]:
    """Their state dict under our keys."""
    return {ours: state[theirs] for ours, theirs in layout.items()}


def junyanz_resnet(settings: ResNetGeneratorSettings) -> dict[str, str]:
    """``ResnetGenerator`` of junyanz/pytorch-CycleGAN-and-pix2pix."""
    last = 10 + settings.blocks
    second = 6 if settings.dropout else 5
    pairs = [("head.1", "model.1"), ("down.0.0", "model.4"), ("down.1.0", "model.7")]
    for block in range(settings.blocks):
        pairs += [
            (f"blocks.{block}.branch.1", f"model.{10 + block}.conv_block.1"),
            (f"blocks.{block}.branch.6", f"model.{10 + block}.conv_block.{second}"),
        ]
    pairs += [("up.0.0", f"model.{last}"), ("up.1.0", f"model.{last + 3}")]
    tail = ("tail.1", f"model.{last + 7}")
    return _keys(pairs, settings.normalization) | _weight_and_bias([tail])


def junyanz_unet(settings: UNetGeneratorSettings) -> dict[str, str]:
    """``UnetGenerator`` of the same project: levels nested inside each other."""
    inner, ends, plain_ends = [], [], []
    prefix = "model.model"
    for depth in range(settings.levels):
        outermost, innermost = depth == 0, depth == settings.levels - 1
        if outermost:
            plain_ends.append(("down.0.1", f"{prefix}.0"))
            ends.append(("up.0.1", f"{prefix}.3"))
            prefix += ".1.model"
        elif innermost:
            plain_ends.append((f"down.{depth}.1", f"{prefix}.1"))
            inner.append((f"up.{depth}.1", f"{prefix}.3"))
        else:
            inner += [(f"down.{depth}.1", f"{prefix}.1"), (f"up.{depth}.1", f"{prefix}.5")]
            prefix += ".3.model"
    layout = _keys(inner, settings.normalization) | _weight_and_bias(ends)
    if settings.normalization == "batch":
        return layout | {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in plain_ends}
    return layout | _weight_and_bias(plain_ends)


def junyanz_patch(settings: PatchDiscriminatorSettings) -> dict[str, str]:
    """``NLayerDiscriminator`` of the same project."""
    inner = [(f"stages.{depth}.0", f"model.{3 * depth - 1}") for depth in range(1, settings.layers + 1)]
    ends = [("stages.0.0", "model.0"), ("judge", f"model.{3 * settings.layers + 2}")]
    return _keys(inner, settings.normalization) | _weight_and_bias(ends)


def junyanz_pixel(settings: PixelDiscriminatorSettings) -> dict[str, str]:
    """``PixelDiscriminator`` of the same project."""
    layout = _weight_and_bias([("layers.0", "net.0")]) | _keys([("layers.2", "net.2")], settings.normalization)
    if settings.normalization == "batch":
        return layout | {"layers.5.weight": "net.5.weight"}
    return layout | _weight_and_bias([("layers.5", "net.5")])


def pytorch_dcgan_generator(settings: DCGANGeneratorSettings, shape: ImageShape) -> dict[str, str]:
    """``Generator`` of the DCGAN example in pytorch/examples, without classes."""
    _, stages = doublings(shape.pixels)
    inner = [(f"stages.{stage}.0", f"main.{3 * stage}") for stage in range(stages)]
    return _keys(inner, settings.normalization) | _ends([("picture.0", f"main.{3 * stages}")], settings.normalization)


def pytorch_dcgan_discriminator(settings: DCGANDiscriminatorSettings, shape: ImageShape) -> dict[str, str]:
    """``Discriminator`` of the same example, without classes and spectral norm."""
    _, stages = doublings(shape.pixels)
    inner = [(f"stages.{stage}.0", f"main.{3 * stage - 1}") for stage in range(1, stages)]
    ends = [("stages.0.0", "main.0"), ("judge", f"main.{3 * stages - 1}")]
    return _keys(inner, settings.normalization) | _ends(ends, settings.normalization)


def brownvc_r3gan_generator(settings: R3GANGeneratorSettings, shape: ImageShape) -> dict[str, str]:
    """``Generator`` of brownvc/R3GAN, without classes; the filters that it stores are constants."""
    stages = settings.stages(shape)
    layout = {
        "basis.maps": "MainLayers.0.Layers.0.Basis",
        "basis.linear.weight": "MainLayers.0.Layers.0.LinearLayer.weight",
        "picture.weight": "AggregationLayer.Layer.weight",
    }
    for index, stage in enumerate(stages):
        if index and stages[index - 1].width != stage.width:
            layout[f"transitions.{index - 1}.0.weight"] = f"MainLayers.{index}.Layers.0.LinearLayer.Layer.weight"
        for block in range(stage.blocks):
            layout |= _r3gan_block(f"stages.{index}.{block}", f"MainLayers.{index}.Layers.{block + 1}")
    return layout


def brownvc_r3gan_discriminator(settings: R3GANDiscriminatorSettings, shape: ImageShape) -> dict[str, str]:
    """``Discriminator`` of the same project, without classes."""
    stages = settings.stages(shape)
    last = f"MainLayers.{len(stages) - 1}.Layers.{stages[-1].blocks}"
    layout = {
        "extraction.weight": "ExtractionLayer.Layer.weight",
        "basis.weight": f"{last}.Basis.weight",
        "judge.weight": f"{last}.LinearLayer.weight",
    }
    for index, stage in enumerate(stages):
        for block in range(stage.blocks):
            layout |= _r3gan_block(f"stages.{index}.{block}", f"MainLayers.{index}.Layers.{block}")
        if index + 1 < len(stages) and stages[index + 1].width != stage.width:
            theirs = f"MainLayers.{index}.Layers.{stage.blocks}.LinearLayer.Layer.weight"
            layout[f"transitions.{index}.1.weight"] = theirs
    return layout


def _r3gan_block(ours: str, theirs: str) -> dict[str, str]:
    """Our biases are those of their activations."""
    return {
        f"{ours}.branch.0.weight": f"{theirs}.LinearLayer1.Layer.weight",
        f"{ours}.branch.0.bias": f"{theirs}.NonLinearity1.Bias",
        f"{ours}.branch.2.weight": f"{theirs}.LinearLayer2.Layer.weight",
        f"{ours}.branch.2.bias": f"{theirs}.NonLinearity2.Bias",
        f"{ours}.branch.4.weight": f"{theirs}.LinearLayer3.Layer.weight",
    }


def _keys(pairs: Iterable[tuple[str, str]], normalization: str) -> dict[str, str]:
    """Keys of convolutions and of the normalization one place behind each, on both sides."""
    layout: dict[str, str] = {}
    for ours, theirs in pairs:
        layout[f"{ours}.weight"] = f"{theirs}.weight"
        if normalization == "none":
            layout[f"{ours}.bias"] = f"{theirs}.bias"
        if normalization == "batch":
            layout |= {
                f"{_next(ours)}.{name}": f"{_next(theirs)}.{name}"
                for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            }
    return layout


def _ends(pairs: Iterable[tuple[str, str]], normalization: str) -> dict[str, str]:
    """Keys of convolutions without a normalization behind them, which have biases only where there is none at all."""
    if normalization == "none":
        return _weight_and_bias(pairs)
    return {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in pairs}


def _weight_and_bias(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name}" for ours, theirs in pairs for name in ("weight", "bias")}


def _next(key: str) -> str:
    stem, _, index = key.rpartition(".")
    return f"{stem}.{int(index) + 1}"
