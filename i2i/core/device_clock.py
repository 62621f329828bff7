"""A clock for what runs on a device, which goes on computing after a call has returned."""

from __future__ import annotations

import time

import torch


def now(device: torch.device) -> float:
    """Seconds since some moment in the past, read when `device` is done with all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
