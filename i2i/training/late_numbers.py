"""Numbers that a device computes, read by the host when they are there and not before."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class _OnTheWay:
    numbers: Tensor
    """In memory of the host."""
    arrived: torch.cuda.Event | None

    def read(self) -> list[int]:
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.numbers.tolist()


class LateNumbers:
    """A queue of small tensors of whole numbers, each read `late_by` additions after its own.

    To read a number that a GPU has just been asked for is to wait for all that it was asked before, and to leave it
    idle until it is asked again. One step later the number is there.
    """

    def __init__(self, late_by: int) -> None:
        self._late_by = late_by
        self._waiting: deque[_OnTheWay] = deque()

    def add(self, numbers: Tensor) -> None:
        """Send (n,) on the way to the host."""
        if numbers.device.type != "cuda":
            self._waiting.append(_OnTheWay(numbers, None))
            return
        target = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        target.copy_(numbers, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._waiting.append(_OnTheWay(target, arrived))

    def ready(self) -> list[list[int]]:
        """Those that are late enough, oldest first; each is given once."""
        return [self._waiting.popleft().read() for _ in range(len(self._waiting) - self._late_by)]

    def all(self) -> list[list[int]]:
        """All that are left, oldest first; waits for the device."""
        return [self._waiting.popleft().read() for _ in range(len(self._waiting))]

    def forget(self) -> None:
        """Drop what has not been read."""
        self._waiting.clear()
