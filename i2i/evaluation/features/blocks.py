"""Pictures through an extractor, block by block, in constant memory and shared by processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from i2i.evaluation.features.protocol import FeatureExtractor, Features

if TYPE_CHECKING:
    from i2i.evaluation.pictures.sources import PictureSource

PICTURES_PER_BLOCK = 32
"""What a network computes at once. Fixed: float32 results of other batch shapes differ in the last bits."""

_BLOCKS_AHEAD = 2
_BYTES_AHEAD = 256 << 20
"""Of pictures that wait to be looked at; a block of large ones is read when the one before it is done with."""


@dataclass(frozen=True)
class Share:
    """This process's part of whole blocks: block b belongs to process b % `count`."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"share {self.index} of {self.count}; needs an index from 0 to {self.count - 1}")

    def blocks(self, pictures: int) -> range:
        """Numbers of the first pictures of this share's blocks, of `pictures` in all."""
        return range(self.index * PICTURES_PER_BLOCK, pictures, self.count * PICTURES_PER_BLOCK)


WHOLE = Share()
"""Of a process that is alone."""


def feature_blocks(
    extractor: FeatureExtractor, source: PictureSource, share: Share = WHOLE
) -> Generator[tuple[int, Features]]:
    """Yield the number of a block's first picture and the features of the block, for every block of the share.

    Pictures are read ahead while the network computes, by one thread, as far as memory is well spent on it: `source` is
    asked for one block at a time and in order. What it raises is raised here, at its block. Whoever stops early closes
    this, so that the thread is done when it goes on.
    """
    starts = iter(share.blocks(source.count))

    def read(first: int) -> Sequence[np.ndarray]:
        return source.pictures(first, min(first + PICTURES_PER_BLOCK, source.count))

    with ThreadPoolExecutor(1, thread_name_prefix="pictures") as pool:
        ahead: deque[tuple[int, Future[Sequence[np.ndarray]]]] = deque()
        largest = 0  # bytes of a block, of those seen

        def read_ahead(blocks: int) -> None:
            while len(ahead) < blocks and (first := next(starts, None)) is not None:
                ahead.append((first, pool.submit(read, first)))

        try:
            while True:
                read_ahead(1)
                if not ahead:
                    return
                first, pending = ahead.popleft()
                pictures = pending.result()
                largest = max(largest, sum(picture.nbytes for picture in pictures))
                read_ahead(min(_BLOCKS_AHEAD, _BYTES_AHEAD // max(largest, 1)))
                features = extractor(pictures)
                del pictures, pending
                yield first, features
        finally:
            # Whoever stops early does not wait for pictures that nobody will look at.
            for _, pending in ahead:
                pending.cancel()
