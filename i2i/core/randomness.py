"""Random draws that depend on (seed, purpose, global sample index) and on nothing else.

A draw is made for a sample, not for a batch, so batch size, ranks, micro-batches, workers and resuming do not change
it, and there is no generator state to save.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from any key; equal keys give equal seeds on every machine and Python."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator_of(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator seeded by `seed_of(*parts)`."""
    return torch.Generator(device).manual_seed(seed_of(*parts))


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """The values on the device; on the way to a GPU the host does not wait for what that is still computing."""
    if torch.device(device).type == "cuda" and not values.is_cuda:
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@dataclass(frozen=True)
class SampleRandom:
    """Keyed draws for the rows of a batch.

    `rows` are the global sample indices of the joined micro-batch in order; `own` selects this process's rows.
    """

    seed: int
    rows: Sequence[int]
    own: slice = field(default_factory=lambda: slice(None))
    device: torch.device | str = "cpu"

    def uniform(self, purpose: str, count: int) -> Tensor:
        """(joined rows, count) float64 in [0, 1), on the CPU, equal on every process: for decisions taken together."""
        return self._uniform(purpose, count, self.rows)

    def own_uniform(self, purpose: str, count: int) -> Tensor:
        """(own rows, count) float64 in [0, 1), on the CPU: the own rows of `uniform`, drawn without the others."""
        return self._uniform(purpose, count, self.rows[self.own])

    def _uniform(self, purpose: str, count: int, rows: Sequence[int]) -> Tensor:
        return torch.stack(
            [torch.rand(count, generator=generator_of(self.seed, purpose, row), dtype=torch.float64) for row in rows]
        )

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """(own rows, *shape) float32 standard normal draws on the batch's device."""
        own = self.rows[self.own]
        draws = [torch.randn(*shape, generator=generator_of(self.seed, purpose, row)) for row in own]
        return to_device(torch.stack(draws), self.device)

    def keep_mask(self, purpose: str, rows: int, shape: Sequence[int], keep_probability: float) -> Tensor:
        """(rows, *shape) bool, True with `keep_probability`: a dropout mask.

        A call that joins several inputs holds each own row more than once; the repetitions get draws of their own.
        """
        own = self.rows[self.own]
        masks = []
        for row in range(rows):
            repetition, index = divmod(row, len(own))
            generator = generator_of(self.seed, purpose, repetition, own[index], device=self.device)
            masks.append(torch.rand(*shape, generator=generator, device=self.device) < keep_probability)
        return torch.stack(masks)
