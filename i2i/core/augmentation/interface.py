"""What a pipeline knows of an augmentation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress


class Augmentation(Protocol):
    """Random changes to pictures that a discriminator is about to judge."""

    def prepare(self, progress: Progress) -> None:
        """Set what changes in the course of a training; call it once before the updates of each step."""
        ...

    def augment(self, images: Tensor, random: SampleRandom, purpose: str) -> Tensor:
        """Pictures (own rows, C, H, W) in [-1, 1] to changed ones of the same shape, dtype and memory layout.

        What comes back may leave the range. It is differentiable with respect to `images`, as often as wanted.
        `purpose` tells the draws of several calls of one update apart (real and generated pictures, say).
        """
        ...


@contextlib.contextmanager
def exact_arithmetic(images: Tensor) -> Iterator[Tensor]:
    """The pictures in at least float32, and no automatic narrow format while they are worked on."""
    with torch.autocast(images.device.type, enabled=False):
        yield images if images.dtype.itemsize >= 4 else images.float()


def like(result: Tensor, images: Tensor) -> Tensor:
    """`result` in the dtype and memory layout of `images`."""
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return result.to(images.dtype).contiguous(memory_format=layout)
