"""What an engine knows of a training method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from i2i.core.generators import GeneratorSettings
from i2i.core.step import Progress, Update


@dataclass(frozen=True)
class EntryPoint:
    """One thing that a trained model can do for its user: picture in [-1, 1] to picture in [-1, 1]."""

    network: str
    """Key of the network in `Pipeline.networks`."""
    generator: GeneratorSettings
    """How to build it again."""
    domains: tuple[str, str] | None = None
    """Streams of which the input and the output look like pictures, if the method has such."""
    scale: int = 1
    """Output side over input side."""


class Stateful(Protocol):
    """Something beside networks that a resumed training needs back, as tensors."""

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...


Sheet = Sequence[tuple[str, Tensor]]
"""Columns of a contact sheet: label and pictures (N, 3, H, W) in [-1, 1]."""


class Pipeline(Protocol):
    """A relation between images: which networks play, and which updates train them.

    All networks exist from construction on, so optimizers, ranks and checkpoints never meet a newborn parameter. A
    pipeline calls neither ``backward`` nor an optimizer and opens no file.
    """

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Every network by name."""
        ...

    @property
    def players(self) -> Mapping[str, Sequence[str]]:
        """Player name to the networks that its one optimizer moves."""
        ...

    @property
    def averaged(self) -> Sequence[str]:
        """Networks of which a running average (EMA) is kept for inference."""
        ...

    @property
    def streams(self) -> Sequence[str]:
        """Names of the data streams that the updates draw from."""
        ...

    @property
    def memories(self) -> Mapping[str, Stateful]:
        """State beside the networks that a checkpoint must hold."""
        ...

    @property
    def entry_points(self) -> Mapping[str, EntryPoint]:
        """What the trained model offers, by name."""
        ...

    def initialize(self, seed: int) -> None:
        """Give all networks their initial weights; equal seeds give equal weights."""
        ...

    def updates(self, progress: Progress) -> Sequence[Update]:
        """The updates of the next step, in order."""
        ...

    def show(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet]:
        """Contact sheets made by `networks` (live or averaged) from fixed pictures of every stream."""
        ...

    def consistency(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Tensor:
        """A score that needs no ground truth, one number a picture, lower is better: the fallback for validation."""
        ...
