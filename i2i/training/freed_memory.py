"""What becomes of memory that a training step has freed."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The parameters' numbers in glibc's malloc.h."""
_CHOSEN_OTHERWISE = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
_LARGEST_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Keep what is freed in this process for the next step, which asks for the same again; True if that is possible.

    glibc gives every block of more than 32 MiB back to the system as soon as it is freed, and the system hands the next
    one out in zeroed pages, one fault for each 4 KiB: some 10 milliseconds for a batch of features that a convolution
    computes in 20. The process stays as large as it has been at its largest.

    Nothing happens with another C library, or where the environment chooses an allocator or its thresholds.
    """
    if sys.platform != "linux" or any(os.environ.get(name) for name in _CHOSEN_OTHERWISE):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # It answers 1 where it does what it is told; musl has a mallopt that does nothing, and answers 0.
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, -1))
