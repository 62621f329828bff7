"""The plain step is a step of the very network that ours trains, and the data are what they are said to be."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from i2i.core.generators import MSRResNetSettings

TOOLS = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("bench_srgan")


@pytest.fixture
def arguments(bench: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    words = "--batch 2 --pixels 32 --channels 4 --blocks 1 --steps 2 --warmup 1 --workers 0 --seconds 0 --pictures 2"
    return parser.parse_args(words.split())


def test_both_sides_train_the_same_network(bench: Any) -> None:
    plain = bench.PlainMSRResNet(8, 2).double()
    ours = MSRResNetSettings(base_channels=8, blocks=2).build().double()
    mine, theirs = ours.state_dict(), plain.state_dict()
    assert [value.shape for value in mine.values()] == [value.shape for value in theirs.values()]
    ours.load_state_dict(dict(zip(mine, theirs.values(), strict=True)))
    low = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = ours(2 * low - 1) / 2 + 0.5
    torch.testing.assert_close(made, plain(low), rtol=0, atol=1e-12)
    assert sum(p.numel() for p in bench.PlainMSRResNet().parameters()) == 1_517_571


def test_both_steps_learn(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[torch.nn.Module] = []
    build, engine = bench.PlainMSRResNet, bench.Engine

    def building(*sizes: int) -> torch.nn.Module:
        networks.append(build(*sizes))
        return networks[-1]

    def engaging(pipeline: Any, *rest: Any, **named: Any) -> Any:
        networks.append(pipeline.generator)
        return engine(pipeline, *rest, **named)

    monkeypatch.setattr(bench, "PlainMSRResNet", building)
    monkeypatch.setattr(bench, "Engine", engaging)
    monkeypatch.setattr(bench, "unmeasured_tricks", lambda device: ("channels_last", "fused_optimizers"))
    work = bench.Work(device="cpu", batch=2, pixels=32, channels=4, blocks=1)
    steps = [bench.plain_step(work), bench.our_step(work, "fp32")]
    before = [[parameter.detach().clone() for parameter in network.parameters()] for network in networks]
    for step in steps:
        step()
    assert len(networks) == 2
    for network, kept in zip(networks, before, strict=True):
        assert all(not torch.equal(a, b) for a, b in zip(network.parameters(), kept, strict=True))


def test_drawn_photographs(bench: Any, tmp_path: Path) -> None:
    bench.draw_photographs(tmp_path, 2)
    pictures = [cv2.imread(str(path)) for path in sorted(tmp_path.glob("*.jpg"))]
    assert [picture.shape for picture in pictures if picture is not None] == [(481, 321, 3), (321, 481, 3)]
    again = bench.draw_photograph(np.random.default_rng(1), 481, 321)
    assert np.array_equal(again, bench.draw_photograph(np.random.default_rng(1), 481, 321))
    # As much to encode as a photograph: between half a bit and four bits a pixel.
    sizes = [path.stat().st_size * 8 / (481 * 321) for path in tmp_path.glob("*.jpg")]
    assert all(0.5 < bits < 4 for bits in sizes)


def test_what_was_read_ahead_does_not_count(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(clock)))
    drawn: list[int] = []

    class Loader:
        workers = 1

        def draw(self, names: tuple[str, ...], first_counter: int) -> None:
            drawn.append(first_counter)

    rate = bench.draws_per_second(Loader(), 3, 5.0)
    assert drawn == list(range(0, 3 * len(drawn), 3))
    # The clock moves by one at every look: once when counting starts, once before every later draw, once at the end.
    assert rate == pytest.approx((len(drawn) - 8) / (len(drawn) - 8 + 1), rel=0.2)


def test_a_whole_run(bench: Any, arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "choose_precision", lambda device: "bf16")
    monkeypatch.setattr(bench, "unmeasured_tricks", lambda device: ("channels_last", "fused_optimizers"))
    # The limit of this machine is nothing to a test, and takes seconds to measure.
    monkeypatch.setattr(bench.Roofline, "look", lambda self, *names: self.limits.update(dict.fromkeys(names, 1e12)))
    # Processes of their own are tried once, elsewhere: they take seconds to start.
    monkeypatch.setattr(bench, "in_own_process", lambda make, *given: contextlib.nullcontext(make(*given)))
    result = bench.run(arguments)
    (step,) = result["rows"]
    assert step["ours_precision"] == "bf16"
    assert step["steps"] == 2
    assert step["times_faster_lowest"] <= step["times_faster"] <= step["times_faster_highest"]
    assert result["limits"] == {"fp32": 1e12, "bf16": 1e12}
    assert step["ours_share_of_limit"] == pytest.approx(step["operations"] / step["ours_seconds"] / 1e12)
    assert [row["row"] for row in result["data"]] == [
        "pairs for 32 px, bicubic, 0 workers",
        "pairs for 32 px, second_order, 0 workers",
    ]
    for row in result["data"]:
        assert row["consumed_per_second"] == pytest.approx(2 / step["ours_seconds"])
        assert row["times_consumed"] == pytest.approx(row["delivered_per_second"] / row["consumed_per_second"])
        assert row["delivered_per_second"] > 0
    assert json.loads(json.dumps(result)) == result
    text = "\n".join(bench.table(result))
    assert "step of MSRResNet, 32 px, batch 2" in text
    assert "second_order, 0 workers" in text


def test_pictures_of_ones_own(bench: Any, arguments: argparse.Namespace, tmp_path: Path) -> None:
    bench.draw_photographs(tmp_path, 2, 48, 40)
    arguments.photos = tmp_path
    rows = bench.bench_data(tmp_path, arguments, 10.0)
    assert all(row["times_consumed"] == row["delivered_per_second"] / 10.0 for row in rows)
