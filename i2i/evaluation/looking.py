"""One pass of a network over a set of pictures, shared by processes, for everything that metrics want of its features.

Each process runs the network on its blocks; what comes of them goes to the first one in the order of the pictures,
which alone adds it up. So the result is the same to the last bit for any number of processes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK, feature_blocks
from i2i.evaluation.features.protocol import FeatureExtractor, Features
from i2i.evaluation.features.store import FeatureStore, FeatureWriter, features_key
from i2i.evaluation.metrics.frechet import FeatureStatistics, RunningStatistics
from i2i.evaluation.metrics.inception_score import InceptionScore, RunningInceptionScore
from i2i.evaluation.pictures.sources import PictureSource
from i2i.evaluation.team import Team
from i2i.inference.runtime import exact_arithmetic

_NO_WEIGHTS = hashlib.sha256().hexdigest()
"""Of a function without weights: nothing tells it from another of its name, so what it saw is not kept."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a pass is for."""

    statistics: bool = False
    vectors: bool = False
    score: bool = False
    seed: int = 2020
    """Of the splits of the Inception Score."""

    def __bool__(self) -> bool:
        return self.statistics or self.vectors or self.score


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of it, on the first process; nothing on the others."""

    statistics: FeatureStatistics | None = None
    vectors: np.ndarray | None = None
    """(N, D), float32, memory-mapped where there is a store."""
    score: InceptionScore | None = None

    def has(self, wanted: Wanted) -> bool:
        """Whether everything wanted is there."""
        return all(
            found is not None or not needed
            for found, needed in (
                (self.statistics, wanted.statistics),
                (self.vectors, wanted.vectors),
                (self.score, wanted.score),
            )
        )


def look(
    source: PictureSource,
    extractor: FeatureExtractor,
    wanted: Wanted,
    team: Team,
    store: FeatureStore | None = None,
) -> Seen:
    """Everything wanted of a set: from the store where it has all of it, else by a pass of the network.

    Raises:
        DataError: pictures cannot be read or used, features are not finite, or there are too few.
        StorageError: the store cannot be written to.
    """
    key, seen = None, Seen()
    if team.leads and store is not None and (key := key_of(source, extractor)) is not None:
        seen = _stored(store, key, wanted, source.count, extractor.width)
    if team.gather(seen.has(wanted))[0]:
        return seen
    # Once around it all: model and extractor compute in two threads, and both set what belongs to the process.
    with exact_arithmetic(), contextlib.closing(feature_blocks(extractor, source, team.share)) as blocks:
        return _taken_in(blocks, source, extractor, wanted, team, store, key)


def _taken_in(
    blocks: Iterator[tuple[int, Features]],
    source: PictureSource,
    extractor: FeatureExtractor,
    wanted: Wanted,
    team: Team,
    store: FeatureStore | None,
    key: str | None,
) -> Seen:
    rounds = -(-source.count // (PICTURES_PER_BLOCK * team.share.count))
    if not team.leads:
        for _ in range(rounds):
            team.gather(next(blocks, None))
        return Seen()
    with _Intake(source.count, extractor.width, wanted, store, key) as intake:
        for _ in range(rounds):
            # In the order of the processes, which is that of their next blocks and so of the pictures.
            for block in team.gather(next(blocks, None)):
                if block is not None:
                    intake.add(*block)
        return intake.finish()


def key_of(source: PictureSource, extractor: FeatureExtractor) -> str | None:
    """Under which name a store keeps what `extractor` sees in a set; None where nothing tells that from another's."""
    if extractor.weights_sha256 == _NO_WEIGHTS or source.sha256 is None:
        return None
    return features_key(source.sha256, extractor)


def _stored(store: FeatureStore, key: str, wanted: Wanted, count: int, width: int) -> Seen:
    statistics = store.statistics(key) if wanted.statistics else None
    vectors = store.vectors(key, count=count, width=width) if wanted.vectors else None
    # One of another number of pictures would be another set's: a damaged file.
    return Seen(statistics=statistics if statistics is None or statistics.count == count else None, vectors=vectors)


class _Intake:
    """Takes in the features of all pictures, in their order."""

    def __init__(self, count: int, width: int, wanted: Wanted, store: FeatureStore | None, key: str | None) -> None:
        self._store, self._key = store, key
        self._statistics = RunningStatistics() if wanted.statistics else None
        self._score = RunningInceptionScore(count, seed=wanted.seed) if wanted.score else None
        self._kept: list[np.ndarray] | None = [] if wanted.vectors and store is None else None
        self._writer: FeatureWriter | None = None
        if wanted.vectors and store is not None:
            self._writer = store.writer(key, count=count, width=width)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._writer is not None:
            self._open.enter_context(self._writer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, first: int, features: Features) -> None:
        if self._statistics is not None:
            self._statistics.add(features.vectors)
        if self._score is not None:
            assert features.logits is not None, "the network was asked for classes"
            self._score.add(first, features.logits)
        if self._writer is not None:
            self._writer.add(first, features.vectors)
        if self._kept is not None:
            self._kept.append(features.vectors)

    def finish(self) -> Seen:
        statistics = None if self._statistics is None else self._statistics.result()
        if statistics is not None and self._store is not None and self._key is not None:
            self._store.keep_statistics(self._key, statistics)
        vectors = None if self._kept is None else np.concatenate(self._kept)
        return Seen(
            statistics=statistics,
            vectors=vectors if self._writer is None else self._writer.finish(),
            score=None if self._score is None else self._score.result(),
        )
