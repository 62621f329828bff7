"""This thread's alternate signal stack, kept while a library puts its own in its place.

Python's signal handlers run on the alternate stack, if a thread has one. OpenVINO gives the thread that compiles a
model such a stack and takes it away with the model, which may be in the wrong order where there are several models, or
in another thread. The next signal, Ctrl-C say, then meets a stack that is no more, and ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give the thread its alternate signal stack back at the end, or none if it had none. Linux only."""
    if sys.platform != "linux":
        yield
        return
    exchange = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    exchange(None, ctypes.byref(before))
    try:
        yield
    finally:
        exchange(ctypes.byref(before), None)
