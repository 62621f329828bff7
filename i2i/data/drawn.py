"""The built-in unpaired set: cartoon horses (domain A) and zebras (domain B), drawn by code from a seed.

Nothing is downloaded and no licence is attached, so demos, tests and first trials work anywhere. A picture is a
`Scene` (where the animal stands and how, what the sky, the hills and the meadow look like) drawn with one of two coats.
Training scenes of A and B are drawn apart from each other; a test scene is drawn twice, once with each coat, so that a
translation can be scored against its true counterpart.

The counterpart is a function of what a picture shows: coats have no hidden choices, and every stripe of the zebra lies
at a fixed place of body, neck or leg, where the horse has a slightly darker band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from i2i.data.canvas import CIRCLE, Canvas, Color, Picture, Points, mix
from i2i.data.drawn_animal import COATS, GROUND_Y, Animal, Pose, draw_animal, sample_pose
from i2i.errors import DataError

Split = Literal["train", "test"]

SMALLEST_SIZE_PIXELS = 16

# Where random numbers come from: a test scene belongs to both domains.
_STREAM_OF = {("train", "a"): 0, ("train", "b"): 1, ("test", "a"): 2, ("test", "b"): 2}


# Upper and lower colour of the sky.
_SKIES: tuple[tuple[Color, Color], ...] = (
    ((98, 172, 236), (206, 234, 250)),
    ((74, 146, 216), (190, 226, 226)),
    ((140, 150, 226), (236, 208, 232)),
    ((96, 190, 204), (226, 242, 214)),
)
# Far and near colour of the meadow.
_MEADOWS: tuple[tuple[Color, Color], ...] = (
    ((142, 202, 92), (92, 160, 62)),
    ((122, 190, 106), (70, 146, 78)),
    ((168, 206, 84), (116, 168, 58)),
    ((108, 182, 122), (60, 138, 90)),
)
_SUN: Color = (255, 226, 110)
_SUN_GLOW: Color = (255, 240, 190)
_CLOUD: Color = (250, 252, 255)
_BARK: Color = (120, 92, 70)
_DEEP_GREEN: Color = (20, 86, 48)
_PETALS: tuple[Color, ...] = ((250, 240, 250), (250, 214, 90), (226, 140, 214))
_POLLEN: Color = (236, 176, 60)
_SHADOW: Color = (20, 50, 40)

# Shapes of height 1 around the point where they grow; the leaves: x, y and radius of three discs.
_TRUNK = np.array([[-0.14, 0.0], [-0.10, -1.0], [0.10, -1.0], [0.14, 0.0]])
_LEAVES = ((-0.45, -1.2, 0.55), (0.45, -1.2, 0.55), (0.0, -1.65, 0.65))
_TUFT = np.array([[-0.5, 0.0], [-0.45, -0.8], [-0.15, -0.2], [0.0, -1.0], [0.2, -0.2], [0.5, -0.7], [0.5, 0.0]])


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that both coats share. Lengths in sides of the picture.

    `clouds`, `trees`, `tufts`, `flowers`: one row each with x, y and size. `hills`: height, frequency and phase of
    the far and the near range.
    """

    pose: Pose
    sky: int
    meadow: int
    horizon: float
    sun: tuple[float, float, float]
    clouds: Points
    hills: Points
    trees: Points
    tufts: Points
    flowers: Points


def draw_unpaired(size_pixels: int, count: int, seed: int, split: Split) -> tuple[list[Picture], list[Picture]]:
    """Draw `count` horses (domain A) and `count` zebras (domain B).

    Args:
        size_pixels: side of the square pictures; every size shows the same composition.
        count: pictures a domain. The first n pictures are the same for every count.
        seed: 0 or more; other seeds give other scenes.
        split: "train": the scenes of A and B are independent. "test": a[i] and b[i] show the same scene.

    Returns:
        The pictures of A and of B: uint8 RGB, (size_pixels, size_pixels, 3).

    Raises:
        DataError: a number is out of range.
    """
    if size_pixels < SMALLEST_SIZE_PIXELS:
        raise DataError(f"drawn animals: size is {size_pixels} pixels - take {SMALLEST_SIZE_PIXELS} or more")
    if count < 1:
        raise DataError(f"drawn animals: {count} pictures were asked for - take 1 or more")
    horses = [draw_scene(sample_scene(seed, split, "a", index), "horse", size_pixels) for index in range(count)]
    zebras = [draw_scene(sample_scene(seed, split, "b", index), "zebra", size_pixels) for index in range(count)]
    return horses, zebras


def sample_scene(seed: int, split: Split, domain: Literal["a", "b"], index: int) -> Scene:
    """Choose scene number `index`: a pure function of the arguments.

    Raises:
        DataError: the seed is negative.
    """
    if seed < 0:
        raise DataError(f"drawn animals: the seed is {seed} - take 0 or more")
    rng = np.random.default_rng([seed, _STREAM_OF[split, domain], index])
    horizon = _between(rng, 0.40, 0.58)
    return Scene(
        pose=sample_pose(rng),
        sky=int(rng.integers(len(_SKIES))),
        meadow=int(rng.integers(len(_MEADOWS))),
        horizon=horizon,
        sun=(_between(rng, 0.08, 0.92), _between(rng, 0.06, 0.20), _between(rng, 0.05, 0.08)),
        clouds=_scatter(rng, (1, 4), x=(0.0, 1.0), y=(0.06, 0.30), size=(0.04, 0.08)),
        hills=rng.uniform((0.03, 1.0, 0.0), (0.10, 2.2, 2 * math.pi), size=(2, 3)),
        trees=_scatter(rng, (0, 4), x=(0.03, 0.97), y=(horizon, horizon + 0.05), size=(0.07, 0.12)),
        tufts=_scatter(rng, (6, 13), x=(0.0, 1.0), y=(horizon + 0.06, 1.0), size=(0.02, 0.045)),
        flowers=_scatter(rng, (2, 8), x=(0.0, 1.0), y=(horizon + 0.10, 0.98), size=(0.010, 0.018)),
    )


def draw_scene(scene: Scene, animal: Animal | None, size_pixels: int) -> Picture:
    """Draw a scene with an animal, or its background alone for None.

    Returns:
        uint8 RGB, (size_pixels, size_pixels, 3).
    """
    canvas = Canvas(size_pixels)
    _draw_sky_and_hills(canvas, scene)
    _draw_meadow(canvas, scene)
    if animal is not None:
        draw_animal(canvas, scene.pose, COATS[animal])
    return canvas.picture()


# --- choosing -------------------------------------------------------------------------------------------------------


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _scatter(
    rng: np.random.Generator,
    counts: tuple[int, int],
    x: tuple[float, float],
    y: tuple[float, float],
    size: tuple[float, float],
) -> Points:
    """A random number of things (from `counts[0]` to below `counts[1]`): rows of x, y, size; the farthest first."""
    number = int(rng.integers(*counts))
    low, high = zip(x, y, size, strict=True)
    things = rng.uniform(low, high, size=(number, 3))
    return things[np.argsort(things[:, 1])]


# --- drawing --------------------------------------------------------------------------------------------------------


def _draw_sky_and_hills(canvas: Canvas, scene: Scene) -> None:
    zenith, haze = _SKIES[scene.sky]
    canvas.gradient(0.0, zenith, haze)
    x, y, radius = scene.sun
    canvas.disc((x, y), radius * 1.35, mix(zenith, _SUN_GLOW, 0.55))
    canvas.disc((x, y), radius, _SUN)
    for x, y, size in scene.clouds:
        canvas.fill(np.array([x, y]) + size * np.array([1.9, 0.5]) * CIRCLE, _CLOUD)
        canvas.disc((x - 0.5 * size, y - 0.35 * size), 0.65 * size, _CLOUD)
        canvas.disc((x + 0.45 * size, y - 0.45 * size), 0.8 * size, _CLOUD)

    far_meadow = _MEADOWS[scene.meadow][0]
    across = np.linspace(-0.05, 1.05, 45)
    foot = np.array([[1.05, scene.horizon + 0.1], [-0.05, scene.horizon + 0.1]])
    for (height, frequency, phase), share_of_haze in zip(scene.hills, (0.55, 0.30), strict=True):
        crest = scene.horizon - height * (0.6 + 0.4 * np.sin(2 * math.pi * frequency * across + phase))
        outline = np.concatenate([np.stack([across, crest], axis=1), foot])
        canvas.fill(outline, mix(far_meadow, haze, share_of_haze))


def _draw_meadow(canvas: Canvas, scene: Scene) -> None:
    far, near = _MEADOWS[scene.meadow]
    canvas.gradient(scene.horizon, far, near)
    for x, y, size in scene.trees:
        canvas.fill(np.array([x, y]) + size * _TRUNK, _BARK)
        for leaves_x, leaves_y, radius in _LEAVES:
            canvas.disc((x + leaves_x * size, y + leaves_y * size), radius * size, mix(near, _DEEP_GREEN, 0.45))
    for x, y, size in scene.tufts:
        canvas.fill(np.array([x, y]) + size * _TUFT, mix(near, _DEEP_GREEN, 0.40))
    for number, (x, y, size) in enumerate(scene.flowers):
        canvas.disc((x, y), size, _PETALS[number % len(_PETALS)])
        canvas.disc((x, y), 0.4 * size, _POLLEN)

    # The animal's shadow is part of the scene: it is the same under both coats.
    pose = scene.pose
    center = np.array([pose.center[0], pose.center[1] + GROUND_Y * pose.scale])
    canvas.fill(center + np.array([0.30, 0.035]) * pose.scale * CIRCLE, mix(near, _SHADOW, 0.45))
