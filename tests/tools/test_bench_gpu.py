"""Without a GPU one line says so; with one, all sections are measured, and no row takes another with it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHES = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    return importlib.import_module("bench_gpu")


def test_without_a_gpu(bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", "gpu", "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("bench").main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err == "tools/bench gpu: no CUDA device here - nothing was measured\n" and said.out == ""


@contextlib.contextmanager
def here(make: Any, *given: Any) -> Iterator[Any]:
    yield make(*given)


def test_all_sections(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[str, int]] = []
    compare = importlib.import_module("bench_turns").compare

    rated = importlib.import_module("roofline").Roofline(torch.device("cpu"))
    rated.limits = {"fp32": 8.0, "bf16": 9.0}

    def measure(title: str, recipe: Any, turns: Any, roofline: Any, apart: bool) -> dict[str, Any]:
        batches.append((recipe.name, recipe.training.batch_size))
        if title.startswith("DCGAN"):
            raise RuntimeError("no\nroom")
        return rated.rated(compare(title, [2.0], [1.0], "bf16"), 10)

    forward = {"rows": [], "limits": {"fp32": 1.0, "fp16": 7.0}, "failed": ["a runner"]}
    monkeypatch.setattr(bench.bench_steps, "_measured", measure)
    monkeypatch.setattr(bench.bench_steps, "Roofline", lambda device: rated)
    monkeypatch.setattr(bench.bench_forward, "run", lambda arguments: forward)
    monkeypatch.setattr(bench, "in_own_process", here)
    monkeypatch.setattr(bench, "with_precision", lambda recipe, device: (recipe, "bf16"))
    monkeypatch.setattr(bench, "peak_of", lambda side, recipe, device: lambda: {"plain_fp32": 3.0, "ours": 1.5}[side])
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    result = bench.measure(parser.parse_args(["--only", "cyclegan", "dcgan", "r3gan"]))
    assert json.loads(json.dumps(result)) == result
    assert batches == [("cyclegan_horse2zebra", 1), ("dcgan_faces64", 128), ("r3gan_faces64", 2)]
    assert [row["name"] for row in result["rows"]] == ["cyclegan", "r3gan"]
    # A GPU gets larger batches.
    sizes = [row["row"].split(", ", 1)[1] for row in result["memory"]]
    assert sizes == ["256 px, batch 1", "64 px, batch 128", "R1 and R2 each step, 64 px, batch 64"]
    assert {row["times_less"] for row in result["memory"]} == {2.0}
    assert result["limits"] == {"fp32": 8.0, "bf16": 9.0, "fp16": 7.0}
    assert result["failed"] == ["DCGAN, 64 px, batch 128: RuntimeError: no room"]
    text = "\n".join(bench.table(result))
    assert all(part in text for part in ("most memory within a step", "3.00 GiB", "left out: DCGAN, ", "a runner"))


def test_peaks_are_of_later_steps(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(bench, "our_step", lambda recipe, device: lambda: happened.append("ours"))
    monkeypatch.setattr(bench.bench_steps, "plain_step", lambda recipe, device: lambda: happened.append("plain"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: happened.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**29)
    assert bench.peak_of("ours", None, "cuda")() == 0.5
    assert happened == ["ours", "ours", "reset", "ours", "ours", "ours"]
    bench.peak_of("plain_fp32", None, "cuda")()
    assert happened[6:] == ["plain", "plain", "reset", "plain", "plain", "plain"]
