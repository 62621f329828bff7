"""Numbers drawn from a key in place of a generator's state, so that any draw can be repeated alone.

BLAKE2b digests and raw Philox words are the same on every machine and in every NumPy release; NumPy's own
`integers` and `permutation` promise neither.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np


def keyed_words(*key: int | str) -> tuple[int, int, int, int]:
    """Four independent uniform 64-bit numbers that depend on `key` and nothing else."""
    # repr tells 1 from "1" and keeps the parts apart: ("ab", "c") is not ("a", "bc").
    digest = hashlib.blake2b(repr(key).encode(), digest_size=32).digest()
    first, second, third, fourth = (int.from_bytes(digest[start : start + 8], "little") for start in (0, 8, 16, 24))
    return first, second, third, fourth


def below(word: int, limit: int) -> int:
    """Turn a uniform 64-bit `word` into a uniform integer in [0, limit); the bias is under limit / 2**64."""
    return (word * limit) >> 64


@functools.lru_cache(maxsize=16)
def keyed_permutation(length: int, *key: int | str) -> np.ndarray:
    """A uniform permutation of 0..length-1 (read-only int64 array) that depends on `key` and `length` only."""
    first, second, _, _ = keyed_words(*key)
    raw = np.random.Philox(key=first | second << 64).random_raw(length)
    order = np.argsort(raw, kind="stable")
    order.flags.writeable = False
    return order
