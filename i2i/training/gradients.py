"""Gradients of an update, in as many micro-batches as the memory asks for.

Where memory runs out the update begins again from where it stood, with micro-batches of half the size: weights move
only when all gradients are there, and all else that an update touches can be undone. Nothing is drawn twice.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from i2i.core.step import Losses, StepContext, Update, running
from i2i.errors import OutOfMemoryError
from i2i.inference.runtime import is_out_of_memory
from i2i.pipelines.protocol import Pipeline
from i2i.training.distributed import Processes
from i2i.training.loss_audit import LossAudit
from i2i.training.micro_batches import Batches, divided, finer_split
from i2i.training.player import Player
from i2i.training.precision import Precision
from i2i.training.settings import TrainingSettings

Kept = Sequence[tuple[Tensor, Tensor]]
"""Buffers, each beside a copy of what it was before the update."""


class Undoable(Protocol):
    """What an update changes before the weights move."""

    def begin(self) -> None: ...

    def roll_back(self) -> None: ...


@dataclass(frozen=True)
class Work:
    """One update to differentiate, or one repetition of it."""

    update: Update
    batches: Batches
    context: Callable[[Mapping[str, Tensor], dict[str, Tensor], int], StepContext]
    """From a micro-batch, what is carried beside it, and its number."""


@dataclass
class StepUnderway:
    """What the updates of one step have in common."""

    number: int
    """Of the step, from 1 on."""
    updates: Sequence[Update]
    carries: list[dict[str, Tensor]]
    """What earlier updates left for later ones, a micro-batch each."""
    attached: dict[str, Work] = field(default_factory=dict)
    """Whose graph later updates go back through, by name of the update."""
    is_stale: bool = False
    """Whether what these left must be made anew: the graph of several samples cannot be split."""
    _before: tuple[list[dict[str, Tensor]], bool] = field(default_factory=lambda: ([], False))

    def begin(self) -> None:
        """Remember what is carried, for `roll_back`."""
        self._before = [dict(carry) for carry in self.carries], self.is_stale

    def roll_back(self) -> None:
        """Carry what `begin` met."""
        carries, self.is_stale = self._before
        self.carries = [dict(carry) for carry in carries]

    def split(self, micro_batches: int) -> None:
        """Go on with so many micro-batches."""
        self.is_stale |= any(values.requires_grad for carry in self.carries for values in carry.values())
        detached = [
            {name: values for name, values in carry.items() if not values.requires_grad} for carry in self.carries
        ]
        self.carries = divided(detached, micro_batches)


class Gradients:
    """Leaves the gradients of an update on the weights of its player."""

    def __init__(
        self,
        pipeline: Pipeline,
        settings: TrainingSettings,
        precision: Precision,
        players: Mapping[str, Player],
        processes: Processes,
    ) -> None:
        self.pipeline, self.settings, self.precision = pipeline, settings, precision
        self.players, self.processes = players, processes
        self.audit = LossAudit(settings.loss_audit)
        self.micro_batches = settings.accumulate
        """Parts that a batch goes through in; more than the settings say once memory has run out."""

    def take(self, work: Work, step: StepUnderway, losses: list[Losses], buffers: Kept) -> Tensor:
        """Differentiate all micro-batches, appending the losses of each; gives whether all were finite, on the device.

        Raises:
            OutOfMemoryError: memory is too short for as few samples at a time as are possible.
        """
        while True:
            footing = _Footing(buffers, losses, [*self.pipeline.memories.values(), self.audit, step])
            try:
                if step.is_stale:
                    self._make_again(step, buffers, losses)
                finite = self._add(work, step, losses)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = error.with_traceback(None)
            else:
                if work.update.needs_graph_of:
                    step.attached[work.update.name] = work
                return finite
            # Out of the handler: the error held on to all that the attempt had computed.
            footing.go_back()
            self._forget_gradients()
            work = self._split(work, step, reason)

    def _add(self, work: Work, step: StepUnderway, losses: list[Losses]) -> Tensor:
        """One attempt."""
        update, player = work.update, self.players[work.update.player]
        self._set_trainable(update)
        finite = torch.ones((), dtype=torch.bool, device=self.precision.device)
        for number, (batch, carry) in enumerate(zip(work.batches, step.carries, strict=True)):
            context = work.context(batch, carry, number)
            with running(context), self.precision.computing():
                found = update.losses(context)
                total = found.total()
            if number == 0 and self.audit.due(update, step.number - 1):
                self.audit.measure(update, found, player.parameters.values(), player.scaler, self.processes)
            player.scaler.scale(total / len(work.batches)).backward()
            finite = finite & torch.isfinite(total.detach())
            losses.append(_detached(found))
        return finite

    def _make_again(self, step: StepUnderway, buffers: Kept, losses: list[Losses]) -> None:
        """What earlier updates of the step left attached, from their own batches; nothing else of them counts."""
        footing = _Footing(buffers, losses, [*self.pipeline.memories.values(), self.audit])
        for work in step.attached.values():
            self._set_trainable(work.update)
            for number, (batch, carry) in enumerate(
                zip(divided(work.batches, self.micro_batches), step.carries, strict=True)
            ):
                context = work.context(batch, carry, number)
                with running(context), self.precision.computing():
                    work.update.losses(context)
        footing.go_back()
        step.is_stale = False

    def _split(self, work: Work, step: StepUnderway, reason: Exception) -> Work:
        """The same work in smaller micro-batches.

        Raises:
            OutOfMemoryError: there are none.
        """
        try:
            self.micro_batches = finer_split(
                self.micro_batches, step.updates, self.pipeline, self.settings, self.processes
            )
        except OutOfMemoryError as error:
            raise OutOfMemoryError(f"step {step.number}: {error}") from reason
        step.split(self.micro_batches)
        return replace(work, batches=divided(work.batches, self.micro_batches))

    def _set_trainable(self, update: Update) -> None:
        for name, player in self.players.items():
            player.set_trainable(name == update.player or name in update.needs_graph_of)

    def _forget_gradients(self) -> None:
        for player in self.players.values():
            player.optimizer.zero_grad(set_to_none=True)
        # What an attempt leaves in circles is memory, too.
        gc.collect()
        if self.precision.device.type == "cuda":
            torch.cuda.empty_cache()


class _Footing:
    """Where an update stands before its first micro-batch, so that it can begin again from there."""

    def __init__(self, buffers: Kept, losses: list[Losses], undo: Sequence[Undoable]) -> None:
        self._buffers, self._losses, self._undo = buffers, losses, undo
        self._losses_before = len(losses)
        for one in undo:
            one.begin()

    def go_back(self) -> None:
        """As if nothing had been done since; gradients are for their players to forget."""
        for buffer, kept in self._buffers:
            buffer.copy_(kept)
        del self._losses[self._losses_before :]
        for one in self._undo:
            one.roll_back()


def _detached(losses: Losses) -> Losses:
    terms = {name: type(term)(term.value.detach(), term.weight) for name, term in losses.terms.items()}
    return Losses(terms, {name: value.detach() for name, value in losses.watched.items()})
