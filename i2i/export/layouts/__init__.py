"""Weight names of other projects beside ours.

Each function gives ``{our key: their key}`` for one network. Keys of theirs that are missing from the values carry
nothing: biases in front of a normalization, and the statistics that old files store for instance norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from i2i.export.layouts.latent import (
    brownvc_r3gan_discriminator,
    brownvc_r3gan_generator,
    csinva_mlp,
    pytorch_dcgan_discriminator,
    pytorch_dcgan_generator,
)
from i2i.export.layouts.translation import (
    junyanz_patch,
    junyanz_pixel,
    junyanz_resnet,
    junyanz_unet,
    taesungp_filters,
    taesungp_resnet,
)
from i2i.export.layouts.upscaling import (
    basicsr_compact,
    basicsr_msrresnet,
    basicsr_rrdb,
    basicsr_unet,
    basicsr_vgg,
    esrgan_rrdb,
    hasnainraz_srresnet,
    leftthomas_srresnet,
    lornatang_srresnet,
    old_esrgan_rrdb,
)

WRAPPERS = ("params_ema", "params")
"""Entries of a published file that hold the state dict, the averaged weights first."""
PREFIXES = ("module.", "_orig_mod.")
"""What wrapping for several devices and compiling put in front of every key."""


def rename(state: Mapping[str, Tensor], layout: Mapping[str, str]) -> dict[str, Tensor]:
    """Their state dict under our keys."""
    return {ours: state[theirs] for ours, theirs in layout.items()}


def unwrapped(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict in what a published file holds, without wrappers and prefixes."""
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return unwrapped(content[wrapper])
    for prefix in PREFIXES:
        if content and all(key.startswith(prefix) for key in content):
            return unwrapped({key.removeprefix(prefix): value for key, value in content.items()})
    return dict(content)


__all__ = [
    "basicsr_compact",
    "basicsr_msrresnet",
    "basicsr_rrdb",
    "basicsr_unet",
    "basicsr_vgg",
    "brownvc_r3gan_discriminator",
    "brownvc_r3gan_generator",
    "csinva_mlp",
    "esrgan_rrdb",
    "hasnainraz_srresnet",
    "junyanz_patch",
    "junyanz_pixel",
    "junyanz_resnet",
    "junyanz_unet",
    "leftthomas_srresnet",
    "lornatang_srresnet",
    "old_esrgan_rrdb",
    "pytorch_dcgan_discriminator",
    "pytorch_dcgan_generator",
    "rename",
    "taesungp_filters",
    "taesungp_resnet",
    "unwrapped",
]
