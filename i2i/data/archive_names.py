"""Files in an archive of strangers, by their names: which of them nobody should unpack or use."""

from __future__ import annotations

import unicodedata
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from i2i.errors import DataError

_LONGEST_NAME_BYTES = 255
"""Of a file or folder; no common file system holds longer ones."""
_LONGEST_PATH_BYTES = 1000
_CONTROL = "Cc"


def files_in_zip(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its members that are no folders, in order."""
    # A name may be empty, which `ZipInfo.is_dir` does not expect.
    return [member for member in opened.infolist() if not member.filename.endswith("/")]


def check_archive_names(archive: Path, names: Collection[str]) -> None:
    """Refuse an archive whose files would lie outside the folder it is unpacked into, or nowhere.

    Args:
        names: of its files, folders aside.

    Raises:
        DataError: a path is absolute, leads up, means a drive or a stream on Windows, holds control characters, is too
            long, or runs through another file.
    """
    files = {PurePosixPath(name) for name in names if name}
    for name in names:
        reason = _reason_against(name, files)
        if reason is not None:
            raise DataError(f"{archive}: holds {reason} {name[:200]!r} - do not use this archive")


def _reason_against(name: str, files: Collection[PurePosixPath]) -> str | None:
    path = PurePosixPath(name)
    on_windows = "\\" in name or ":" in name
    if path.is_absolute() or ".." in path.parts or on_windows or not path.parts:
        return "the unsafe path"
    if any(unicodedata.category(character) == _CONTROL for character in name):
        return "control characters in the path"
    longest = max(len(part.encode(errors="replace")) for part in path.parts)
    if longest > _LONGEST_NAME_BYTES or len(name.encode(errors="replace")) > _LONGEST_PATH_BYTES:
        return "the path, too long for a disk,"
    if any(parent in files for parent in path.parents):
        return "a file that is also the folder of"
    return None
