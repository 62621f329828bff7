"""`python -m i2i` and the command `i2i`: ready for Ctrl-C before anything heavy is imported."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType


def run() -> int:
    """Run the command line and return its exit code."""
    # A background job of a shell ignores Ctrl-C; it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    from i2i.cli import main

    return main()


def interrupted(signal_number: int, frame: FrameType | None) -> None:
    """Signal handler for Ctrl-C: the usual exception, but while a module is being imported the end at once.

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
