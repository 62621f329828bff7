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
_JUNK = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini", "Icon\r"})


class MissingFolderError(DataError):
    """A folder is missing that no command of ours can fetch."""


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


def is_hidden_or_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or is what systems leave behind."""
    return name.startswith(".") or name in _JUNK


def _may_hold_originals(name: str) -> bool:
    return not is_hidden_or_junk(name) and not name.endswith(RESULTS_SUFFIX)


def check_folder_exists(folder: Path, *, fetch: str | None = None, holds: str = "") -> None:
    """Refuse a missing folder.

    Args:
        folder: which must be there.
        fetch: the published set that it belongs to, if any; the error names the command that gets it.
        holds: what has to lie in it, for the error.

    Raises:
        MissingFolderError: it is missing, and nothing is known about where its contents come from.
        DataError: it is missing or no folder.
    """
    if folder.is_dir():
        return
    if folder.exists():
        raise DataError(f"{folder}: is a file, not a folder - name the folder that holds the pictures")
    if fetch is not None and fetch in folder.parts:
        to = next(parent for parent in (folder, *folder.parents) if parent.name == fetch).parent
        elsewhere = "" if to == DOWNLOAD_FOLDER else f" --to {shlex.quote(str(to))}"
        raise DataError(f"{folder}: no such folder - get it with: i2i data fetch {fetch}{elsewhere}")
    remedy = (
        f"create it with {holds} in it, or name another folder"
        if holds
        else "check the spelling, or put the pictures there"
    )
    raise MissingFolderError(f"{folder}: no such folder - {remedy}")


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed: {error.strerror} - check its permissions") from error
