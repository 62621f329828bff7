"""Weight names of other projects beside ours.

Each function gives ``{our key: their key}`` for one network. Keys of theirs that are missing from the values carry
nothing: biases in front of a normalization, and the statistics that old files store for instance norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from i2i.core.discriminators import PatchDiscriminatorSettings, PixelDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings, UNetGeneratorSettings


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


def _weight_and_bias(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name}" for ours, theirs in pairs for name in ("weight", "bias")}


def _next(key: str) -> str:
    stem, _, index = key.rpartition(".")
    return f"{stem}.{int(index) + 1}"
