"""What training sees of any data: named streams of samples, addressed by a counter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np


class Stream(Protocol):
    """An endless sequence of training samples; the position, not a hidden state, decides what comes.

    What a sample is follows from its type: uint8 (H, W, C) with C 1 or 3 is a picture, grey or RGB, and reaches the
    networks in [-1, 1]. Anything else (a class number, int64 of shape (); later a vector) reaches them as it is.
    """

    @property
    def images_per_epoch(self) -> int:
        """Number of counters that make one epoch."""
        ...

    def __getitem__(self, counter: int) -> np.ndarray:
        """The sample number `counter` (0, 1, 2, ... over the whole training), of the same shape and type each time.

        A pure function of (seed, stream name, counter): order, crop and mirror. Its epoch is
        ``counter // images_per_epoch``. The array is the caller's own.
        """
        ...


@runtime_checkable
class IndexedStream(Stream, Protocol):
    """A stream whose samples are rows of one array, mirrored or not: a whole batch of them can be had at once.

    ``stream[counter]`` is row ``places([counter])[0]``, for a picture mirrored left to right where
    ``places([counter])[1]`` says so. So a loader may keep the array where it likes, on a GPU too.
    """

    @property
    def rows(self) -> np.ndarray:
        """All samples: (N, H, W, C) uint8 pictures or (N, ...) of anything else. Not to be written to."""
        ...

    def places(self, counters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (int64) and whether each is mirrored (bool), both (n,), of the samples `counters` (n,) int64."""
        ...


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Opened data: training streams and test samples by name, and what was found on the way.

    `test` holds whole pictures, uint8 (H, W, C), of those names that have any; under "label" it holds their class
    numbers, int64 (). `aligned` says that there are test pictures and that ``test["a"][i]`` and ``test["b"][i]`` show
    the same scene. `shown` holds equal-sized parts of test pictures for sheets, where those are not of one size; empty
    means that `test` serves. `content_hash` (64 hexadecimal digits) changes with any byte of the pictures, their names
    or their roles. `report` has a line for each skipped picture. `class_names` are the classes that the numbers of the
    stream "label" stand for, in the order of the numbers; empty without labels.
    """

    train: Mapping[str, Stream]
    test: Mapping[str, Sequence[np.ndarray]]
    aligned: bool
    content_hash: str
    report: list[str] = field(default_factory=list)
    class_names: tuple[str, ...] = ()
    shown: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)
