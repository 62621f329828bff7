"""The vocabulary of one training step: what an engine hands to the loss mathematics, and what comes back.

An *update* is one named move of one player. The engine draws its pictures, calls its loss function with a
`StepContext`, differentiates the returned `Losses` and moves the player's weights. The loss mathematics never calls
``backward`` or an optimizer and never asks how many processes or micro-batches there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from i2i.core.randomness import SampleRandom


@dataclass(frozen=True)
class Progress:
    """How far a training has come; pipelines derive phases and probabilities from it, never from hidden state."""

    step: int
    """Completed steps."""
    images: int
    """Samples of the joined batch seen so far."""
    epoch: float
    """Images seen over images in an epoch."""


class Joined(Protocol):
    """Views over the joined batch of all processes; the identity when there is only one."""

    @property
    def processes(self) -> int:
        """How many processes share the joined batch."""
        ...

    def mean(self, value: Tensor) -> Tensor:
        """Mean of `value` over the processes, differentiable."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes in global sample order, (n, ...) to (processes * n, ...), differentiable."""
        ...

    def local(self, rows: Tensor) -> Tensor:
        """This process's rows out of gathered ones: the inverse of `gather`."""
        ...


class SingleProcess:
    """`Joined` for one process."""

    processes = 1

    def mean(self, value: Tensor) -> Tensor:
        return value

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def local(self, rows: Tensor) -> Tensor:
        return rows


@dataclass(frozen=True)
class StepContext:
    """What a loss function sees of one micro-batch."""

    progress: Progress
    batch: Mapping[str, Tensor]
    """What this update drew, by stream name: pictures (n, C, H, W), float, in [-1, 1], or labels (n,), int64."""
    random: SampleRandom
    """Draws keyed by seed, purpose and global sample index; its rows are those of `joined.gather`."""
    joined: Joined = field(default_factory=SingleProcess)
    carry: dict[str, Tensor] = field(default_factory=dict)
    """What an earlier update of the same step left for a later one; the producer says detached or attached."""
    _calls: _Calls = field(default_factory=lambda: _Calls())

    def number_call(self) -> int:
        """0, 1, 2, ... in the order of the calls: tells the draws of several layers and calls apart."""
        number = self._calls.numbered
        self._calls.numbered += 1
        return number

    def from_here(self) -> StepContext:
        """The same context for doing once more what comes next, with the same draws."""
        return dataclasses.replace(self, _calls=_Calls(self._calls.numbered))


@dataclass
class _Calls:
    """How many there were."""

    numbered: int = 0


@dataclass(frozen=True)
class Term:
    """One named summand of a loss."""

    value: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Losses:
    """Named loss terms of one update, and numbers worth watching that are not optimised."""

    terms: Mapping[str, Term]
    watched: Mapping[str, Tensor] = field(default_factory=dict)

    def total(self) -> Tensor:
        """Weighted sum of all terms, a scalar; the first term starts the sum so that no constant joins the graph."""
        summands = [term.value if term.weight == 1.0 else term.value * term.weight for term in self.terms.values()]
        total = summands[0]
        for summand in summands[1:]:
            total = total + summand
        return total


@dataclass(frozen=True)
class Update:
    """A named move of one player."""

    name: str
    player: str
    """Whose weights it moves; one optimizer a player."""
    losses: Callable[[StepContext], Losses]
    draws: Sequence[str] = ()
    """Streams from which it draws a fresh batch; an update without draws reuses what `carry` holds."""
    every: int = 1
    """Runs in steps whose number divides by this (lazy regularization)."""
    repeats: int = 1
    """Times it runs within a step, each with fresh draws (several discriminator steps)."""
    needs_graph_of: Sequence[str] = ()
    """Other players whose graph a later update goes back through, because `carry` holds something attached."""
    constrain: Callable[[], None] | None = None
    """Called after the optimizer step (weight clipping)."""
    audited: bool = False
    """Whether every loss term must move the player: their gradients are measured one by one now and then."""
    couples_batch: str = ""
    """What in its losses makes the samples of a batch depend on each other, so that the batch cannot be accumulated."""


_current: ContextVar[StepContext | None] = ContextVar("current_step_context", default=None)


@contextlib.contextmanager
def running(context: StepContext) -> Iterator[None]:
    """Make `context` visible to layers that couple the batch or draw at random (batch norm, dropout)."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def current_context() -> StepContext | None:
    """The context of the running update, or None outside training."""
    return _current.get()


def joined_mean(value: Tensor) -> Tensor:
    """Mean of `value` over the processes of the running update, differentiable; the identity outside training.

    For a mean inside a nonlinear function; a plain mean at the end of a loss needs nothing.
    """
    context = current_context()
    return value if context is None else context.joined.mean(value)


def call_together(network: Callable[[Tensor], Tensor], *inputs: Tensor, together: bool) -> tuple[Tensor, ...]:
    """Apply `network` to every input, as one batch where the mathematics allows.

    One call on a joined batch keeps the processor busier than several small ones. It is the same mathematics only
    when no layer couples the batch: with batch norm pass ``together=False``.
    """
    if not together:
        return tuple(network(images) for images in inputs)
    return torch.split(network(torch.cat(inputs)), [len(images) for images in inputs])
