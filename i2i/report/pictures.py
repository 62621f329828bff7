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

from i2i.report.names import sheet_title
from i2i.training.sheets import BACKGROUND, INK, film, read_grid

MOST_SHEETS = 40
MOST_SHEETS_PER_NAME = 16
SHEETS_BYTES = 800_000
MOST_ANIMATION_FRAMES = 40
ANIMATIONS_BYTES = 550_000
FILM_ROWS, FILM_COLUMNS = 8, 8
FILMS_BYTES = 150_000

_SHEET_FILE = re.compile(r"step_(\d+)_(.+)\.(?:png|jpg)")
# Tried in turn until a sheet fits its share of the page: longest side in pixels, WebP quality.
_SHEET_SIZES = ((1600, 84), (1200, 80), (1000, 76), (800, 72), (720, 64), (640, 56), (480, 50), (320, 40))
# Tried in turn until an animation fits: longest side in pixels, most frames, WebP quality.
_ANIMATION_SIZES = (
    (512, 40, 70), (512, 32, 60), (448, 28, 55), (384, 24, 50), (352, 20, 50), (320, 16, 45), (256, 14, 45),
    (192, 12, 40), (128, 12, 30),
)  # fmt: skip
# Of 0 (fast) to 6 (small). The page is written anew at every checkpoint, so it must not take long.
_WEBP_EFFORT = 2
_FRAME_MILLISECONDS, _LAST_FRAME_MILLISECONDS = 220, 2200
_CAPTION_PIXELS = 22
_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")


def sample_sheets(
    folder: Path, total_bytes: int = SHEETS_BYTES, most_per_name: int = MOST_SHEETS_PER_NAME
) -> list[dict[str, Any]]:
    """Read the sample sheets, by name and in order of steps, as data URLs that together stay below `total_bytes`.

    At most `most_per_name` of each name are taken (fewer when there are many names), evenly spread and the
    newest always; unreadable files are left out, and so are those that are too large even when small and coarse.

    Returns:
        Groups with name, title and frames; a frame has step, url, width and height.
    """
    by_name = sheet_files(folder)
    most = min(most_per_name, max(3, MOST_SHEETS // max(1, len(by_name))))
    chosen = {name: _spread(paths, most) for name, paths in by_name.items()}
    # The newest sheet of each name counts three times: it is looked at longest.
    shares = sum(len(sheets) + 2 for sheets in chosen.values())
    share = raw_bytes(total_bytes) // max(1, shares)
    groups = []
    for name, sheets in chosen.items():
        frames, size = [], 0
        for index, (step, path) in enumerate(sheets):
            picture = open_picture(path)
            if picture is None:
                _log.warning("%s: left out of the report: it cannot be read", path)
                continue
            is_newest = index == len(sheets) - 1
            # Neighbours are alike: sizes far finer than that of the one before need no trial.
            encoded, size = encode(picture, 3 * share if is_newest else share, 0 if is_newest else max(0, size - 2))
            if encoded is None:
                _log.warning("%s: left out of the report: too many sheets for one page", path)
            else:
                frames.append({"step": step, **encoded})
        if frames:
            groups.append({"name": name, "title": sheet_title(name), "frames": frames})
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
        for name, paths in sheet_files(folder).items()
        if len(paths) > 1 and any(_cells(path) is not None for _, path in paths[-3:])
    }
    found: dict[str, dict[str, Any]] = {}
    for name, paths in grids.items():
        parts = {
            "animation": _animation(paths, raw_bytes(animation_bytes) // len(grids)),
            "film": _film(paths, raw_bytes(film_bytes) // len(grids)),
        }
        if kept := {part: value for part, value in parts.items() if value is not None}:
            found[name] = kept
    return found


def sheet_files(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    """The saved sheets of a folder by name, each with its step, in order of steps."""
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
    """A moving WebP of a grid over time, every frame under its step."""
    pictures = [(step, open_picture(path)) for step, path in _spread(paths, MOST_ANIMATION_FRAMES)]
    readable = [(step, picture) for step, picture in pictures if picture is not None]
    readable = [(step, picture) for step, picture in readable if picture.size == readable[-1][1].size]
    for longest, most, quality in _ANIMATION_SIZES:
        chosen = _spread(readable, most)
        newest = _frame(*chosen[-1], longest)
        # Frames have much in common with those before them; only what may fit is drawn in full.
        middle = _frame(*chosen[len(chosen) // 2], longest)
        if len(_moving([middle, newest], quality)) * len(chosen) / 2 > most_bytes:
            continue
        data = _moving([_frame(step, picture, longest) for step, picture in chosen], quality)
        if len(data) <= most_bytes:
            return {
                "url": "data:image/webp;base64," + base64.b64encode(data).decode(),
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


def _moving(frames: Sequence[Image.Image], quality: int) -> bytes:
    durations = [_FRAME_MILLISECONDS] * (len(frames) - 1) + [_LAST_FRAME_MILLISECONDS]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, format="WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=quality,
        method=_WEBP_EFFORT,
    )  # fmt: skip
    return buffer.getvalue()


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
    encoded, _ = encode(Image.fromarray(film(frames, columns)), most_bytes)
    return encoded and {**encoded, "steps": [step for step, _ in frames]}


def _cells(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as file:
            return read_grid(file)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def open_picture(path: Path) -> Image.Image | None:
    """A picture file as RGB; None when it cannot be read."""
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def raw_bytes(url_bytes: int) -> int:
    """How long content may be whose data URL shall have at most that many characters."""
    # Base64 makes four characters of three bytes.
    return int(url_bytes * 0.75)


def encode(picture: Image.Image, most_bytes: int, finest: int = 0) -> tuple[dict[str, Any] | None, int]:
    """A picture as the finest WebP that fits, from number `finest` of the sizes on, and the number of its size.

    Returns:
        url, and the width and height at which it was drawn; None where no size fits.
    """
    for index, (longest, quality) in list(enumerate(_SHEET_SIZES))[finest:]:
        smaller = picture.copy()
        smaller.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        smaller.save(buffer, format="WEBP", quality=quality, method=_WEBP_EFFORT)
        data = buffer.getvalue()
        if len(data) <= most_bytes:
            url = "data:image/webp;base64," + base64.b64encode(data).decode()
            return {"url": url, "width": picture.width, "height": picture.height}, index
    return None, len(_SHEET_SIZES) - 1
