"""Contact sheets: pictures side by side under labelled columns, to see at a glance how far training is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from i2i.files import atomic_path

SAMPLES_FOLDER = "samples"
# Smaller pictures are enlarged by a whole factor: every pixel stays itself, and people can see it.
SMALLEST_SHOWN_PIXELS = 96
# Up to here a lossless PNG stays small; beyond, a JPEG of quality 92 is five to ten times smaller.
LARGEST_PNG_PIXELS = 1_000_000
BACKGROUND = (247, 247, 245)
INK = (45, 48, 54)


def to_uint8(images: Tensor) -> np.ndarray:
    """Round pictures (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3); values outside are clipped, NaN becomes black."""
    # Not in place: .float() and nan_to_num() may hand back the caller's own tensor.
    levels = ((images.detach().float().nan_to_num(nan=-1.0) + 1.0) * 127.5).round().clamp(0, 255)
    return levels.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)


def sheet(columns: Sequence[tuple[str, Tensor]], *, most_rows: int | None = None) -> np.ndarray:
    """Draw a contact sheet: one column per entry, one row per picture, the label above its column.

    Args:
        columns: label and pictures (N, 3, H, W) in [-1, 1]; sizes may differ between columns (low and high
            resolution), then smaller ones are enlarged by whole factors.
        most_rows: show at most this many pictures of each column.

    Returns:
        The sheet, uint8 (H, W, 3) RGB. Pictures are pixel-exact (`cell_factor`).

    Raises:
        ValueError: there is no column.
    """
    if not columns:
        raise ValueError("a sheet needs at least one column")
    cells = [(label, _enlarge(to_uint8(images[:most_rows]), columns)) for label, images in columns]
    widths = [pictures.shape[2] for _, pictures in cells]
    row_height = max(pictures.shape[1] for _, pictures in cells)
    rows = max(len(pictures) for _, pictures in cells)
    margin, gap, font_pixels = _spacing(row_height)
    top = margin + round(1.5 * font_pixels)
    height = top + rows * row_height + max(rows - 1, 0) * gap + margin
    width = sum(widths) + (len(widths) - 1) * gap + 2 * margin
    canvas = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    lefts = [margin + sum(widths[:index]) + index * gap for index in range(len(widths))]
    for left, (_, pictures) in zip(lefts, cells, strict=True):
        for row, picture in enumerate(pictures):
            y = top + row * (row_height + gap)
            canvas[y : y + picture.shape[0], left : left + picture.shape[1]] = picture
    return _write_labels(canvas, [label for label, _ in cells], lefts, widths, margin, font_pixels)


def cell_factor(height: int, heights: Sequence[int]) -> int:
    """The whole factor by which pictures of this height are enlarged beside pictures of the given heights."""
    target = max(heights)
    if target < SMALLEST_SHOWN_PIXELS:
        target *= -(-SMALLEST_SHOWN_PIXELS // target)
    return max(1, target // height)


def save_sheet(run_folder: Path, step: int, name: str, picture: np.ndarray) -> Path:
    """Save a sheet as `samples/step_000123_<name>.png`, or `.jpg` when it is large; returns its path.

    Raises:
        StorageError: it cannot be written.
    """
    safe_name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "sheet"
    large = picture.shape[0] * picture.shape[1] > LARGEST_PNG_PIXELS
    path = Path(run_folder) / SAMPLES_FOLDER / f"step_{step:06d}_{safe_name}{'.jpg' if large else '.png'}"
    with atomic_path(path) as temporary:
        if large:
            Image.fromarray(picture).save(temporary, format="JPEG", quality=92, subsampling=0)
        else:
            Image.fromarray(picture).save(temporary, format="PNG", compress_level=6)
    return path


def _enlarge(pictures: np.ndarray, columns: Sequence[tuple[str, Tensor]]) -> np.ndarray:
    factor = cell_factor(pictures.shape[1], [images.shape[2] for _, images in columns])
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def _spacing(row_height: int) -> tuple[int, int, int]:
    """Margin, gap between cells and size of the labels, in pixels, to suit pictures of this height."""
    return max(8, row_height // 12), max(3, row_height // 48), min(32, max(13, row_height // 13))


def _write_labels(
    canvas: np.ndarray, labels: Sequence[str], lefts: Sequence[int], widths: Sequence[int], top: int, font_pixels: int
) -> np.ndarray:
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for label, left, width in zip(labels, lefts, widths, strict=True):
        text, font = _fit(draw, label, width, font_pixels)
        # Baselines are aligned, however small a label had to become.
        draw.text((left, top + font_pixels), text, font=font, fill=INK, anchor="ls")
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
