"""The history of generated pictures from which a discriminator learns."""

from __future__ import annotations

import torch
from torch import Tensor

from i2i.core.step import StepContext


class ImagePool:
    """Keeps up to `capacity` generated pictures and mixes old ones into what the discriminator sees.

    While it fills, every picture is kept and handed back. Once full, each query hands back, with probability one
    half, a uniformly chosen kept picture, which the new one replaces; otherwise the new picture, which is not kept.

    Source: Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828, section 2.3; CycleGAN (Zhu et al. 2017),
    section 4. The pool is replicated: every process queries it with the joined batch and takes its own rows.
    """

    def __init__(self, capacity: int, purpose: str) -> None:
        """`purpose` keys the draws, so that two pools of one training differ."""
        self.capacity = capacity
        self.purpose = purpose
        self.pictures: Tensor | None = None
        """(kept so far <= capacity, C, H, W), detached."""
        self._kept_before: int | None = None
        self._replaced: list[tuple[int, Tensor]] | None = None

    def begin(self) -> None:
        """From here on write down what is replaced, for `roll_back`: a batch at most, where a copy is all of it."""
        self._kept_before = None if self.pictures is None else len(self.pictures)
        self._replaced = []

    def roll_back(self) -> None:
        """Be again what `begin` met."""
        assert self._replaced is not None, "begin comes first"
        if self.pictures is not None:
            for index, picture in reversed(self._replaced):
                self.pictures[index] = picture
            self.pictures = None if self._kept_before is None else self.pictures[: self._kept_before]
        self._replaced = []

    def query(self, images: Tensor, context: StepContext) -> Tensor:
        """Swap (n, C, H, W) generated pictures against the history; what comes back carries no graph."""
        if self.capacity == 0:
            return images.detach()
        joined = context.joined.gather(images.detach())
        draws = context.random.uniform(self.purpose, 2).tolist()
        returned = [self._swap(image, swap, choice) for image, (swap, choice) in zip(joined, draws, strict=True)]
        return context.joined.local(torch.stack(returned)).contiguous(memory_format=torch.channels_last)

    def _swap(self, image: Tensor, swap: float, choice: float) -> Tensor:
        if self.pictures is None:
            self.pictures = image.new_empty((0, *image.shape))
        if len(self.pictures) < self.capacity:
            self.pictures = torch.cat([self.pictures, _if_finite(image, torch.zeros_like(image))[None]])
            return image
        if swap < 0.5:
            return image
        index = int(choice * self.capacity)
        kept = self.pictures[index].clone()
        if self._replaced is not None:
            self._replaced.append((index, kept))
        self.pictures[index] = _if_finite(image, kept)
        return kept

    def state(self) -> dict[str, Tensor]:
        """The kept pictures, for a checkpoint; empty before the first query."""
        return {} if self.pictures is None else {"pictures": self.pictures}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` gave."""
        self.pictures = state.get("pictures")
        self._replaced = None


def _if_finite(image: Tensor, otherwise: Tensor) -> Tensor:
    """What the pool keeps of `image`: a broken one would break an update some day, for no reason to be seen then."""
    return torch.where(torch.isfinite(image).all(), image, otherwise)
