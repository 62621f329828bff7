"""The engine: applies a pipeline's updates, for any pipeline, in any precision, on any number of processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from i2i.core.randomness import SampleRandom, seed_of
from i2i.core.recompute import recompute_activations
from i2i.core.step import Losses, Progress, StepContext, Update
from i2i.errors import DivergedError, ModelError
from i2i.pipelines.protocol import Pipeline, Snapshot
from i2i.training.checkpoint import TrainingState
from i2i.training.counters import whole_number, whole_numbers, words
from i2i.training.distributed import Processes
from i2i.training.ema import ExponentialMovingAverage
from i2i.training.gradients import Gradients, StepUnderway, Work
from i2i.training.late_numbers import LateNumbers
from i2i.training.loss_audit import LossAudit
from i2i.training.micro_batches import Batches, divided, refuse_coupled, refuse_wrong_split
from i2i.training.player import Player
from i2i.training.precision import Precision
from i2i.training.settings import AdamSettings, TrainingSettings

Draw = Callable[[Sequence[str], Mapping[str, int]], Batches]
"""Gives the joined batch that starts at the given counters of the given streams, split as the settings say."""


@dataclass
class UpdateReport:
    """Numbers of one update, all its repetitions together."""

    losses: list[Losses] = field(default_factory=list)
    """One a micro-batch, detached."""
    gradient_norm: Tensor | None = None
    """Of the last repetition."""
    finite: Tensor = field(default_factory=lambda: torch.tensor(True))
    """A bool on the device: False when a loss or gradient was not a finite number; the weights were left alone."""
    skipped: Tensor = field(default_factory=lambda: torch.tensor(0))
    """Repetitions that left the weights alone, whatever for; on the device."""


class Engine:
    """Owns networks, players, averages and counters, and moves them one step at a time.

    Losses and gradients of a step do not depend on how the joined batch is split over processes and micro-batches.
    Everything runs the plain way; what makes it faster is switched on from outside (`i2i.training.acceleration`).

    Raises:
        RecipeError: the batch is to be split although the networks couple its samples.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: TrainingSettings,
        precision: Precision,
        *,
        images_per_epoch: int,
        seed: int,
        processes: Processes | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.precision = precision
        self.images_per_epoch = images_per_epoch
        self.seed = seed
        self.processes = processes or Processes()
        self.step = 0
        self.images = 0
        self.draws = dict.fromkeys(pipeline.streams, 0)
        """Samples drawn so far from every stream."""
        self.nonfinite_streak = 0
        self.skipped_updates = 0
        self.rollbacks = 0
        # A GPU computes while the host prepares the next step: there the outcome of a step is read one step later.
        self._outcomes = LateNumbers(late_by=1 if precision.device.type == "cuda" else 0)
        self.given: set[str] = set()
        """Networks whose first weights came from elsewhere."""
        refuse_wrong_split(pipeline, settings, self.processes)
        owned = [name for names in pipeline.players.values() for name in names]
        assert len(owned) == len(set(owned)), "a network belongs to one player at most"
        for name, network in pipeline.networks.items():
            network.to(device=precision.device, dtype=precision.weights_dtype).train()
            if name not in owned:
                # Nobody trains it: a fixed feature network, say.
                network.requires_grad_(False).eval()
            elif settings.activation_checkpointing:
                recompute_activations(network)
        self.players = {
            player: Player(
                {name: pipeline.networks[name] for name in names},
                settings.optimizers.get(player, AdamSettings()),
                precision,
            )
            for player, names in pipeline.players.items()
        }
        self.gradients = Gradients(pipeline, settings, precision, self.players, self.processes)
        self.averages = (
            ExponentialMovingAverage(
                {name: pipeline.networks[name] for name in pipeline.averaged}, settings.ema_half_life_images
            )
            if settings.ema_half_life_images > 0
            else None
        )

    @property
    def micro_batches(self) -> int:
        """Parts that a batch goes through in."""
        return self.gradients.micro_batches

    @property
    def audit(self) -> LossAudit:
        """Of the loss terms."""
        return self.gradients.audit

    @property
    def progress(self) -> Progress:
        return Progress(self.step, self.images, self.images / self.images_per_epoch)

    def inference_networks(self) -> dict[str, nn.Module]:
        """Networks to make pictures with, in evaluation mode: averages where there are some, else copies."""
        averaged = self.averages.networks if self.averages else {}
        made = {
            name: averaged[name] if name in averaged else copy.deepcopy(network).eval()
            for name, network in self.pipeline.networks.items()
            if name in self.pipeline.averaged
        }
        for name, snapshot in self.pipeline.snapshots.items():
            made[name] = self.pipeline.networks[name] if self._is_taken(snapshot) else made[snapshot.of]
        return made

    @property
    def is_past_snapshots(self) -> bool:
        """Whether there are snapshots and all are taken: training has left what these keep, and means to."""
        snapshots = self.pipeline.snapshots.values()
        return bool(snapshots) and all(map(self._is_taken, snapshots))

    def _is_taken(self, snapshot: Snapshot) -> bool:
        # At the beginning of a step, which is then over.
        return self.images - self.settings.batch_size >= snapshot.at_images

    def take_step(self, draw: Draw) -> dict[str, UpdateReport]:
        """One step: every update of the pipeline that is due, in order, then the averages.

        After an update that is not finite the later ones of the step move nothing: what it left for them is not finite
        either. With fused optimizers nothing in here waits for the device; `settle` does.
        """
        self._take_snapshots()
        factor = self.settings.schedule.factor(self.progress)
        reports: dict[str, UpdateReport] = {}
        healthy = torch.ones((), dtype=torch.bool, device=self.precision.device)
        skipped = torch.zeros((), dtype=torch.int64, device=self.precision.device)
        due = [update for update in self.pipeline.updates(self.progress) if self.step % update.every == 0]
        underway = StepUnderway(self.step + 1, due, [{} for _ in range(self.micro_batches)])
        for update in due:
            self.players[update.player].adjust(self.progress, factor)
            assert update.name not in reports, f"two updates named {update.name} in one step share their draws"
            report = reports[update.name] = UpdateReport(finite=healthy.clone(), skipped=torch.zeros_like(skipped))
            for repetition in range(update.repeats):
                self.apply(update, draw, underway, report, repetition, healthy=healthy)
            # What was not to be done at all was not skipped.
            skipped = skipped + report.skipped * healthy
            healthy = healthy & report.finite
        self.step += 1
        self.images += self.settings.batch_size
        if self.averages:
            self.averages.update(self.settings.batch_size, self.images)
        self._outcomes.add(torch.stack([skipped, (~healthy).long()]))
        self._count_outcomes(self._outcomes.ready())
        return reports

    def apply(
        self,
        update: Update,
        draw: Draw,
        underway: StepUnderway,
        report: UpdateReport,
        repetition: int = 0,
        *,
        healthy: Tensor,
    ) -> None:
        """One update: losses of all micro-batches, their gradients, one optimizer step, the constraint.

        When something is not finite, or the step was not `healthy` before, weights and buffers stay as they were.

        Raises:
            RecipeError: the batch is to be split although the update's losses couple its samples.
            OutOfMemoryError: memory is too short for as few samples at a time as are possible.
        """
        refuse_coupled(update, self.settings, self.micro_batches)
        work = Work(
            update,
            self._draw(update, draw),
            lambda batch, carry, number: self._context(update, batch, carry, number, repetition),
        )
        buffers = self._copy_buffers()
        losses_finite = healthy & self.gradients.take(work, underway, report.losses, buffers)
        player = self.players[update.player]
        move = player.move(self.processes, self.settings.clip_gradient_norm, losses_finite=losses_finite)
        for name in update.needs_graph_of:
            # Whatever reached them belongs to this update's loss, not to theirs.
            self.players[name].optimizer.zero_grad(set_to_none=True)
        report.gradient_norm = move.gradient_norm
        report.finite = report.finite & (move.moved | move.overflowed)
        report.skipped = report.skipped + ~move.moved
        for buffer, kept in buffers:
            # `data`: a graph that a later update goes back through may hold the buffer; it does not need its numbers.
            buffer.data.copy_(torch.where(move.moved, buffer, kept))
        # The few methods with a constraint wait for the device here.
        if update.constrain is not None and bool(move.moved):
            with torch.no_grad():
                update.constrain()

    def _take_snapshots(self) -> None:
        """Keep what networks are at the steps that the pipeline names: a matter of progress, so nothing to remember."""
        for name, snapshot in self.pipeline.snapshots.items():
            due = 0 <= self.images - snapshot.at_images < self.settings.batch_size
            if due and not (self.images == 0 and name in self.given):
                averaged = self.averages.networks if self.averages else {}
                source = averaged.get(snapshot.of, self.pipeline.networks[snapshot.of])
                self.pipeline.networks[name].load_state_dict(source.state_dict())

    def _copy_buffers(self) -> list[tuple[Tensor, Tensor]]:
        """Every buffer (batch-norm statistics) beside a copy: a forward pass writes into them before it can fail."""
        networks = self.pipeline.networks.values()
        return [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]

    def _draw(self, update: Update, draw: Draw) -> Batches:
        if not update.draws:
            return [{} for _ in range(self.micro_batches)]
        counters = {stream: self.draws[stream] for stream in update.draws}
        for stream in update.draws:
            self.draws[stream] += self.settings.batch_size
        return divided(draw(update.draws, counters), self.micro_batches)

    def _context(
        self, update: Update, batch: Mapping[str, Tensor], carry: dict[str, Tensor], micro_batch: int, repetition: int
    ) -> StepContext:
        """Rows of this micro-batch are numbered by their place in the whole training, whoever holds them."""
        rows_joined = self.settings.batch_size // self.micro_batches
        first = self.images + micro_batch * rows_joined
        rows_own = rows_joined // self.processes.count
        start = self.processes.rank * rows_own
        return StepContext(
            progress=self.progress,
            batch=batch,
            random=SampleRandom(
                # After a rollback the same samples come with other draws, or the same end would be met again.
                seed=seed_of(self.seed, update.name, repetition, self.rollbacks),
                rows=range(first, first + rows_joined),
                own=slice(start, start + rows_own),
                device=self.precision.device,
            ),
            joined=self.processes.joined,
            carry=carry,
        )

    def settle(self) -> None:
        """Wait for the device, and count what became of all steps taken."""
        self._count_outcomes(self._outcomes.all())

    def _count_outcomes(self, outcomes: Iterable[Sequence[int]]) -> None:
        for skipped, was_nonfinite in outcomes:
            self.skipped_updates += skipped
            self.nonfinite_streak = self.nonfinite_streak + 1 if was_nonfinite else 0

    @property
    def beyond_tolerance(self) -> bool:
        """Whether more steps in a row were not finite than the settings endure; on a GPU seen one step later."""
        return self.nonfinite_streak > self.settings.nonfinite.tolerated_steps

    def state(self) -> TrainingState:
        """Everything that decides the steps to come. All randomness is keyed, so there is no generator state.

        The tensors are those of the training itself, not copies: write them before the next step.

        Raises:
            DivergedError: a weight is not finite; such a state is never written.
        """
        self.settle()
        tensors: dict[str, Tensor] = {}
        for name in self._saved_networks():
            tensors |= _prefixed(f"network/{name}", self.pipeline.networks[name].state_dict())
        for name, network in (self.averages.networks if self.averages else {}).items():
            tensors |= _prefixed(f"average/{name}", network.state_dict())
        for name, memory in self.pipeline.memories.items():
            tensors |= _prefixed(f"memory/{name}", memory.state())
        _refuse_nonfinite(tensors)
        for name, player in self.players.items():
            tensors |= _prefixed(f"optimizer/{name}", player.state())
        counters: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        counters["draws"] = dict(self.draws)
        counters["micro_batches"] = self.micro_batches
        counters["audited"] = self.audit.seen
        counters["scalers"] = {name: player.scaler.state_dict() for name, player in self.players.items()}
        return TrainingState(tensors, counters)

    def load_state(self, state: TrainingState) -> None:
        """Go back to what `state` gave.

        Raises:
            ModelError: it belongs to other networks.
        """
        self._outcomes.forget()
        self.load_networks(state)
        for name, network in (self.averages.networks if self.averages else {}).items():
            _load(network, f"average/{name}", state.tensors)
        for name, player in self.players.items():
            player.load_state(_under(f"optimizer/{name}", state.tensors))
            player.scaler.load_state_dict(state.counters["scalers"][name])
        for name, memory in self.pipeline.memories.items():
            kept = _under(f"memory/{name}", state.tensors)
            memory.load_state({key: tensor.to(self.precision.device) for key, tensor in kept.items()})
        for name in _COUNTERS:
            setattr(self, name, whole_number(state.counters, name))
        self.draws = whole_numbers(state.counters, "draws", self.pipeline.streams)
        fixed = self.settings.accumulate
        # Older checkpoints do not know it.
        split = whole_number(state.counters, "micro_batches", 1) if "micro_batches" in state.counters else None
        # Memory that ran out for one process need not for several; and these share out the rows of the parts that the
        # settings name, so that finer ones would be of other rows.
        self.gradients.micro_batches = fixed if split is None or self.processes.count > 1 else split
        self.audit.load_seen(words(state.counters, "audited"))

    def load_networks(self, state: TrainingState, names: Sequence[str] | None = None) -> None:
        """Take only weights, of the named networks or of all, as a training does that starts from another's.

        Raises:
            ModelError: they belong to other networks.
        """
        names = self._saved_networks() if names is None else names
        for name in names:
            _load(self.pipeline.networks[name], f"network/{name}", state.tensors)
        self.given.update(names)
        if self.averages:
            self.averages.restart()

    def _saved_networks(self) -> list[str]:
        """All but those whose weights come from a file each time."""
        return [name for name in self.pipeline.networks if name not in self.pipeline.pretrained]

    def roll_back(self, state: TrainingState) -> None:
        """Weights and optimizers as in `state`, but on with data and draws that have not been met yet."""
        self.settle()
        draws, skipped, rollbacks = dict(self.draws), self.skipped_updates, self.rollbacks
        micro_batches, audited = self.micro_batches, self.audit.seen
        self.load_state(state)
        self.gradients.micro_batches = micro_batches
        self.audit.load_seen(audited)
        self.draws, self.skipped_updates, self.rollbacks = draws, skipped, rollbacks + 1
        self.nonfinite_streak = 0


_COUNTERS = ("step", "images", "nonfinite_streak", "skipped_updates", "rollbacks")


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{key}": tensor.detach() for key, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{prefix}/")}


def _load(network: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(_under(prefix, tensors))
    except RuntimeError as error:
        # torch lists every key over many lines; the first difference says enough.
        first = " ".join(str(error).split())[:200]
        raise ModelError(f"{prefix} does not fit: {first} - the recipe must describe the same networks") from error


def _refuse_nonfinite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DivergedError(
                f"{name} holds values that are not finite; the last checkpoint does not - resume from it"
            )
