"""How strongly an upscaler invents detail: a network between one trained on pixels and one trained adversarially.

Source: Wang et al. 2018, "ESRGAN", https://arxiv.org/abs/1809.00219, section 3.4, equation 4; alpha there is the
strength here. Pixels between those of the two outputs would blur what one of them invents; weights between theirs
do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from i2i.errors import UsageError
from i2i.inference.model_files.model_file import PictureRecord, build_network


def network_of_strength(
    path: Path, record: PictureRecord, tensors: Mapping[str, Tensor], strength: float = 1.0
) -> nn.Module:
    """The network of an entry point, or one between it and its twin that was trained on pixels alone.

    Every weight is ``(1 - strength) * pixel + strength * adversarial``, and so is every statistic of batch norm; what
    is counted in integers is the adversarial one's.

    Args:
        tensors: those of the model file at `path`, which only errors name.
        strength: 1 is the network itself, bit by bit; 0 its twin.

    Raises:
        UsageError: `strength` is not in [0, 1], or the model has no such twin.
        ModelError: settings and tensors, or the two networks, do not fit each other.
    """
    check_strength(strength)
    adversarial = build_network(path, record, tensors)
    if strength == 1:
        return adversarial
    if record.pixel_network is None:
        raise UsageError(
            f"{path}: --strength {strength:g} needs a model that also holds a network trained on pixels alone, and this"
            " one does not - leave --strength out, or train with a recipe of two phases such as srgan_x4"
        )
    pixel = build_network(path, record, tensors, record.pixel_network).state_dict()
    with torch.no_grad():
        for name, weight in adversarial.state_dict().items():
            if weight.is_floating_point():
                # Not lerp: at 0 this is the twin bit by bit.
                weight.copy_((1.0 - strength) * pixel[name] + strength * weight if strength else pixel[name])
    return adversarial


def check_strength(strength: float) -> None:
    """Raise UsageError unless `strength` is in [0, 1]."""
    if not 0 <= strength <= 1:
        raise UsageError(f"--strength {strength:g}: use 0 (true to the pixels) to 1 (all the detail it invents)")
