"""Filled shapes on a square picture of any size: what the built-in sets are drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
Color = tuple[int, int, int]

_SUPERSAMPLING = 4
_FIXED_POINT_BITS = 4


class Canvas:
    """A square picture, drawn on in units of its side with (0, 0) at the upper left corner.

    Shapes are drawn several times larger than asked for and shrunk at the end: edges are smooth, and the composition is
    the same at every size.
    """

    def __init__(self, size_pixels: int) -> None:
        self._size_pixels = size_pixels
        self._side = size_pixels * _SUPERSAMPLING
        self._pixels: Picture = np.zeros((self._side, self._side, 3), np.uint8)

    def fill(self, points: Points, color: Color) -> None:
        """Fill the polygon with the corners `points`: (K, 2), x and y."""
        cv2.fillPoly(self._pixels, [self._fixed_point(points)], color, shift=_FIXED_POINT_BITS)

    def outline(self, points: Points, width: float, color: Color) -> None:
        """Draw the line around the polygon with the corners `points`, half of its width on either side."""
        thickness = max(1, round(width * self._side))
        cv2.polylines(self._pixels, [self._fixed_point(points)], True, color, thickness, shift=_FIXED_POINT_BITS)

    def disc(self, center: Sequence[float] | Points, radius: float, color: Color) -> None:
        """Fill a circle."""
        self.fill(np.asarray(center) + radius * CIRCLE, color)

    def gradient(self, top: float, upper: Color, lower: Color) -> None:
        """Fill from `top` down to the picture's end, from one colour to the other."""
        first = round(top * self._side)
        share = np.linspace(0.0, 1.0, self._side - first)[:, None]
        rows = np.rint((1 - share) * np.asarray(upper) + share * np.asarray(lower))
        self._pixels[first:] = rows[:, None].astype(np.uint8)

    def picture(self) -> Picture:
        """The picture in the size that was asked for: uint8 RGB, (size_pixels, size_pixels, 3)."""
        size = (self._size_pixels, self._size_pixels)
        return cv2.resize(self._pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

    def _fixed_point(self, points: Points) -> NDArray[np.int32]:
        # OpenCV counts from the middle of the first pixel.
        return np.rint((points * self._side - 0.5) * (1 << _FIXED_POINT_BITS)).astype(np.int32)


def arc(first: float, last: float, points: int) -> Points:
    """Points on the unit circle between two angles (radians): (points, 2)."""
    angles = np.linspace(first, last, points)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


CIRCLE = arc(0.0, 2 * math.pi, 33)[:-1]


def limb(start: Points, start_radius: float, end: Points, end_radius: float) -> Points:
    """The outline of a limb that is round at both ends and tapers from one radius to the other."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    behind = start + start_radius * arc(angle + math.pi / 2, angle + 3 * math.pi / 2, 12)
    ahead = end + end_radius * arc(angle - math.pi / 2, angle + math.pi / 2, 12)
    return np.concatenate([behind, ahead])


def band(start: Points, end: Points, radii: tuple[float, float], at: float, half_width: float) -> Points:
    """A stripe across a limb: `at` is its place from start (0) to end (1), `half_width` is along the limb."""
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    corners = []
    for offset, sides in ((-half_width, (-1, 1)), (half_width, (1, -1))):
        place = at + offset / length
        corners += [start + place * (end - start) + side * radius_at(radii, place) * across for side in sides]
    return np.stack(corners)


def radius_at(radii: tuple[float, float], at: float) -> float:
    """The radius of a tapering limb at a place from start (0) to end (1)."""
    return radii[0] + (radii[1] - radii[0]) * at


def mix(first: Color, second: Color, share_of_second: float) -> Color:
    """A colour between two."""
    red, green, blue = (
        round((1 - share_of_second) * one + share_of_second * other) for one, other in zip(first, second, strict=True)
    )
    return red, green, blue
