"""The folder that a training writes to: found or made, and kept from every other training while this one lasts."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import platform
import re
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import filelock

from i2i.errors import StorageError, UsageError
from i2i.training.checkpoint import checkpoint_steps

LOCK_FILE = ".lock"
"""In the folder of a run while it is trained; one that a killed training left locks nothing."""
_RUNS = Path("runs")
_PATIENCE_SECONDS = 5.0
"""A process that was just killed may take a moment to be gone."""
_log = logging.getLogger(__name__)


def refuse_unfit(out: Path) -> None:
    """Refuse, before anything is opened, a folder in which no new run can begin.

    Raises:
        UsageError: a file is in the way, the folder holds a run, or another process trains there.
    """
    in_the_way = next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way is not None:
        raise UsageError(f"--out {out}: {in_the_way} is a file; name a folder for the run - see i2i train --help")
    if (out / LOCK_FILE).exists():
        with held(out):
            pass
    _refuse_run(out)


@contextlib.contextmanager
def claimed(name: str, out: Path | None) -> Iterator[Path]:
    """The folder of a new run of the recipe `name`, made and held: `out`, or one of its own below ``runs``.

    Raises:
        UsageError: another process trains in `out` or has trained there since `refuse_unfit`.
        StorageError: it cannot be made.
    """
    try:
        folder = _made(name, out)
    except OSError as error:
        wanted = out or _RUNS
        reason = error.strerror or error
        raise StorageError(f"{wanted}: cannot be made: {reason} - choose another folder with --out") from error
    with held(folder):
        _refuse_run(folder)
        yield folder


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder that is there; however this process ends, the folder is free again.

    Where the file system knows no locks or takes no more files, the training goes on without.

    Raises:
        UsageError: another process trains there.
    """
    lock = _lock(folder)
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                # Now, or it might be that of the next one.
                (folder / LOCK_FILE).unlink()
            with contextlib.suppress(OSError):
                lock.release()


def _lock(folder: Path) -> filelock.BaseFileLock | None:
    lock = filelock.FileLock(folder / LOCK_FILE, timeout=_PATIENCE_SECONDS)
    try:
        with warnings.catch_warnings():
            # About file systems without locks, which get a file that stays when its process is killed.
            warnings.simplefilter("ignore")
            lock.acquire()
    except filelock.Timeout as error:
        raise UsageError(
            f"{folder}: {_holder(folder)} trains in this folder - let it finish or stop it (Ctrl-C saves first), then"
            f" go on with --resume {folder}"
        ) from error
    except (OSError, NotImplementedError) as error:
        _log.debug("%s: cannot be locked, another training could write here too: %s", folder, error)
        return None
    if isinstance(lock, filelock.SoftFileLock):
        lock.release()
        return None
    with contextlib.suppress(OSError):
        (folder / LOCK_FILE).write_text(f"process {os.getpid()} on {platform.node() or 'this machine'}\n")
    return lock


def _holder(folder: Path) -> str:
    """Who holds the lock, as far as that is known."""
    try:
        found = re.fullmatch(r"process \d{1,20} on [\w .-]{1,255}\n", (folder / LOCK_FILE).read_text())
    except (OSError, ValueError):
        found = None
    return found[0].strip() if found is not None else "another process"


def _made(name: str, out: Path | None) -> Path:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        return out
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    _RUNS.mkdir(exist_ok=True)
    candidates = (_RUNS / (stem if number == 1 else f"{stem}-{number}") for number in itertools.count(1))
    return next(candidate for candidate in candidates if _is_made(candidate))


def _is_made(candidate: Path) -> bool:
    # Made, not looked for: of two trainings that begin in the same second only one can make it.
    try:
        candidate.mkdir()
    except FileExistsError:
        return False
    return True


def _refuse_run(out: Path) -> None:
    # What died before its first checkpoint is no run to go on with, and may start over here.
    if checkpoint_steps(out):
        raise UsageError(f"{out}: holds a run already - choose another folder, or go on with --resume {out}")
