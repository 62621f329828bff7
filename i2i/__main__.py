"""`python -m i2i` and the command `i2i`: ready for Ctrl-C and SIGTERM before anything heavy is imported."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType


def run() -> int:
    """Run the command line and return its exit code."""
    asked: list[int] = []

    def note(signal_number: int, frame: FrameType | None) -> None:
        asked.append(signal_number)
        interrupted(signal_number, frame)

    # A background job of a shell ignores Ctrl-C; it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    # As orderly an end as Ctrl-C brings: otherwise half-written files and the processes started here would stay.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, note)
    from i2i.cli import main

    code = main()
    return 128 + asked[0] if asked and code == 128 + signal.SIGINT else code


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


if __name__ == "__main__":
    sys.exit(run())
