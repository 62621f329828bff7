"""How many threads compute."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

import torch

_GROUPS = Path("/sys/fs/cgroup")
_CHOSEN_OTHERWISE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOCAL_WORLD_SIZE")
"""Who sets one of these has counted for themselves; the last one says that several processes share the machine."""


def fit_threads() -> bool:
    """Compute in no more threads than this process is granted processors; True if there were more.

    torch counts the processors that it sees. A container that may use two of sixty-four sees all of them, and sixty-two
    threads then wait for their turn while the others wait for them. Nothing happens where the environment chooses.
    """
    granted = granted_processors()
    if granted is None or granted >= torch.get_num_threads() or any(os.environ.get(name) for name in _CHOSEN_OTHERWISE):
        return False
    torch.set_num_threads(granted)
    return True


def granted_processors() -> int | None:
    """How many processors' time the control group of this process may take, rounded up; None without a limit."""
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (_GROUPS / quota_file).read_text().split()
            if period_file is not None:
                words += (_GROUPS / period_file).read_text().split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):
            # "max" is no number: no limit.
            continue
        if quota > 0 and period > 0:
            return max(1, ceil(quota / period))
    return None
