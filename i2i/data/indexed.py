"""Training samples that are rows of one array, in an order and with mirrors that follow from a key."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from i2i.data.cache import PictureStore
from i2i.data.keyed import keyed_permutation, keyed_words


@dataclass(frozen=True, kw_only=True, eq=False)
class RowStream:
    """Every row once an epoch, in a new order each time; an :class:`i2i.data.dataset.IndexedStream`.

    The key holds no name: streams of equally many rows and one seed run in step, so that pictures and their labels
    stay together. With `flip`, which is for pictures only, a fair coin a sample decides whether it is mirrored.
    """

    samples: PictureStore | np.ndarray
    seed: int
    flip: bool = False

    @property
    def rows(self) -> np.ndarray:
        """(N, H, W, C) uint8 pictures, or (N, ...) of whatever the samples are."""
        return self.samples.array if isinstance(self.samples, PictureStore) else self.samples

    @property
    def images_per_epoch(self) -> int:
        """The number of rows."""
        return len(self.samples)

    def places(self, counters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers and mirrors of the samples `counters` (n,); see :class:`i2i.data.dataset.IndexedStream`."""
        counters = np.asarray(counters, np.int64)
        if counters.size and counters.min() < 0:
            raise IndexError("sample counters begin at 0")
        length = self.images_per_epoch
        epochs, positions = np.divmod(counters, length)
        rows = np.empty(len(counters), np.int64)
        mirrored = np.zeros(len(counters), np.bool_)
        for epoch in np.unique(epochs).tolist():
            of_epoch = epochs == epoch
            rows[of_epoch] = keyed_permutation(length, "rows", self.seed, epoch)[positions[of_epoch]]
            if self.flip:
                mirrored[of_epoch] = _keyed_coins(length, "mirrors", self.seed, epoch)[positions[of_epoch]]
        return rows, mirrored

    def __getitem__(self, counter: int) -> np.ndarray:
        """The sample `counter`, a copy; see :class:`i2i.data.dataset.Stream`."""
        rows, mirrored = self.places(np.array([counter], np.int64))
        sample = self.rows[int(rows[0]), ...]
        return (sample[:, ::-1] if mirrored[0] else sample).copy()


@functools.lru_cache(maxsize=16)
def _keyed_coins(length: int, *key: int | str) -> np.ndarray:
    """`length` fair coins (read-only bool array) that depend on `key` only."""
    first, second, _, _ = keyed_words(*key)
    coins = np.random.Philox(key=first | second << 64).random_raw(length) >> np.uint64(63) == 1
    coins.flags.writeable = False
    return coins
