"""What is kept on the disk between passes, and what is computed again instead.

Every instance norm needs statistics over the whole result of the layer before it, which takes a pass of its own over
the picture. A pass computes again from the picture, or from what an earlier pass kept. Pass by pass, the cheapest ways
to have kept this or that are gone on with; the one with the least estimated time in the end is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

from i2i.inference.tiling.streaming.graph import LayerGraph
from i2i.inference.tiling.streaming.operations import Normalize, Pointwise, Shape

_WAYS_KEPT = 48
"""How many ways are gone on with after each pass."""
_MOST_WRITTEN = 2
"""Layers that one pass may keep."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast a machine is, roughly."""

    multiplications_per_second: float = 1.5e11
    bytes_written_per_second: float = 0.7e9
    bytes_read_per_second: float = 3e9


@dataclass(frozen=True)
class PlannedPass:
    """One way through the picture from top to bottom."""

    targets: tuple[int, ...]
    """Layers whose statistics are taken, or the last layer."""
    order: tuple[int, ...]
    """Layers to compute or to read, in order."""
    reads: frozenset[int]
    """Layers that an earlier pass kept."""
    writes: tuple[int, ...]
    """Layers that this pass keeps."""
    frees: tuple[int, ...]
    """Layers that no later pass reads."""


@dataclass(frozen=True)
class Plan:
    """All passes, and what they cost."""

    passes: tuple[PlannedPass, ...]
    room_of: dict[int, int]
    """Number of the room on the disk that each kept layer lies in. A layer takes the room of one that is read for the
    last time while it is written, row by row behind it."""
    bytes_at_most: int
    """On the disk at a time."""
    bytes_written: int
    bytes_read: int
    multiplications: int
    seconds: float


def plan_passes(graph: LayerGraph, shapes: Sequence[Shape], number_bytes: int, room_bytes: float, rates: Rates) -> Plan:
    """The passes for a picture.

    Args:
        shapes: of the layers' whole results.
        number_bytes: of one number in them.
        room_bytes: most that may lie on the disk at a time.
    """
    planner = _Planner(graph, shapes, number_bytes, room_bytes, rates)
    ways: list[_Way] = [_Way(0.0, frozenset(), ())]
    for number in range(len(planner.targets)):
        cheapest: dict[frozenset[int], _Way] = {}
        for way in chain.from_iterable(planner.continued(way, number) for way in ways):
            if way.seconds < cheapest.setdefault(way.kept, way).seconds:
                cheapest[way.kept] = way
        ways = sorted(cheapest.values(), key=lambda way: way.seconds)[:_WAYS_KEPT]
        # The one that needs no room stays: all others may come to lack it.
        ways += [way for way in cheapest.values() if not way.kept and way not in ways]
    return planner.finished(min(ways, key=lambda way: way.seconds))


@dataclass(frozen=True)
class _Way:
    """The first passes, what they took, and what they left on the disk for the next."""

    seconds: float
    kept: frozenset[int]
    passes: tuple[PlannedPass, ...]


class _Planner:
    def __init__(
        self, graph: LayerGraph, shapes: Sequence[Shape], number_bytes: int, room_bytes: float, rates: Rates
    ) -> None:
        self.graph, self.shapes, self.rates, self.room_bytes = graph, shapes, rates, room_bytes
        self.multiplications = graph.multiplications(shapes)
        self.bytes = [shape.numbers * number_bytes for shape in shapes]
        self.targets = _targets_of_passes(graph)
        self.known = [frozenset(self._closure(range_of, frozenset())) for range_of in self._targets_so_far()]

    def _targets_so_far(self) -> list[tuple[int, ...]]:
        return [tuple(chain.from_iterable(self.targets[: number + 1])) for number in range(len(self.targets))]

    def continued(self, way: _Way, number: int) -> Iterator[_Way]:
        """The ways to take this pass after those before it."""
        order = self._closure(self.targets[number], way.kept)
        reads = way.kept.intersection(order)
        # What later passes read of all that is known by now.
        known = self.known[number]
        needed = [one for one in known if not known.issuperset(self.graph.consumers[one])]
        is_last = number == len(self.targets) - 1
        for writes in () if is_last else self._choices(number, order, needed, way.kept):
            kept = (way.kept | set(writes)).intersection(self._closure(needed, way.kept | set(writes)))
            if kept.issuperset(writes):
                yield from self._taken(way, PlannedPass(self.targets[number], order, reads, writes, ()), kept)
        if is_last:
            yield from self._taken(way, PlannedPass(self.targets[number], order, reads, (), ()), frozenset())

    def _taken(self, way: _Way, planned: PlannedPass, kept: frozenset[int]) -> Iterator[_Way]:
        """The way with one more pass, if there is room for what it keeps."""
        planned = replace(planned, frees=tuple(sorted(way.kept - kept)))
        added = [one for one, heir in self._heirs(planned).items() if heir is None]
        if sum(self.bytes[one] for one in chain(way.kept, added)) <= self.room_bytes:
            yield _Way(way.seconds + self._seconds(planned), kept, (*way.passes, planned))

    def _choices(
        self, number: int, order: Sequence[int], needed: Sequence[int], kept: frozenset[int]
    ) -> Iterator[tuple[int, ...]]:
        """What this pass may write: what later passes read, or what others of its layers are made of."""
        before = self.known[number - 1] if number else frozenset()
        worth = [one for one in order if one not in kept and self._is_worth_keeping(one)]
        candidates = [one for one in worth if one in needed or one not in before]
        for count in range(_MOST_WRITTEN + 1):
            yield from combinations(candidates, count)

    def _is_worth_keeping(self, number: int) -> bool:
        layer = self.graph.layers[number]
        # Cheap to make of one layer of the same size.
        is_cheap = isinstance(layer.operation, Pointwise | Normalize) and len(layer.inputs) == 1
        return layer.operation is not None and not is_cheap and self.bytes[number] <= self.room_bytes

    def _closure(self, targets: Iterable[int], kept: frozenset[int]) -> tuple[int, ...]:
        """Layers that lead to the targets, up to those that are on the disk."""
        found: set[int] = set()
        waiting = list(targets)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(() if one in kept else self.graph.layers[one].inputs)
        return tuple(sorted(found))

    def _work(self, planned: PlannedPass) -> int:
        return sum(self.multiplications[one] for one in planned.order if one not in planned.reads)

    def _seconds(self, planned: PlannedPass) -> float:
        return (
            self._work(planned) / self.rates.multiplications_per_second
            + sum(self.bytes[one] for one in planned.writes) / self.rates.bytes_written_per_second
            + sum(self.bytes[one] for one in planned.reads) / self.rates.bytes_read_per_second
        )

    def finished(self, way: _Way) -> Plan:
        """The plan of a way that came to the end."""
        room_of: dict[int, int] = {}
        rooms: list[int] = []
        in_use: set[int] = set()
        most = 0
        for planned in way.passes:
            heirs = self._heirs(planned)
            for layer, heir in heirs.items():
                room_of[layer] = len(rooms) if heir is None else room_of[heir]
                rooms += [self.bytes[layer]] if heir is None else []
                in_use.add(room_of[layer])
            most = max(most, sum(rooms[room] for room in in_use))
            in_use -= {room_of[old] for old in planned.frees if old not in heirs.values()}
        return Plan(
            way.passes,
            room_of,
            bytes_at_most=most,
            bytes_written=sum(self.bytes[one] for planned in way.passes for one in planned.writes),
            bytes_read=sum(self.bytes[one] for planned in way.passes for one in planned.reads),
            multiplications=sum(map(self._work, way.passes)),
            seconds=way.seconds,
        )

    def _heirs(self, planned: PlannedPass) -> dict[int, int | None]:
        """Whose room each layer that is written takes over, if it can."""
        dying = list(planned.frees)
        heirs: dict[int, int | None] = {}
        for layer in planned.writes:
            heirs[layer] = next((old for old in dying if self._may_follow(layer, old, planned)), None)
            dying = [old for old in dying if old != heirs[layer]]
        return heirs

    def _may_follow(self, new: int, old: int, planned: PlannedPass) -> bool:
        """Whether every row of `old` has been read before the same row of `new` is written: `new` is made of it, by
        layers that keep the height."""
        if old not in planned.reads or self.shapes[new] != self.shapes[old]:
            return False
        height = self.shapes[old].height
        made_of_it = {old}
        for layer in planned.order:
            keeps = layer not in planned.reads and self.shapes[layer].height == height
            if keeps and not made_of_it.isdisjoint(self.graph.layers[layer].inputs):
                made_of_it.add(layer)
        return new in made_of_it


def _targets_of_passes(graph: LayerGraph) -> list[tuple[int, ...]]:
    """What is normalized, in the order in which statistics can be had, and the last layer."""
    depth: list[int] = []
    targets: dict[int, list[int]] = {}
    for layer in graph.layers:
        below = max((depth[source] for source in layer.inputs), default=0)
        if isinstance(layer.operation, Normalize):
            if layer.inputs[0] not in targets.setdefault(below, []):
                targets[below].append(layer.inputs[0])
            below += 1
        depth.append(below)
    return [*(tuple(targets[level]) for level in sorted(targets)), (len(graph.layers) - 1,)]
