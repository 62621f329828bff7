"""The Inception Score: how sure a classifier is of each picture, and how evenly the pictures spread over its classes.

It looks at made pictures only and says nothing of their likeness to real ones; with a classifier of digits in place of
Inception it is often called the digit score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2i.errors import DataError
from i2i.evaluation.metrics.vectors import checked_vectors

SPLITS = 10
SEED = 2020
"""Of the order in which pictures are dealt into the splits: torch-fidelity's."""


@dataclass(frozen=True, kw_only=True)
class InceptionScore:
    """Mean over splits; between 1 and the number of classes."""

    value: float
    deviation: float
    """Population standard deviation over the splits."""
    splits: int


class RunningInceptionScore:
    """The score of pictures whose logits come in batches, in any order and on several processes, in float64.

    Of each split only the sums of p and of p log p are kept, from which the score follows exactly; besides, one number
    a picture says which split it belongs to. That is why the number of pictures is needed beforehand.

    Source: Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 4: exp(E_x KL(p(y|x) || p(y))), where p(y)
    is the mean over the split. Splits as in torch-fidelity: consecutive parts of the shuffled set.
    """

    def __init__(self, count: int, *, splits: int = SPLITS, seed: int | None = SEED) -> None:
        """
        Args:
            count: pictures there will be.
            splits: parts of nearly equal size, each scored by itself.
            seed: of the shuffle; None leaves the pictures in their order.

        Raises:
            DataError: fewer pictures than splits.
            ValueError: no split.
        """
        if splits < 1:
            raise ValueError(f"{splits} splits: needs at least 1")
        if count < splits:
            raise DataError(f"Inception Score: {count} pictures are fewer than the {splits} splits - give more")
        self.count, self.splits = count, splits
        order = np.arange(count) if seed is None else np.random.RandomState(seed).permutation(count)
        edges = np.arange(splits + 1) * count // splits
        self._expected = np.diff(edges)
        self._split_of = np.empty(count, np.uint16 if splits <= 1 << 16 else np.uint32)  # by picture
        self._split_of[order] = np.repeat(np.arange(splits), self._expected)
        self._seen = np.zeros(splits, np.int64)
        self._sum_p: np.ndarray | None = None  # (splits, classes)
        self._sum_p_log_p = np.zeros(splits)

    def add(self, first: int, logits: np.ndarray) -> None:
        """Take in `logits` (N, classes), float, unnormalized, of the pictures number `first` and following; N may be 0.

        Raises:
            DataError: a logit is not finite.
            ValueError: an array of the wrong shape, or numbers beyond the count.
        """
        logits = np.asarray(checked_vectors(logits, at_least=0, first_number=first), np.float64)
        if first < 0 or first + len(logits) > self.count:
            raise ValueError(f"pictures {first} to {first + len(logits)} of {self.count}: beyond the set")
        if self._sum_p is None:
            self._sum_p = np.zeros((self.splits, logits.shape[1]))
        if logits.shape[1] != self._sum_p.shape[1]:
            raise ValueError(f"{logits.shape[1]} classes, before {self._sum_p.shape[1]}; needs one number")
        shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
        exponentials = np.exp(shifted)
        normalizers = exponentials.sum(axis=1, keepdims=True)
        p = exponentials / normalizers  # (N, classes)
        p_log_p = (p * (shifted - np.log(normalizers))).sum(axis=1)  # (N,)
        split_of = self._split_of[first : first + len(logits)]
        for split in np.unique(split_of):
            chosen = split_of == split
            self._seen[split] += np.count_nonzero(chosen)
            self._sum_p[split] += p[chosen].sum(axis=0)
            self._sum_p_log_p[split] += p_log_p[chosen].sum()

    def merge(self, other: RunningInceptionScore) -> None:
        """Take in all that `other`, made with the same count, splits and seed, has seen.

        Raises:
            ValueError: made with others, or logits of another number of classes.
        """
        if not np.array_equal(self._split_of, other._split_of) or self.splits != other.splits:
            raise ValueError("Inception Scores of different sets cannot be merged; needs one count, splits and seed")
        if other._sum_p is None:
            return
        if self._sum_p is None:
            self._sum_p = np.zeros_like(other._sum_p)
        if other._sum_p.shape != self._sum_p.shape:
            raise ValueError(f"{other._sum_p.shape[1]} classes, before {self._sum_p.shape[1]}; needs one number")
        self._seen += other._seen
        self._sum_p += other._sum_p
        self._sum_p_log_p += other._sum_p_log_p

    def result(self) -> InceptionScore:
        """The score.

        Raises:
            DataError: other pictures came than were announced.
        """
        if self._sum_p is None or not np.array_equal(self._seen, self._expected):
            raise DataError(
                f"Inception Score: {int(self._seen.sum())} pictures came, {self.count} were announced - give each once"
            )
        marginal = self._sum_p / self._expected[:, None]  # (splits, classes)
        # Where no picture has any probability of a class, 0 log 0 is 0.
        logarithm = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0)
        divergence = self._sum_p_log_p / self._expected - (marginal * logarithm).sum(axis=1)
        # Rounding may leave it a little below 0.
        scores = np.exp(np.clip(divergence, 0, None))
        return InceptionScore(value=float(scores.mean()), deviation=float(scores.std()), splits=self.splits)


def inception_score(logits: np.ndarray, *, splits: int = SPLITS, seed: int | None = SEED) -> InceptionScore:
    """The score of `logits` (N, classes), float, unnormalized; see `RunningInceptionScore`.

    Raises:
        DataError: fewer pictures than splits, or a logit that is not finite.
        ValueError: not a two-dimensional array.
    """
    running = RunningInceptionScore(len(logits), splits=splits, seed=seed)
    running.add(0, logits)
    return running.result()
