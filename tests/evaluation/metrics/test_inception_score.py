from __future__ import annotations

import itertools
import math
import pickle
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2i.errors import DataError
from i2i.evaluation.metrics.inception_score import RunningInceptionScore, inception_score


def logits(seed: int, count: int = 50, classes: int = 7) -> np.ndarray:
    return 3 * np.random.default_rng(seed).normal(size=(count, classes))


def test_equal_pictures_score_one() -> None:
    result = inception_score(np.tile(logits(0, 1), (40, 1)))
    assert result.value == pytest.approx(1, abs=1e-14)
    assert result.deviation == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("certain", [60.0, 5000.0])
def test_certain_and_even_scores_the_number_of_classes(certain: float) -> None:
    # 5000 takes the other classes' probabilities to exactly 0.
    rows = np.tile(certain * np.eye(10), (20, 1))
    result = inception_score(rows, splits=4, seed=None)
    assert result.value == pytest.approx(10, rel=1e-12)
    assert result.deviation == pytest.approx(0, abs=1e-10)


def test_a_class_nobody_is_counted_in() -> None:
    # Two of three classes evenly: the score is 2, and 0 log 0 no NaN.
    rows = np.tile(np.array([[5000.0, 0, 0], [0, 5000.0, 0]]), (10, 1))
    assert inception_score(rows, splits=2, seed=None).value == pytest.approx(2, rel=1e-12)


def test_equals_its_definition() -> None:
    rows = logits(1, 43)
    p = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    p = p[np.random.RandomState(2020).permutation(43)]
    scores = []
    for split in range(10):
        part = p[split * 43 // 10 : (split + 1) * 43 // 10]
        scores.append(np.exp((part * np.log(part / part.mean(0))).sum(1).mean()))
    result = inception_score(rows)
    assert result.value == pytest.approx(np.mean(scores), rel=1e-12)
    assert result.deviation == pytest.approx(np.std(scores), rel=1e-12)
    assert result.splits == 10


@given(cuts=st.lists(st.integers(0, 50), max_size=6), order=st.randoms(use_true_random=False))
def test_batches_ranks_and_their_order_do_not_matter(cuts: list[int], order: Random) -> None:
    rows = logits(2)
    edges = [0, *sorted(cuts), 50]
    parts = list(itertools.pairwise(edges))
    order.shuffle(parts)
    ranks = [RunningInceptionScore(50) for _ in range(3)]
    for index, (first, last) in enumerate(parts):
        ranks[index % 3].add(first, rows[first:last])
    merged = RunningInceptionScore(50)
    for rank in ranks:
        # As they travel from process to process.
        merged.merge(pickle.loads(pickle.dumps(rank)))
    expected = inception_score(rows)
    assert merged.result().value == pytest.approx(expected.value, rel=1e-12)
    assert merged.result().deviation == pytest.approx(expected.deviation, rel=1e-9)


def test_memory_is_no_more_than_a_number_a_picture() -> None:
    running = RunningInceptionScore(10_000)
    running.add(0, np.zeros((1000, 1008), np.float32))
    held = len(pickle.dumps(running))
    running.add(1000, np.zeros((9000, 1008), np.float32))
    assert len(pickle.dumps(running)) < held + 100
    assert held < 2 * 10_000 + 10 * 1008 * 8 + 5000


def test_a_picture_missing_or_twice() -> None:
    running = RunningInceptionScore(20, splits=2)
    with pytest.raises(DataError, match="0 pictures came, 20 were announced"):
        running.result()
    running.add(0, logits(3, 10))
    with pytest.raises(DataError, match="10 pictures came, 20 were announced"):
        running.result()
    running.add(0, logits(3, 10))
    with pytest.raises(DataError, match="20 pictures came, 20 were announced - give each once"):
        running.result()
    with pytest.raises(ValueError, match="beyond the set"):
        running.add(11, logits(3, 10))


def test_wrong_sets() -> None:
    with pytest.raises(DataError, match="9 pictures are fewer than the 10 splits"):
        inception_score(logits(4, 9))
    with pytest.raises(ValueError, match="0 splits"):
        inception_score(logits(4), splits=0)
    running = RunningInceptionScore(20, splits=2)
    with pytest.raises(ValueError, match="cannot be merged"):
        running.merge(RunningInceptionScore(20, splits=2, seed=1))
    running.add(0, logits(4, 10))
    with pytest.raises(ValueError, match="6 classes, before 7"):
        running.add(10, logits(4, 10, classes=6))
    broken = logits(5, 5)
    broken[2, 1] = math.nan
    with pytest.raises(DataError, match="number 12 "):
        running.add(10, broken)
