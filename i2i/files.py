"""Files written whole or not at all.

A file is written under a temporary name in its own folder, flushed to the disk and renamed over the old one, so a
reader (or a resumed run) sees either the old file or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from i2i.errors import StorageError


def _read_umask() -> int:
    # It can only be read by setting it, for all threads at once: hence now, before there are any.
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
TEMPORARY = ".writing-"
"""What the names of unfinished files and folders begin with."""
_NAME_CHARACTERS = 40
"""Of the file's own name in that of its temporary one, so that a long name does not become too long."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it replaces `path`, on failure it is removed.

    Raises:
        StorageError: the file system refuses (full, read-only, no permission). The old file is untouched.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path), suffix=path.suffix)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        # mkstemp leaves files private to the user, and so do some writers that put a file of their own in its place.
        temporary.chmod(0o666 & ~_UMASK)
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error} - free space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            # A file system that has just become read-only must not hide what is said about it above.
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def link_or_copy(source: Path, target: Path) -> None:
    """Give `source` a second name, or copy it where the file system knows no hard links."""
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left at any depth below `folder`; nobody may be writing there now."""
    for leftover in [*Path(folder).rglob(f"{TEMPORARY}*")]:
        _remove(leftover)


def remove_leftovers_of(path: Path) -> None:
    """Remove what killed writers of the file at `path` left beside it; nobody may be writing it now."""
    for leftover in [*path.parent.glob(f"{glob.escape(temporary_prefix(path))}*")]:
        _remove(leftover)


def temporary_prefix(path: Path) -> str:
    """What the names of unfinished files and folders begin with that are to become the one at `path`."""
    return f"{TEMPORARY}{path.stem[:_NAME_CHARACTERS]}-"


def _remove(leftover: Path) -> None:
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
        return
    # It is in nobody's way: whoever may not remove it works without.
    with contextlib.suppress(OSError):
        leftover.unlink()


def flush_to_disk(path: Path) -> None:
    """Wait until the file or folder at `path` is on the disk."""
    if os.name == "nt" and path.is_dir():
        # Windows opens no folders; a rename there is on the disk when it returns.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, but no pipe or device: a stranger's folder can hold one, and reading it may never end.

    Raises:
        OSError: it cannot be opened, or is something else than a file.
    """
    # Opening a pipe that nobody writes into waits for a writer, unless it is asked not to.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "a pipe or a device in place of a file", str(path))


def read_regular(path: Path) -> bytes:
    """What is in the file at `path`; raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits; raises as `open_regular`."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
