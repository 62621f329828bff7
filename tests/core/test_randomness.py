"""Draws are a function of seed, purpose and sample, on every machine and however the batch is split."""

from __future__ import annotations

import pytest
import torch

from i2i.core.randomness import SampleRandom, generator_of, seed_of


def test_seeds_are_the_same_on_every_machine_and_for_ever() -> None:
    """A changed value would change every training that is resumed with a newer version."""
    assert seed_of(1, "pool_a", 7) == 658732995507978000
    assert torch.rand(1, generator=generator_of(1, "pool_a", 7), dtype=torch.float64).item() == pytest.approx(
        0.625893179798231, abs=1e-15
    )


def test_seeds_tell_keys_apart() -> None:
    keys = [(1,), ("1",), (1, 2), (12,), ("1", "2"), ("12",), (2, 1), ("a", 1), ("a", 1, 0), ()]
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_seeds_fit_every_generator() -> None:
    assert all(0 <= seed_of("key", number) < 2**63 for number in range(200))


@pytest.mark.parametrize("purpose", ["uniform", "normal", "keep_mask"])
def test_rows_do_not_depend_on_the_batch_around_them(purpose: str) -> None:
    def draw(rows: range) -> torch.Tensor:
        random = SampleRandom(3, rows)
        if purpose == "uniform":
            return random.uniform("p", 5)
        if purpose == "normal":
            return random.normal("p", (2, 3))
        return random.keep_mask("p", len(rows), (2, 30), 0.5)

    whole = draw(range(10, 16))
    split = torch.cat([draw(range(10, 11)), draw(range(11, 14)), draw(range(14, 16))])
    assert torch.equal(whole, split)
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 6


def test_a_process_draws_its_own_rows_of_the_joined_batch() -> None:
    whole = SampleRandom(3, range(6)).normal("noise", (4,))
    parts = [SampleRandom(3, range(6), slice(start, start + 2)).normal("noise", (4,)) for start in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), whole)


def test_decisions_taken_together_cover_all_rows_on_every_process() -> None:
    first = SampleRandom(3, range(6), slice(0, 3)).uniform("pool", 2)
    second = SampleRandom(3, range(6), slice(3, 6)).uniform("pool", 2)
    assert first.shape == (6, 2) and torch.equal(first, second)


def test_own_rows_of_uniform_draws() -> None:
    whole = SampleRandom(3, range(6)).uniform("p", 4)
    parts = [SampleRandom(3, range(6), slice(start, start + 2)).own_uniform("p", 4) for start in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(("seed", "purpose"), [(4, "a"), (3, "b")])
def test_another_seed_or_purpose_gives_other_draws(seed: int, purpose: str) -> None:
    assert not torch.equal(
        SampleRandom(3, range(2)).normal("a", (8,)), SampleRandom(seed, range(2)).normal(purpose, (8,))
    )


def test_uniform_draws_are_uniform_and_normal_ones_normal() -> None:
    random = SampleRandom(0, range(200))
    uniform, normal = random.uniform("u", 20), random.normal("n", (20,)).double()
    assert uniform.dtype == torch.float64 and uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 * (1 / 12 / 4000) ** 0.5
    assert abs(normal.mean()) < 4 / 4000**0.5
    assert abs(normal.var() - 1) < 4 * (2 / 4000) ** 0.5
