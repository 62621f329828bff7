"""What is written holds everything that a training keeps, and every way of reading gives it back."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.recipe import load_recipe
from i2i.training.checkpoint import checkpoint_folder, load_checkpoint

BENCHES = Path(__file__).parents[2] / "tools" / "benches"
TINY = (
    "pipeline.generator={kind: resnet, base_channels: 4, blocks: 1}",
    "pipeline.discriminator={kind: patch, base_channels: 4, layers: 1}",
)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    return importlib.import_module("bench_checkpoint")


def test_all_ways(bench: Any, tmp_path: Path) -> None:
    state = bench.full_state(load_recipe("cyclegan_horse2zebra", [*bench._CHANGES, *TINY]), pool_pixels=8)
    kinds = {name.split("/")[0] for name in state.tensors}
    assert kinds == {"network", "optimizer", "memory"}
    assert {tuple(state.tensors[f"memory/{name}/pictures"].shape) for name in ("pool_a", "pool_b")} == {(50, 3, 8, 8)}
    moments = [name for name in state.tensors if name.endswith("/exp_avg_sq")]
    assert len(moments) == sum(name.startswith("network/") for name in state.tensors)
    result = bench.measure(state, tmp_path, rounds=2, warmup=0)
    assert json.loads(json.dumps(result)) == result
    rows = {row["row"]: row for row in result["rows"]}
    assert list(rows) == [
        "write, ours", "write, torch.save", "write, torch.save, flushed", "read, ours", "read, torch.load",
    ]  # fmt: skip
    for row in rows.values():
        assert row["megabytes_per_second"] == pytest.approx(result["megabytes"] / row["seconds"])
        assert row["rounds"] == 2 and row["seconds_lowest"] <= row["seconds"] <= row["seconds_highest"]
    assert result["megabytes"] == pytest.approx(sum(4 * tensor.numel() for tensor in state.tensors.values()) / 1e6)
    loaded = [
        load_checkpoint(checkpoint_folder(tmp_path / "run", 1)).tensors,
        *(torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("plain", "flushed")),
    ]
    for tensors in loaded:
        assert tensors.keys() == state.tensors.keys()
        assert all(torch.equal(tensors[name], tensor) for name, tensor in state.tensors.items())
    heading, *lines = bench.table(result)
    assert heading.startswith(f"{len(state.tensors)} tensors of ") and len(lines) == 5
    assert len({len(line) for line in lines}) == 1
