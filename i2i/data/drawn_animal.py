"""The animal of the built-in set: its pose, its two coats, and how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from i2i.data.canvas import CIRCLE, Canvas, Color, Points, band, limb, mix, radius_at

Animal = Literal["horse", "zebra"]


@dataclass(frozen=True, kw_only=True)
class Coat:
    """The colours of one animal, RGB 0..255."""

    base: Color
    band: Color
    mane: Color
    muzzle: Color


COATS: dict[Animal, Coat] = {
    "horse": Coat(base=(216, 130, 62), band=(190, 106, 47), mane=(104, 54, 30), muzzle=(240, 186, 136)),
    "zebra": Coat(base=(248, 246, 240), band=(52, 48, 58), mane=(52, 48, 58), muzzle=(122, 114, 124)),
}

_OUTLINE: Color = (74, 50, 44)
_HOOF: Color = (84, 70, 66)
_CHEEK: Color = (244, 150, 140)
_EYE: Color = (34, 26, 30)
_SHADE: Color = (60, 50, 70)

# The animal in its own units (1 = side of the picture), x forward, y down, origin in the middle of the body.
_BODY_HALF_LENGTH = 0.275
_BODY_HALF_HEIGHT = 0.185
_BODY_ROUNDNESS = 2.5
_BODY_STRIPES = (-0.70, -0.36, -0.02, 0.32, 0.66)
_STRIPE_HALF_WIDTH = 0.030
_NECK_STRIPES = (0.46, 0.84)
_LEG_BANDS = (0.52, 0.80)
_LEG_LENGTH = 0.25
_LEG_RADII = (0.062, 0.043)
_NECK_RADII = (0.125, 0.080)
_HEAD_RADII = (0.088, 0.062)
_HIP_Y = 0.10
# Hips of the far and of the near legs: x, phase in the gait.
_FAR_LEGS = ((-0.150, 0.5), (0.215, 0.0))
_NEAR_LEGS = ((-0.205, 0.0), (0.160, 0.5))
# Where the ground lies below the middle of the body.
GROUND_Y = _HIP_Y + _LEG_LENGTH + 0.03


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How and where an animal stands; lengths in sides of the picture, angles in radians.

    `facing`: 1 looks to the right. `gait`: where in their swing the legs are, `stride`: how far they swing. `neck`: its
    angle above the horizontal, `head`: below it, `tail`: off the vertical.
    """

    center: tuple[float, float]
    scale: float
    facing: Literal[-1, 1]
    tilt: float
    gait: float
    stride: float
    neck: float
    head: float
    tail: float


def sample_pose(rng: np.random.Generator) -> Pose:
    """Choose a pose in which the whole animal is in sight."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    pose = Pose(
        center=(0.0, between(0.515, 0.56)),
        scale=between(0.88, 0.98),
        facing=1 if rng.random() < 0.5 else -1,
        tilt=between(-0.07, 0.07),
        gait=between(0.0, 2 * math.pi),
        stride=between(0.12, 0.40),
        neck=between(0.85, 1.20),
        head=between(0.25, 0.80),
        tail=between(0.20, 0.58),
    )
    # From nose to tail the animal is nearly as long as the picture.
    axes = _axes(pose)
    front = pose.scale * float(axes.head[1][0] + 0.085)
    back = pose.scale * float(axes.tail[1][0] - 0.065)
    first, last = (-back, 1.0 - front) if pose.facing == 1 else (front, 1.0 + back)
    x = between(min(first, last), max(first, last))
    return replace(pose, center=(x, pose.center[1]))


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """Where the limbs start and end, in the animal's own units."""

    far_legs: list[tuple[Points, Points]]
    near_legs: list[tuple[Points, Points]]
    neck: tuple[Points, Points]
    head: tuple[Points, Points]
    tail: tuple[Points, Points]


def _axes(pose: Pose) -> _Axes:
    def leg(x: float, phase: float) -> tuple[Points, Points]:
        swing = pose.stride * math.sin(pose.gait + 2 * math.pi * phase)
        hip = np.array([x, _HIP_Y])
        return hip, hip + _LEG_LENGTH * np.array([math.sin(swing), math.cos(swing)])

    neck_start = np.array([0.190, -0.075])
    neck_end = neck_start + 0.235 * np.array([math.cos(pose.neck), -math.sin(pose.neck)])
    head_end = neck_end + 0.165 * np.array([math.cos(pose.head), math.sin(pose.head)])
    tail_start = np.array([-_BODY_HALF_LENGTH + 0.015, -0.075])
    tail_end = tail_start + 0.17 * np.array([-math.sin(pose.tail), math.cos(pose.tail)])
    return _Axes(
        far_legs=[leg(*place) for place in _FAR_LEGS],
        near_legs=[leg(*place) for place in _NEAR_LEGS],
        neck=(neck_start, neck_end),
        head=(neck_end, head_end),
        tail=(tail_start, tail_end),
    )


class _Pen:
    """Draws the parts of one animal: turns its own units into those of the picture."""

    def __init__(self, canvas: Canvas, pose: Pose) -> None:
        self._canvas = canvas
        cosine, sine = math.cos(pose.tilt), math.sin(pose.tilt)
        # Points are rows, hence the transposed matrix; facing left mirrors x.
        self._turn = pose.scale * np.array([[pose.facing * cosine, sine], [-pose.facing * sine, cosine]])
        self._center = np.array(pose.center)
        self._outline_width = 0.016 * pose.scale

    def fill(self, points: Points, color: Color) -> None:
        self._canvas.fill(points @ self._turn + self._center, color)

    def disc(self, center: Points, radius: float, color: Color) -> None:
        self.fill(center + radius * CIRCLE, color)

    def part(self, outlines: list[Points], color: Color) -> None:
        """Parts that grow together: one line around all of them."""
        for points in outlines:
            self._canvas.outline(points @ self._turn + self._center, self._outline_width, _OUTLINE)
        for points in outlines:
            self.fill(points, color)


def draw_animal(canvas: Canvas, pose: Pose, coat: Coat) -> None:
    """Draw from the farthest part to the nearest."""
    pen, axes = _Pen(canvas, pose), _axes(pose)
    _draw_legs(pen, axes.far_legs, replace(coat, base=mix(coat.base, _SHADE, 0.22), band=mix(coat.band, _SHADE, 0.22)))
    pen.part([limb(axes.tail[0], 0.022, axes.tail[1], 0.045)], coat.mane)
    _draw_mane(pen, *axes.neck, coat)

    neck = limb(axes.neck[0], _NECK_RADII[0], axes.neck[1], _NECK_RADII[1])
    head = limb(axes.head[0], _HEAD_RADII[0], axes.head[1], _HEAD_RADII[1])
    legs = [limb(hip, _LEG_RADII[0], foot, _LEG_RADII[1]) for hip, foot in axes.near_legs]
    pen.part([*legs, _body(), neck, _ear(*axes.neck), head], coat.base)
    for at in _BODY_STRIPES:
        pen.fill(_body_stripe(at), coat.band)
    for at in _NECK_STRIPES:
        pen.fill(band(*axes.neck, _NECK_RADII, at, 0.026), coat.band)
    pen.fill(head, coat.base)
    _draw_legs(pen, axes.near_legs, coat, over_body=True)
    _draw_face(pen, *axes.head, coat)


def _neck_directions(start: Points, end: Points) -> tuple[Points, Points]:
    """Up along the neck, and across it to the side of the mane."""
    upward = (end - start) / np.linalg.norm(end - start)
    return upward, np.array([upward[1], -upward[0]])


def _draw_mane(pen: _Pen, start: Points, end: Points, coat: Coat) -> None:
    upward, backward = _neck_directions(start, end)
    curls = [
        start + at * (end - start) + 0.93 * radius_at(_NECK_RADII, at) * backward for at in (0.30, 0.52, 0.74, 0.96)
    ]
    curls.append(end + 0.075 * upward)
    pen.part([curl + 0.042 * CIRCLE for curl in curls], coat.mane)


def _ear(neck_start: Points, neck_end: Points) -> Points:
    upward, backward = _neck_directions(neck_start, neck_end)
    root = neck_end + 0.055 * upward
    return np.stack([root - 0.035 * backward, root + 0.035 * backward, root + 0.095 * upward + 0.02 * backward])


def _body_edge(at: Points) -> Points:
    """Half the body's height at `at`, from tail (-1) to chest (1)."""
    return _BODY_HALF_HEIGHT * (1 - np.abs(at) ** _BODY_ROUNDNESS) ** (1 / _BODY_ROUNDNESS)


def _body() -> Points:
    at = np.sin(np.linspace(-math.pi / 2, math.pi / 2, 25))
    back = np.stack([_BODY_HALF_LENGTH * at, -_body_edge(at)], axis=1)
    return np.concatenate([back, back[::-1] * np.array([1.0, -1.0])])


def _body_stripe(at: float) -> Points:
    """A stripe from the back down the flank, narrower below."""
    down = np.linspace(0.0, 0.86, 8)
    half_width = _STRIPE_HALF_WIDTH * (1 - 0.55 * down)
    # Stripes fan out from the middle of the back.
    lean = 0.10 * at * down
    sides = []
    for side in (-1, 1):
        x = at * _BODY_HALF_LENGTH + lean * _BODY_HALF_LENGTH + side * half_width
        edge = _body_edge(np.clip(x / _BODY_HALF_LENGTH, -1.0, 1.0))
        sides.append(np.stack([x, edge * (2 * down - 1)], axis=1))
    return np.concatenate([sides[0], sides[1][::-1]])


def _draw_legs(pen: _Pen, legs: list[tuple[Points, Points]], coat: Coat, over_body: bool = False) -> None:
    """Legs with bands and hooves; `over_body`: the legs themselves are there already, as part of the body."""
    for hip, foot in legs:
        if not over_body:
            pen.part([limb(hip, _LEG_RADII[0], foot, _LEG_RADII[1])], coat.base)
        for at in _LEG_BANDS:
            pen.fill(band(hip, foot, _LEG_RADII, at, 0.020), coat.band)
        down = (foot - hip) / np.linalg.norm(foot - hip)
        across = np.array([-down[1], down[0]])
        hoof = [foot + 0.045 * across, foot - 0.045 * across]
        hoof += [foot - 0.052 * across + 0.055 * down, foot + 0.052 * across + 0.055 * down]
        pen.fill(np.stack(hoof), _HOOF)


def _draw_face(pen: _Pen, poll: Points, nose: Points, coat: Coat) -> None:
    ahead = (nose - poll) / np.linalg.norm(nose - poll)
    upward = np.array([ahead[1], -ahead[0]])
    pen.disc(nose + 0.012 * ahead, 0.056, coat.muzzle)
    pen.disc(nose + 0.030 * ahead + 0.018 * upward, 0.011, _EYE)
    pen.disc(poll + 0.055 * ahead - 0.030 * upward, 0.026, _CHEEK)
    eye = poll + 0.045 * ahead + 0.030 * upward
    pen.disc(eye, 0.024, _EYE)
    pen.disc(eye + np.array([0.006, -0.008]), 0.008, (255, 255, 255))
