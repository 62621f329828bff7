"""A file system of a few megabytes that can be filled, closed to writers and enlarged again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """The folder that is written to, which may be a small file system of its own."""

    def __init__(self, folder: Path, mounted: bool = False) -> None:
        self.folder = folder
        self._mounted = mounted

    def leave_room_for(self, size_bytes: int) -> None:
        """Let no more than this be written in addition to what is there."""
        used = shutil.disk_usage(self.folder).used
        self._remount(f"size={used + size_bytes}")

    def refuse(self) -> None:
        """Make it read-only."""
        self._remount("ro")

    def enlarge(self) -> None:
        """Make it as large as anybody needs, and writable."""
        if self._mounted:
            self._remount("rw,size=64m")

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk | None]:
    """A file system in memory at `folder`; None where this user may not mount one."""
    folder.mkdir()
    if (
        not may_mount()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True).returncode
    ):
        yield None
        return
    try:
        yield Disk(folder, mounted=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


def may_mount() -> bool:
    """Whether to try at all."""
    return os.geteuid() == 0 and shutil.which("mount") is not None
