from __future__ import annotations

import math

import numpy as np
import pytest

from i2i.errors import DataError
from i2i.evaluation.metrics.vectors import ROWS_PER_BLOCK, blocks, checked_pair, checked_vectors


def test_blocks_hold_every_row_once_in_float64() -> None:
    vectors = np.arange(10, dtype=np.float32).reshape(5, 2)
    parts = list(blocks(vectors, rows=2))
    assert [start for start, _ in parts] == [0, 2, 4]
    assert all(part.dtype == np.float64 for _, part in parts)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), vectors)


def test_good_vectors_come_back_uncopied() -> None:
    vectors = np.ones((3, 2), np.float32)
    assert checked_vectors(vectors, at_least=3) is vectors


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_not_finite_behind_the_first_block(value: float) -> None:
    vectors = np.zeros((ROWS_PER_BLOCK + 5, 2), np.float32)
    vectors[ROWS_PER_BLOCK + 3, 1] = value
    vectors[ROWS_PER_BLOCK + 4, 0] = value
    with pytest.raises(DataError, match=rf"2 of {len(vectors)} hold NaN.*number {100 + ROWS_PER_BLOCK + 3} "):
        checked_vectors(vectors, first_number=100)


def test_shapes_and_numbers() -> None:
    with pytest.raises(DataError, match=r"2 feature vector.*at least 3"):
        checked_vectors(np.zeros((2, 4)), at_least=3)
    for shape in ((4,), (4, 0), (2, 2, 2)):
        with pytest.raises(ValueError, match=r"\(vectors, width\)"):
            checked_vectors(np.zeros(shape))
    with pytest.raises(ValueError, match="4 and 5 wide"):
        checked_pair(np.zeros((3, 4)), np.zeros((3, 5)))
