"""What a program does to files, seen from inside its process: counted, or the moment at which something happens to it.

Functions for `warm.Hook`. An event is an opening for writing, a write of Python's own files, a flush to the disk, a
rename, link, removal, change of rights or a new folder, below one folder. Libraries that write files by themselves
(safetensors, OpenCV) are seen when their files are flushed and renamed.
"""

from __future__ import annotations

import atexit
import builtins
import errno
import io
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Act = Callable[[int, str, str], None]
"""Gets the number of an event, from 1, its name and its path, before it takes place; may raise."""
_CHANGES = {"os.rename": 2, "os.link": 2, "os.symlink": -1, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.chmod": 2}
"""Audit events and where their arguments hold the folder that a relative path starts from."""
_NEED_ROOM = ("open", "write", "os.mkdir", "os.fsync")
"""What a full disk goes on to refuse."""
_MAY_BEGIN = (*_NEED_ROOM, "os.link", "os.rename")
"""What a disk may refuse first; a removal that is refused once leaves what nobody promised to remove."""


def note_checkpoints(notes: str) -> None:
    """Keep in the file `notes` which checkpoint this training has in place; for trainings with one after every step.

    Written down outside of the run, where no mistake of the training can reach it: whenever a checkpoint was saved, and
    whenever a step begins, because then that of the step before is due.
    """
    from i2i.training import run
    from i2i.training.engine import Engine

    # Open before anything is watched, and never longer than a few bytes: the notes are no event and meet no limit.
    notebook = os.open(notes, os.O_RDWR | os.O_CREAT, 0o666)
    newest = [int(os.pread(notebook, 16, 0) or b"0")]
    save, take_step = run.save_checkpoint, Engine.take_step

    def in_place(step: int) -> None:
        if step > newest[0]:
            newest[0] = step
            os.pwrite(notebook, str(step).encode(), 0)

    def noted_save(run_folder: Path, step: int, *rest: Any) -> Path:
        saved = save(run_folder, step, *rest)
        in_place(step)
        return saved

    def noted_step(engine: Engine, *rest: Any) -> Any:
        in_place(engine.step)
        return take_step(engine, *rest)

    run.save_checkpoint = noted_save
    Engine.take_step = noted_step  # type: ignore[method-assign, assignment]


def kill_at(folder: str, number: int, notes: str = "") -> None:
    """End this process at that event as the kernel would: at once.

    Args:
        notes: as in `note_checkpoints`; none are made without.
    """
    this = os.getpid()
    _note(notes)

    def act(count: int, name: str, path: str) -> None:
        if count == number:
            os.kill(this, signal.SIGKILL)

    _watch(Path(folder), act)


def kill_beyond(folder: str, number: int, size_bytes: int, notes: str = "") -> None:
    """From that event on, end this process in the middle of the first write that makes a file longer than this."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_from(folder, number, size_bytes, notes)


def limit_from(folder: str, number: int, size_bytes: int, notes: str = "") -> None:
    """From that event on, let no file become longer than this."""
    _note(notes)

    def act(count: int, name: str, path: str) -> None:
        if count == number:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))

    _watch(Path(folder), act)


def record(folder: str, result: str) -> None:
    """Write a line an event to the file `result` when the process ends."""
    seen: list[str] = []
    _watch(Path(folder), lambda count, name, path: seen.append(f"{name} {Path(path).relative_to(folder)}"))
    atexit.register(lambda: Path(result).write_text("\n".join(seen)))


def refuse_from(
    folder: str, number: int, refused: str, reason: int = errno.ENOSPC, lasting: bool = True, notes: str = ""
) -> None:
    """Refuse that event with an OSError, or the next that is no removal, and if `lasting` all others from there on that
    cannot be either.

    On a full disk those are what needs room; one that has become read-only (EROFS) lets nothing be changed or removed.

    Args:
        refused: a file that gets the path of what was refused first, when it is.
    """
    _note(notes)
    proof = os.open(refused, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    begun: list[int] = []

    def act(count: int, name: str, path: str) -> None:
        first = not begun and count >= number and name in _MAY_BEGIN
        later = bool(begun) and lasting and (reason == errno.EROFS or name in _NEED_ROOM)
        if first:
            begun.append(count)
            os.write(proof, os.fsencode(path))
        if first or later:
            raise OSError(reason, os.strerror(reason), path)

    _watch(Path(folder), act)


def _note(notes: str) -> None:
    if notes:
        note_checkpoints(notes)


def _watch(folder: Path, act: Act) -> None:
    """Call `act` before everything that this process does to files below `folder`; forked ones are left alone."""
    this, below, seen = os.getpid(), f"{folder.resolve()}{os.sep}", [0]

    def happens(name: str, path: str) -> None:
        if os.getpid() == this and path.startswith(below):
            seen[0] += 1
            act(seen[0], name, path)

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open" and _writes(arguments[1], arguments[2]):
            happens(name, _whole(arguments[0], -1))
        elif name in _CHANGES:
            start = arguments[_CHANGES[name]] if _CHANGES[name] >= 0 else -1
            happens(name, _whole(arguments[0], start))

    fsync, opened = os.fsync, io.open

    def watched_fsync(file: Any) -> None:
        happens("os.fsync", _whole("", file if isinstance(file, int) else file.fileno()).rstrip(os.sep))
        fsync(file)

    def watched_open(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        stream = opened(file, mode, *arguments, **named)
        if _writes(mode, 0) and not isinstance(file, int) and _whole(file, -1).startswith(below):
            return _announced(stream, lambda: happens("write", _whole(file, -1)))
        return stream

    os.fsync = watched_fsync
    io.open = builtins.open = watched_open
    sys.addaudithook(audit)


def _writes(mode: str | None, flags: int) -> bool:
    return any(letter in (mode or "") for letter in "wax+") or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _whole(path: Any, start: int | None) -> str:
    """An absolute path; relative ones begin at the open folder `start`, or where the process is."""
    if isinstance(path, int) or path is None:
        return ""
    text = os.fsdecode(path)
    if start is None or start < 0:
        return str(Path(text).absolute())
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{start}"), text)  # noqa: PTH115, PTH118 - may hold ".."
    except OSError:
        return ""


def _announced(stream: Any, announce: Callable[[], None]) -> Any:
    """The same open file, whose writes are announced."""
    write = stream.write

    def announced_write(content: Any) -> int:
        announce()
        return write(content)

    stream.write = announced_write
    return stream
