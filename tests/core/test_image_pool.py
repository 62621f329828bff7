"""The pool behaves as the reference implementation's does, and is a function of the samples it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from i2i.core.image_pool import ImagePool
from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress, StepContext

REFERENCE = Path(__file__).parents[1] / "parity" / "cases" / "11_image_pool"
CAPACITY, QUERIES, SEEDS = 50, 200, 100


def context(first: int, count: int, seed: int = 0) -> StepContext:
    return StepContext(Progress(0, 0, 0.0), {}, SampleRandom(seed, range(first, first + count)))


def pictures(first: int, count: int) -> Tensor:
    """Pictures of one pixel that carry their number."""
    return torch.arange(first, first + count, dtype=torch.float32).reshape(-1, 1, 1, 1)


def handed_back(seed: int, *, batch: int = QUERIES, capacity: int = CAPACITY) -> list[int]:
    """Numbers of the pictures that come back for pictures 0, 1, 2, ..."""
    pool = ImagePool(capacity, "pool")
    returned = [pool.query(pictures(first, batch), context(first, batch, seed)) for first in range(0, QUERIES, batch)]
    return torch.cat(returned).flatten().int().tolist()


@pytest.fixture(scope="module")
def sequences() -> list[list[int]]:
    return [handed_back(seed) for seed in range(SEEDS)]


def test_first_pictures_come_back_themselves(sequences: list[list[int]]) -> None:
    for sequence in sequences:
        assert sequence[:CAPACITY] == list(range(CAPACITY))


def test_only_pictures_of_the_past_come_back_and_none_twice_from_the_pool(sequences: list[list[int]]) -> None:
    for sequence in sequences:
        swapped = [back for query, back in enumerate(sequence) if back != query]
        assert swapped and all(back < query for query, back in enumerate(sequence) if back != query)
        assert len(set(swapped)) == len(swapped)
        # One that came back at once was not kept, so it never comes back later.
        passed = {query for query, back in enumerate(sequence) if back == query and query >= CAPACITY}
        assert passed.isdisjoint(swapped)


def test_as_many_are_swapped_as_in_the_reference(sequences: list[list[int]]) -> None:
    statistics = json.loads((REFERENCE / "case.json").read_text())["statistics"]
    fractions = [
        sum(back != query for query, back in enumerate(sequence)) / (QUERIES - CAPACITY) for sequence in sequences
    ]
    assert all(abs(fraction - 0.5) < 4.5 * 0.0408 for fraction in fractions)
    standard_error = statistics["swap_fraction_std"] * (1 / SEEDS + 1 / 400) ** 0.5
    assert abs(sum(fractions) / SEEDS - statistics["swap_fraction_mean"]) < 4 * standard_error


def mean_age(sequence: list[int]) -> float:
    """How many queries ago a picture that comes out of the pool went in."""
    ages = [query - back for query, back in enumerate(sequence) if back != query]
    return sum(ages) / len(ages)


def test_pictures_are_as_old_as_in_the_reference(sequences: list[list[int]]) -> None:
    statistics = json.loads((REFERENCE / "case.json").read_text())["statistics"]
    theirs = load_file(REFERENCE / "tensors.safetensors")
    # The definition of age is theirs: it gives their recorded numbers on their recorded sequences.
    for sequence, recorded in zip(theirs["out/sequences"].tolist(), theirs["out/mean_age_per_seed"], strict=False):
        assert mean_age(sequence) == pytest.approx(float(recorded))
    standard_error = statistics["mean_age_std"] * (1 / SEEDS + 1 / 400) ** 0.5
    ours = sum(mean_age(sequence) for sequence in sequences) / SEEDS
    assert abs(ours - statistics["mean_age_mean"]) < 4 * standard_error


@pytest.mark.parametrize("batch", [1, 4])
def test_draws_belong_to_samples_not_to_batches(batch: int, sequences: list[list[int]]) -> None:
    assert handed_back(5, batch=batch) == sequences[5]


def test_pools_of_another_purpose_draw_otherwise() -> None:
    first, second = ImagePool(2, "pool_a"), ImagePool(2, "pool_b")
    arguments = pictures(0, 40), context(0, 40)
    assert not torch.equal(first.query(*arguments), second.query(*arguments))


@pytest.mark.parametrize("capacity", [0, 3])
def test_nothing_that_comes_back_carries_a_graph(capacity: int) -> None:
    images = torch.randn(4, 3, 2, 2, requires_grad=True)
    returned = ImagePool(capacity, "pool").query(images, context(0, 4))
    assert not returned.requires_grad
    if capacity == 0:
        assert torch.equal(returned, images)


def test_kept_pictures_are_copies() -> None:
    """What a caller does to its pictures afterwards, in place, must not reach the history."""
    pool = ImagePool(4, "pool")
    images = pictures(0, 4)
    returned = pool.query(images, context(0, 4))
    images.zero_()
    returned.fill_(-1)
    assert pool.pictures is not None
    assert pool.pictures.flatten().tolist() == [0, 1, 2, 3]


def test_state_round_trip_goes_on_the_same() -> None:
    original = ImagePool(3, "pool")
    original.query(pictures(0, 10), context(0, 10))
    restored = ImagePool(3, "pool")
    restored.load_state({name: tensor.clone() for name, tensor in original.state().items()})
    later = pictures(10, 30), context(10, 30)
    expected = original.query(*later)
    assert torch.equal(restored.query(*later), expected)
    assert not torch.equal(expected, later[0])


def test_state_of_a_fresh_pool_empties_a_used_one() -> None:
    used = ImagePool(3, "pool")
    used.query(pictures(0, 3), context(0, 3))
    used.load_state(ImagePool(3, "pool").state())
    assert used.pictures is None


def test_dtype_of_the_pictures_is_kept() -> None:
    pool = ImagePool(1, "pool")
    assert pool.query(pictures(0, 8).bfloat16(), context(0, 8)).dtype == torch.bfloat16
    assert pool.state()["pictures"].dtype == torch.bfloat16


@pytest.mark.parametrize("before", [0, 1, 2, 3, 7], ids=lambda before: f"after {before}")
def test_rolling_back_undoes_every_query_since(before: int) -> None:
    """Empty, while it fills, and full; and what comes afterwards is what would have come then."""
    pool, expected = ImagePool(3, "pool"), ImagePool(3, "pool")
    for one in (pool, expected):
        if before:
            one.query(pictures(0, before), context(0, before))
    pool.begin()
    for first in (before, before + 2):
        pool.query(pictures(100 + first, 2), context(first, 2, seed=3))
    assert pool.pictures is not None
    pool.roll_back()
    kept = expected.pictures
    assert (pool.pictures is None) == (kept is None)
    assert kept is None or torch.equal(pool.pictures, kept)
    later = pictures(before, 20), context(before, 20)
    assert torch.equal(pool.query(*later), expected.query(*later))


def test_rolling_back_swaps_that_happened_twice_in_one_place() -> None:
    pool = ImagePool(1, "pool")
    pool.query(pictures(0, 1), context(0, 1))
    pool.begin()
    returned = pool.query(pictures(1, 30), context(1, 30)).flatten().int().tolist()
    assert sum(back != query for query, back in enumerate(returned, start=1)) > 2
    pool.roll_back()
    assert pool.pictures is not None and pool.pictures.flatten().tolist() == [0]
