"""What the built-in scenes are covered with: gratings, checks, bricks, noise, fur, leaves, pebbles, wood and cloth."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from i2i.data.canvas import Color, Picture

Field = NDArray[np.float32]
"""(H, W), 0 to 1: how much of the second colour is seen."""

_FINEST_PIXELS = 2.5
"""The shortest period drawn: still there in the picture, gone in one four times smaller."""


def draw_material(rng: np.random.Generator, height: int, width: int, unit: float) -> Picture:
    """Draw a patch of some material: uint8 RGB (height, width, 3); `unit` is the length of a pixel of the scene."""
    field = _MATERIALS[int(rng.integers(len(_MATERIALS)))](rng, height, width, unit)
    first, second = two_colors(rng)
    # Light from somewhere: no patch is quite even.
    slope = _along(rng.uniform(0, 2 * math.pi), height, width) / max(height, width)
    light = 1.0 + np.float32(rng.uniform(0.0, 0.5)) * slope
    mixed = light * field
    # Colour by colour, which is several times as fast as all three of a pixel; a half more is rounding.
    planes = [
        np.minimum(low * light + (high - low) * mixed + 0.5, 255) for low, high in zip(first, second, strict=True)
    ]
    return cv2.merge([plane.astype(np.uint8) for plane in planes]).astype(np.uint8, copy=False)


def two_colors(rng: np.random.Generator) -> tuple[Color, Color]:
    """Two colours that can be told from each other."""
    first = _color(rng, rng.uniform(0.15, 0.95))
    brightness = sum(first) / (3 * 255)
    # Away from the first one's brightness, to the side with more room.
    distance = rng.uniform(0.25, 0.6)
    return first, _color(rng, float(np.clip(brightness + (distance if brightness < 0.5 else -distance), 0.05, 1.0)))


def _color(rng: np.random.Generator, value: float) -> Color:
    hue, saturation = rng.uniform(0, 360), rng.uniform(0.0, 0.9) * rng.random()
    pixel = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)
    red, green, blue = (round(255 * float(part)) for part in pixel[0, 0])
    return red, green, blue


def _along(angle: float, height: int, width: int) -> Field:
    """How far each place lies in a direction, from the middle, in places."""
    x = np.arange(width, dtype=np.float32) - np.float32(width / 2)
    y = np.arange(height, dtype=np.float32) - np.float32(height / 2)
    return (np.float32(math.cos(angle)) * x[None, :] + np.float32(math.sin(angle)) * y[:, None]).astype(np.float32)


def _noise(rng: np.random.Generator, height: int, width: int, period: tuple[float, float]) -> Field:
    """Smooth noise that changes within `period` (down, across) places: mean 0, most of it within -1 to 1."""
    rows, columns = (max(2, math.ceil(side / of) + 1) for side, of in zip((height, width), period, strict=True))
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


def _flat(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    return np.float32(0.5) + np.float32(0.15) * _noise(rng, height, width, (60 * unit, 60 * unit))


def _grating(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    """Stripes that get finer from one side to the other, soft or sharp."""
    period = unit * _FINEST_PIXELS * 6 ** rng.random()
    place = _along(rng.uniform(0, math.pi), height, width) / np.float32(period)
    chirp = np.float32(rng.uniform(0, 0.3) * period / max(height, width))
    wave = np.sin(np.float32(2 * math.pi) * place * (1 + chirp * place))
    return ((wave > 0) if rng.random() < 0.5 else 0.5 + 0.5 * wave).astype(np.float32)


def _checks(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    period = np.float32(unit * 2 * _FINEST_PIXELS * 5 ** rng.random())
    angle = rng.uniform(0, math.pi)
    across, down = _along(angle, height, width) / period, _along(angle + math.pi / 2, height, width) / period
    return ((np.floor(across) + np.floor(down)) % 2).astype(np.float32)


def _bricks(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    tall = np.float32(unit * rng.uniform(4, 12))
    wide, joint = tall * np.float32(rng.uniform(1.8, 3)), np.float32(unit * rng.uniform(0.7, 1.4))
    angle = rng.uniform(-0.3, 0.3)
    down = _along(angle + math.pi / 2, height, width)
    across = _along(angle, height, width) + wide / 2 * (np.floor(down / tall) % 2)
    grain = 0.7 + 0.2 * _noise(rng, height, width, (unit, unit))
    return np.where((down % tall < joint) | (across % wide < joint), np.float32(0), grain)


def _cloud(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    """Noise of all sizes, each half as strong as the one twice as large."""
    field = np.full((height, width), 0.5, np.float32)
    fall = np.float32(rng.uniform(0.55, 0.8))
    for octave in range(6):
        period = unit * 40 / 2**octave
        field += 0.4 * fall**octave * _noise(rng, height, width, (period, period))
    return np.clip(field, 0, 1)


def _fur(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    """Strands, bent a little."""
    diagonal = math.ceil(math.hypot(height, width))
    strands = _noise(rng, diagonal, diagonal, (unit * rng.uniform(8, 30), unit * rng.uniform(0.8, 2)))
    turn = cv2.getRotationMatrix2D((diagonal / 2, diagonal / 2), rng.uniform(0, 180), 1.0)
    turn[:, 2] += ((width - diagonal) / 2, (height - diagonal) / 2)
    turned = cv2.warpAffine(strands, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.clip(0.5 + 0.6 * turned.astype(np.float32, copy=False), 0, 1)


def _leaves(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    """Ellipses on ellipses, each with a lighter edge and a darker vein."""
    field = np.zeros((height, width), np.float32)
    length = unit * rng.uniform(3, 9)
    count = min(600, math.ceil(4 * height * width / length**2))
    places = rng.uniform((0, 0, 0, 0.2, 0.35), (width, height, 180, 0.9, 0.6), (count, 5))
    for x, y, angle, shade, slim in places.tolist():
        center, axes = (round(x), round(y)), (max(1, round(length)), max(1, round(slim * length)))
        cv2.ellipse(field, center, axes, angle, 0, 360, shade, -1)
        cv2.ellipse(field, center, axes, angle, 0, 360, min(1.0, shade + 0.2), max(1, round(0.4 * unit)))
        tip = (axes[0] * math.cos(math.radians(angle)), axes[0] * math.sin(math.radians(angle)))
        ends = [(round(x - sign * tip[0]), round(y - sign * tip[1])) for sign in (-1, 1)]
        cv2.line(field, ends[0], ends[1], 0.6 * shade, max(1, round(0.4 * unit)))
    return field


def _pebbles(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    """Round cells of different brightness with dark gaps."""
    spacing = unit * rng.uniform(3, 10)
    count = max(2, math.ceil(height * width / spacing**2))
    ground = np.full((height, width), 255, np.uint8)
    ground[rng.integers(height, size=count), rng.integers(width, size=count)] = 0
    distance, cells = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, cv2.DIST_MASK_5)
    shades = rng.uniform(0.4, 1, count + 2).astype(np.float32)
    return np.clip(
        shades[np.asarray(cells, np.intp)] * (1.15 - (distance / np.float32(0.8 * spacing)) ** 2), 0, 1
    ).astype(np.float32)


def _wood(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    """Rings around a far middle, disturbed, with fine grain."""
    angle = rng.uniform(0, math.pi)
    along, across = _along(angle, height, width), _along(angle + math.pi / 2, height, width)
    bent = _noise(rng, height, width, (25 * unit, 25 * unit))
    distance = np.hypot(0.15 * along, across + np.float32(rng.uniform(-1, 1) * max(height, width)))
    rings = (distance / np.float32(unit * rng.uniform(3, 9)) + bent) % 1
    grain = 0.15 * _noise(rng, height, width, (unit, unit))
    return np.clip(np.float32(0.75) * rings + np.float32(0.2) + grain, 0, 1).astype(np.float32, copy=False)


def _cloth(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    """Threads over and under each other."""
    period = np.float32(unit * rng.uniform(_FINEST_PIXELS, 6) / math.pi)
    angle = rng.uniform(0, math.pi)
    one, other = np.sin(_along(angle, height, width) / period), np.sin(_along(angle + 1.57, height, width) / period)
    return np.clip(0.5 + 0.5 * np.where(one * other > 0, one, -other), 0, 1).astype(np.float32)


_MATERIALS: tuple[Callable[[np.random.Generator, int, int, float], Field], ...] = (
    _flat, _grating, _checks, _bricks, _cloud, _fur, _leaves, _pebbles, _wood, _cloth,
)  # fmt: skip
