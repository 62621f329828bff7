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

_MOST_BYTES = 2 * 2**30
"""Of both sets' pixels as float32 that a Parzen window may take; it needs all of them at once."""
_BYTES_PER_VALUE = 4

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


@dataclass(frozen=True, kw_only=True)
class PixelLikelihood:
    """A likelihood of pictures, and how many numbers a picture was."""

    likelihood: ParzenLikelihood
    width: int


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


def parzen_of_pictures(real: PictureSource, fake: PictureSource, seed: int, team: Team) -> PixelLikelihood | None:
    """The likelihood of the real pictures' pixels in [0, 1], computed by the first process; None on the others.

    Raises:
        DataError: the pictures are not all of one size, or they are too few, or too many for the memory.
    """
    room = _MOST_BYTES
    sets: list[np.ndarray] = []
    for source in (real, fake):
        pixels = _pixels(source, team, room)
        if pixels is not None:
            room -= pixels.size * _BYTES_PER_VALUE
            sets.append(pixels)
    if not team.leads:
        return None
    # Grey pictures out of files have three equal channels: the likelihood counts a pixel once.
    grey = all((pictures == pictures[..., :1]).all() for pictures in sets)
    sets = [pictures[..., :1] if grey else _in_colour(pictures) for pictures in sets]
    if sets[0].shape[1:] != sets[1].shape[1:]:
        sizes = " and ".join("x".join(str(side) for side in pictures.shape[1:3]) for pictures in sets)
        raise DataError(f"metric parzen: real and made pictures are {sizes} - give pictures of one size")
    vectors = [pictures.reshape(len(pictures), -1).astype(np.float32) / 255 for pictures in sets]
    likelihood = parzen_likelihood(vectors[0], vectors[1], seed=seed)
    return PixelLikelihood(likelihood=likelihood, width=vectors[0].shape[1])


def _pixels(source: PictureSource, team: Team, room: int) -> np.ndarray | None:
    """All pictures of a source as one array (N, H, W, C) uint8, on the first process; None on the others.

    They come to it a block of each process at a time, so that no other ever holds more than those.

    Raises:
        DataError: they are of several sizes, or as float32 take more than `room` bytes.
    """
    together: np.ndarray | None = None
    for first in range(0, source.count, PICTURES_PER_BLOCK * team.share.count):
        start = first + PICTURES_PER_BLOCK * team.share.index
        mine = source.pictures(start, min(start + PICTURES_PER_BLOCK, source.count)) if start < source.count else []
        for number, pictures in team.gather((start, mine)):
            if not team.leads or not len(pictures):
                continue
            if together is None:
                together = _room_for(source, pictures[0], room)
            if any(picture.shape != together.shape[1:] for picture in pictures):
                raise DataError(f"metric parzen: {source.description} are of several sizes - give pictures of one size")
            together[number : number + len(pictures)] = pictures
    return together


def _room_for(source: PictureSource, picture: np.ndarray, room: int) -> np.ndarray:
    """An empty array for all pictures of a source that are like `picture`."""
    if source.count * picture.size * _BYTES_PER_VALUE > room:
        raise DataError(
            f"metric parzen: {source.count} pictures of {picture.shape[1]}x{picture.shape[0]} pixels take more than the"
            f" {_MOST_BYTES / 2**30:g} GB that it has for both sets - give fewer or smaller ones, or leave it out"
        )
    return np.empty((source.count, *picture.shape), np.uint8)


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
