"""The pictures of a report: sample sheets by step, and fixed latents over time as a film and as an animation.

All are data URLs that together stay within a budget, so that the page remains one file that a mail can carry.
"""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i2i.training.sheets import BACKGROUND, INK, film, read_grid

MOST_SHEETS = 60
MOST_SHEETS_PER_NAME = 24
SHEETS_BYTES = 2_800_000
MOST_ANIMATION_FRAMES = 40
ANIMATION_COLOURS = 128
ANIMATIONS_BYTES = 2_400_000
FILM_ROWS, FILM_COLUMNS = 8, 8
FILMS_BYTES = 600_000

_SHEET_FILE = re.compile(r"step_(\d+)_(.+)\.(?:png|jpg)")
# Tried in turn until a sheet fits its share of the page: longest side in pixels, JPEG quality.
_SHEET_SIZES = ((1600, 88), (1400, 82), (1200, 80), (1000, 78), (800, 72), (640, 66), (480, 60), (320, 50))
# Tried in turn until an animation fits: longest side in pixels, most frames.
_ANIMATION_SIZES = ((512, 40), (448, 32), (384, 28), (352, 24), (320, 20), (288, 16), (256, 14), (192, 12), (128, 12))
_FRAME_MILLISECONDS, _LAST_FRAME_MILLISECONDS = 220, 2200
_CAPTION_PIXELS = 22
_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")


def sample_sheets(folder: Path, total_bytes: int = SHEETS_BYTES) -> list[dict[str, Any]]:
    """Read the sample sheets, by name and in order of steps, as data URLs that together stay below `total_bytes`.

    At most `MOST_SHEETS_PER_NAME` of each name are taken (fewer when there are many names), evenly spread and the
    newest always; unreadable files are left out, and so are those that are too large even when small and coarse.

    Returns:
        Groups with name and frames; a frame has step, url, width and height.
    """
    by_name = _sheet_files(folder)
    most = min(MOST_SHEETS_PER_NAME, max(3, MOST_SHEETS // max(1, len(by_name))))
    chosen = {name: _spread(paths, most) for name, paths in by_name.items()}
    # The newest sheet of each name counts three times: it is looked at longest.
    shares = sum(len(sheets) + 2 for sheets in chosen.values())
    share = _raw_bytes(total_bytes) // max(1, shares)
    groups = []
    for name, sheets in chosen.items():
        frames = []
        for index, (step, path) in enumerate(sheets):
            picture = _open(path)
            if picture is None:
                _log.warning("%s: left out of the report: it cannot be read", path)
                continue
            encoded = _encode(picture, 3 * share if index == len(sheets) - 1 else share, str(path))
            if encoded is not None:
                frames.append({"step": step, **encoded})
        if frames:
            groups.append({"name": name, "frames": frames})
    return groups


def grids_over_time(
    folder: Path, animation_bytes: int = ANIMATIONS_BYTES, film_bytes: int = FILMS_BYTES
) -> dict[str, dict[str, Any]]:
    """What became of the same latents, for every name under which grids of two steps or more were saved.

    Returns:
        By name, `animation` and `film`, each with url, width, height and the `steps` it shows, as far as they fit; of
        all names together the animations stay below `animation_bytes` and the films below `film_bytes`.
    """
    # The newest may be damaged; what is no grid shows in the last few.
    grids = {
        name: paths
        for name, paths in _sheet_files(folder).items()
        if len(paths) > 1 and any(_cells(path) is not None for _, path in paths[-3:])
    }
    found: dict[str, dict[str, Any]] = {}
    for name, paths in grids.items():
        parts = {
            "animation": _animation(paths, _raw_bytes(animation_bytes) // len(grids)),
            "film": _film(paths, _raw_bytes(film_bytes) // len(grids)),
        }
        if kept := {part: value for part, value in parts.items() if value is not None}:
            found[name] = kept
    return found


def _sheet_files(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    by_name: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("step_*")):
        if match := _SHEET_FILE.fullmatch(path.name):
            by_name.setdefault(match[2], {})[int(match[1])] = path
    return {name: sorted(paths.items()) for name, paths in sorted(by_name.items())}


def _spread(items: Sequence[_Item], most: int) -> list[_Item]:
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _early_and_late(items: Sequence[tuple[int, Path]], most: int) -> list[tuple[int, Path]]:
    """At most that many, denser at the beginning, where most happens: their steps grow like square numbers."""
    if len(items) <= most:
        return list(items)
    last = items[-1][0]
    wanted = [last * (index / (most - 1)) ** 2 for index in range(most)]
    nearest = {min(items, key=lambda item: abs(item[0] - step)) for step in wanted}
    return sorted(nearest)


def _animation(paths: Sequence[tuple[int, Path]], most_bytes: int) -> dict[str, Any] | None:
    """A GIF of a grid over time, every frame under its step."""
    pictures = [(step, _open(path)) for step, path in _spread(paths, MOST_ANIMATION_FRAMES)]
    readable = [(step, picture) for step, picture in pictures if picture is not None]
    readable = [(step, picture) for step, picture in readable if picture.size == readable[-1][1].size]
    for longest, most in _ANIMATION_SIZES:
        chosen = _spread(readable, most)
        newest = _frame(*chosen[-1], longest)
        # The newest is the richest, so this estimate errs on the safe side; only what passes is drawn in full.
        if len(_gif([newest])) * len(chosen) > most_bytes:
            continue
        data = _gif([_frame(step, picture, longest) for step, picture in chosen])
        if len(data) <= most_bytes:
            return {
                "url": "data:image/gif;base64," + base64.b64encode(data).decode(),
                "width": newest.width,
                "height": newest.height,
                "steps": [step for step, _ in chosen],
            }
    return None


def _frame(step: int, picture: Image.Image, longest: int) -> Image.Image:
    smaller = picture.copy()
    smaller.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (smaller.width, smaller.height + _CAPTION_PIXELS), BACKGROUND)
    canvas.paste(smaller, (0, 0))
    place = (smaller.width // 2, smaller.height + _CAPTION_PIXELS // 2 - 2)
    ImageDraw.Draw(canvas).text(place, f"step {step:,}", font=ImageFont.load_default(14), fill=INK, anchor="mm")
    return canvas


def _gif(frames: Sequence[Image.Image]) -> bytes:
    reduced = [_few_colours(frame) for frame in frames]
    durations = [_FRAME_MILLISECONDS] * (len(reduced) - 1) + [_LAST_FRAME_MILLISECONDS]
    buffer = io.BytesIO()
    reduced[0].save(buffer, format="GIF", save_all=True, append_images=reduced[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _few_colours(frame: Image.Image) -> Image.Image:
    """Grey pictures keep every level; others get a palette, without dithering: its noise is what compresses worst."""
    levels = np.asarray(frame).astype(np.int16)
    if int((levels.max(axis=2) - levels.min(axis=2)).max()) <= 4:
        return frame.convert("L")
    # By far the fastest method, ten times that of the median cut, and as good for thumbnails.
    return frame.quantize(ANIMATION_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _film(paths: Sequence[tuple[int, Path]], most_bytes: int) -> dict[str, Any] | None:
    """The first pictures of a grid at a few steps, one row a step."""
    frames: list[tuple[int, np.ndarray]] = []
    for step, path in _early_and_late(paths, FILM_ROWS):
        picture = _cells(path)
        if picture is not None:
            frames.append((step, picture))
    # A grid of another size (settings were changed by hand between two attempts) has no place beside the newest.
    frames = [(step, cells) for step, cells in frames if cells.shape == frames[-1][1].shape]
    if len(frames) < 2:
        return None
    columns = min(FILM_COLUMNS, len(frames[-1][1]))
    encoded = _encode(Image.fromarray(film(frames, columns)), most_bytes, "the film of fixed latents")
    return encoded and {**encoded, "steps": [step for step, _ in frames]}


def _cells(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as file:
            return read_grid(file)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _open(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _raw_bytes(url_bytes: int) -> int:
    # Base64 makes four characters of three bytes.
    return int(url_bytes * 0.75)


def _encode(picture: Image.Image, most_bytes: int, name: str) -> dict[str, Any] | None:
    """A picture as the finest JPEG that fits: url, and the width and height at which it was drawn."""
    for longest, quality in _SHEET_SIZES:
        smaller = picture.copy()
        smaller.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        smaller.save(buffer, format="JPEG", quality=quality, optimize=True, progressive=True)
        data = buffer.getvalue()
        if len(data) <= most_bytes:
            url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
            return {"url": url, "width": picture.width, "height": picture.height}
    _log.warning("%s: left out of the report: too many sheets for one page", name)
    return None
