"""Adaptive discriminator augmentation: as much of it as the discriminator's overfitting calls for.

Source: Karras et al. 2020, https://arxiv.org/abs/2006.06676; the transformations are those of appendix B that the paper
settles on (pixel blitting, general geometry, colour), in its order and with its strengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from i2i.core.augmentation.interface import exact_arithmetic, like
from i2i.core.augmentation.transforms import change_colors, color_matrices, geometric_sources, whole_pixel_sources
from i2i.core.augmentation.warp import warp
from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.ramp import CosineRamp, bounds, value_at
from i2i.core.randomness import SampleRandom, to_device
from i2i.core.step import Progress, current_context, joined_mean

TransformGroup = Literal["blit", "geometry", "color"]
_ALL_GROUPS: tuple[TransformGroup, ...] = ("blit", "geometry", "color")


@dataclass(frozen=True, kw_only=True)
class AdaptiveAugmentationSettings:
    """Augmentation whose probability is steered by how sure the discriminator is of the real pictures."""

    kind: Literal["adaptive"] = "adaptive"
    groups: tuple[TransformGroup, ...] = _ALL_GROUPS
    target: float = 0.6
    """r_t that the probability is steered to: mean sign of the logits of real pictures."""
    adjust_every_images: int = 256
    """Real pictures judged between two adjustments; four batches of 64 in the paper."""
    images_to_full: int = 500_000
    """Real pictures within which the probability can rise from 0 to 1."""

    def __post_init__(self) -> None:
        _check_groups(self.groups)
        if not 0 < self.target < 1:
            raise ValueError(f"target is {self.target:g}; needs more than 0 and less than 1 (0.6 is usual)")
        if self.adjust_every_images < 1:
            raise ValueError(f"adjust_every_images is {self.adjust_every_images}; needs at least 1")
        if self.images_to_full < 1:
            raise ValueError(f"images_to_full is {self.images_to_full}; needs at least 1")

    def build(self) -> AdaptiveAugmentation:
        return AdaptiveAugmentation(self)


@dataclass(frozen=True, kw_only=True)
class RampedAugmentationSettings:
    """The same augmentation with a probability that is given: for losses whose logits have no sign of their own."""

    kind: Literal["ramped"] = "ramped"
    groups: tuple[TransformGroup, ...] = _ALL_GROUPS
    probability: float | CosineRamp = 0.3

    def __post_init__(self) -> None:
        _check_groups(self.groups)
        least, most = bounds(self.probability)
        if least < 0 or most > 1:
            raise ValueError(f"probability is {least if least < 0 else most:g}; needs 0 to 1")

    def build(self) -> RampedAugmentation:
        return RampedAugmentation(self)


class AdaptiveAugmentation:
    """Augments, and listens to the discriminator (section 3). What it has heard is part of a checkpoint."""

    def __init__(self, settings: AdaptiveAugmentationSettings) -> None:
        self.settings = settings
        self.probability = 0.0
        self._sign_sum: Tensor | None = None
        self._count = 0
        self._before: tuple[Tensor | None, int] = None, 0

    def begin(self) -> None:
        """Remember what was heard until now, for `roll_back`."""
        self._before = self._sign_sum, self._count

    def roll_back(self) -> None:
        """Forget what was heard since `begin`."""
        self._sign_sum, self._count = self._before

    def prepare(self, progress: Progress) -> None:
        """Adjust the probability once enough real pictures have been judged (section 3, with r_t of equation 1).

        It moves by a fixed amount, toward more when the discriminator is surer than `target`, else toward less. The
        paper bounds it from below only; here it is bounded by 1 too, beyond which it would change nothing but take
        time to come back. Without new observations a second call does nothing.
        """
        if self._sign_sum is None or self._count < self.settings.adjust_every_images:
            return
        overfitting = self._sign_sum.item() / self._count
        direction = (overfitting > self.settings.target) - (overfitting < self.settings.target)
        moved = self.probability + direction * self._count / self.settings.images_to_full
        # Rounded to float32, in which every device can hold it, so that saving loses nothing.
        self.probability = torch.tensor(min(1.0, max(0.0, moved))).item()
        self._sign_sum, self._count = None, 0

    def observe(self, real: DiscriminatorOutput, boundary: float = 0.0) -> Tensor:
        """Take note of how the discriminator judges augmented real pictures of the running update.

        `boundary` is the logit of a discriminator in doubt (1/2 with the least-squares loss).

        Returns:
            The overfitting signal r_t of this batch, a detached scalar in [-1, 1], worth watching.
        """
        logits = [(scale.detach().float() - boundary).sign().flatten(1).mean(dim=1) for scale in real.logits]
        # An update with such logits is skipped; what it would have said is nothing.
        signs = torch.stack(logits).mean(dim=0).nan_to_num(0.0)
        context = current_context()
        count = len(signs) * (1 if context is None else context.joined.processes)
        mean = joined_mean(signs.mean())
        self._sign_sum = mean * count if self._sign_sum is None else self._sign_sum + mean * count
        self._count += count
        return mean

    def augment(self, images: Tensor, random: SampleRandom, purpose: str) -> Tensor:
        """(own rows, C, H, W) in [-1, 1] to the same shape; see `Augmentation`."""
        return augment_with_probability(images, self.probability, self.settings.groups, random, purpose)

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the probabilities to come, for a checkpoint."""
        return {
            "probability": torch.tensor(self.probability),
            "sign_sum": torch.zeros(()) if self._sign_sum is None else self._sign_sum.clone(),
            "count": torch.tensor(self._count),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` gave."""
        self.probability = state["probability"].item()
        self._count = int(state["count"].item())
        self._sign_sum = state["sign_sum"].clone() if self._count else None


class RampedAugmentation:
    """Augments with the probability that the settings name for the moment; holds nothing that needs saving."""

    def __init__(self, settings: RampedAugmentationSettings) -> None:
        self.settings = settings
        self.probability = value_at(settings.probability, Progress(step=0, images=0, epoch=0.0))

    def prepare(self, progress: Progress) -> None:
        """Set the probability of this step."""
        self.probability = value_at(self.settings.probability, progress)

    def augment(self, images: Tensor, random: SampleRandom, purpose: str) -> Tensor:
        """(own rows, C, H, W) in [-1, 1] to the same shape; see `Augmentation`."""
        return augment_with_probability(images, self.probability, self.settings.groups, random, purpose)


def augment_with_probability(
    images: Tensor, probability: float, groups: Sequence[TransformGroup], random: SampleRandom, purpose: str
) -> Tensor:
    """Each transformation on each picture with `probability`, each by a chance of its own (section 2.3).

    Pictures on which no transformation falls come back bit by bit. The reference resamples with an asymmetric wavelet
    filter, which also shifts what it turns; `warp` says what is done here.

    Raises:
        ValueError: the pictures have neither 1 nor 3 channels.
    """
    if probability == 0.0:
        return images
    if "color" in groups and images.shape[1] not in (1, 3):
        raise ValueError(f"colours of {images.shape[1]} channels cannot be augmented; leave color out of groups")
    with exact_arithmetic(images) as result:
        sources = torch.eye(3, dtype=torch.float64).repeat(len(images), 1, 1)
        if "blit" in groups:
            draws = random.own_uniform(f"{purpose}/blit", 7)
            sources = sources @ whole_pixel_sources(draws, probability, images.shape[3], images.shape[2])
        if "geometry" in groups:
            draws = random.own_uniform(f"{purpose}/geometry", 11)
            sources = sources @ geometric_sources(draws, probability, images.shape[3], images.shape[2])
        result = _warp_where_needed(result, sources)
        if "color" in groups:
            draws = random.own_uniform(f"{purpose}/color", 10)
            result = change_colors(result, color_matrices(draws, probability, images.shape[1]))
    return like(result, images)


def _warp_where_needed(images: Tensor, sources: Tensor) -> Tensor:
    """Only pictures that move; which ones is known without asking the device."""
    assert len(sources) == len(images), "pictures of this process's samples only"
    moving = (sources != torch.eye(3, dtype=torch.float64)).flatten(1).any(dim=1).nonzero().flatten()
    if len(moving) == 0:
        return images
    rows = to_device(moving, images.device)
    return images.index_copy(0, rows, warp(images.index_select(0, rows), sources[moving]))


def _check_groups(groups: Sequence[TransformGroup]) -> None:
    if not groups:
        raise ValueError(f"groups is empty; needs one or more of {', '.join(_ALL_GROUPS)}")
    if len(set(groups)) != len(groups):
        raise ValueError(f"groups is {', '.join(groups)}; needs each one once")
