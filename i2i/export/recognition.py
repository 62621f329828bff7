"""Which project's network a set of weights is of, and with what settings: told by names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from i2i.core.generators import (
    CompactSettings,
    DCGANGeneratorSettings,
    LatentGeneratorSettings,
    MLPGeneratorSettings,
    MSRResNetSettings,
    PictureGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.export import inferred_settings, layouts
from i2i.export.inferred_settings import LatentNetwork, Unlike, Weights

Purpose = Literal["translate", "upscale", "generate"]


@dataclass(frozen=True)
class Layout:
    """How one project names the weights of one network."""

    name: str
    settings: Callable[[Weights], PictureGeneratorSettings | LatentNetwork]
    """Infers the settings; raises Unlike, or KeyError for a name it needs."""
    keys: Callable[[Any], dict[str, str]]
    """From what `settings` gives to {our key: their key}."""
    purpose: Purpose
    example: PictureGeneratorSettings | LatentNetwork
    """Of the most names; one block says as much as many, for numbers in names are left aside."""
    constants: Callable[[Any], Mapping[str, Tensor]] | None = None
    """From the same to entries of theirs that no training moves: ours computes with the numbers themselves."""
    assumption: str = ""
    """What names and shapes do not tell, a phrase."""


@dataclass(frozen=True)
class Recognized:
    """Weights under our names, and what builds their network."""

    layout: Layout
    settings: PictureGeneratorSettings | LatentGeneratorSettings
    shape: ImageShape | None
    """Of the pictures of a generator that starts from latents."""
    state: dict[str, Tensor]
    left_out: tuple[str, ...]
    """Names of theirs that carry nothing, such as biases in front of instance norm."""

    def build(self) -> nn.Module:
        """The network with the weights."""
        settings, shape = self.settings, self.shape
        network = settings.build() if shape is None else LatentNetwork(settings, shape).build()  # type: ignore[call-arg, arg-type]
        network.load_state_dict(self.state)
        return network


def recognize(weights: Weights, layout: Layout) -> Recognized:
    """Read `weights` as those of a network in this layout.

    Raises:
        Unlike: they are not.
    """
    try:
        found = layout.settings(weights)
    except KeyError as error:
        raise Unlike(f"lacks {error.args[0]}") from error
    except ValueError as error:
        raise Unlike(str(error)) from error
    settings, shape = (found.settings, found.shape) if isinstance(found, LatentNetwork) else (found, None)
    keys = layout.keys(found)
    with torch.device("meta"):  # Shapes alone: what a hostile file claims costs no memory.
        expected = found.build().state_dict()
    state = {ours: _fitting(weights, ours, keys.get(ours), wanted, settings) for ours, wanted in expected.items()}
    constants = {} if layout.constants is None else layout.constants(found)
    _check_constants(weights, constants)
    known = set(keys.values())
    left_out = tuple(name for name in weights if name not in known)
    for name in left_out:
        lost = getattr(settings, "normalization", "none") == "instance" and _lost_on_instance_norm(name, known)
        if not lost and name not in constants:
            raise Unlike(f"does not know {name}")
    return Recognized(layout, settings, shape, state, left_out)


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
    weights: Weights,
    ours: str,
    theirs: str | None,
    wanted: Tensor,
    settings: PictureGeneratorSettings | LatentGeneratorSettings,
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


def _check_constants(weights: Weights, constants: Mapping[str, Tensor]) -> None:
    for name, constant in constants.items():
        stored = weights.get(name)
        if stored is not None and (stored.shape != constant.shape or not torch.equal(stored.float(), constant)):
            raise Unlike(f"needs {name} to be the filter that nothing changes")


def _may_lack_biases(settings: PictureGeneratorSettings | LatentGeneratorSettings) -> bool:
    translates = isinstance(settings, ResNetGeneratorSettings | UNetGeneratorSettings)
    return translates and settings.normalization == "none"


def _lost_on_instance_norm(name: str, known: set[str]) -> bool:
    """Whether instance norm takes it away again, as it does the bias before it, or never looks at it."""
    if name.endswith(".bias"):
        return f"{name.removesuffix('.bias')}.weight" in known
    return name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))


_GREY_28 = ImageShape(1, 28)
_COLOUR_64 = ImageShape(3, 64)
_ESRGAN_EXAMPLE = RRDBSettings(blocks=1, unshuffle=False)

LAYOUTS = (
    Layout(
        "leftthomas_srresnet",
        inferred_settings.leftthomas_srresnet,
        layouts.leftthomas_srresnet,
        "upscale",
        SRResNetSettings(blocks=1, convolution_bias=True, trunk_end="prelu"),
    ),
    Layout(
        "lornatang_srresnet",
        inferred_settings.lornatang_srresnet,
        layouts.lornatang_srresnet,
        "upscale",
        SRResNetSettings(blocks=1),
    ),
    Layout(
        "hasnainraz_srresnet",
        inferred_settings.hasnainraz_srresnet,
        layouts.hasnainraz_srresnet,
        "upscale",
        SRResNetSettings(blocks=1, normalization="instance"),
    ),
    Layout(
        "basicsr_msrresnet",
        inferred_settings.basicsr_msrresnet,
        layouts.basicsr_msrresnet,
        "upscale",
        MSRResNetSettings(blocks=1),
    ),
    Layout("basicsr_rrdb", inferred_settings.basicsr_rrdb, layouts.basicsr_rrdb, "upscale", RRDBSettings(blocks=1)),
    Layout("esrgan_rrdb", inferred_settings.esrgan_rrdb, layouts.esrgan_rrdb, "upscale", _ESRGAN_EXAMPLE),
    Layout(
        "old_esrgan_rrdb",
        inferred_settings.old_esrgan_rrdb,
        layouts.old_esrgan_rrdb,
        "upscale",
        _ESRGAN_EXAMPLE,
        assumption="that a stage doubles the size",
    ),
    Layout(
        "basicsr_compact",
        inferred_settings.basicsr_compact,
        layouts.basicsr_compact,
        "upscale",
        CompactSettings(convs=1),
    ),
    Layout(
        "junyanz_resnet",
        inferred_settings.junyanz_resnet,
        layouts.junyanz_resnet,
        "translate",
        ResNetGeneratorSettings(normalization="batch"),
    ),
    Layout(
        "taesungp_resnet",
        inferred_settings.taesungp_resnet,
        layouts.taesungp_resnet,
        "translate",
        ResNetGeneratorSettings(normalization="batch", sampling="antialiased"),
        constants=layouts.taesungp_filters,
    ),
    Layout("junyanz_unet", inferred_settings.junyanz_unet, layouts.junyanz_unet, "translate", UNetGeneratorSettings()),
    Layout(
        "pytorch_dcgan_generator",
        inferred_settings.pytorch_dcgan_generator,
        lambda network: layouts.pytorch_dcgan_generator(network.settings, network.shape),
        "generate",
        LatentNetwork(DCGANGeneratorSettings(), _COLOUR_64),
    ),
    Layout(
        "csinva_mlp",
        inferred_settings.csinva_mlp,
        lambda network: layouts.csinva_mlp(network.settings),
        "generate",
        LatentNetwork(MLPGeneratorSettings(), _GREY_28),
        assumption="ReLU behind each layer",
    ),
)


# Likeness


def _known_patterns(layout: Layout) -> set[str]:
    constants = {} if layout.constants is None else layout.constants(layout.example)
    return _patterns([*layout.keys(layout.example).values(), *constants])


def _patterns(names: Any) -> set[str]:
    return {_pattern(name) for name in names}


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)
