"""Proof that an exported file computes what the model computes: both run on the same inputs and are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2i.core.randomness import generator_of
from i2i.inference.levels import rounded
from i2i.inference.runners import Runner
from i2i.pipelines.protocol import EntryPoint, PictureEntryPoint

BATCHES = (1, 3)
MOST_LEVELS = 1.0
"""Largest difference, of 255 grey levels, that passes."""
# Odd in both senses: mostly not what a network needs, and never a square.
_SIZES = ((7, 50), (17, 23), (33, 64), (64, 31))
_SEEDS = 5


@dataclass(frozen=True)
class ParityRow:
    """One comparison."""

    batch: int
    height: int
    width: int
    """Of the pictures that went in; of those that came out where latents went in."""
    levels: float
    """The largest difference between the two results, in grey levels of 255."""


def parity_sizes(size_multiple: int) -> tuple[tuple[int, int], ...]:
    """Five heights and widths to compare at; the last is padded by most of a multiple where the network needs one."""
    return (*_SIZES, (max(size_multiple, 48) + 1, 41))


def compare(
    reference: Runner,
    exported: Runner,
    entry_point: EntryPoint,
    *,
    uint8: bool = False,
    sizes: Sequence[tuple[int, int]] | None = None,
    batches: Sequence[int] = BATCHES,
) -> list[ParityRow]:
    """Run both on pictures of every size, or on five draws of latents, in every batch.

    Args:
        uint8: the exported file rounds to whole levels, and so the reference is rounded before they are compared.
        sizes: height and width of pictures; by default `parity_sizes`.
    """
    rows = []
    for batch, inputs in _inputs(entry_point, sizes, batches):
        expected, got = reference(*inputs), exported(*inputs)
        if expected.shape != got.shape:
            # Not one level can be right.
            difference = float("inf")
        elif uint8:
            difference = float((rounded(got) - rounded(expected)).abs().max())
        else:
            difference = float((got - expected).abs().max()) * 127.5
        shown = inputs[0] if isinstance(entry_point, PictureEntryPoint) else expected
        assert shown is not None
        # NaN would pass every comparison with a limit.
        levels = difference if difference == difference else float("inf")
        rows.append(ParityRow(batch, int(shown.shape[-2]), int(shown.shape[-1]), levels))
    return rows


def _inputs(
    entry_point: EntryPoint, sizes: Sequence[tuple[int, int]] | None, batches: Sequence[int]
) -> Iterator[tuple[int, tuple[Tensor | None, ...]]]:
    if isinstance(entry_point, PictureEntryPoint):
        for height, width in sizes or parity_sizes(entry_point.generator.size_multiple):
            for batch in batches:
                yield batch, (parity_pictures(batch, height, width),)
        return
    for seed in range(_SEEDS):
        for batch in batches:
            drawn = generator_of(seed, "parity", batch)
            latents = torch.randn(batch, entry_point.generator.latent, generator=drawn)
            classes = entry_point.classes
            yield batch, (latents, torch.randint(classes, (batch,), generator=drawn) if classes else None)


def parity_pictures(batch: int, height: int, width: int) -> Tensor:
    """Pictures (batch, 3, height, width) of 8-bit levels in [-1, 1]: slopes and noise, each channel its own."""
    drawn = generator_of(height * 65536 + width, "parity", batch)
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    slope = torch.rand(batch, 3, 2, 1, 1, generator=drawn)
    values = 0.6 * (slope[:, :, 0] * down + slope[:, :, 1] * across)
    values = values + 0.4 * torch.rand(batch, 3, height, width, generator=drawn)
    return (values.clamp(0, 1) * 255).round() / 127.5 - 1.0
