"""Operations are counted to the last one, shares are of the limit in the right format, and records are whole."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

TOOLS = Path(__file__).parents[2] / "tools" / "benches"
CPU = torch.device("cpu")
# What a record says of the machine and the software, at least.
ENVIRONMENT = {"cpu", "gpus", "torch", "threads", "versions", "device", "git", "date", "command"}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module


@pytest.fixture
def rates(tool: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What the limit is found to be at each look, in place of a measurement."""
    left = {"fp32": [100.0, 200.0], "bf16": [800.0, 400.0]}
    monkeypatch.setattr(tool("roofline"), "convolution_rate", lambda device, precision: left[precision].pop(0))
    return left


@pytest.mark.parametrize(
    ("build", "sizes", "pairs"),
    [
        # Output values times what each one sums: taps times input channels.
        (lambda: nn.Conv2d(3, 8, 5, stride=2, padding=2), (2, 3, 12, 10), 2 * 8 * 6 * 5 * 5 * 5 * 3),
        (lambda: nn.Conv2d(6, 4, 3, groups=2), (1, 6, 7, 7), 4 * 5 * 5 * 3 * 3 * 3),
        # Transposed: input values times what each one is spread over.
        (lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, 1), (1, 6, 5, 5), 6 * 5 * 5 * 3 * 3 * 4),
        (lambda: nn.Linear(7, 11), (3, 7), 3 * 7 * 11),
        (lambda: nn.Sequential(nn.InstanceNorm2d(3), nn.ReLU()), (1, 3, 4, 4), 0),
    ],
)
def test_operations_of_a_forward(tool: Any, build: Any, sizes: tuple[int, ...], pairs: int) -> None:
    assert tool("roofline").forward_operations(build, *sizes) == 2 * pairs


def test_operations_of_a_training_step(tool: Any) -> None:
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 1)
    images = torch.rand(2, 3, 6, 6)
    counted = tool("roofline").operations_of(lambda: second(first(images)).square().mean().backward())
    forward = [2 * 2 * 36 * 9 * 3 * 4, 2 * 2 * 36 * 4 * 5]
    # Backward: gradients of weights and of the input, each as much as forward; pictures need none.
    assert counted == 2 * forward[0] + 3 * forward[1]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_operations_of_groups(tool: Any, groups: int, kind: Any) -> None:
    layer, images = kind(4, 8, 3, groups=groups), torch.rand(1, 4, 6, 6, requires_grad=True)
    forward = tool("roofline").operations_of(lambda: layer(images))
    assert tool("roofline").operations_of(lambda: layer(images).sum().backward()) == 3 * forward
    layer.requires_grad_(False)
    assert tool("roofline").operations_of(lambda: layer(images).sum().backward()) == 2 * forward


def test_counting_computes_nothing(tool: Any) -> None:
    # The generator of the paper at 64 times the pixels: minutes, if it were done.
    sizes = [
        tool("roofline").forward_operations(tool("plain_resnet").plain_generator, 1, 3, side, side)
        for side in (256, 2048)
    ]
    assert sizes == [99_103_014_912, 64 * 99_103_014_912]


def test_both_sides_of_super_resolution_do_the_same_work(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, roofline = tool("bench_srgan"), tool("roofline")
    monkeypatch.setattr(bench, "unmeasured_tricks", lambda device: ("channels_last", "fused_optimizers"))
    sizes = {"batch": 2, "pixels": 32, "channels": 4, "blocks": 1}
    ours = bench.our_step(bench.Work(device="cpu", **sizes), "bf16")
    ours()
    plain = bench.plain_step(bench.Work(device=roofline.SHAPES_ONLY.type, **sizes))
    assert roofline.operations_of(ours) == roofline.operations_of(plain) > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_rate_is_of_all_calls_together(tool: Any, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    roofline = tool("roofline")
    for name, value in {"CHANNELS": 6, "PIXELS": 5, "BATCH": 2}.items():
        monkeypatch.setattr(roofline, name, value)
    ticks = iter(range(10_000))
    # A clock on which everything takes 4 ms: five calls fill a burst of 20 ms.
    monkeypatch.setattr(roofline, "now", lambda device: next(ticks) * 0.004)
    kinds: list[tuple[torch.dtype, bool]] = []
    convolve = roofline.functional.conv2d

    def listening(images: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        kinds.append((images.dtype, images.is_contiguous(memory_format=torch.channels_last)))
        return convolve(images, weight, padding=padding)

    monkeypatch.setattr(roofline.functional, "conv2d", listening)
    benchmark = torch.backends.cudnn.benchmark
    rate = roofline.convolution_rate(CPU, precision)
    assert rate == pytest.approx(5 * (2 * 2 * 6 * 25 * 9 * 6) / 0.004)
    assert set(kinds) == {(roofline.DTYPES[precision], True)}
    assert torch.backends.cudnn.benchmark == benchmark


def test_shares_are_of_the_best_look_in_the_same_format(tool: Any, rates: dict[str, list[float]]) -> None:
    module = tool("roofline")
    roofline = module.Roofline(CPU)
    for _ in range(2):
        roofline.look("fp32", "bf16", "fp32")
    assert roofline.limits == {"fp32": 200.0, "bf16": 800.0}
    row = roofline.rated(tool("bench_turns").compare("a step", [10.0], [5.0], "bf16"), 1000)
    assert row["times_faster"] == 2.0
    assert (row["plain_fp32_operations_per_second"], row["plain_fp32_share_of_limit"]) == (100.0, 0.5)
    assert (row["ours_operations_per_second"], row["ours_share_of_limit"]) == (200.0, 0.25)
    heading, plain, ours, limit = module.operation_lines([row], {"fp32": 2e11, "bf16": 1.5e12})
    assert len(heading) == len(plain) == len(ours)
    assert plain.split()[2:] == ["plain", "fp32", "1.00", "k", "0.10", "k/s", "50.0", "%"]
    assert ours.split()[2:] == ["ours", "bf16", "1.00", "k", "0.20", "k/s", "25.0", "%"]
    assert limit.endswith(": 200 G/s in fp32, 1.50 T/s in bf16")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.879e12, "1.88 T"),
        (9.996e9, "10.0 G"),
        (99.96e9, "100 G"),
        (3.2e16, "32.0 P"),
        (5.5e6, "5.50 M"),
        (7, "0.01 k"),
    ],
)
def test_scaled_numbers(tool: Any, number: float, text: str) -> None:
    assert tool("roofline").scaled(number) == text


def test_runners_have_shares_too(tool: Any, rates: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch) -> None:
    translate = tool("bench_translate")
    seconds = {"plain fp32": [4.0, 4.0], "torch bf16": [1.0, 2.0]}
    monkeypatch.setattr(translate, "contenders", lambda device: [("torch", "bf16")])
    monkeypatch.setattr(translate, "in_own_process", lambda make, *given: contextlib.nullcontext())
    monkeypatch.setattr(
        translate, "in_turns", lambda actions, counted, warmup: {name: seconds[name] for name in actions}
    )
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    translate.add_arguments(parser)
    result = translate.run(parser.parse_args(["--pixels", "32", "--channels", "4", "--blocks", "1", "--pictures", "0"]))
    assert result["limits"] == {"fp32": 200.0, "bf16": 800.0}
    plain, ours = result["rows"]
    assert plain["operations"] == ours["operations"] > 0
    assert plain["share_of_limit"] == pytest.approx(plain["operations"] / 4.0 / 200.0)
    assert ours["share_of_limit"] == pytest.approx(ours["operations"] / 1.5 / 800.0)
    assert ours["times_faster"] == 3.0
    _, heading, *lines, limit = translate.table(result)
    assert {len(line) for line in lines} == {len(heading)}
    assert limit.startswith("limit: 3 x 3 convolution")


def test_a_record_is_kept(
    tool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, steps = tool("bench"), tool("bench_steps")
    measured = tool("roofline").Roofline(CPU)
    measured.limits = {"fp32": 200.0, "bf16": 800.0}

    def measure(rows: Any, arguments: argparse.Namespace) -> dict[str, Any]:
        (row,) = rows
        assert row.changes == ("data.crop_pixels=8", "data.resize_pixels=8") and arguments.steps == 2
        timed = tool("bench_turns").compare(row.title, [2.0, 4.0], [1.0, 1.0], "bf16")
        return {"rows": [measured.rated(timed, 1000)], "limits": measured.limits, "failed": []}

    monkeypatch.setattr(steps, "measure", measure)
    file = tmp_path / "new" / "cyclegan.json"
    words = ["bench.py", "cyclegan", "--device", "cpu", "--pixels", "8", "--steps", "2", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    bench.main()
    table = capsys.readouterr().out
    assert "CycleGAN" in table and "of the limit" in table
    record = json.loads(file.read_text())
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert set(record) == {"bench", "rows", "limits", "failed", "environment"}
    assert record["bench"] == "cyclegan"
    assert record["limits"] == {"fp32": 200.0, "bf16": 800.0}
    (row,) = record["rows"]
    assert {"times_faster", "operations", "ours_operations_per_second", "ours_share_of_limit"} <= set(row)
    environment = record["environment"]
    assert set(environment) >= ENVIRONMENT
    assert set(environment["cpu"]) >= {"name", "features", "cores", "usable_cores"}
    assert environment["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["device"] == "cpu"
    assert environment["git"] is None or set(environment["git"]) == {"commit", "dirty"}
    assert environment["date"].endswith("+00:00")


def test_kept_records_are_whole() -> None:
    files = [*(TOOLS.parents[1] / "docs" / "bench").glob("*.json")]
    assert files
    for file in files:
        record = json.loads(file.read_text())
        assert {"bench", "environment"} <= set(record)
        assert set(record["environment"]) >= ENVIRONMENT, file.name


NEEDED = {"dcgan": ["--mnist", "x", "--lenet", "y"], "overhead": ["cyclegan_demo"]}


def test_a_record_is_printed(tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bench = tool("bench")
    # Every verb hands its result to the same function.
    for verb, (module, _) in bench.VERBS.items():
        monkeypatch.setattr(tool(module), "run", lambda arguments: {"rows": [{"figure": 1.5}]})
        monkeypatch.setattr(tool(module), "table", lambda result: [])
        monkeypatch.setattr(sys, "argv", ["bench.py", verb, *NEEDED.get(verb, ()), "--json"])
        bench.main()
        printed = json.loads(capsys.readouterr().out)
        assert printed["bench"] == verb
        assert printed["rows"] == [{"figure": 1.5}]
        assert set(printed["environment"]) >= ENVIRONMENT


def test_what_was_left_out_ends_it_with_1(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool("bench_start"), "run", lambda arguments: {"rows": [], "failed": ["a row"]})
    monkeypatch.setattr(tool("bench_start"), "table", lambda result: [])
    monkeypatch.setattr(sys, "argv", ["bench.py", "start", "--json"])
    with pytest.raises(SystemExit, match="1"):
        tool("bench").main()
    assert json.loads(capsys.readouterr().out)["failed"] == ["a row"]


def test_without_a_verb_there_is_help(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = tool("bench")
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    bench.main()
    said = capsys.readouterr().out
    assert all(f"  {verb}" in said and what in said for verb, (_, what) in bench.VERBS.items())


def test_every_bench_has_a_verb(tool: Any) -> None:
    beside = {"bench_models", "bench_turns"}
    files = {path.stem for path in TOOLS.glob("bench_*.py")}
    assert {module for module, _ in tool("bench").VERBS.values()} == files - beside
