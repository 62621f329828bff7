"""The shape of the pictures that a whole-picture method makes and judges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageShape:
    """Square pictures: `channels` (1 grey, 3 colour) by `pixels` by `pixels`."""

    channels: int
    pixels: int

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}; needs 1 (grey) or 3 (colour)")
        if self.pixels < 1:
            raise ValueError(f"pixels is {self.pixels}; needs at least 1")

    def __str__(self) -> str:
        return f"{self.pixels} x {self.pixels} pixels, {'grey' if self.channels == 1 else 'colour'}"
