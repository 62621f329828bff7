"""What a discriminator makes of real and of made pictures: mean probabilities, which theory wants at one half.

Source: Goodfellow et al. 2014, section 4.1: against a perfect generator the best discriminator answers 1/2 everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK, Share
from i2i.evaluation.measures import D_PROBABILITY
from i2i.evaluation.passports.figures import Figure, Passport
from i2i.evaluation.pictures.sources import PictureSource
from i2i.inference.levels import floats_of
from i2i.inference.runtime import numerics
from i2i.training.distributed import Collect
from i2i.training.evaluation_sets import Comparison

_SIDES = {"real": "D(real)", "fake": "D(made)"}


class Judge:
    """A discriminator as it is now, in evaluation mode and fp32; the network itself is left as it is."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = copy.deepcopy(network).float().eval()
        self._device = device

    @torch.inference_mode()
    def probabilities(self, pictures: Sequence[np.ndarray], labels: np.ndarray | None) -> Tensor:
        """The probability of being real that each picture (H, W, C), all of one size, is given: (N,), float64, CPU.

        Mean over the positions of a map of logits, then over scales.
        """
        images = floats_of(np.stack(list(pictures)), self._device)
        given = () if labels is None else (torch.from_numpy(labels).to(self._device),)
        with numerics(self._device, "fp32", deterministic=True):
            logits = self._network(images, *given).logits
        scales = [torch.sigmoid(part.double().cpu()).flatten(1).mean(dim=1) for part in logits]
        return torch.stack(scales).mean(dim=0)


def judge_figures(
    judge: Judge, comparison: Comparison, real: PictureSource, made: PictureSource, share: Share, collect: Collect
) -> list[Figure]:
    """The mean probability of the real pictures and of the made ones, the same on every process."""
    classes = comparison.classes
    labels: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {"real": None, "fake": None}
    if comparison.labels is not None:
        # Made pictures are of each class in turn.
        labels = {"real": comparison.labels.__getitem__, "fake": lambda numbers: numbers % classes}
    means: dict[str, tuple[float, int]] = {}
    for side, source in (("real", real), ("fake", made)):
        sums = _sums(judge, source, comparison.side_pixels, labels[side], share)
        # In order of the blocks: the same sum on however many processes.
        blocks = sorted(block for part in collect(sums) for block in part)
        count = sum(size for _, _, size in blocks)
        means[side] = (sum(total for _, total, _ in blocks) / count if count else float("nan"), count)
    return [
        Figure(
            name=f"{D_PROBABILITY}_{side}{comparison.suffix}",
            label=_SIDES[side],
            value=means[side][0],
            passport=Passport(
                metric=D_PROBABILITY,
                split=comparison.split,
                real_count=means["real"][1],
                fake_count=means["fake"][1],
                seed=comparison.latent_seed,
                data_sha256=real.sha256,
                parameters={"discriminator": str(comparison.entry.judge), "pixels": comparison.side_pixels},
            ),
        )
        for side in _SIDES
    ]


def _sums(
    judge: Judge,
    source: PictureSource,
    side: int,
    labels: Callable[[np.ndarray], np.ndarray] | None,
    share: Share,
) -> list[tuple[int, float, int]]:
    """For every block of the share: number of its first picture, sum of the probabilities, number of pictures."""
    found: list[tuple[int, float, int]] = []
    for first in share.blocks(source.count):
        pictures = source.pictures(first, min(first + PICTURES_PER_BLOCK, source.count))
        fitting = [number for number, picture in enumerate(pictures) if min(picture.shape[:2]) >= side]
        if not fitting:
            continue
        numbers = np.asarray(fitting, np.int64) + first
        middles = [_middle(pictures[number], side) for number in fitting]
        judged = judge.probabilities(middles, None if labels is None else labels(numbers))
        found.append((first, float(judged.sum()), len(fitting)))
    return found


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle, of the size that the discriminator meets in training."""
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]
