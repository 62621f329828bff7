"""Weight names of projects that translate pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from i2i.core.discriminators import PatchDiscriminatorSettings, PixelDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings, UNetGeneratorSettings
from i2i.export.layouts.naming import keys, weight_and_bias


def junyanz_resnet(settings: ResNetGeneratorSettings) -> dict[str, str]:
    """``ResnetGenerator`` of junyanz/pytorch-CycleGAN-and-pix2pix."""
    last = 10 + settings.blocks
    down, up = ("model.4", "model.7"), ("up.0.0", f"model.{last}", "up.1.0", f"model.{last + 3}")
    return _resnet(settings, down, 10, up, f"model.{last + 7}")


def taesungp_resnet(settings: ResNetGeneratorSettings) -> dict[str, str]:
    """``ResnetGenerator`` of taesungp/contrastive-unpaired-translation (CUT): `sampling` "antialiased".

    Blurs have places of their own, behind the activation going down and in front of the convolution going up.
    """
    last = 12 + settings.blocks
    down, up = ("model.4", "model.8"), ("up.0.1", f"model.{last + 1}", "up.1.1", f"model.{last + 5}")
    return _resnet(settings, down, 12, up, f"model.{last + 9}")


def _resnet(
    settings: ResNetGeneratorSettings,
    down: tuple[str, str],
    first_block: int,
    up: tuple[str, str, str, str],
    tail: str,
) -> dict[str, str]:
    """What both have in common; `up` holds ours and theirs in turn."""
    # Dropout stands between the two convolutions of a block and moves the second on by one.
    second = 6 if settings.dropout else 5
    pairs = [("head.1", "model.1"), ("down.0.0", down[0]), ("down.1.0", down[1])]
    for block in range(settings.blocks):
        theirs = f"model.{first_block + block}.conv_block"
        pairs += [(f"blocks.{block}.branch.1", f"{theirs}.1"), (f"blocks.{block}.branch.6", f"{theirs}.{second}")]
    pairs += [(up[0], up[1]), (up[2], up[3])]
    return keys(pairs, settings.normalization) | weight_and_bias([("tail.1", tail)])


def taesungp_filters(settings: ResNetGeneratorSettings) -> dict[str, Tensor]:
    """The blurs that files of the same network hold, by their name there, one filter a channel."""
    three, four = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])
    # Going up the filter makes up for the zeros between the pixels.
    down, up = three[:, None] * three / 16, four[:, None] * four / 16
    width, last = settings.base_channels, 12 + settings.blocks
    places = {7: (2 * width, down), 11: (4 * width, down), last: (4 * width, up), last + 4: (2 * width, up)}
    return {
        f"model.{place}.filt": kernel.expand(channels, 1, *kernel.shape) for place, (channels, kernel) in places.items()
    }


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
