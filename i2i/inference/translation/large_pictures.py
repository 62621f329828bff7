"""One picture through a model in bands, written as they come: neither its activations nor its result fit into memory.

What is written from memory (JPEG, WebP) is collected first; `i2i.inference.pictures.image_files` says how large that
may get.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from i2i.errors import StorageError
from i2i.inference.image_model import ImageModel
from i2i.inference.pictures.enlarging import (
    AlphaMode,
    as_picture,
    band_with_pixels,
    brightness,
    with_facts,
    with_pixels,
)
from i2i.inference.pictures.image_files import (
    STRIP_FORMATS,
    OutputFormat,
    Picture,
    strip_layout,
    strip_rows,
    write_picture,
)
from i2i.inference.pictures.strips import open_strips
from i2i.inference.runtime import out_of_memory_as_help
from i2i.inference.tiling.tiles import TileSettings, bands

AlphaRows = Callable[[int, int], np.ndarray | None]
"""Rows from one to another of a result's transparency; None: those of the picture itself."""


def needs_layers(model: ImageModel) -> bool:
    """Whether pictures in bands need another engine than this one: one that shows the layers."""
    return model.runner.network is None and model.entry_point.generator.normalization == "instance"


def translate_large(
    model: ImageModel,
    picture: Picture,
    path: Path,
    format: OutputFormat,
    tiles: TileSettings,
    *,
    quality: int,
    alpha: AlphaMode = "copy",
    on_part: Callable[[float], None] | None = None,
) -> tuple[str, ...]:
    """Translate `picture` in bands and write the file at `path`, whole or not at all.

    Args:
        alpha: what becomes of transparency.
        on_part: called with the share, 0 to 1, that is done.

    Returns:
        Notes on what was done, a phrase each.

    Raises:
        StorageError: the file cannot be written, or the disk has too little room for it.
        OutOfMemoryError, ModelError: as of the model.
    """
    scale = model.entry_point.scale
    height, width = (side * scale for side in picture.rgb.shape[:2])
    facts = with_facts(picture, scale)
    folder = check_room(path, strip_layout(facts, width, height).total_bytes)
    if tiles.spill_folder is None:
        # Where the results go there is room; folders for temporary files are often small, or memory.
        tiles = replace(tiles, spill_folder=folder)
    notes: list[str] = []

    def note(text: str) -> None:
        if text not in notes:
            notes.append(text)

    with _alpha_rows(model, picture, path, tiles, alpha, note) as alpha_rows:
        done = _bands(model, picture, tiles, note, on_part)
        if format in STRIP_FORMATS:
            with open_strips(path, strip_layout(facts, width, height), format) as strips:
                for first, rgb in done:
                    rows = alpha_rows(first, first + len(rgb))
                    strips.write(strip_rows(band_with_pixels(picture, facts, rgb, first, rows)))
            return tuple(notes)
        with out_of_memory_as_help(1, height, width, f"use --format tiff, which is not made in memory as {format} is"):
            rgb = np.empty((height, width, 3), picture.rgb.dtype)
            for first, rows in done:
                rgb[first : first + len(rows)] = rows
            result = with_pixels(picture, rgb, alpha_rows(0, height))
        return (*notes, *write_picture(path, result, format, quality))


def translate_in_bands(
    model: ImageModel, rgb: np.ndarray, tiles: TileSettings, on_note: Callable[[str], None]
) -> np.ndarray:
    """Translate one picture (H, W, 3) in bands, for a result (H * scale, W * scale, 3) that fits into memory."""
    return np.concatenate(list(bands(model, rgb, tiles, on_note=on_note)))


def check_room(path: Path, needed_bytes: int) -> Path:
    """Refuse to begin a file that the disk may have no room for; returns the folder in question that is there.

    Raises:
        StorageError: it has not.
    """
    folder = next(parent for parent in path.resolve().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise StorageError(
            f"{path}: takes up to {needed_bytes / 1e6:,.2f} MB, and the disk has {free / 1e6:,.2f} MB left"
            " - free space or choose another folder with -o"
        )
    return folder


def _bands(
    model: ImageModel,
    picture: Picture,
    tiles: TileSettings,
    on_note: Callable[[str], None],
    on_part: Callable[[float], None] | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Bands of the result, each with the number of its first row."""
    first, height = 0, len(picture.rgb) * model.entry_point.scale
    for rgb in bands(model, picture.rgb, tiles, on_note=on_note):
        yield first, rgb
        first += len(rgb)
        if on_part is not None:
            on_part(first / height)


@contextlib.contextmanager
def _alpha_rows(
    model: ImageModel,
    picture: Picture,
    path: Path,
    tiles: TileSettings,
    alpha: AlphaMode,
    on_note: Callable[[str], None],
) -> Iterator[AlphaRows]:
    """What the network makes of the transparency lies in a file without a name until the colours are done."""
    if picture.alpha is None or alpha != "model":
        yield lambda start, stop: None
        return
    width = picture.rgb.shape[1] * model.entry_point.scale
    kind = picture.alpha.dtype
    grey = replace(picture, rgb=as_picture(picture.alpha), alpha=None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as file:
            for _, rgb in _bands(model, grey, tiles, on_note, None):
                file.write(brightness(rgb).tobytes())

            def rows(start: int, stop: int) -> np.ndarray:
                file.seek(start * width * kind.itemsize)
                content = file.read((stop - start) * width * kind.itemsize)
                return np.frombuffer(content, kind).reshape(-1, width)

            yield rows
    except OSError as error:
        raise StorageError(
            f"{path.parent}: the transparency cannot be kept there: {error.strerror or error}"
            " - free space or choose another folder with -o"
        ) from error
