"""Pictures in bands of rows, layer by layer in PyTorch, with instance norm over the whole picture.

See `i2i.inference.tiling.streaming`. Networks without statistics over the picture can run like that too: where the
layers are at hand this takes less memory and less work than tiles, as only columns are computed twice. Wide pictures
are divided into strips from top to bottom, which go on side by side.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2i.errors import ModelError, UsageError
from i2i.inference.image_model import ImageModel
from i2i.inference.levels import floats_of, levels_of
from i2i.inference.runtime import not_finite_message, numerics
from i2i.inference.sizes import padded_side
from i2i.inference.tiling.halo_tiles import Segment, halo_of, segment_after
from i2i.inference.tiling.memory import free_memory
from i2i.inference.tiling.streaming import LayerGraph, StreamedPicture, UnknownLayerError, layer_graph, streamed_rows
from i2i.inference.tiling.streaming.planning import Plan, Rates, plan_passes
from i2i.inference.tiling.streaming.spill import free_bytes, spill_folder
from i2i.inference.tiling.windows import MirroredPicture

_BAND_BYTES = {"cpu": 24e6, "cuda": 512e6}
"""Of the largest tensor. On a CPU what is larger than its caches and than what the allocator keeps becomes slow."""
_RATES = {"cpu": Rates(), "cuda": Rates(multiplications_per_second=1e13, bytes_read_per_second=2e9)}
_STRIP_HALOS = 16
"""Width of a strip in halos, of which it has one on either side: an eighth of the work is done twice."""
_WORTH_TELLING = 1.5
"""Times the time with room enough on the disk."""


@dataclass(frozen=True, kw_only=True)
class BandSettings:
    """How a picture goes through a network in bands."""

    pixels: int | None = None
    """Of the input in a band; None: as many as run fast and fit."""
    spill_bytes: float = 20e9
    """Most that lies on the disk at a time."""
    spill_folder: Path | None = None
    """Where; None: where the system has temporary files."""


def check_layers(model: ImageModel) -> LayerGraph:
    """The layers of the model's network.

    Raises:
        UsageError: the model's engine shows none, or one of them cannot run in bands.
    """
    where = model.path or "the model"
    if model.runner.network is None:
        raise UsageError(
            f"{where}: normalizes by statistics over the whole picture, which --runner {model.runner.name} cannot do in"
            " parts - use --runner torch with a .safetensors, or --tile off"
        )
    try:
        return layer_graph(model.runner.network)
    except UnknownLayerError as error:
        raise UsageError(f"{where}: cannot run in parts because of {error} - use --tile off") from error


def row_bands(
    model: ImageModel,
    rgb: np.ndarray,
    settings: BandSettings,
    *,
    on_note: Callable[[str], None],
    on_share: Callable[[float], None] | None = None,
) -> Iterator[np.ndarray]:
    """The result of a picture (H, W, 3) in bands (rows, W * scale, 3) from top to bottom.

    Args:
        on_note: called with a phrase when memory ran out or the disk is small.
        on_share: called with the share of the work that is done, 0 to 1.

    Raises:
        UsageError: see `check_layers`; or the results shall be made consistent.
        OutOfMemoryError: not even single rows fit.
        StorageError: the disk is full.
        ModelError: the network returned numbers that are not finite.
    """
    if model.consistent:
        raise UsageError(f"{model.path or 'the model'}: --consistent cannot be had in bands - use --tile off")
    strips = strips_of(model, rgb, settings)
    if (little := _little_room(strips[0], model)) is not None:
        on_note(little)

    def halved() -> None:
        on_note("memory ran out: went on with half the rows at a time")

    def tell() -> None:
        if on_share is not None:
            planned = sum(strip.streamed.plan.multiplications for strip in strips)
            on_share(min(sum(strip.streamed.work.multiplications for strip in strips) / max(planned, 1), 1.0))

    running = [_levels(model, strip, rgb, halved, tell) for strip in strips]
    with contextlib.ExitStack() as stack:
        for one in running:
            stack.callback(one.close)
        yield from _side_by_side(running)


@dataclass(frozen=True)
class Strip:
    """A part of the picture from top to bottom."""

    streamed: StreamedPicture
    columns: Segment


def strips_of(model: ImageModel, rgb: np.ndarray, settings: BandSettings) -> list[Strip]:
    """The parts in which a picture (H, W, 3) runs; one where statistics are those of all of it."""
    graph, generator = check_layers(model), model.entry_point.generator
    height, width = (padded_side(side, generator.size_multiple, generator.minimum_pixels) for side in rgb.shape[:2])
    picture = MirroredPicture(rgb, height, width)
    folder = spill_folder(settings.spill_folder)
    room = min(settings.spill_bytes, 0.9 * free_bytes(folder))
    strips = []
    for columns in _columns(model, graph, width):
        shapes = graph.shapes(height, columns.end - columns.start)
        plan = plan_passes(graph, shapes, _number_bytes(model), room, _rates(model))
        band_bytes = _band_bytes(model, settings, shapes[0].numbers // shapes[0].channels, shapes)
        rows = _RowsOfPicture(picture, columns, model.device)
        strips.append(Strip(StreamedPicture(graph, shapes, rows, plan, folder, band_bytes, model.device), columns))
    return strips


def _columns(model: ImageModel, graph: LayerGraph, width: int) -> list[Segment]:
    halo = halo_of(model)
    if graph.normalizes or halo is None:
        return [Segment(0, width, 0, width)]
    segments: list[Segment] = []
    while not segments or segments[-1].used_to < width:
        done = segments[-1].used_to if segments else 0
        segments.append(segment_after(done, width, _STRIP_HALOS * halo, halo))
    return segments


def _band_bytes(
    model: ImageModel, settings: BandSettings, pixels: int, shapes: Sequence[tuple[int, int, int]]
) -> float:
    """Of the largest tensor in a band."""
    if settings.pixels is not None:
        return settings.pixels * max(math.prod(shape) for shape in shapes) * 4 / pixels
    return min(_BAND_BYTES.get(model.device.type, 24e6), free_memory(model.device) / 40)


class _RowsOfPicture:
    """The rows of a strip of a picture, as a network takes them."""

    def __init__(self, picture: MirroredPicture, columns: Segment, device: torch.device) -> None:
        self._picture, self._columns, self._device = picture, columns, device

    def __call__(self, rows: tuple[int, int]) -> Tensor:
        window = self._picture.window(*rows, self._columns.start, self._columns.end)
        return floats_of(window[None], self._device)


def _levels(
    model: ImageModel, strip: Strip, rgb: np.ndarray, on_halved: Callable[[], None], on_band: Callable[[], None]
) -> Generator[np.ndarray]:
    """The used columns of a strip's result, in bands (rows, columns, 3)."""
    scale, columns = model.entry_point.scale, strip.columns
    height, width = (side * scale for side in rgb.shape[:2])
    left, right = ((edge - columns.start) * scale for edge in (columns.used_from, columns.used_to))
    right = min(right, width - columns.start * scale)
    rows = streamed_rows(strip.streamed, on_halved, on_band)
    first = 0
    with contextlib.closing(rows):
        while True:
            # Neither mode may be left on while whoever takes the bands does something else.
            with torch.inference_mode(), numerics(model.device, model.precision):
                part = next(rows, None)
            if part is None:
                return
            used = part[:, :, : max(height - first, 0), left:right].float()
            first += part.shape[2]
            if not torch.isfinite(used).all():
                raise ModelError(not_finite_message(model.path, model.precision))
            if used.shape[2]:
                yield levels_of(used, rgb.dtype)[0]


def _side_by_side(strips: Sequence[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Bands of one height from strips that may come in different ones."""
    waiting: list[deque[np.ndarray]] = [deque() for _ in strips]
    while True:
        for strip, bands in zip(strips, waiting, strict=True):
            if not bands and (band := next(strip, None)) is not None:
                bands.append(band)
        if not all(waiting):
            assert not any(waiting), "all strips are of one height"
            return
        rows = min(len(bands[0]) for bands in waiting)
        parts = [bands.popleft() for bands in waiting]
        for part, bands in zip(parts, waiting, strict=True):
            if len(part) > rows:
                bands.appendleft(part[rows:])
        yield np.concatenate([part[:rows] for part in parts], axis=1) if len(parts) > 1 else parts[0]


def _little_room(strip: Strip, model: ImageModel) -> str | None:
    """What to say where the disk is so small that much is computed again."""
    plan, streamed = strip.streamed.plan, strip.streamed
    roomy: Plan = plan_passes(streamed.graph, streamed.shapes, _number_bytes(model), float("inf"), _rates(model))
    if plan.seconds <= _WORTH_TELLING * roomy.seconds:
        return None
    ratio = plan.multiplications / max(roomy.multiplications, 1)
    return (
        f"too little room on the disk: {ratio:.1f} times the work, which {roomy.bytes_at_most / 1e9:.0f} GB would save"
    )


def _number_bytes(model: ImageModel) -> int:
    return 4 if model.precision == "fp32" else 2


def _rates(model: ImageModel) -> Rates:
    return _RATES.get(model.device.type, Rates())
