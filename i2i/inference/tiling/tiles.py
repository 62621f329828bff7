"""Pictures of any size in bounded memory: the result of an image model, band by band from top to bottom.

Three ways lead there. Networks without statistics over the picture run on overlapping tiles, on any engine. Networks
with instance norm run layer by layer in bands of rows, in PyTorch, with statistics that are those of the whole picture;
or on tiles too, with statistics of a shrunken picture, which is faster and only about right.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from i2i.errors import UsageError
from i2i.inference.image_model import ImageModel
from i2i.inference.runtime import Precision
from i2i.inference.sizes import padded_side
from i2i.inference.tiling.halo_tiles import halo_bands, halo_of
from i2i.inference.tiling.memory import free_memory, numbers_at_once
from i2i.inference.tiling.row_bands import BandSettings, check_layers, row_bands
from i2i.inference.tiling.streaming import layer_graph
from i2i.pipelines.protocol import PictureEntryPoint

Statistics = Literal["exact", "thumbnail"]

_PROBE_PIXELS = 1024
"""Side of the picture for which the need of memory is estimated; it grows with the area."""
_OVERHEAD = 1.3
"""Of what engines hold beside the layers' results."""
_TILE_BYTES = {"cpu": 1.0e9, "cuda": 8.0e9}
_SMALLEST_SIDE = 32
_WORTH_BANDS = 1.5
"""Work of tiles, overlaps included, over that of bands, from which bands are taken on a GPU too."""
Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TileSettings:
    """How pictures are computed that do not fit into memory as a whole."""

    side: int | Literal["auto"] | None = "auto"
    """Of what one tile gives, in pixels of the input; "auto": tiles where memory is short, of a size that fits; None:
    never. Networks with statistics over the picture run in bands of as many pixels."""
    statistics: Statistics = "exact"
    """Of networks that normalize by statistics over the picture: "exact", or those of a shrunken one, which is
    faster and only about right."""
    spill_bytes: float = 20e9
    """Most that lies on the disk at a time."""
    spill_folder: Path | None = None
    """Where; by default where the system has temporary files."""
    batch: int = 1
    """Tiles that go through the network together."""

    def __post_init__(self) -> None:
        if isinstance(self.side, int) and self.side < 1:
            raise ValueError(f"side is {self.side}; needs at least 1")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; needs at least 1")
        if self.spill_bytes < 0:
            raise ValueError(f"spill_bytes is {self.spill_bytes}; cannot be negative")


def needs_tiles(model: ImageModel, height: int, width: int, settings: TileSettings, at_once: int = 1) -> bool:
    """Whether a picture of this size is to be computed in parts: as `settings` say, or as memory is short.

    Args:
        at_once: pictures of this size that lie in the device's memory together, those of other processes included.
    """
    if settings.side is None:
        return False
    if settings.side != "auto":
        return max(height, width) > settings.side
    return at_once * bytes_at_once(model, height, width) > free_memory(model.device) / 2


def bytes_at_once(model: ImageModel, height: int, width: int) -> float:
    """Memory that the model takes for a picture of this size as a whole, estimated."""
    generator = model.entry_point.generator
    sides = [padded_side(side, generator.size_multiple, generator.minimum_pixels) for side in (height, width)]
    return _bytes_per_pixel(model.entry_point, model.precision) * math.prod(sides)


def bands(
    model: ImageModel,
    rgb: np.ndarray,
    settings: TileSettings,
    *,
    on_note: Note | None = None,
    on_share: Callable[[float], None] | None = None,
) -> Iterator[np.ndarray]:
    """Translate one picture in parts; the result comes from top to bottom.

    Args:
        rgb: (H, W, 3), uint8 or uint16.
        on_note: called with a phrase where its owner may want to know what was done; once each.
        on_share: called with the share of the work that is done, 0 to 1. The first band may come late.

    Yields:
        (rows, W * scale, 3), of the type of `rgb`; the rows of all of them are H * scale.

    Raises:
        UsageError: the model's engine cannot do that.
        OutOfMemoryError: not even the smallest part fits.
        StorageError: the disk is full.
        ModelError: the network returned numbers that are not finite.
        ValueError: `rgb` is something else.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0 or rgb.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"rgb is {rgb.shape} {rgb.dtype}; expected (H, W, 3) uint8 or uint16")
    if isinstance(settings.side, int) and max(rgb.shape) <= settings.side:
        yield model.translate_array(rgb[None])[0]
        return
    note = _said_once(on_note)
    normalizes = model.entry_point.generator.normalization == "instance"
    if normalizes and settings.statistics == "thumbnail":
        from i2i.inference.tiling.thumbnail import with_thumbnail_statistics

        check_layers(model)
        model = with_thumbnail_statistics(model, rgb, _pixels_that_fit(model), note)
    elif normalizes or _runs_better_in_bands(model, settings):
        side = settings.side if isinstance(settings.side, int) else None
        in_bands = BandSettings(
            pixels=None if side is None else side**2,
            spill_bytes=settings.spill_bytes,
            spill_folder=settings.spill_folder,
        )
        yield from row_bands(model, rgb, in_bands, on_note=note, on_share=on_share)
        return
    yield from _tiled(model, rgb, settings, note, on_share)


def _said_once(on_note: Note | None) -> Note:
    said: set[str] = set()

    def note(text: str) -> None:
        if on_note is not None and text not in said:
            said.add(text)
            on_note(text)

    return note


def _runs_better_in_bands(model: ImageModel, settings: TileSettings) -> bool:
    """Whether nobody asked for tiles and they would be the slower way."""
    if settings.side != "auto" or model.runner.network is None or model.consistent:
        return False
    halo = halo_of(model)
    if model.device.type == "cpu" or halo is None:
        return True
    side = _side_that_fits(model, halo, settings.batch)
    return (1 + 2 * halo / side) ** 2 > _WORTH_BANDS


# Tiles


def _tiled(
    model: ImageModel,
    rgb: np.ndarray,
    settings: TileSettings,
    note: Note,
    on_share: Callable[[float], None] | None,
) -> Iterator[np.ndarray]:
    halo = halo_of(model)
    if halo is None:
        raise UsageError(f"{model.path or 'the model'}: sees all of a picture at once - use --tile off")
    side = settings.side if isinstance(settings.side, int) else _side_that_fits(model, halo, settings.batch)

    def halved(_: int) -> None:
        note("memory ran out: went on with smaller tiles")

    rows, height = 0, len(rgb) * model.entry_point.scale
    for band in halo_bands(model, rgb, side=side, halo=halo, batch=settings.batch, on_halved=halved):
        yield band
        rows += len(band)
        if on_share is not None:
            on_share(rows / height)


def _side_that_fits(model: ImageModel, halo: int, batch: int) -> int:
    side, multiple = math.isqrt(_pixels_that_fit(model) // batch), model.entry_point.generator.size_multiple
    return max((side - 2 * halo) // multiple * multiple, _SMALLEST_SIDE)


def _pixels_that_fit(model: ImageModel) -> int:
    """Of a picture that the network may take at once."""
    most = min(_TILE_BYTES.get(model.device.type, 1e9), free_memory(model.device) / 3)
    return int(most / _bytes_per_pixel(model.entry_point, model.precision))


@functools.lru_cache(maxsize=16)
def _bytes_per_pixel(entry_point: PictureEntryPoint, precision: Precision) -> float:
    """Of the input."""
    # Its layers alone, without memory for the weights: engines other than PyTorch's have none to show.
    with torch.device("meta"):
        graph = layer_graph(entry_point.generator.build().eval())
    shapes = graph.shapes(_PROBE_PIXELS, _PROBE_PIXELS)
    # Narrower formats need copies in the wide one here and there.
    number_bytes = 4 if precision == "fp32" else 3
    return numbers_at_once(graph, shapes) * number_bytes * _OVERHEAD / _PROBE_PIXELS**2
