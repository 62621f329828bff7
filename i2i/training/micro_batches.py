"""Micro-batches: how a batch is split, and why it may not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from i2i.core.layers import what_couples_batch
from i2i.core.step import Update
from i2i.core.virtual_batch_norm import has_reference, reference_rows
from i2i.errors import OutOfMemoryError, RecipeError
from i2i.pipelines.protocol import Pipeline
from i2i.training.distributed import Processes
from i2i.training.settings import TrainingSettings

Batches = Sequence[Mapping[str, Tensor]]
"""One mapping of stream name to pictures or labels a micro-batch."""


def divided(parts: Batches, count: int) -> list[dict[str, Tensor]]:
    """The same rows in order in `count` parts, a multiple of those there are."""
    each = count // len(parts)
    assert count == each * len(parts), "parts are never joined again"
    found: list[dict[str, Tensor]] = []
    for part in parts:
        pieces = {name: values.chunk(each) for name, values in part.items()}
        assert all(len(rows) == each for rows in pieces.values()), "every part has as many rows"
        found += [{name: rows[number] for name, rows in pieces.items()} for number in range(each)]
    return found


def refuse_wrong_split(pipeline: Pipeline, settings: TrainingSettings, processes: Processes) -> None:
    """Refuse by name a split of the batch that is impossible or would change the mathematics.

    Raises:
        RecipeError: it would.
    """
    if settings.batch_size % (settings.accumulate * processes.count):
        raise RecipeError(
            f"training.batch_size {settings.batch_size} cannot be split evenly into {settings.accumulate} micro-batches"
            f" for {processes.count} processes; choose a multiple of {settings.accumulate * processes.count}"
        )
    if settings.accumulate > 1 and (coupled := _coupled(pipeline)):
        raise RecipeError(
            f"training.accumulate {settings.accumulate} would change {coupled} - set it to 1, or choose a"
            " normalization that looks at single samples"
        )


def refuse_coupled(update: Update, settings: TrainingSettings, micro_batches: int) -> None:
    """Refuse to split a batch whose losses look at more than single samples.

    Raises:
        RecipeError: the recipe asks for it.
        OutOfMemoryError: it was split because memory was short, in a phase whose losses allowed it.
    """
    if not update.couples_batch or micro_batches == 1:
        return
    if settings.accumulate > 1:
        raise RecipeError(
            f"training.accumulate {settings.accumulate} would change {update.couples_batch} in update"
            f" {update.name}; set it to 1"
        )
    raise OutOfMemoryError(
        f"update {update.name} needs the batch whole for {update.couples_batch}, for which memory was too short"
        f" before - {_remedies(settings)}"
    )


def finer_split(
    micro_batches: int, updates: Sequence[Update], pipeline: Pipeline, settings: TrainingSettings, processes: Processes
) -> int:
    """How many micro-batches to go on with where `micro_batches` of them are too large; `updates` are the step's.

    Raises:
        OutOfMemoryError: the batch cannot be split further.
    """
    reason = _why_whole(updates, pipeline, processes)
    rows = settings.batch_size // micro_batches
    if reason is None and rows > 1:
        # Twice as many, or the next number that gives equal parts.
        factor = next(factor for factor in range(2, rows + 1) if rows % factor == 0)
        reason = _why_no_smaller(pipeline, rows // factor)
        if reason is None:
            return micro_batches * factor
    many = f"micro-batches of {rows}" if micro_batches > 1 else f"a batch of {rows}"
    what = f"with {many}, which cannot be split: {reason}" if reason else "with a single sample at a time"
    raise OutOfMemoryError(f"out of memory {what} - {_remedies(settings, smaller_batch=rows > 1)}")


def _why_whole(updates: Sequence[Update], pipeline: Pipeline, processes: Processes) -> str | None:
    """Why the batch of a running training must stay as it is, if it must."""
    if processes.count > 1:
        return f"{processes.count} processes share it (start with a larger training.accumulate)"
    losses = next((update.couples_batch for update in updates if update.couples_batch), "")
    coupled = _coupled(pipeline) or losses
    return f"that would change {coupled}" if coupled else None


def _why_no_smaller(pipeline: Pipeline, rows: int) -> str | None:
    """Why micro-batches cannot have so few rows yet, if they cannot."""
    for name, network in pipeline.networks.items():
        if not has_reference(network) and (wanted := reference_rows(network)) > rows:
            return f"the virtual batch norm in {name} takes {wanted} pictures of the first (try fewer reference_rows)"
    return None


def _coupled(pipeline: Pipeline) -> str:
    """What in the networks makes samples of a batch depend on each other, and where; empty where nothing does."""
    found: dict[str, list[str]] = {}
    for name, network in pipeline.networks.items():
        if (coupling := what_couples_batch(network)) is not None:
            found.setdefault(coupling, []).append(name)
    return "; ".join(f"the {coupling} in {', '.join(names)}" for coupling, names in found.items())


def _remedies(settings: TrainingSettings, *, smaller_batch: bool = True) -> str:
    """What takes less memory, for a message."""
    again = [] if settings.activation_checkpointing else ["training.activation_checkpointing: true"]
    batch = ["a smaller training.batch_size"] if smaller_batch else []
    return "try " + " or ".join([*again, *batch, "smaller crops"])
