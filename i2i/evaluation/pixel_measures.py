"""Metrics that look at pixels: made pictures beside their true counterparts, and the Parzen window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from i2i.errors import DataError
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.metrics.parzen import ParzenLikelihood, parzen_likelihood
from i2i.evaluation.metrics.psnr import l1, psnr
from i2i.evaluation.pictures.sources import PictureSource
from i2i.evaluation.team import Team
from i2i.evaluation.upscaling import ssim

Measurement = Callable[[np.ndarray, np.ndarray], float]
"""Two pictures (H, W, C) uint8 of one shape to a number."""


@dataclass(frozen=True, kw_only=True)
class PerceptualMeasure:
    """A perceptual distance with what its figures need for their passports."""

    name: str
    weights_sha256: str
    """Of the network's and the heads' files, joined by ``+``."""
    preprocessing: str
    between: Measurement = field(repr=False)


def counterpart_means(
    metrics: Sequence[str],
    real: PictureSource,
    fake: PictureSource,
    perceptual: PerceptualMeasure | None,
    team: Team,
) -> Mapping[str, float]:
    """The mean of each metric over all pairs of counterparts, the same on every process.

    Raises:
        DataError: a picture and its counterpart differ in size.
    """
    table: dict[str, Measurement] = {"psnr": psnr, "l1": l1, "ssim": _ssim}
    if perceptual is not None:
        table["lpips"] = lambda made, truth: perceptual.between(_in_colour(made), _in_colour(truth))
    found: dict[int, list[float]] = {}
    for first in team.share.blocks(real.count):
        last = min(first + PICTURES_PER_BLOCK, real.count)
        pairs = zip(fake.pictures(first, last), real.pictures(first, last), strict=True)
        for number, (made, truth) in enumerate(pairs, start=first):
            made, truth = _of_one_shape(made, truth, number)
            found[number] = [table[metric](made, truth) for metric in metrics]
    together = {number: values for part in team.gather(found) for number, values in part.items()}
    # In the order of the pictures, whoever measured them.
    rows = np.array([together[number] for number in range(real.count)], np.float64)  # (N, metrics)
    return {metric: float(rows[:, column].mean()) for column, metric in enumerate(metrics)}


def parzen_of_pictures(real: PictureSource, fake: PictureSource, seed: int, team: Team) -> ParzenLikelihood | None:
    """The likelihood of the real pictures' pixels in [0, 1], computed by the first process; None on the others.

    Raises:
        DataError: the pictures are not all of one size, or too few.
    """
    sets = [_pixels(source, team) for source in (real, fake)]
    if not team.leads:
        return None
    shapes = [pictures.shape[1:] for pictures in sets]
    if shapes[0] != shapes[1] and shapes[0][:2] == shapes[1][:2]:
        # Grey pictures out of files have three equal channels: the likelihood counts a pixel once.
        sets = [_as_grey(pictures) for pictures in sets]
    if sets[0].shape[1:] != sets[1].shape[1:]:
        sizes = " and ".join("x".join(str(side) for side in shape) for shape in shapes)
        raise DataError(f"metric parzen: real and made pictures are {sizes} - give pictures of one size")
    vectors = [pictures.reshape(len(pictures), -1).astype(np.float32) / 255 for pictures in sets]
    return parzen_likelihood(vectors[0], vectors[1], seed=seed)


def _pixels(source: PictureSource, team: Team) -> np.ndarray:
    """All pictures of a source as one array (N, H, W, C) uint8."""
    blocks: dict[int, np.ndarray] = {}
    for first in team.share.blocks(source.count):
        pictures = source.pictures(first, min(first + PICTURES_PER_BLOCK, source.count))
        if len({picture.shape for picture in pictures}) != 1:
            raise DataError(f"metric parzen: {source.description} are of several sizes - give pictures of one size")
        blocks[first] = np.stack(pictures)
    together = {first: block for part in team.gather(blocks) for first, block in part.items()}
    if len({block.shape[1:] for block in together.values()}) != 1:
        raise DataError(f"metric parzen: {source.description} are of several sizes - give pictures of one size")
    return np.concatenate([together[first] for first in sorted(together)])


def _as_grey(pictures: np.ndarray) -> np.ndarray:
    grey = pictures[..., :1]
    return grey if (pictures == grey).all() else pictures


def _of_one_shape(made: np.ndarray, truth: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    if made.shape[:2] != truth.shape[:2]:
        raise DataError(
            f"picture {number}: made it is {made.shape[1]}x{made.shape[0]}, its counterpart"
            f" {truth.shape[1]}x{truth.shape[0]} - counterparts must have one size"
        )
    return (made, truth) if made.shape == truth.shape else (_in_colour(made), _in_colour(truth))


def _in_colour(picture: np.ndarray) -> np.ndarray:
    return np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture


def _ssim(made: np.ndarray, truth: np.ndarray) -> float:
    pairs = (np.require(one, None, ("C", "W")) for one in (made, truth))
    first, second = (torch.from_numpy(one).permute(2, 0, 1)[None] for one in pairs)
    try:
        return float(ssim(first, second))
    except ValueError as error:
        raise DataError(f"metric ssim: {error} - leave it out or give larger pictures") from error
