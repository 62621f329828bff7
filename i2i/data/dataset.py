"""What training sees of any data: named streams of pictures, addressed by a counter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


class Stream(Protocol):
    """An endless sequence of training pictures; the position, not a hidden state, decides what comes."""

    @property
    def images_per_epoch(self) -> int:
        """Number of counters that make one epoch."""
        ...

    def __getitem__(self, counter: int) -> np.ndarray:
        """The picture of the global sample `counter` (0, 1, 2, ... over the whole training): uint8 (H, W, 3), RGB.

        A pure function of (seed, stream name, counter): order, crop and mirror. Its epoch is
        ``counter // images_per_epoch``. The array is the caller's own.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Opened data: training streams and test pictures by name, and what was found on the way.

    `test` holds whole pictures, uint8 (H, W, 3), of those names that have any. `aligned` says that there are test
    pictures and that ``test["a"][i]`` and ``test["b"][i]`` show the same scene. `content_hash` (64 hexadecimal
    digits) changes with any byte of the pictures, their names or their roles. `report` has a line for each skipped
    picture.
    """

    train: Mapping[str, Stream]
    test: Mapping[str, Sequence[np.ndarray]]
    aligned: bool
    content_hash: str
    report: list[str] = field(default_factory=list)
