"""Pictures in tiles that overlap by as much as the network sees, so that no seam is left.

For networks without statistics over the picture. Every tile has one shape, on any engine; at the edges of the picture
tiles are moved inwards, where they see the network's own padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from i2i.errors import OutOfMemoryError
from i2i.inference.consistency import ITERATIONS
from i2i.inference.image_model import ImageModel
from i2i.inference.levels import floats_of, levels_of
from i2i.inference.sizes import padded_side
from i2i.inference.tiling.windows import MirroredPicture

_CORRECTION_REACH = 5
"""Pixels of the small picture that one iteration of back-projection carries something: two down, two up, and one for
the place between pixels."""


@dataclass(frozen=True)
class Segment:
    """Where a tile lies along one side of the picture, and which part of its result is used."""

    start: int
    end: int
    used_from: int
    used_to: int


def halo_of(model: ImageModel) -> int | None:
    """Pixels beside a pixel that its result depends on, as a multiple of what the network needs; None: all of them."""
    generator = model.entry_point.generator
    if generator.receptive_field is None:
        return None
    # Half of the window, and as the window need not lie around its pixel evenly, one cell more.
    reach = generator.receptive_field // 2 + generator.size_multiple
    if model.consistent:
        reach += ITERATIONS * _CORRECTION_REACH
    return padded_side(reach, generator.size_multiple, 0)


def segment_after(done: int, length: int, side: int, halo: int) -> Segment:
    """The next tile along a side of `length` of which `done` pixels have results.

    Every tile is `side + 2 * halo` long, or as long as the whole side.
    """
    total = min(side + 2 * halo, length)
    start = max(done - halo, 0)
    if start + total >= length:
        return Segment(length - total, length, done, length)
    return Segment(start, start + total, done, start + total - halo)


def halo_bands(
    model: ImageModel,
    rgb: np.ndarray,
    *,
    side: int,
    halo: int,
    batch: int,
    on_halved: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """The result of a picture (H, W, 3) in bands (rows, W * scale, 3) from top to bottom.

    Args:
        side: of the part of a tile whose result is used, in pixels of the input.
        on_halved: called with the new side when memory ran out.

    Raises:
        OutOfMemoryError: not even the smallest tile fits.
    """
    generator = model.entry_point.generator
    multiple, scale = generator.size_multiple, model.entry_point.scale
    sides = [padded_side(have, multiple, generator.minimum_pixels) for have in rgb.shape[:2]]
    picture = MirroredPicture(rgb, *sides)
    side = padded_side(side, multiple, multiple)
    done = 0
    while done < rgb.shape[0]:
        rows = segment_after(done, sides[0], side, halo)
        try:
            band = _row_of_tiles(model, picture, rows, side, halo, batch, rgb.shape[:2])
        except OutOfMemoryError:
            smaller = padded_side(min(side, *sides) // 2, multiple, multiple)
            if smaller >= side:
                raise
            side, batch = smaller, 1
            on_halved(side)
            continue
        done = rows.used_to
        yield band[: (rgb.shape[0] - rows.used_from) * scale, : rgb.shape[1] * scale]


def _row_of_tiles(
    model: ImageModel,
    picture: MirroredPicture,
    rows: Segment,
    side: int,
    halo: int,
    batch: int,
    true_size: tuple[int, int],
) -> np.ndarray:
    """The used rows of a row of tiles, as wide as the mirrored picture."""
    scale = model.entry_point.scale
    columns: list[Segment] = []
    while not columns or columns[-1].used_to < picture.width:
        columns.append(segment_after(columns[-1].used_to if columns else 0, picture.width, side, halo))
    # What is made consistent ends where the picture ends; what is mirrored is no part of it.
    limits = true_size if model.consistent else (picture.height, picture.width)
    bottom = min(rows.end, limits[0])
    band: np.ndarray | None = None
    for _, alike in groupby(columns, lambda one: min(one.end, limits[1]) - one.start):
        several = list(alike)
        for group in (several[first : first + batch] for first in range(0, len(several), batch)):
            windows = [picture.window(rows.start, bottom, one.start, min(one.end, limits[1])) for one in group]
            output = model.translate_float(floats_of(np.stack(windows), model.device))
            tiles = levels_of(output, windows[0].dtype)
            if band is None:
                height = (rows.used_to - rows.used_from) * scale
                band = np.empty((height, picture.width * scale, 3), windows[0].dtype)
            for one, tile in zip(group, tiles, strict=True):
                used = tile[(rows.used_from - rows.start) * scale :, (one.used_from - one.start) * scale :]
                target = band[:, one.used_from * scale : one.used_to * scale]
                target[: used.shape[0], : used.shape[1]] = used[: target.shape[0], : target.shape[1]]
    assert band is not None
    return band
