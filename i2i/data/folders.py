"""Finding the pictures of a folder, in an order that no file system decides."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from i2i.errors import DataError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
DOWNLOAD_FOLDER = Path("datasets")
"""Where published sets go unless told otherwise."""

RESULTS_SUFFIX = "_translated"
"""Ends the name of the folder where translations go by default."""
_JUNK_FOLDERS = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information"})


def find_pictures(folder: Path, *, fetch: str | None = None) -> list[str]:
    """Find all pictures in `folder` and below it.

    Hidden files and folders are passed over, and so is what systems leave behind (``__MACOSX``, ``Thumbs.db``).
    So are folders called ``*_translated``, where our own results go: training on them would be a mistake.
    Links to files count as files; links to folders are not followed, for they can lead round in circles.

    Args:
        folder: where to look.
        fetch: the published set this folder should hold, named in the error when the folder is missing.

    Returns:
        Paths relative to `folder`, with forward slashes, sorted by code point.

    Raises:
        DataError: the folder is missing, is no folder, cannot be read, or holds no picture.
    """
    check_folder_exists(folder, fetch=fetch)
    found: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if _may_hold_originals(name)]
        for name in files:
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
                found.append(path.relative_to(folder).as_posix())
    if not found:
        kinds = " ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
        raise DataError(f"{folder}: holds no pictures ({kinds}) - put some there or name another folder")
    return sorted(found)


def _may_hold_originals(name: str) -> bool:
    return not name.startswith(".") and name not in _JUNK_FOLDERS and not name.endswith(RESULTS_SUFFIX)


def check_folder_exists(folder: Path, *, fetch: str | None = None) -> None:
    """Refuse a missing folder, naming the command that gets its contents if `fetch` names a published set.

    Raises:
        DataError: it is missing or no folder.
    """
    if folder.is_dir():
        return
    if folder.exists():
        raise DataError(f"{folder}: is a file, not a folder - name the folder that holds the pictures")
    remedy = "create it or name another folder"
    if fetch is not None:
        elsewhere = folder.name == fetch and folder.parent != DOWNLOAD_FOLDER
        to = f" --to {shlex.quote(str(folder.parent))}" if elsewhere else ""
        remedy = f"get it with: i2i data fetch {fetch}{to}"
    raise DataError(f"{folder}: no such folder - {remedy}")


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed: {error.strerror} - check its permissions") from error
