"""Orderly stopping on Ctrl-C and termination."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Remembers the first signal that asked to stop; the training loop looks at it between steps."""

    def __init__(self) -> None:
        self.signal_number = 0

    def receive(self, signal_number: int, frame: FrameType | None) -> None:
        """Signal handler. A second Ctrl-C gives up at once; files are whole even then."""
        if self.signal_number and signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = self.signal_number or signal_number


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request; the former handlers return afterwards."""
    request = StopRequest()
    previous = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
