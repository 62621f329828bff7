"""Keyed numbers: the same everywhere and for ever, and fair."""

from __future__ import annotations

import numpy as np
import pytest

from i2i.data.keyed import below, keyed_permutation, keyed_words


def test_words_are_the_same_on_every_machine() -> None:
    assert keyed_words("order", 0, "a", 1) == (
        13383253923204586337,
        8833312052814751499,
        11852577913532830843,
        15023231143144375324,
    )
    assert keyed_permutation(8, "order", 0, "a", 1).tolist() == [4, 1, 2, 7, 3, 5, 6, 0]


def test_every_part_of_the_key_counts() -> None:
    keys: list[tuple[int | str, ...]] = [(1, 2), (2, 1), (12,), ("1", 2), ("ab", "c"), ("a", "bc"), (1, 2, 0)]
    assert len({keyed_words(*key) for key in keys}) == len(keys)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 31])
def test_below_is_uniform(limit: int) -> None:
    draws = np.array([below(keyed_words("uniform", index)[0], limit) for index in range(200 * limit)])
    counts = np.bincount(draws, minlength=limit)
    assert len(counts) == limit
    assert counts.min() > 140
    assert counts.max() < 260


def test_permutation_holds_every_index_once_and_cannot_be_spoilt() -> None:
    order = keyed_permutation(1000, "key")
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != list(range(1000))
    assert order.tolist() != keyed_permutation(1000, "other key").tolist()
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 1
