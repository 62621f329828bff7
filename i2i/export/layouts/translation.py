"""Weight names of projects that translate pictures."""

from __future__ import annotations

from i2i.core.discriminators import PatchDiscriminatorSettings, PixelDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings, UNetGeneratorSettings
from i2i.export.layouts.naming import keys, weight_and_bias


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
    return keys(pairs, settings.normalization) | weight_and_bias([tail])


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
    layout = keys(inner, settings.normalization) | weight_and_bias(ends)
    if settings.normalization == "batch":
        return layout | {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in plain_ends}
    return layout | weight_and_bias(plain_ends)


def junyanz_patch(settings: PatchDiscriminatorSettings) -> dict[str, str]:
    """``NLayerDiscriminator`` of the same project."""
    inner = [(f"stages.{depth}.0", f"model.{3 * depth - 1}") for depth in range(1, settings.layers + 1)]
    ends = [("stages.0.0", "model.0"), ("judge", f"model.{3 * settings.layers + 2}")]
    return keys(inner, settings.normalization) | weight_and_bias(ends)


def junyanz_pixel(settings: PixelDiscriminatorSettings) -> dict[str, str]:
    """``PixelDiscriminator`` of the same project."""
    layout = weight_and_bias([("layers.0", "net.0")]) | keys([("layers.2", "net.2")], settings.normalization)
    if settings.normalization == "batch":
        return layout | {"layers.5.weight": "net.5.weight"}
    return layout | weight_and_bias([("layers.5", "net.5")])
