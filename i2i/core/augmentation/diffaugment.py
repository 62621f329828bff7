"""DiffAugment: colour, translation and cutout on every picture that a discriminator sees.

Source: Zhao et al. 2020, https://arxiv.org/abs/2006.10738, section 3.2 and, for the ranges, the authors' program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from i2i.core.augmentation.interface import exact_arithmetic, like
from i2i.core.randomness import SampleRandom, to_device
from i2i.core.step import Progress

Policy = Literal["color", "translation", "cutout"]


@dataclass(frozen=True, kw_only=True)
class DiffAugmentSettings:
    """Which changes, in this order, every picture undergoes."""

    kind: Literal["diffaugment"] = "diffaugment"
    policies: tuple[Policy, ...] = ("color", "translation", "cutout")

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("policies is empty; needs one or more of color, translation, cutout")
        if len(set(self.policies)) != len(self.policies):
            raise ValueError(f"policies is {', '.join(self.policies)}; needs each one once")

    def build(self) -> DiffAugment:
        return DiffAugment(self.policies)


class DiffAugment:
    """Applies the policies; holds no state."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = tuple(policies)

    def prepare(self, progress: Progress) -> None:
        """Nothing changes in the course of a training."""

    def augment(self, images: Tensor, random: SampleRandom, purpose: str) -> Tensor:
        """(own rows, C, H, W) in [-1, 1] to the same shape; see `Augmentation`."""
        apply = {"color": change_colors, "translation": translate, "cutout": cut_out}
        with exact_arithmetic(images) as result:
            for policy in self.policies:
                draws = random.own_uniform(f"{purpose}/{policy}", 3)
                assert len(draws) == len(images), "pictures of this process's samples only"
                result = apply[policy](result, draws)
        return like(result, images)


def change_colors(images: Tensor, draws: Tensor) -> Tensor:
    """Brightness moved by up to 0.5, saturation scaled by 0 to 2, contrast by 0.5 to 1.5; draws (N, 3) in [0, 1)."""
    brightness, saturation, contrast = to_device(draws.to(images.dtype), images.device)[:, :, None, None, None].unbind(
        1
    )
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = torch.lerp(grey.expand_as(images), images, 2.0 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(images), images, contrast + 0.5)


def translate(images: Tensor, draws: Tensor) -> Tensor:
    """Moved by whole pixels, up to an eighth of the side either way, 0 (grey) moving in; draws (N, >=2) in [0, 1)."""
    height, width = images.shape[2:]
    rows = torch.arange(height) - (_whole(draws[:, 0], 2 * (height // 8) + 1) - height // 8)[:, None]
    columns = torch.arange(width) - (_whole(draws[:, 1], 2 * (width // 8) + 1) - width // 8)[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    source = to_device(source.flatten(1)[:, None, :], images.device).expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, source).unflatten(2, (height, width))
    return moved * to_device(inside[:, None].to(images.dtype), images.device)


def cut_out(images: Tensor, draws: Tensor) -> Tensor:
    """A square of half the side, anywhere its centre is inside, set to 0 (grey); draws (N, >=2) in [0, 1)."""
    covered = []
    for index, side in enumerate(images.shape[2:]):
        length = side // 2
        first = _whole(draws[:, index], side + 1 - length % 2) - length // 2
        place = torch.arange(side) - first[:, None]
        covered.append((place >= 0) & (place < length))
    kept = ~(covered[0][:, :, None] & covered[1][:, None, :])
    return images * to_device(kept[:, None].to(images.dtype), images.device)


def _whole(draws: Tensor, count: int) -> Tensor:
    """Uniform draws in [0, 1) as whole numbers 0 to count - 1."""
    return (draws * count).long().clamp(max=count - 1)
