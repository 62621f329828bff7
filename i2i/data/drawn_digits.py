"""The built-in labelled set: digits that look handwritten, drawn by code from a seed.

Nothing is downloaded and no licence is attached. A digit is one of a few skeletons (`_GLYPHS`), whose points are moved
a little, joined by smooth strokes, slanted, turned, stretched and shifted, and drawn with a pen of some width whose
pressure changes on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2i.data.cache import PictureStore
from i2i.data.dataset import DataSet
from i2i.data.labelled import Pictures, hash_of_arrays, labelled_data_set
from i2i.data.settings import DrawnDigitsSettings

Split = Literal["train", "test"]
Points = NDArray[np.float64]

CLASS_NAMES = tuple("0123456789")

# Where random numbers come from: no test picture is a training picture.
_STREAM_OF = {"train": 0, "test": 1}
_SUPERSAMPLING = 4
_FIXED_POINT_BITS = 4
_STEPS = 6
"""Straight pieces that a curve is drawn with from one point of its skeleton to the next."""
_AT = (np.arange(_STEPS) / _STEPS)[:, None]
_MARGIN = 0.07
"""Empty border, in sides of the picture."""


@dataclass(frozen=True, kw_only=True)
class Glyph:
    """One way to write a digit: points (x, y) in a box of height 1, y downward, and strokes through their numbers.

    A stroke of two points is straight, one of more is curved; strokes that share a point meet there, in a corner.
    `weight` is how often this way is taken, beside the others of the digit.
    """

    points: tuple[tuple[float, float], ...]
    strokes: tuple[tuple[int, ...], ...]
    weight: float = 1.0


_GLYPHS: tuple[tuple[Glyph, ...], ...] = (
    (
        Glyph(
            points=(
                (0.45, 0.00), (0.20, 0.12), (0.08, 0.50), (0.20, 0.88), (0.45, 1.00), (0.68, 0.86), (0.78, 0.48),
                (0.66, 0.12), (0.42, 0.02),
            ),
            strokes=((0, 1, 2, 3, 4, 5, 6, 7, 8),),
        ),
        Glyph(
            points=(
                (0.60, 0.06), (0.38, 0.02), (0.12, 0.30), (0.12, 0.72), (0.36, 0.99), (0.64, 0.82), (0.74, 0.42),
                (0.58, 0.08), (0.40, 0.10),
            ),
            strokes=((0, 1, 2, 3, 4, 5, 6, 7, 8),),
        ),
    ),
    (
        Glyph(points=((0.45, 0.00), (0.45, 0.50), (0.44, 1.00)), strokes=((0, 1, 2),), weight=3.0),
        Glyph(points=((0.22, 0.20), (0.47, 0.00), (0.46, 0.55), (0.45, 1.00)), strokes=((0, 1), (1, 2, 3))),
        Glyph(
            points=((0.24, 0.18), (0.46, 0.00), (0.45, 1.00), (0.20, 1.00), (0.70, 0.98)),
            strokes=((0, 1), (1, 2), (3, 2, 4)),
            weight=0.4,
        ),
    ),
    (
        Glyph(
            points=((0.12, 0.24), (0.30, 0.04), (0.58, 0.04), (0.70, 0.26), (0.48, 0.62), (0.10, 0.96), (0.80, 0.95)),
            strokes=((0, 1, 2, 3, 4, 5), (5, 6)),
        ),
        Glyph(
            points=(
                (0.10, 0.16), (0.36, 0.00), (0.66, 0.18), (0.56, 0.50), (0.26, 0.88), (0.10, 0.92), (0.16, 0.78),
                (0.42, 0.86), (0.84, 0.96),
            ),
            strokes=((0, 1, 2, 3, 4, 5, 6, 7, 8),),
        ),
    ),
    (
        Glyph(
            points=(
                (0.14, 0.12), (0.40, 0.00), (0.66, 0.16), (0.58, 0.38), (0.32, 0.47), (0.62, 0.54), (0.74, 0.76),
                (0.46, 1.00), (0.08, 0.90),
            ),
            strokes=((0, 1, 2, 3, 4), (4, 5, 6, 7, 8)),
        ),
        Glyph(
            points=(
                (0.14, 0.05), (0.70, 0.03), (0.40, 0.42), (0.66, 0.52), (0.74, 0.78), (0.44, 1.00), (0.08, 0.88),
            ),
            strokes=((0, 1), (1, 2), (2, 3, 4, 5, 6)),
            weight=0.3,
        ),
    ),
    (
        Glyph(
            points=((0.20, 0.00), (0.12, 0.34), (0.14, 0.54), (0.46, 0.57), (0.82, 0.50), (0.66, 0.02), (0.58, 1.00)),
            strokes=((0, 1, 2), (2, 3, 4), (5, 6)),
        ),
        Glyph(
            points=((0.58, 0.00), (0.08, 0.64), (0.84, 0.62), (0.60, 1.00)),
            strokes=((0, 1), (1, 2), (0, 3)),
            weight=0.6,
        ),
    ),
    (
        Glyph(
            points=(
                (0.78, 0.02), (0.26, 0.04), (0.20, 0.42), (0.48, 0.37), (0.74, 0.58), (0.62, 0.90), (0.32, 1.00),
                (0.06, 0.90),
            ),
            strokes=((0, 1), (1, 2), (2, 3, 4, 5, 6, 7)),
        ),
        Glyph(
            points=(
                (0.84, 0.00), (0.34, 0.08), (0.22, 0.36), (0.52, 0.48), (0.68, 0.72), (0.46, 0.98), (0.10, 0.94),
            ),
            strokes=((0, 1), (1, 2, 3, 4, 5, 6)),
            weight=0.6,
        ),
    ),
    (
        Glyph(
            points=(
                (0.62, 0.00), (0.30, 0.26), (0.12, 0.62), (0.24, 0.94), (0.50, 0.98), (0.68, 0.78), (0.52, 0.58),
                (0.26, 0.64), (0.14, 0.80),
            ),
            strokes=((0, 1, 2, 3, 4, 5, 6, 7, 8),),
        ),
        Glyph(
            points=((0.40, 0.00), (0.20, 0.40), (0.16, 0.78), (0.40, 1.00), (0.66, 0.84), (0.56, 0.60), (0.18, 0.70)),
            strokes=((0, 1, 2, 3, 4, 5, 6),),
        ),
    ),
    (
        Glyph(
            points=((0.08, 0.06), (0.74, 0.03), (0.50, 0.44), (0.34, 1.00)),
            strokes=((0, 1), (1, 2, 3)),
            weight=2.0,
        ),
        Glyph(
            points=((0.10, 0.18), (0.12, 0.04), (0.78, 0.05), (0.56, 0.42), (0.42, 1.00)),
            strokes=((0, 1), (1, 2), (2, 3, 4)),
        ),
        Glyph(
            points=((0.08, 0.05), (0.76, 0.03), (0.54, 0.46), (0.34, 1.00), (0.28, 0.52), (0.76, 0.48)),
            strokes=((0, 1), (1, 2, 3), (4, 5)),
            weight=0.6,
        ),
    ),
    (
        Glyph(
            points=(
                (0.64, 0.14), (0.42, 0.00), (0.20, 0.18), (0.38, 0.42), (0.66, 0.70), (0.44, 1.00), (0.14, 0.78),
                (0.38, 0.50), (0.68, 0.22), (0.60, 0.08),
            ),
            strokes=((0, 1, 2, 3, 4, 5, 6, 7, 8, 9),),
        ),
        Glyph(
            points=(
                (0.42, 0.46), (0.20, 0.24), (0.42, 0.00), (0.66, 0.22), (0.42, 0.46), (0.12, 0.76), (0.42, 1.00),
                (0.72, 0.76),
            ),
            strokes=((0, 1, 2, 3, 0), (0, 5, 6, 7, 0)),
            weight=0.4,
        ),
    ),
    (
        Glyph(
            points=(
                (0.66, 0.20), (0.46, 0.02), (0.20, 0.14), (0.16, 0.36), (0.40, 0.48), (0.66, 0.24), (0.66, 0.60),
                (0.54, 1.00),
            ),
            strokes=((0, 1, 2, 3, 4, 5), (0, 6, 7)),
        ),
        Glyph(
            points=(
                (0.68, 0.08), (0.40, 0.02), (0.14, 0.26), (0.34, 0.46), (0.62, 0.28), (0.70, 0.06), (0.66, 0.60),
                (0.44, 0.98), (0.16, 0.90),
            ),
            strokes=((0, 1, 2, 3, 4, 5), (5, 6, 7, 8)),
            weight=0.6,
        ),
    ),
)  # fmt: skip


def open_drawn_digits(settings: DrawnDigitsSettings, seed: int) -> DataSet:
    """Draw the digits; `seed` is that of the training and orders the pictures, it does not draw them."""
    opened: dict[Split, Pictures] = {}
    content: dict[str, np.ndarray | None] = {}
    counts: tuple[tuple[Split, int], ...] = (("train", settings.pictures), ("test", settings.test_pictures))
    for split, count in counts:
        if not count:
            continue
        pictures, labels = draw_digits(settings.size_pixels, count, settings.seed, split)
        content |= {f"{split} images": pictures, f"{split} labels": labels}
        store = PictureStore(pictures, [f"{split}/{index:05d}" for index in range(count)])
        opened[split] = Pictures(store=store, labels=labels if settings.labels else None)
    return labelled_data_set(
        opened["train"],
        opened.get("test"),
        class_names=CLASS_NAMES,
        flip=False,
        seed=seed,
        content_hash=hash_of_arrays(content),
    )


def draw_digits(size_pixels: int, count: int, seed: int, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` digits, of each class as many as of any other.

    Args:
        size_pixels: side of the square pictures; every size shows the same composition.
        count: of pictures. The first n pictures are the same for every count.
        seed: 0 or more; other seeds give other digits.
        split: no picture of "test" is one of "train".

    Returns:
        Pictures, uint8 (count, size_pixels, size_pixels, 1), white on black, and their classes, int64 (count,).
    """
    pictures = np.empty((count, size_pixels, size_pixels, 1), np.uint8)
    labels = np.arange(count, dtype=np.int64) % len(CLASS_NAMES)
    for index, label in enumerate(labels.tolist()):
        rng = np.random.default_rng([seed, _STREAM_OF[split], index])
        pictures[index, ..., 0] = _draw(*_written(label, rng), size_pixels, ink=0.88 + 0.12 * rng.random())
    return pictures, labels


# --- writing --------------------------------------------------------------------------------------------------------


def _written(digit: int, rng: np.random.Generator) -> tuple[list[Points], list[NDArray[np.float64]]]:
    """Choose how a digit is written: lines (K, 2) in sides of the picture, and the pen's width at each of their pieces.

    The numbers are chosen by eye, to look like a hand that takes care but no trouble.
    """
    chance, tall, wide, strong, phase = rng.random(5).tolist()
    slant, angle, width, right, down = rng.standard_normal(5).tolist()
    glyph = _chosen(_GLYPHS[digit], chance)
    skeleton = np.array(glyph.points) + 0.022 * rng.standard_normal((len(glyph.points), 2))
    lines = [_curve(skeleton[list(stroke)]) for stroke in glyph.strokes]

    height, stretch = 0.58 + 0.22 * tall, 0.80 + 0.35 * wide
    slant = _within(-0.30, 0.16 + 0.17 * slant, 0.60)
    angle = _within(-0.20, 0.08 * angle, 0.20)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = height * turn @ np.array([[stretch, -slant], [0.0, 1.0]])
    lines = [line @ matrix.T for line in lines]

    pressure = 0.22 * strong
    width = _within(0.055, 0.088 * math.exp(0.25 * width), 0.15)
    shift = np.array([_within(-0.08, 0.03 * right, 0.08), _within(-0.08, 0.03 * down, 0.08)])
    lines = _placed(lines, shift, _MARGIN + width * (1 + pressure) / 2)
    swings = [np.sin(np.arange(len(line) - 1) * (5.0 / len(line)) + 2 * math.pi * phase) for line in lines]
    return lines, [width * (1 + pressure * swing) for swing in swings]


def _chosen(glyphs: Sequence[Glyph], chance: float) -> Glyph:
    """One of the ways to write a digit; `chance` is in [0, 1)."""
    left = chance * sum(glyph.weight for glyph in glyphs)
    for glyph in glyphs[:-1]:
        left -= glyph.weight
        if left < 0:
            return glyph
    return glyphs[-1]


def _within(low: float, value: float, high: float) -> float:
    return min(max(value, low), high)


def _curve(points: Points) -> Points:
    """A smooth line through all points (a Catmull-Rom spline); two points are joined straight."""
    if len(points) == 2:
        return points
    before, here, there, after = (
        np.concatenate([points[:1], points[:-2]]),
        points[:-1],
        points[1:],
        np.concatenate([points[2:], points[-1:]]),
    )
    at = _AT
    pieces = 0.5 * (
        2 * here[:, None]
        + (there - before)[:, None] * at
        + (2 * before - 5 * here + 4 * there - after)[:, None] * at**2
        + (3 * here - before - 3 * there + after)[:, None] * at**3
    )
    return np.concatenate([pieces.reshape(-1, 2), points[-1:]])


def _placed(lines: list[Points], shift: Points, margin: float) -> list[Points]:
    """Put the middle of all lines `shift` beside that of the picture, within the margin and smaller if need be."""
    everything = np.concatenate(lines)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = min(1.0, float((1 - 2 * margin) / (high - low).max()))
    half = scale * (high - low) / 2
    middle = np.clip(0.5 + shift, margin + half, 1 - margin - half)
    return [scale * (line - (low + high) / 2) + middle for line in lines]


def _draw(lines: list[Points], widths: list[NDArray[np.float64]], size_pixels: int, ink: float) -> np.ndarray:
    """Draw lines with a round pen: uint8 (size_pixels, size_pixels), drawn larger and shrunk, for smooth edges."""
    import cv2

    side = size_pixels * _SUPERSAMPLING
    canvas = np.zeros((side, side), np.uint8)
    for line, pens in zip(lines, widths, strict=True):
        # OpenCV counts from the middle of the first pixel.
        places = np.rint((line * side - 0.5) * (1 << _FIXED_POINT_BITS)).astype(int).tolist()
        thick = np.rint(np.maximum(pens * side, 1)).astype(int).tolist()
        for start, end, pen in zip(places[:-1], places[1:], thick, strict=True):
            cv2.line(canvas, start, end, 255, pen, cv2.LINE_8, _FIXED_POINT_BITS)
    shrunk = cv2.resize(canvas, (size_pixels, size_pixels), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(shrunk, (0, 0), 0.4 * size_pixels / 28)
    return np.rint(ink * blurred.astype(np.float32)).astype(np.uint8)
