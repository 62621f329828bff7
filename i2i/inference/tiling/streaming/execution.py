"""Passes over a picture in bands of rows; between bands every layer keeps the few rows that it will be asked for again.

No row is computed twice in a pass, however far the network sees.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from i2i.core.moments import Moments, moments_of
from i2i.errors import OutOfMemoryError
from i2i.inference.runtime import out_of_memory_as_help
from i2i.inference.tiling.streaming.graph import LayerGraph
from i2i.inference.tiling.streaming.operations import Normalize, Rows, Shape, Span
from i2i.inference.tiling.streaming.planning import Plan, PlannedPass
from i2i.inference.tiling.streaming.spill import SpillFile, WriteBehind


class Picture(Protocol):
    """The rows of a picture."""

    def __call__(self, rows: Span, /) -> Tensor:
        """(1, C, rows, W), float32, on the device of the network, in channels-last memory."""
        ...


@dataclass
class Work:
    """What was done, for those who measure."""

    multiplications: int = 0
    bytes_written: int = 0
    bytes_read: int = 0
    halvings: int = 0
    """How often memory ran out and bands were halved."""


@dataclass
class StreamedPicture:
    """A network, a picture, and how to go about it."""

    graph: LayerGraph
    shapes: tuple[Shape, ...]
    picture: Picture
    plan: Plan
    folder: Path
    band_bytes: float
    """Of the largest tensor of a band."""
    device: torch.device
    work: Work = field(default_factory=Work)
    statistics: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Mean and variance (C,), float32, of the input of instance norms, by the number of that input."""


def streamed_rows(
    streamed: StreamedPicture,
    on_halved: Callable[[], None] | None = None,
    on_band: Callable[[], None] | None = None,
) -> Generator[Tensor]:
    """Run all passes; the last one gives the result from top to bottom.

    Args:
        on_halved: called each time memory runs out, before it goes on with half the rows.
        on_band: called after each band of each pass.

    Yields:
        (1, C, rows, W) of the last layer.

    Raises:
        OutOfMemoryError: not even single rows fit.
        StorageError: the disk is full.
    """
    rooms: dict[int, SpillFile] = {}
    with contextlib.ExitStack() as stack:
        writer = WriteBehind()
        stack.callback(lambda: [room.close() for room in rooms.values()])
        stack.callback(writer.close)
        for planned in streamed.plan.passes:
            for layer in planned.writes:
                if streamed.plan.room_of[layer] not in rooms:
                    rooms[streamed.plan.room_of[layer]] = SpillFile(streamed.folder)
            files = {layer: rooms[streamed.plan.room_of[layer]] for layer in (*planned.reads, *planned.writes)}
            running = _Pass(streamed, planned, files, writer, on_halved)
            is_last = planned is streamed.plan.passes[-1]
            for rows in running.bands(give=is_last):
                if on_band is not None:
                    on_band()
                if rows is not None:
                    yield rows
            writer.finish()
            running.note_statistics()
            kept = {streamed.plan.room_of[layer] for layer in files if layer not in planned.frees}
            for layer in planned.frees:
                if streamed.plan.room_of[layer] not in kept:
                    _close(rooms.pop(streamed.plan.room_of[layer]), streamed.work)


def _close(file: SpillFile, work: Work) -> None:
    work.bytes_written += file.bytes_written
    work.bytes_read += file.bytes_read
    file.close()


class _Pass:
    """One pass: every layer has a frontier, up to which its rows are computed, and keeps what may be asked for again.

    Rows are noted as computed layer by layer, so that a band for which memory ran out is taken up where it stopped.
    """

    def __init__(
        self,
        streamed: StreamedPicture,
        planned: PlannedPass,
        files: dict[int, SpillFile],
        writer: WriteBehind,
        on_halved: Callable[[], None] | None,
    ) -> None:
        self._streamed, self._planned, self._files = streamed, planned, files
        self._writer, self._on_halved = writer, on_halved
        self._graph, self._shapes = streamed.graph, streamed.shapes
        inside = set(planned.order) - planned.reads
        self._consumers = {
            layer: [one for one in self._graph.consumers[layer] if one in inside] for layer in planned.order
        }
        self._done = dict.fromkeys(planned.order, 0)
        self._lines = {layer: _Lines() for layer in planned.order}
        self._moments = {
            layer: Moments(self._shapes[layer].channels)
            for layer in planned.targets
            if any(isinstance(self._graph.layers[one].operation, Normalize) for one in self._graph.consumers[layer])
        }
        self._main = max(planned.targets, key=lambda layer: self._shapes[layer].height)

    def bands(self, *, give: bool) -> Iterator[Tensor | None]:
        """Run it. With `give` the rows of the one target are handed out as they come, and None else."""
        height = self._shapes[self._main].height
        step = self._rows_per_band()
        while self._done[self._main] < height:
            end = min(self._done[self._main] + step, height)
            try:
                with out_of_memory_as_help(1, end - self._done[self._main], self._shapes[0].width, "free memory"):
                    given = self._advance(end, give=give)
            except OutOfMemoryError:
                if step == 1:
                    raise
                step = max(1, step // 2)
                self._streamed.work.halvings += 1
                if self._on_halved is not None:
                    self._on_halved()
                continue
            yield given

    def note_statistics(self) -> None:
        """Make what the pass measured known to those that follow."""
        for layer, moments in self._moments.items():
            device = self._streamed.device
            self._streamed.statistics[layer] = (
                moments.mean.float().to(device),
                moments.variance.float().to(device),
            )

    def _rows_per_band(self) -> int:
        height = self._shapes[self._main].height
        number_bytes = 4
        heaviest = max(self._shapes[layer].numbers for layer in self._planned.order) * number_bytes
        rows = max(1, int(self._streamed.band_bytes * height / heaviest))
        # Whole rows at the smaller sizes inside.
        return rows if rows < 4 else rows // 4 * 4

    def _advance(self, end: int, *, give: bool) -> Tensor | None:
        """Take the main target to row `end`, and the others as far in proportion."""
        wanted = self._wanted(end)
        given: Tensor | None = None
        for layer in self._planned.order:
            if wanted[layer] <= self._done[layer]:
                continue
            span = Span(self._done[layer], wanted[layer])
            rows = self._rows(layer, span)
            self._keep(layer, span, rows)
            if give and layer == self._main:
                given = rows
            if layer not in self._planned.reads:
                for source in dict.fromkeys(self._graph.layers[layer].inputs):
                    self._forget(source)
        return given

    def _wanted(self, end: int) -> dict[int, int]:
        """How far every layer must come for the main target to reach `end`."""
        wanted = dict.fromkeys(self._planned.order, 0)
        height = self._shapes[self._main].height
        for layer in (*self._planned.targets, *self._planned.writes):
            own = self._shapes[layer].height
            # What is kept is kept whole, also rows that no target asks for.
            wanted[layer] = own if end == height else own * end // height if layer in self._planned.targets else 0
        for layer in reversed(self._planned.order):
            operation = self._graph.layers[layer].operation
            if layer in self._planned.reads or operation is None or wanted[layer] <= self._done[layer]:
                continue
            shapes = self._inputs(layer)
            needs = operation.needs(Span(self._done[layer], wanted[layer]), shapes)
            for source, span in zip(self._graph.layers[layer].inputs, needs, strict=True):
                wanted[source] = max(wanted[source], span.end)
        return wanted

    def _rows(self, number: int, span: Span) -> Tensor:
        layer = self._graph.layers[number]
        if number in self._planned.reads:
            return self._files[number].read(span, self._shapes[number], self._streamed.device)
        if layer.operation is None:
            return self._streamed.picture(span)
        shapes = self._inputs(number)
        needs = layer.operation.needs(span, shapes)
        inputs = [self._lines[source].take(need) for source, need in zip(layer.inputs, needs, strict=True)]
        if isinstance(layer.operation, Normalize):
            rows = layer.operation.normalized(inputs[0].joined(), *self._streamed.statistics[layer.inputs[0]])
        else:
            rows = layer.operation.compute(span, inputs, shapes)
        for function in layer.then:
            rows = function(rows)
        height = self._shapes[number].height
        self._streamed.work.multiplications += (
            layer.operation.multiplications(shapes) * (span.end - span.first) // height
        )
        return rows

    def _keep(self, layer: int, span: Span, rows: Tensor) -> None:
        # Nothing is noted before all is computed: when memory runs out here, these rows are simply computed again.
        measured = moments_of(rows) if layer in self._moments else None
        if layer in self._planned.writes:
            self._writer.submit(self._files[layer], span.first, rows)
        if measured is not None:
            self._moments[layer].add(measured)
        if self._consumers[layer]:
            self._lines[layer].append(span.first, rows)
        self._done[layer] = span.end

    def _forget(self, source: int) -> None:
        """Drop rows that none of the layers that read them will ask for again."""
        first = self._shapes[source].height
        for consumer in self._consumers[source]:
            done, height = self._done[consumer], self._shapes[consumer].height
            operation = self._graph.layers[consumer].operation
            if done < height and operation is not None:
                needs = operation.needs(Span(done, height), self._inputs(consumer))
                asked = zip(self._graph.layers[consumer].inputs, needs, strict=True)
                first = min(first, *(span.first for one, span in asked if one == source))
        self._lines[source].drop_before(first)

    def _inputs(self, layer: int) -> Sequence[Shape]:
        return [self._shapes[source] for source in self._graph.layers[layer].inputs]


class _Lines:
    """The latest rows of a tensor."""

    def __init__(self) -> None:
        self._first = 0
        self._pieces: list[Tensor] = []

    def append(self, first: int, rows: Tensor) -> None:
        if not self._pieces:
            self._first = first
        self._pieces.append(rows)

    def take(self, span: Span) -> Rows:
        first, pieces = self._first, []
        for piece in self._pieces:
            end = first + piece.shape[2]
            if end > span.first and first < span.end:
                pieces.append(piece[:, :, max(span.first - first, 0) : span.end - first])
            first = end
        assert sum(piece.shape[2] for piece in pieces) == span.end - span.first, "rows are kept while they are needed"
        return Rows(span.first, pieces)

    def drop_before(self, row: int) -> None:
        while self._pieces and self._first + self._pieces[0].shape[2] <= row:
            self._first += self._pieces.pop(0).shape[2]
        if self._pieces and self._first < row:
            # Copied: as a view it would hold on to the memory of what is dropped.
            self._pieces[0] = self._pieces[0][:, :, row - self._first :].clone(memory_format=torch.channels_last)
            self._first = row
