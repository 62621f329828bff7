"""Training samples that are crops, at the same place of a high-resolution picture and its counterpart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from i2i.data.degradation_settings import DegradationSettings, SecondOrderSettings
from i2i.data.degradations import second_order
from i2i.data.keyed import below, keyed_permutation, keyed_words
from i2i.data.picture_groups import PictureGroups

_TURNS = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


@dataclass(frozen=True)
class Place:
    """What a sample shows: the picture's number, its upper left corner in low-resolution pixels, and how it is held."""

    picture: int
    top: int
    left: int
    mirrored: bool
    turns: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """An endless sequence of places in pictures: each picture once an epoch, in a new order each time.

    Args:
        pictures: high-resolution ones and, where there are any, their low-resolution counterparts; high sides are
            `scale` times the low ones.
        used: numbers of those to draw from; all are at least `crop_pixels` wide and high.
        crop_pixels: side of a high-resolution crop, a multiple of `scale`.
        flip: whether half of the samples are mirrored.
        quarter_turns: whether they are turned by 0, 90, 180 or 270 degrees.
        seed: of the training.
    """

    pictures: PictureGroups
    used: Sequence[int]
    crop_pixels: int
    scale: int
    flip: bool
    quarter_turns: bool
    seed: int

    @property
    def low_pixels(self) -> int:
        """Side of a low-resolution crop."""
        return self.crop_pixels // self.scale

    def low_size(self, picture: int) -> tuple[int, int]:
        """Height and width of a picture's low-resolution counterpart, be there one or not."""
        height, width = self.pictures[picture][0].shape[:2]
        return height // self.scale, width // self.scale

    def place(self, counter: int) -> Place:
        """What the sample `counter` shows: a function of the seed and it, not of the stream that asks."""
        if counter < 0:
            raise IndexError("sample counters begin at 0")
        epoch, position = divmod(int(counter), len(self.used))
        picture = self.used[int(keyed_permutation(len(self.used), "crops", self.seed, epoch)[position])]
        down, right, mirror, turn = keyed_words("crop", self.seed, int(counter))
        height, width = self.low_size(picture)
        return Place(
            picture=picture,
            top=below(down, height - self.low_pixels + 1),
            left=below(right, width - self.low_pixels + 1),
            mirrored=self.flip and below(mirror, 2) == 1,
            turns=below(turn, 4) if self.quarter_turns else 0,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CropStream:
    """The high- or the low-resolution side of :class:`Crops`; see :class:`i2i.data.dataset.Stream`.

    Two streams of the same crops stay together, since a place follows from the seed and the counter alone. Second-order
    degradation is done here, for each sample anew; anything else was done to the whole pictures.
    """

    side: Literal["low", "high"]
    crops: Crops
    degradation: DegradationSettings

    @property
    def images_per_epoch(self) -> int:
        """The number of pictures."""
        return len(self.crops.used)

    def __getitem__(self, counter: int) -> np.ndarray:
        """The crop of sample `counter`: uint8 (pixels, pixels, 3)."""
        crops = self.crops
        place = crops.place(counter)
        if self.side == "high":
            top, left = crops.scale * place.top, crops.scale * place.left
            crop = _cut(crops.pictures[place.picture][0], top, left, crops.crop_pixels, crops.crop_pixels)
        elif isinstance(self.degradation, SecondOrderSettings):
            crop = self._degraded(place, self.degradation, int(counter))
        else:
            crop = _cut(crops.pictures[place.picture][1], place.top, place.left, crops.low_pixels, crops.low_pixels)
        return held(crop, place.mirrored, place.turns)

    def _degraded(self, place: Place, settings: SecondOrderSettings, counter: int) -> np.ndarray:
        """Degrade the crop with some margin, and cut it out of the result.

        Not mirrored and turned yet, though the reference does that first: every blur and every noise is as likely in
        all eight directions.
        """
        crops = self.crops
        height, width = crops.low_size(place.picture)
        margin = -(-settings.margin_pixels // crops.scale)
        down, right, _, _ = keyed_words("degraded region", crops.seed, counter)
        # The crop lies anywhere in what is degraded: JPEG's blocks of 8 begin anywhere in a crop.
        top, rows = _around(place.top, crops.low_pixels, margin, height, down)
        left, columns = _around(place.left, crops.low_pixels, margin, width, right)
        scale = crops.scale
        region = _cut(crops.pictures[place.picture][0], scale * top, scale * left, scale * rows, scale * columns)
        low = second_order(region, scale, settings, "crop", crops.seed, counter)
        return _cut(low, place.top - top, place.left - left, crops.low_pixels, crops.low_pixels)


def held(picture: np.ndarray, mirrored: bool, turns: int) -> np.ndarray:
    """Mirror a picture left to right, if so wanted, then turn it by `turns` quarters against the clock: a copy."""
    # Several times as fast as NumPy, which would copy colour by colour.
    mirrored_picture = cv2.flip(picture, 1) if mirrored else picture
    turn = _TURNS[turns]
    if turn is not None:
        return cv2.rotate(mirrored_picture, turn).astype(np.uint8, copy=False)
    return mirrored_picture.astype(np.uint8, copy=not mirrored)


def _around(start: int, length: int, margin: int, side: int, word: int) -> tuple[int, int]:
    """Where, around a stretch, a longer one by up to `margin` begins, and how long it is; both within 0..`side`."""
    wanted = min(side, length + margin)
    first, last = max(0, start + length - wanted), min(start, side - wanted)
    return first + below(word, last - first + 1), wanted


def _cut(picture: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A view."""
    return picture[top : top + height, left : left + width]
