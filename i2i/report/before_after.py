"""Pictures to lay over each other with a slider between them: a sheet's columns, or the first sheet and the newest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i2i.report.names import capital, sheet_title
from i2i.report.pictures import encode, raw_bytes, sheet_files
from i2i.training.sheets import SheetColumn, read_sheet

MOST_PICTURES = 6
BEFORE_AFTER_BYTES = 700_000
# Enlarged as whole pixels where a picture is smaller than it is shown: their edges are what one wants to see.
_PIXELATED_BELOW = 200


def before_after(
    folder: Path, sheets: Sequence[Mapping[str, Any]], total_bytes: int = BEFORE_AFTER_BYTES
) -> list[dict[str, Any]]:
    """What the slider of a run shows.

    Args:
        folder: of the sample sheets.
        sheets: see `i2i.report.pictures.sample_sheets`; what is there already is referred to.
        total_bytes: all data URLs together stay below.

    Returns:
        Groups with title, step, columns (names), left and right (numbers of those shown at first), and pictures. A
        picture has width, height, pixelated (small: to be enlarged as whole pixels) and `sources`,
        one a column: a data URL, or [name of a group of sheets, number of its frame].
    """
    newest = {name: paths[-1] for name, paths in sheet_files(folder).items()}
    columns = {name: found for name, (_, path) in newest.items() if (found := _columns(path))}
    groups: list[dict[str, Any]] = []
    for name, found in columns.items():
        pictures = _pictures(found, raw_bytes(total_bytes) // len(columns))
        if pictures:
            labels = [capital(column.label) for column, _ in found]
            about = {"title": sheet_title(name), "step": newest[name][0], "columns": labels, "left": 0, "right": 1}
            groups.append({**about, "pictures": pictures})
    for sheet in sheets:
        if sheet["name"] not in columns and (group := _over_time(sheet)):
            groups.append(group)
    return groups


def _columns(path: Path) -> list[tuple[SheetColumn, np.ndarray]] | None:
    """The columns of a saved sheet; None where there are none to compare."""
    try:
        with Image.open(path) as file:
            found = read_sheet(file)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return found if found is not None and len(found) > 1 else None


def _pictures(columns: Sequence[tuple[SheetColumn, np.ndarray]], most_bytes: int) -> list[dict[str, Any]]:
    count = min(MOST_PICTURES, *(len(shown) for _, shown in columns))
    share = most_bytes // max(1, count * len(columns))
    # What every column is enlarged by, the browser can do.
    factor = math.gcd(*(column.factor for column, _ in columns))
    width = max(column.width for column, _ in columns) // factor
    height = max(column.height for column, _ in columns) // factor
    # The middle one of equal pixels: in a JPEG those at the rim are mixed with their neighbours.
    one_of_equals = slice(factor // 2, None, factor)
    pictures = []
    for number in range(count):
        cells = [shown[number][one_of_equals, one_of_equals] for _, shown in columns]
        encoded = [encode(Image.fromarray(cell), share)[0] for cell in cells]
        sources = [one["url"] for one in encoded if one is not None]
        if len(sources) == len(columns):
            pixelated = max(width, height) < _PIXELATED_BELOW
            pictures.append({"width": width, "height": height, "pixelated": pixelated, "sources": sources})
    return pictures


def _over_time(sheet: Mapping[str, Any]) -> dict[str, Any] | None:
    """An early sheet against the newest, and every other one to choose, where they have one size."""
    newest = sheet["frames"][-1]
    numbers = [
        number
        for number, frame in enumerate(sheet["frames"])
        if (frame["width"], frame["height"]) == (newest["width"], newest["height"])
    ]
    if len(numbers) < 2:
        return None
    sources = [[sheet["name"], number] for number in numbers]
    return {
        "title": sheet["title"],
        "step": newest["step"],
        "columns": [f"Step {sheet['frames'][number]['step']:,}" for number in numbers],
        # The very first shows what untrained networks make: of most that is nothing.
        "left": min(1, len(numbers) - 2),
        "right": len(numbers) - 1,
        "pictures": [{"width": newest["width"], "height": newest["height"], "pixelated": False, "sources": sources}],
    }
