"""Picture files by name, in a folder or inside a .zip file that is read in place.

Nothing of an archive is ever written to the disk. What it says of itself is judged before a single member is read:
an encrypted archive, paths that lead out of it, links, and members that would unfold beyond measure are refused.
"""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from i2i.data.archive_names import check_archive_names, files_in_zip
from i2i.data.cache import content_digests
from i2i.data.folders import PICTURE_SUFFIXES, find_pictures, is_hidden_or_junk
from i2i.errors import DataError, one_line

LARGEST_FILE_BYTES = 1 << 30
"""A picture file is read whole; one of more bytes than this is refused unread."""

HARMLESS_BYTES = 64 << 20
MAX_UNPACKED_RATIO = 100
"""What unfolds to more than the one, and to so many times its size, is a bomb."""
_ENCRYPTED = 0x1
_READ_ERRORS = (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError, ValueError, zlib.error)


class PictureFiles(Protocol):
    """Picture files that can be listed and read; safe to read from several threads."""

    @property
    def place(self) -> Path:
        """The folder or archive, for messages."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Relative paths with forward slashes, sorted by code point."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            DataError: it cannot be read; the message begins with the name.
        """
        ...

    def digests(self, cache_folder: Path | None) -> dict[str, str]:
        """What changes with any byte of a file, by name: 64 hexadecimal digits, or "unreadable"."""
        ...


class FolderFiles:
    """The pictures of a folder and all folders below it."""

    def __init__(self, folder: Path) -> None:
        self.place = folder
        self.names: Sequence[str] = find_pictures(folder)

    def read(self, name: str) -> bytes:
        """See :class:`PictureFiles`."""
        path = self.place / name
        try:
            if path.stat().st_size > LARGEST_FILE_BYTES:
                raise DataError(f"{name}: is larger than {LARGEST_FILE_BYTES >> 30} GiB - remove it")
            return path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{name}: cannot be opened: {error.strerror or error} - check the file and its permissions"
            ) from error

    def digests(self, cache_folder: Path | None) -> dict[str, str]:
        """See :class:`PictureFiles`."""
        return content_digests(self.place, self.names, cache_folder)


class ZipFiles:
    """The pictures of a .zip file; a folder that all of them lie in is left out of their names.

    Raises:
        DataError: it is no .zip file, is encrypted, unsafe or damaged, or holds no pictures.
    """

    def __init__(self, archive: Path) -> None:
        self.place = archive
        try:
            self._opened = zipfile.ZipFile(archive)
        except _READ_ERRORS as error:
            raise DataError(
                f"{archive}: cannot be read as a .zip file ({one_line(error, 120)}) - make it anew"
            ) from error
        members = _pictures_of(self._opened, archive)
        common = _common_folder(list(members))
        self._members = {name.removeprefix(common): members[name] for name in sorted(members)}
        self.names: Sequence[str] = sorted(self._members)

    def read(self, name: str) -> bytes:
        """See :class:`PictureFiles`."""
        member = self._members[name]
        try:
            # With a length, for only then does zipfile unfold no more than the member declares, and that was judged.
            with self._opened.open(member) as file:
                return file.read(member.file_size + 1)
        except _READ_ERRORS as error:
            raise DataError(f"{name}: is damaged inside the archive ({one_line(error, 120)}) - remove it") from error

    def digests(self, cache_folder: Path | None) -> dict[str, str]:
        """See :class:`PictureFiles`; one digest of the whole archive, with the name, for each."""
        archive = content_digests(self.place.parent, [self.place.name], cache_folder)[self.place.name]
        return {name: hashlib.sha256(f"{archive} {name}".encode()).hexdigest() for name in self.names}


def open_picture_files(place: Path) -> PictureFiles:
    """The pictures at `place`, a folder or a .zip file.

    Raises:
        DataError: there is nothing, or nothing that can be used.
    """
    place = place.expanduser()
    if place.is_file():
        if place.suffix.lower() == ".zip" or zipfile.is_zipfile(place):
            return ZipFiles(place)
        raise DataError(
            f"{place}: is neither a folder nor a .zip file - name the folder that holds the pictures, or idx files"
        )
    return FolderFiles(place)


def _pictures_of(opened: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's pictures by full name, after refusing what no archive of pictures is like."""
    members = {member.filename: member for member in files_in_zip(opened)}
    pictures: dict[str, zipfile.ZipInfo] = {}
    check_archive_names(archive, members)
    for name, member in members.items():
        path = PurePosixPath(name)
        if path.suffix.lower() not in PICTURE_SUFFIXES or any(is_hidden_or_junk(part) for part in path.parts):
            continue
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise DataError(f"{archive}: {name[:200]!r} is a link or device - do not use this archive")
        if member.flag_bits & _ENCRYPTED:
            raise DataError(f"{archive}: is encrypted - make it anew without a password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unfolds all others without measure.
            raise DataError(f"{archive}: {name[:200]!r} is packed in a rare way - make it anew, plain or deflated")
        if member.file_size > LARGEST_FILE_BYTES:
            raise DataError(
                f"{archive}: {name[:200]!r} would unfold to {member.file_size:,} bytes - do not use this archive"
            )
        pictures[path.as_posix()] = member
    if not pictures:
        kinds = " ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
        raise DataError(f"{archive}: holds no pictures ({kinds}) - put some there or name another")
    declared = sum(member.file_size for member in pictures.values())
    size = archive.stat().st_size
    # Pictures hardly shrink in a .zip; the few that do, such as drawings in BMP, are allowed for.
    if declared > max(HARMLESS_BYTES, MAX_UNPACKED_RATIO * size):
        raise DataError(
            f"{archive}: its {size:,} bytes would unfold to {declared:,} - do not use this archive, it is a bomb"
        )
    return pictures


def _common_folder(names: Sequence[str]) -> str:
    """The longest folder, with a slash at its end, that all names lie in."""
    shared: list[str] = []
    for parts in zip(*(PurePosixPath(name).parts[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}/" for part in shared)
