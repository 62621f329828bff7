from __future__ import annotations

from itertools import chain

import pytest
import torch

from i2i.core.generators import PictureGeneratorSettings, ResNetGeneratorSettings, UNetGeneratorSettings
from i2i.inference.tiling.streaming import LayerGraph, layer_graph
from i2i.inference.tiling.streaming.operations import Normalize
from i2i.inference.tiling.streaming.planning import Plan, Rates, plan_passes
from tests.inference.networks import NORMALIZING

LARGE = (9000, 12000)


def graph_of(settings: PictureGeneratorSettings) -> LayerGraph:
    with torch.device("meta"):
        return layer_graph(settings.build().eval())


def plan_of(graph: LayerGraph, height: int, width: int, room_bytes: float) -> tuple[Plan, int]:
    """The plan, and the multiplications of the network as a whole."""
    shapes = graph.shapes(height, width)
    return plan_passes(graph, shapes, 4, room_bytes, Rates()), sum(graph.multiplications(shapes))


def test_large_picture_through_the_cyclegan_generator() -> None:
    plan, once = plan_of(graph_of(ResNetGeneratorSettings()), *LARGE, 20e9)
    quarter = LARGE[0] * LARGE[1] // 16 * 256 * 4
    assert plan.bytes_at_most == 2 * quarter, "the sum of the blocks and one result at a time, each in the others' room"
    # What lies at full size is computed again.
    assert plan.multiplications < 1.15 * once


def test_small_overhead_where_all_fits() -> None:
    plan, once = plan_of(graph_of(ResNetGeneratorSettings()), 800, 1000, 20e9)
    assert plan.multiplications < 1.1 * once
    plan, once = plan_of(graph_of(UNetGeneratorSettings(normalization="instance")), 1024, 1024, 20e9)
    assert plan.multiplications < 1.1 * once


@pytest.mark.parametrize("settings", NORMALIZING.values(), ids=NORMALIZING)
@pytest.mark.parametrize("room_bytes", [0, 3e5, 1e6, 1e9])
def test_passes_have_what_they_read(settings: PictureGeneratorSettings, room_bytes: float) -> None:
    graph = graph_of(settings)
    plan, once = plan_of(graph, 160, 128, room_bytes)
    assert plan.bytes_at_most <= room_bytes
    assert plan.multiplications >= once
    kept: set[int] = set()
    measured: set[int] = set()
    for planned in plan.passes:
        assert planned.reads <= kept
        for layer in planned.order:
            operation = graph.layers[layer].operation
            if layer not in planned.reads:
                assert set(graph.layers[layer].inputs) <= set(planned.order)
                assert not isinstance(operation, Normalize) or graph.layers[layer].inputs[0] in measured
        kept = (kept | set(planned.writes)) - set(planned.frees)
        measured |= set(planned.targets)
        rooms = [plan.room_of[layer] for layer in kept]
        assert len(set(rooms)) == len(rooms), "no two in one room"
    assert not kept
    assert {layer.inputs[0] for layer in graph.layers if isinstance(layer.operation, Normalize)} <= measured


def test_more_room_is_never_slower() -> None:
    graph = graph_of(ResNetGeneratorSettings())
    seconds = [plan_of(graph, *LARGE, room)[0].seconds for room in (0, 7e9, 14e9, 20e9, 60e9)]
    assert seconds == sorted(seconds, reverse=True) and seconds[0] > 3 * seconds[-1]


def test_nothing_is_kept_without_statistics() -> None:
    plan, once = plan_of(graph_of(UNetGeneratorSettings()), 1024, 1024, 20e9)
    assert len(plan.passes) == 1 and plan.multiplications == once
    assert not list(chain(*(planned.writes for planned in plan.passes)))
