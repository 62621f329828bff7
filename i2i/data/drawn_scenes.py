"""The built-in pictures for super-resolution, drawn by code from a seed: shapes, textures, lines and text.

Nothing is downloaded and no licence is attached. A scene is a pile of shapes of all sizes, each covered with a material
of its own (:mod:`i2i.data.drawn_materials`), with fans, rings and curves of thin lines and some text on top: edges in
all directions, and detail down to what a pixel can hold.

Source: the pile is Lee, Mumford and Huang 2001, "Occlusion models for natural images" (dead leaves).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import cv2
import numpy as np

from i2i.data.cache_files import threads
from i2i.data.canvas import CIRCLE, Color, Picture, Points
from i2i.data.drawn_materials import draw_material, two_colors
from i2i.errors import DataError

Split = Literal["train", "test"]

# Where random numbers come from: no test scene is a training scene.
_STREAM_OF: dict[Split, int] = {"train": 0, "test": 1}
_SUPERSAMPLING = 3
_FIXED_POINT_BITS = 4
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)  # fmt: skip
_WORDS = (
    "amber", "bridge", "cloud", "delta", "ember", "field", "garden", "harbor", "island", "jacket", "kettle", "lemon",
    "meadow", "north", "ocean", "pepper", "quartz", "river", "silver", "tunnel", "umber", "valley", "winter", "xenon",
    "yellow", "zephyr", "Open", "Sale", "Exit", "Taxi", "Cafe", "Nr.", "1948", "2057", "36%", "7:45", "$12",
)  # fmt: skip


def draw_scenes(size_pixels: int, count: int, seed: int, split: Split) -> list[Picture]:
    """Draw `count` scenes; the first n are the same for every count.

    Args:
        size_pixels: side of the square pictures; larger ones show more of the same fineness.
        count: pictures, 1 or more.
        seed: 0 or more; other seeds give other scenes.
        split: no scene of one is in the other.

    Returns:
        uint8 RGB, (size_pixels, size_pixels, 3) each, contiguous.

    Raises:
        DataError: a number is out of range.
    """
    if size_pixels < 16:
        raise DataError(f"drawn scenes: size is {size_pixels} pixels - take 16 or more")
    if count < 1:
        raise DataError(f"drawn scenes: {count} pictures were asked for - take 1 or more")
    if seed < 0:
        raise DataError(f"drawn scenes: the seed is {seed} - take 0 or more")

    def draw(index: int) -> Picture:
        return draw_scene(np.random.default_rng([seed, _STREAM_OF[split], index]), size_pixels)

    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(draw, range(count)))


def draw_scene(rng: np.random.Generator, size_pixels: int) -> Picture:
    """Draw one scene: uint8 RGB, (size_pixels, size_pixels, 3)."""
    side = size_pixels * _SUPERSAMPLING
    pixels = draw_material(rng, side, side, _SUPERSAMPLING)
    # As many as cover it about twice, whatever the size.
    count = int(rng.integers(10, 19)) * max(1, round((size_pixels / 160) ** 2))
    largest = min(side, 160 * _SUPERSAMPLING) * 0.35
    for radius in sorted(largest * 0.15 ** rng.random(count), reverse=True):
        _add_shape(rng, pixels, float(radius))
    for _ in range(max(1, round(size_pixels / 100))):
        _add_lines(rng, pixels)
        _add_text(rng, pixels)
        _add_text(rng, pixels)
    shrunk = cv2.resize(pixels, (size_pixels, size_pixels), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(shrunk, np.uint8)


def _add_shape(rng: np.random.Generator, pixels: Picture, radius: float) -> None:
    """Cover a shape around a random place with a material, and draw a line around every third."""
    side = len(pixels)
    points = rng.uniform(0, side, 2) + radius * _outline(rng)
    low = np.clip(np.floor(points.min(axis=0)), 0, side - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + 1, 1, side).astype(int)
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    mask = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(mask, [_fixed_point(points - low)], 1, shift=_FIXED_POINT_BITS)
    patch = pixels[top:bottom, left:right]
    np.copyto(patch, draw_material(rng, *mask.shape, _SUPERSAMPLING), where=mask[:, :, None] == 1)
    if rng.random() < 1 / 3:
        thickness = int(rng.integers(1, 2 * _SUPERSAMPLING + 1))
        cv2.polylines(pixels, [_fixed_point(points)], True, two_colors(rng)[0], thickness, shift=_FIXED_POINT_BITS)


def _outline(rng: np.random.Generator) -> Points:
    """The corners of a shape of about radius 1: polygon, star, ellipse or pebble, turned anyhow."""
    match int(rng.integers(4)):
        case 0:
            angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 7))))
            points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        case 1:
            spikes = int(rng.integers(4, 9))
            angles = np.arange(2 * spikes) * (math.pi / spikes)
            radii = np.where(np.arange(2 * spikes) % 2, rng.uniform(0.3, 0.7), 1.0)
            points = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        case 2:
            points = CIRCLE * (1.0, rng.uniform(0.3, 1.0))
        case _:
            angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
            waves = [rng.uniform(-0.3, 0.3) / n * np.sin(n * angles + rng.uniform(0, 6.3)) for n in (2, 3, 5)]
            points = (0.8 + np.sum(waves, axis=0))[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    turn = rng.uniform(0, 2 * math.pi)
    return points @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def _add_lines(rng: np.random.Generator, pixels: Picture) -> None:
    """Thin lines: a fan, rings or a bundle of curves."""
    side = len(pixels)
    center, radius = rng.uniform(0, side, 2), side * rng.uniform(0.08, 0.25)
    color, thickness = two_colors(rng)[0], int(rng.integers(2, _SUPERSAMPLING + 3))
    lines: list[Points] = []
    match int(rng.integers(3)):
        case 0:
            angles = np.linspace(0, 2 * math.pi, int(rng.integers(12, 49)), endpoint=False)
            ends = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            lines = [center + radius * np.stack([0.1 * end, end]) for end in ends]
        case 1:
            step = _SUPERSAMPLING * rng.uniform(2.5, 6)
            lines = [center + ring * CIRCLE for ring in np.arange(step, radius, step)]
            lines = [np.concatenate([ring, ring[:1]]) for ring in lines]
        case _:
            along = np.linspace(-1, 1, 40)
            bend, step = rng.uniform(-1, 1, 3), _SUPERSAMPLING * rng.uniform(3, 7)
            curve = np.stack([radius * along, radius * (bend[0] * along**2 + bend[1] * along**3 + bend[2] * along)], 1)
            lines = [center + curve + (0.0, step * number) for number in range(int(rng.integers(2, 9)))]
    points = [_fixed_point(line) for line in lines]
    cv2.polylines(pixels, points, False, color, thickness, shift=_FIXED_POINT_BITS)


def _add_text(rng: np.random.Generator, pixels: Picture) -> None:
    """One to three words, level or not, on a plate or straight on what is there."""
    text = " ".join(_WORDS[int(index)] for index in rng.integers(len(_WORDS), size=int(rng.integers(1, 4))))
    font, height = _FONTS[int(rng.integers(len(_FONTS)))], _SUPERSAMPLING * 6 * 4 ** rng.random()
    thickness = max(1, round(height * rng.uniform(0.06, 0.16)))
    scale = cv2.getFontScaleFromHeight(font, round(height), thickness)
    (width, tall), below = cv2.getTextSize(text, font, scale, thickness)
    plate = np.zeros((tall + below + 2 * thickness, width + 2 * thickness), np.uint8)
    cv2.putText(plate, text, (thickness, tall + thickness), font, scale, 255, thickness)
    ink, paper = two_colors(rng)
    side = len(pixels)
    angle = 0.0 if rng.random() < 0.4 else rng.uniform(-60, 60)
    turn = cv2.getRotationMatrix2D((plate.shape[1] / 2, plate.shape[0] / 2), angle, 1.0)
    turn[:, 2] += rng.uniform(0.1, 0.9, 2) * side - (plate.shape[1] / 2, plate.shape[0] / 2)
    if rng.random() < 0.5:
        _stamp(pixels, np.full_like(plate, 255), turn, paper)
    _stamp(pixels, plate, turn, ink)


def _stamp(pixels: Picture, plate: np.ndarray, turn: np.ndarray, color: Color) -> None:
    moved = cv2.warpAffine(plate, turn, (pixels.shape[1], pixels.shape[0]), flags=cv2.INTER_LINEAR)
    pixels[moved > 127] = color


def _fixed_point(points: Points) -> np.ndarray:
    # OpenCV counts from the middle of the first pixel.
    return np.rint((points - 0.5) * (1 << _FIXED_POINT_BITS)).astype(np.int32)
