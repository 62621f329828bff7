"""`python -m i2i` and the command `i2i`: ready for Ctrl-C and SIGTERM before anything heavy is imported."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from types import FrameType


def run() -> int:
    """Run the command line and return its exit code."""
    asked: list[int] = []
    settled: list[int] = []

    def note(signal_number: int, frame: FrameType | None) -> None:
        if settled:
            # All is done and said; what a library still tidies up may be left out.
            os._exit(settled[0])
        asked.append(signal_number)
        interrupted(signal_number, frame)

    # A background job of a shell ignores Ctrl-C; it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    # As orderly an end as Ctrl-C brings: otherwise half-written files and the processes started here would stay.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, note)
    if "--debug" not in sys.argv:
        threading.excepthook = _say_in_one_line
        # A library whose own log meets a full disk (wandb's does) says so in a page for every line.
        logging.raiseExceptions = False
    try:
        from i2i.cli import main

        code = main()
    except KeyboardInterrupt:
        # Before the commands are ready to answer for themselves, or once more while one was answering.
        with contextlib.suppress(OSError):
            os.write(2, b"i2i: interrupted\n")
        code = 128 + signal.SIGINT
    settled.append(128 + asked[0] if asked and code == 128 + signal.SIGINT else code)
    return settled[0]


def _say_in_one_line(failure: threading.ExceptHookArgs) -> None:
    """What becomes of an error in a thread of a library, such as one that writes events to a full disk."""
    if failure.exc_type is not SystemExit:
        what = " ".join(str(failure.exc_value).split())
        name = "unnamed" if failure.thread is None else failure.thread.name
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"i2i: warning: thread {name} failed: {failure.exc_type.__name__}: {what}\n")


def interrupted(signal_number: int, frame: FrameType | None) -> None:
    """Signal handler for Ctrl-C and SIGTERM: the exception of Ctrl-C, but in the middle of an import the end at once.

    An exception in the middle of an import gets lost, or comes out as another one: extension modules catch it, and
    libraries take it for a missing dependency. Nothing has been begun then that would need an orderly end.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            with contextlib.suppress(OSError):
                os.write(2, b"i2i: interrupted\n")
            os._exit(128 + signal_number)
        frame = frame.f_back
    raise KeyboardInterrupt


def end(code: int) -> None:
    """End the process; as one of several, without taking down what C++ libraries hold.

    As a process of a group ends, threads of the libraries that carry its messages now and then outlive what they stand
    on and abort it, and the whole group counts as failed with all its work done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(code)
    # As Python itself would now: wait for threads, then what was registered.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    end(run())
