"""Which project's network a set of weights is of, and with what settings: told by names and shapes alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from i2i.core.generators import (
    CompactSettings,
    MSRResNetSettings,
    PictureGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.export import layouts

Weights = Mapping[str, Tensor]


class Unlike(Exception):  # noqa: N818 - it is an answer, not a failure
    """These weights are not of the layout in question; the message says why, a phrase."""


@dataclass(frozen=True)
class Layout:
    """How one project names the weights of one network."""

    name: str
    settings: Callable[[Weights], PictureGeneratorSettings]
    """Infers the settings; raises Unlike, or KeyError for a name it needs."""
    keys: Callable[[Any], dict[str, str]]
    """From settings to {our key: their key}."""
    upscales: bool = True


@dataclass(frozen=True)
class Recognized:
    """Weights under our names, and what builds their network."""

    layout: str
    settings: PictureGeneratorSettings
    upscales: bool
    state: dict[str, Tensor]
    left_out: tuple[str, ...]
    """Names of theirs that carry nothing, such as biases in front of instance norm."""


def recognize(weights: Weights, layout: Layout) -> Recognized:
    """Read `weights` as those of a network in this layout.

    Raises:
        Unlike: they are not.
    """
    try:
        settings = layout.settings(weights)
    except KeyError as error:
        raise Unlike(f"lacks {error.args[0]}") from error
    except ValueError as error:
        raise Unlike(str(error)) from error
    keys = layout.keys(settings)
    with torch.device("meta"):  # Shapes alone: what a hostile file claims costs no memory.
        expected = settings.build().state_dict()
    state = {ours: _fitting(weights, ours, keys.get(ours), wanted, settings) for ours, wanted in expected.items()}
    known = set(keys.values())
    left_out = tuple(name for name in weights if name not in known)
    for name in left_out:
        if settings.normalization != "instance" or not _lost_on_instance_norm(name, known):
            raise Unlike(f"does not know {name}")
    return Recognized(layout.name, settings, layout.upscales, state, left_out)


def nearest(weights: Weights) -> list[Layout]:
    """Layouts with at least one name like those of `weights`, the most alike first."""
    found = _patterns(weights)
    likeness = {}
    for layout in LAYOUTS:
        known = _known_patterns(layout)
        likeness[layout.name] = len(found & known) / len(found | known)
    alike = [layout for layout in LAYOUTS if likeness[layout.name]]
    return sorted(alike, key=lambda layout: -likeness[layout.name])


def unknown_names(weights: Weights, layout: Layout) -> list[str]:
    """Names, numbers in them left aside, that this layout has not."""
    known = _known_patterns(layout)
    return [name for name in weights if _pattern(name) not in known]


def _fitting(
    weights: Weights, ours: str, theirs: str | None, wanted: Tensor, settings: PictureGeneratorSettings
) -> Tensor:
    if theirs in weights:
        assert theirs is not None
        tensor = weights[theirs]
        if tensor.shape != wanted.shape:
            raise Unlike(f"needs {theirs} as {tuple(wanted.shape)}, here it is {tuple(tensor.shape)}")
        return tensor.detach().to(wanted.dtype).contiguous()
    # Files older than the counters of batch norm lack them; a network without normalization may lack biases.
    if ours.endswith(".num_batches_tracked") or (ours.endswith(".bias") and _may_lack_biases(settings)):
        return torch.zeros(wanted.shape, dtype=wanted.dtype)
    raise Unlike(f"lacks {theirs or ours}")


def _may_lack_biases(settings: PictureGeneratorSettings) -> bool:
    translates = isinstance(settings, ResNetGeneratorSettings | UNetGeneratorSettings)
    return translates and settings.normalization == "none"


def _lost_on_instance_norm(name: str, known: set[str]) -> bool:
    """Whether instance norm takes it away again, as it does the bias before it, or never looks at it."""
    if name.endswith(".bias"):
        return f"{name.removesuffix('.bias')}.weight" in known
    return name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))


# Settings out of names and shapes


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


def _basicsr_msrresnet(weights: Weights) -> MSRResNetSettings:
    channels = _shape(weights, "conv_first.weight")[0]
    factor = math.isqrt(_shape(weights, "upconv1.weight")[0] // channels)
    blocks = _count(weights, r"body\.\d+\.conv1\.weight")
    return MSRResNetSettings(
        scale=factor ** _count(weights, r"upconv\d\.weight"), base_channels=channels, blocks=blocks
    )


def _basicsr_rrdb(weights: Weights) -> RRDBSettings:
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


def _esrgan_rrdb(weights: Weights) -> RRDBSettings:
    return RRDBSettings(
        scale=2 ** _count(weights, r"upconv\d\.weight"),
        base_channels=_shape(weights, "conv_first.weight")[0],
        growth_channels=_shape(weights, "RRDB_trunk.0.RDB1.conv1.weight")[0],
        blocks=_count(weights, r"RRDB_trunk\.\d+\.RDB1\.conv1\.weight"),
        unshuffle=False,
    )


def _old_esrgan_rrdb(weights: Weights) -> RRDBSettings:
    """One stage is taken for a doubling: a tripling has the same names and shapes."""
    # The head, one a stage, and the two of the tail.
    stages = _count(weights, r"model\.\d+\.weight") - 3
    return RRDBSettings(
        scale=2 ** max(stages, 0),
        base_channels=_shape(weights, "model.0.weight")[0],
        growth_channels=_shape(weights, "model.1.sub.0.RDB1.conv1.0.weight")[0],
        blocks=_count(weights, r"model\.1\.sub\.\d+\.RDB1\.conv1\.0\.weight"),
        unshuffle=False,
    )


def _basicsr_compact(weights: Weights) -> CompactSettings:
    convolutions = [name for name, weight in weights.items() if weight.ndim == 4]
    channels = _shape(weights, "body.0.weight")[0]
    if weights["body.1.weight"].ndim != 1:
        raise Unlike("needs body.1 as PReLU")
    last = f"body.{2 * (len(convolutions) - 1)}.weight"
    return CompactSettings(
        scale=math.isqrt(_shape(weights, last)[0] // 3), base_channels=channels, convs=len(convolutions) - 2
    )


def _lornatang_srresnet(weights: Weights) -> SRResNetSettings:
    channels = _shape(weights, "conv1.0.weight")[0]
    factor = math.isqrt(_shape(weights, "upsampling.0.upsample_block.0.weight")[0] // channels)
    return SRResNetSettings(
        scale=factor ** _count(weights, r"upsampling\.\d\.upsample_block\.0\.weight"),
        base_channels=channels,
        blocks=_count(weights, r"trunk\.\d+\.rcb\.0\.weight"),
        end_kernel=_shape(weights, "conv1.0.weight")[2],
    )


def _leftthomas_srresnet(weights: Weights) -> SRResNetSettings:
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


def _hasnainraz_srresnet(weights: Weights) -> SRResNetSettings:
    return SRResNetSettings(
        scale=2 ** _count(weights, r"upsampling\.\d\.conv\.weight"),
        base_channels=_shape(weights, "neck.0.weight")[0],
        blocks=_count(weights, r"stem\.\d+\.conv1\.weight"),
        normalization="instance",
        end_kernel=_shape(weights, "neck.0.weight")[2],
        input_range="symmetric",
        output="tanh",
    )


def _junyanz_resnet(weights: Weights) -> ResNetGeneratorSettings:
    blocks = _count(weights, r"model\.\d+\.conv_block\.1\.weight")
    # Dropout stands between the two convolutions of a block and moves the second on by one.
    second = weights.get("model.10.conv_block.6.weight")
    return ResNetGeneratorSettings(
        base_channels=_shape(weights, "model.1.weight")[0],
        blocks=blocks,
        normalization=_junyanz_normalization(weights, "model.1", "model.2"),
        dropout=0.5 if second is not None and second.ndim == 4 else 0.0,
    )


def _junyanz_unet(weights: Weights) -> UNetGeneratorSettings:
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


LAYOUTS = (
    Layout("leftthomas_srresnet", _leftthomas_srresnet, layouts.leftthomas_srresnet),
    Layout("lornatang_srresnet", _lornatang_srresnet, layouts.lornatang_srresnet),
    Layout("hasnainraz_srresnet", _hasnainraz_srresnet, layouts.hasnainraz_srresnet),
    Layout("basicsr_msrresnet", _basicsr_msrresnet, layouts.basicsr_msrresnet),
    Layout("basicsr_rrdb", _basicsr_rrdb, layouts.basicsr_rrdb),
    Layout("esrgan_rrdb", _esrgan_rrdb, layouts.esrgan_rrdb),
    Layout("old_esrgan_rrdb", _old_esrgan_rrdb, layouts.old_esrgan_rrdb),
    Layout("basicsr_compact", _basicsr_compact, layouts.basicsr_compact),
    Layout("junyanz_resnet", _junyanz_resnet, layouts.junyanz_resnet, upscales=False),
    Layout("junyanz_unet", _junyanz_unet, layouts.junyanz_unet, upscales=False),
)


# Likeness

# One block says as much as many, for numbers in names are left aside.
_EXAMPLES: dict[str, PictureGeneratorSettings] = {
    "leftthomas_srresnet": SRResNetSettings(blocks=1, convolution_bias=True, trunk_end="prelu"),
    "lornatang_srresnet": SRResNetSettings(blocks=1),
    "hasnainraz_srresnet": SRResNetSettings(blocks=1, normalization="instance"),
    "basicsr_msrresnet": MSRResNetSettings(blocks=1),
    "basicsr_rrdb": RRDBSettings(blocks=1),
    "esrgan_rrdb": RRDBSettings(blocks=1, unshuffle=False),
    "old_esrgan_rrdb": RRDBSettings(blocks=1, unshuffle=False),
    "basicsr_compact": CompactSettings(convs=1),
    "junyanz_resnet": ResNetGeneratorSettings(normalization="batch"),
    "junyanz_unet": UNetGeneratorSettings(),
}


def _known_patterns(layout: Layout) -> set[str]:
    return _patterns(layout.keys(_EXAMPLES[layout.name]).values())


def _patterns(names: Any) -> set[str]:
    return {_pattern(name) for name in names}


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)
