"""Scores of a two-way translation on test pictures whose true counterparts are known.

A figure means little alone, so two baselines stand beside it: the picture left as it is, and the mean picture of the
target domain's training half. A model that beats neither has learnt nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from i2i.errors import DataError, UsageError
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.metrics.psnr import l1, psnr
from i2i.evaluation.team import Team

Translate = Callable[[str, np.ndarray], np.ndarray]
"""(direction, pictures (N, H, W, 3) uint8) to translated pictures of the same shape, uint8."""


class Pictures(Protocol):
    """Pictures (H, W, 3) uint8 by index: a list, or something that decodes them when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


_ENDS = {"AtoB": ("a", "b"), "BtoA": ("b", "a")}


@dataclass(frozen=True, kw_only=True)
class Score:
    """Means over pictures, against the true counterparts."""

    psnr_db: float
    """Mean of the pictures' PSNR on RGB, in dB."""
    l1_levels: float
    """Mean absolute difference in grey levels, 0..255."""


@dataclass(frozen=True, kw_only=True)
class DirectionScores:
    """One direction: the model's score and those of the baselines."""

    model: Score
    untranslated: Score
    """The source picture itself in place of a translation."""
    mean_picture: Score | None
    """The mean picture of the target domain's training half; None when it is not known."""


@dataclass(frozen=True, kw_only=True)
class PairedScores:
    """Scores of every direction on aligned test halves."""

    pictures: int
    directions: Mapping[str, DirectionScores]

    def to_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; the infinite PSNR of equal pictures becomes None."""
        return _finite(asdict(self))

    def table(self) -> str:
        """The scores as aligned plain text."""
        lines = [f"{'':<6}{'':<16}{'PSNR (dB)':>10}{'L1 (0..255)':>14}"]
        for direction, scores in self.directions.items():
            rows = [("model", scores.model), ("untranslated", scores.untranslated)]
            rows += [("mean picture", scores.mean_picture)] if scores.mean_picture is not None else []
            for index, (label, score) in enumerate(rows):
                name = direction if index == 0 else ""
                lines.append(f"{name:<6}{label:<16}{score.psnr_db:>10.2f}{score.l1_levels:>14.2f}")
        return "\n".join([*lines, f"mean over {self.pictures} pictures each way, RGB, against their true counterparts"])


def paired_scores(
    translate: Translate,
    test_a: Pictures,
    test_b: Pictures,
    *,
    mean_pictures: Mapping[str, np.ndarray] | None = None,
    directions: Sequence[str] = ("AtoB", "BtoA"),
    batch: int = 1,
    team: Team | None = None,
) -> PairedScores:
    """Score translations of aligned test halves.

    Args:
        translate: see `Translate`.
        test_a: pictures (H, W, 3) uint8 of any sizes; `test_a[i]` and `test_b[i]` show the same scene.
        test_b: their counterparts.
        mean_pictures: mean training picture of domain "a" and "b" (see `mean_picture`); resized where sizes differ.
        directions: "AtoB", "BtoA" or both.
        batch: up to so many consecutive pictures of one size are translated together.
        team: the processes that share the pictures; all of them get the same scores.

    Raises:
        DataError: no pictures, halves of different length, or counterparts of different size.
        UsageError: a direction between other domains.
    """
    if len(test_a) != len(test_b) or len(test_a) == 0:
        raise DataError(f"aligned test halves are needed, not {len(test_a)} and {len(test_b)} pictures")
    team = team or Team()
    halves = {"a": test_a, "b": test_b}
    scores: dict[str, DirectionScores] = {}
    for direction in directions:
        if direction not in _ENDS:
            raise UsageError(f"direction {direction}: paired scores know only {' and '.join(_ENDS)}")
        source, target = _ENDS[direction]
        mean = None if mean_pictures is None else mean_pictures.get(target)
        scores[direction] = _score_direction(
            direction, translate, halves[source], halves[target], mean, batch, team or Team()
        )
    return PairedScores(pictures=len(test_a), directions=scores)


def mean_picture(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of pictures (H, W, 3) uint8 as float32 (H, W, 3); others are resized to the first one's size.

    Raises:
        DataError: there is no picture.
    """
    total: np.ndarray | None = None
    count = 0
    for picture in pictures:
        if total is None:
            total = np.zeros(picture.shape, np.float64)
        total += _resized(picture.astype(np.float32), total.shape[0], total.shape[1])
        count += 1
    if total is None:
        raise DataError("no training pictures to take the mean of - leave the mean-picture baseline out")
    return (total / count).astype(np.float32)


def _score_direction(
    direction: str,
    translate: Translate,
    sources: Pictures,
    truths: Pictures,
    mean: np.ndarray | None,
    batch: int,
    team: Team,
) -> DirectionScores:
    found: dict[int, list[_Pair]] = {}
    for first in team.share.blocks(len(sources)):
        numbers = range(first, min(first + PICTURES_PER_BLOCK, len(sources)))
        for index, source, translated in _translated(direction, translate, sources, numbers, batch):
            truth = truths[index]
            if translated.shape != truth.shape:
                raise DataError(
                    f"test picture {index} ({direction}): translated it is {translated.shape[1]}x{translated.shape[0]},"
                    f" its counterpart {truth.shape[1]}x{truth.shape[0]} - counterparts must have one size"
                )
            found[index] = [_Pair.of(translated, truth), _Pair.of(source, truth)]
            if mean is not None:
                levels = np.rint(_resized(mean, *truth.shape[:2])).clip(0, 255).astype(np.uint8)
                found[index].append(_Pair.of(levels, truth))
    together = {index: pairs for part in team.gather(found) for index, pairs in part.items()}
    # In the order of the pictures, whoever scored them.
    columns = list(zip(*(together[index] for index in range(len(sources))), strict=True))
    means = [_mean_of(pairs) for pairs in columns]
    return DirectionScores(model=means[0], untranslated=means[1], mean_picture=None if mean is None else means[2])


def _translated(
    direction: str, translate: Translate, sources: Pictures, numbers: range, batch: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Index, picture and translation of these sources, consecutive pictures of one size together."""
    group: list[np.ndarray] = []
    for index in numbers:
        picture = sources[index]
        if group and (len(group) == batch or group[0].shape != picture.shape):
            yield from _translated_group(direction, translate, group, index - len(group))
            group = []
        group.append(picture)
    yield from _translated_group(direction, translate, group, numbers.stop - len(group))


def _translated_group(
    direction: str, translate: Translate, group: list[np.ndarray], first: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    results = translate(direction, np.stack(group))
    yield from zip(range(first, first + len(group)), group, results, strict=True)


@dataclass(frozen=True)
class _Pair:
    """The measures of one picture."""

    psnr: float
    l1: float

    @classmethod
    def of(cls, picture: np.ndarray, truth: np.ndarray) -> _Pair:
        return cls(psnr(picture, truth), l1(picture, truth))


def _mean_of(pairs: Sequence[_Pair]) -> Score:
    return Score(
        psnr_db=sum(pair.psnr for pair in pairs) / len(pairs), l1_levels=sum(pair.l1 for pair in pairs) / len(pairs)
    )


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A float32 picture (H, W, 3) resized with antialiasing; itself if it has that size."""
    if picture.shape[:2] == (height, width):
        return picture
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(picture[..., channel])).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
