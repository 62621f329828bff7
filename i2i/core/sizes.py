"""Sizes of square pictures that a family of networks can make or judge."""

from __future__ import annotations

from collections.abc import Sequence

from i2i.core.image_shape import ImageShape


def unfit_size(family: str, shape: ImageShape, sizes: Sequence[int]) -> str | None:
    """A phrase that names the nearest of `sizes` when the pictures have another one, else None."""
    if shape.pixels in sizes:
        return None
    below = max((size for size in sizes if size < shape.pixels), default=None)
    above = min((size for size in sizes if size > shape.pixels), default=None)
    nearest = " or ".join(str(size) for size in (below, above) if size is not None)
    return f"{family} networks have no size of {shape.pixels} x {shape.pixels} pixels; nearest: {nearest}"


def doublings(pixels: int) -> tuple[int, int]:
    """Side of the smallest map and how often it doubles: 28 is 7 doubled twice, powers of two start from 4."""
    smallest = 7 if pixels == 28 else 4
    count = (pixels // smallest).bit_length() - 1
    assert smallest << count == pixels, "a size that unfit_size lets through"
    return smallest, count


def refuse(problem: str | None) -> None:
    """Raise a problem, if there is one, as ValueError."""
    if problem is not None:
        raise ValueError(problem)


MOST_REPEATS = 1000
"""Of one part of a network."""


def check_repeats(name: str, count: int, most: int = MOST_REPEATS) -> None:
    """Refuse a number of equal parts that nobody means: they would fill the memory one by one before anything fails.

    Raises:
        ValueError: it is larger than `most`.
    """
    if count > most:
        raise ValueError(f"{name} is {count}; needs at most {most}")
