"""Contact sheets: pictures side by side under labelled columns, or a grid of them, to see how far training is.

What is saved carries its layout, so that its pictures can be taken out again: to show the same ones over time, or one
column over another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from i2i.files import atomic_path

SAMPLES_FOLDER = "samples"
# Smaller pictures are enlarged by a whole factor: every pixel stays itself, and people can see it.
SMALLEST_SHOWN_PIXELS = 96
# A grid is enlarged as a whole, as far as this width allows.
GRID_SHOWN_PIXELS = 768
# Up to here a lossless PNG stays small; beyond, a JPEG of quality 92 is five to ten times smaller.
LARGEST_PNG_PIXELS = 1_000_000
BACKGROUND = (247, 247, 245)
INK = (45, 48, 54)
_GRID_KEY, _SHEET_KEY = "i2i grid", "i2i sheet"


@dataclass(frozen=True, kw_only=True)
class GridLayout:
    """Where the pictures of a grid lie, in its pixels."""

    count: int
    columns: int
    cell_height: int
    """Of a picture as it is shown."""
    cell_width: int
    factor: int
    """By which every pixel of a picture is enlarged."""
    left: int
    """Of the first column: row labels stand before it."""
    margin: int
    gap: int

    @property
    def height(self) -> int:
        rows = -(-self.count // self.columns)
        return 2 * self.margin + rows * self.cell_height + (rows - 1) * self.gap

    @property
    def width(self) -> int:
        return self.left + self.columns * self.cell_width + (self.columns - 1) * self.gap + self.margin

    def corner(self, index: int) -> tuple[int, int]:
        """Top and left of one picture."""
        row, column = divmod(index, self.columns)
        return self.margin + row * (self.cell_height + self.gap), self.left + column * (self.cell_width + self.gap)


@dataclass(frozen=True, kw_only=True)
class SheetColumn:
    """One column of a sheet, in its pixels."""

    label: str
    left: int
    width: int
    """Of a picture as it is shown."""
    height: int
    count: int
    factor: int
    """By which every pixel of a picture is enlarged."""


@dataclass(frozen=True, kw_only=True)
class SheetLayout:
    """Where the pictures of a sheet lie, in its pixels."""

    columns: Sequence[SheetColumn]
    top: int
    """Of the first row: labels stand above it."""
    row_height: int
    gap: int
    margin: int

    @property
    def height(self) -> int:
        rows = max(column.count for column in self.columns)
        return self.top + rows * self.row_height + max(rows - 1, 0) * self.gap + self.margin

    @property
    def width(self) -> int:
        return self.columns[-1].left + self.columns[-1].width + self.margin

    def row_top(self, row: int) -> int:
        """Where a row's pictures begin."""
        return self.top + row * (self.row_height + self.gap)


def to_uint8(images: Tensor) -> np.ndarray:
    """Round pictures (N, C, H, W) in [-1, 1], C 1 (grey) or 3, to uint8 (N, H, W, C); values outside are clipped, NaN
    becomes black.

    Raises:
        ValueError: another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"pictures have {images.shape[1]} channels; needs 1 (grey) or 3 (colour)")
    # Not in place: .float() and nan_to_num() may hand back the caller's own tensor.
    levels = ((images.detach().float().nan_to_num(nan=-1.0) + 1.0) * 127.5).round().clamp(0, 255)
    return levels.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)


def sheet(columns: Sequence[tuple[str, Tensor]], *, most_rows: int | None = None) -> np.ndarray:
    """Draw a contact sheet: one column per entry, one row per picture, the label above its column.

    Args:
        columns: label and pictures (N, C, H, W) in [-1, 1], grey or colour; sizes may differ between columns (low and
            high resolution), then smaller ones are enlarged by whole factors.
        most_rows: show at most this many pictures of each column.

    Returns:
        The sheet, uint8 (H, W, 3) RGB. Pictures are pixel-exact (`cell_factor`).

    Raises:
        ValueError: there is no column.
    """
    layout = sheet_layout(columns, most_rows=most_rows)
    canvas = np.full((layout.height, layout.width, 3), BACKGROUND, dtype=np.uint8)
    for column, (_, images) in zip(layout.columns, columns, strict=True):
        pictures = _in_colour(to_uint8(images[: column.count]))
        for row, picture in enumerate(pictures.repeat(column.factor, axis=1).repeat(column.factor, axis=2)):
            top = layout.row_top(row)
            canvas[top : top + column.height, column.left : column.left + column.width] = picture
    return _write_labels(canvas, layout)


def sheet_layout(columns: Sequence[tuple[str, Tensor]], *, most_rows: int | None = None) -> SheetLayout:
    """How `sheet` lays these columns out.

    Raises:
        ValueError: as for `sheet`.
    """
    if not columns:
        raise ValueError("a sheet needs at least one column")
    heights = [images.shape[2] for _, images in columns]
    factors = [cell_factor(height, heights) for height in heights]
    row_height = max(height * factor for height, factor in zip(heights, factors, strict=True))
    margin, gap, font_pixels = _spacing(row_height)
    placed: list[SheetColumn] = []
    left = margin
    for (label, images), factor in zip(columns, factors, strict=True):
        count, _, height, width = images.shape
        count = count if most_rows is None else min(count, most_rows)
        width, height = width * factor, height * factor
        placed.append(SheetColumn(label=label, left=left, width=width, height=height, count=count, factor=factor))
        left += width + gap
    top = margin + round(1.5 * font_pixels)
    return SheetLayout(columns=tuple(placed), top=top, row_height=row_height, gap=gap, margin=margin)


def grid(pictures: Tensor, columns: int, row_labels: Sequence[str] | None = None) -> np.ndarray:
    """Draw pictures row by row, e.g. those that a generator makes from fixed latents.

    Args:
        pictures: (N, C, H, W) in [-1, 1], grey or colour.
        columns: pictures in a row.
        row_labels: one to stand before each row.

    Returns:
        The grid, uint8 (H, W, 3) RGB, laid out as `layout_of` says; pixels are exact, small ones enlarged.

    Raises:
        ValueError: there is no picture or no column, or the labels are not as many as the rows.
    """
    return _draw_grid(_in_colour(to_uint8(pictures)), layout_of(pictures, columns, row_labels), row_labels)


def film(frames: Sequence[tuple[int, np.ndarray]], columns: int) -> np.ndarray:
    """Draw the first pictures of the same grid at several times below each other, time running downwards.

    Args:
        frames: step and pictures, uint8 (N, H, W, 3) as from `read_grid`; each with `columns` pictures or more.
        columns: so many of each are shown.

    Returns:
        The sheet, uint8 (H, W, 3) RGB.
    """
    cells = np.concatenate([pictures[:columns] for _, pictures in frames])
    labels = [f"{step:,}" for step, _ in frames]
    count, height, width = cells.shape[:3]
    return _draw_grid(cells, _layout(count, height, width, columns, labels), labels)


def layout_of(pictures: Tensor, columns: int, row_labels: Sequence[str] | None = None) -> GridLayout:
    """How `grid` lays these pictures out.

    Raises:
        ValueError: as for `grid`.
    """
    count, _, height, width = pictures.shape
    return _layout(count, height, width, columns, row_labels)


def cell_factor(height: int, heights: Sequence[int]) -> int:
    """The whole factor by which pictures of this height are enlarged beside pictures of the given heights."""
    target = max(heights)
    if target < SMALLEST_SHOWN_PIXELS:
        target *= -(-SMALLEST_SHOWN_PIXELS // target)
    return max(1, target // height)


def save_sheet(
    run_folder: Path, step: int, name: str, picture: np.ndarray, layout: GridLayout | SheetLayout | None = None
) -> Path:
    """Save a sheet as `samples/step_000123_<name>.png`, or `.jpg` when it is large; returns its path.

    Its `layout` is saved within the file, for `read_grid` or `read_sheet`.

    Raises:
        StorageError: it cannot be written.
    """
    safe_name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "sheet"
    large = picture.shape[0] * picture.shape[1] > LARGEST_PNG_PIXELS
    path = Path(run_folder) / SAMPLES_FOLDER / f"step_{step:06d}_{safe_name}{'.jpg' if large else '.png'}"
    key = _GRID_KEY if isinstance(layout, GridLayout) else _SHEET_KEY
    note = "" if layout is None else f"{key} {json.dumps(asdict(layout))}"
    text = PngImagePlugin.PngInfo()
    if note:
        text.add_text("Comment", note)
    with atomic_path(path) as temporary:
        if large:
            Image.fromarray(picture).save(temporary, format="JPEG", quality=92, subsampling=0, comment=note.encode())
        else:
            Image.fromarray(picture).save(temporary, format="PNG", compress_level=6, pnginfo=text)
    return path


def read_grid(file: Image.Image) -> np.ndarray | None:
    """The pictures of an opened grid at their own size, uint8 (N, H, W, 3); None when it is no grid of `save_sheet`."""
    try:
        content = _saved_layout(file, _GRID_KEY)
        if content is None:
            return None
        layout = GridLayout(**content)
        canvas = np.asarray(file.convert("RGB"))
        if canvas.shape[:2] != (layout.height, layout.width):
            return None
    except (ValueError, TypeError, ZeroDivisionError):
        return None
    # The middle one of the equal pixels: in a JPEG those at the rim are mixed with their neighbours.
    middle = layout.factor // 2
    cells = []
    for top, left in map(layout.corner, range(layout.count)):
        cell = canvas[top : top + layout.cell_height, left : left + layout.cell_width]
        cells.append(cell[middle :: layout.factor, middle :: layout.factor])
    return np.stack(cells)


def read_sheet(file: Image.Image) -> list[tuple[SheetColumn, np.ndarray]] | None:
    """The columns of an opened sheet with their pictures as they are shown, uint8 (N, H, W, 3); None when it is no
    sheet of `save_sheet`.
    """
    try:
        content = _saved_layout(file, _SHEET_KEY)
        if content is None:
            return None
        placed = tuple(SheetColumn(**column) for column in content.pop("columns"))
        layout = SheetLayout(columns=placed, **content)
        canvas = np.asarray(file.convert("RGB"))
        if canvas.shape[:2] != (layout.height, layout.width):
            return None
        return [(column, _cut_out(canvas, layout, column)) for column in placed]
    except (ValueError, TypeError, AttributeError, LookupError):
        return None


def _cut_out(canvas: np.ndarray, layout: SheetLayout, column: SheetColumn) -> np.ndarray:
    tops = [layout.row_top(row) for row in range(column.count)]
    across = slice(column.left, column.left + column.width)
    return np.stack([canvas[top : top + column.height, across] for top in tops])


def _saved_layout(file: Image.Image, key: str) -> dict[str, Any] | None:
    """The layout within an opened file as plain values; None where there is none of that kind."""
    note = file.info.get("Comment", file.info.get("comment", ""))
    note = note.decode("utf-8", "replace") if isinstance(note, bytes) else str(note)
    return json.loads(note.removeprefix(key)) if note.startswith(key) else None


def _layout(count: int, height: int, width: int, columns: int, row_labels: Sequence[str] | None) -> GridLayout:
    if count < 1 or columns < 1:
        raise ValueError(f"a grid of {count} pictures in {columns} columns; needs at least one of each")
    columns = min(columns, count)
    rows = -(-count // columns)
    if row_labels is not None and len(row_labels) != rows:
        raise ValueError(f"{len(row_labels)} labels for {rows} rows")
    factor = max(1, GRID_SHOWN_PIXELS // (columns * width))
    margin, gap, font_pixels = _spacing(height * factor)
    left = margin if row_labels is None else 2 * margin + _widest(row_labels, font_pixels)
    return GridLayout(
        count=count,
        columns=columns,
        cell_height=height * factor,
        cell_width=width * factor,
        factor=factor,
        left=left,
        margin=margin,
        gap=gap,
    )


def _draw_grid(cells: np.ndarray, layout: GridLayout, row_labels: Sequence[str] | None) -> np.ndarray:
    """Place uint8 pictures (N, H, W, 3) and write the labels right-aligned before their rows."""
    canvas = np.full((layout.height, layout.width, 3), BACKGROUND, dtype=np.uint8)
    for index, cell in enumerate(cells):
        top, left = layout.corner(index)
        enlarged = cell.repeat(layout.factor, axis=0).repeat(layout.factor, axis=1)
        canvas[top : top + layout.cell_height, left : left + layout.cell_width] = enlarged
    if row_labels is None:
        return canvas
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_spacing(layout.cell_height)[2])
    for row, label in enumerate(row_labels):
        middle = layout.corner(row * layout.columns)[0] + layout.cell_height // 2
        draw.text((layout.left - layout.margin, middle), label, font=font, fill=INK, anchor="rm")
    return np.array(image)


def _widest(labels: Sequence[str], font_pixels: int) -> int:
    font = ImageFont.load_default(font_pixels)
    return max(round(font.getbbox(label)[2]) for label in labels)


def _in_colour(pictures: np.ndarray) -> np.ndarray:
    """Grey pictures (N, H, W, 1) with their level in all three channels; others as they are."""
    return pictures.repeat(3, axis=3) if pictures.shape[3] == 1 else pictures


def _spacing(row_height: int) -> tuple[int, int, int]:
    """Margin, gap between cells and size of the labels, in pixels, to suit pictures of this height."""
    return max(8, row_height // 12), max(3, row_height // 48), min(32, max(13, row_height // 13))


def _write_labels(canvas: np.ndarray, layout: SheetLayout) -> np.ndarray:
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    font_pixels = _spacing(layout.row_height)[2]
    for column in layout.columns:
        text, font = _fit(draw, column.label, column.width, font_pixels)
        # Baselines are aligned, however small a label had to become.
        draw.text((column.left, layout.margin + font_pixels), text, font=font, fill=INK, anchor="ls")
    return np.array(image)


def _fit(
    draw: ImageDraw.ImageDraw, label: str, width: int, font_pixels: int
) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Shrink a label to its column's width, down to a size still readable, then cut it."""
    for size in range(font_pixels, 9, -1):
        font = ImageFont.load_default(size)
        if draw.textlength(label, font=font) <= width:
            return label, font
    font = ImageFont.load_default(10)
    text = label
    while len(text) > 1 and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…", font
