"""A training whose memory runs out, by the command line: on with smaller micro-batches, or a line that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i.cli import main
from i2i.core.generators import DCGANGenerator, ResNetGenerator
from tests.training.runs import make_generation_recipe, make_pictures, make_recipe


def runs_out(monkeypatch: pytest.MonkeyPatch, network: type[torch.nn.Module], most_rows: int) -> None:
    """Let the network have memory for the gradients of so many rows."""
    whole = network.forward

    def forward(self: torch.nn.Module, images: Tensor, *others: Tensor) -> Tensor:
        if torch.is_grad_enabled() and len(images) > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return whole(self, images, *others)

    monkeypatch.setattr(network, "forward", forward)


def test_a_training_goes_on_in_smaller_parts_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = make_recipe(tmp_path, make_pictures(tmp_path / "pictures")), tmp_path / "run"
    # Pictures to translate and those to leave as they are go through together.
    runs_out(monkeypatch, ResNetGenerator, most_rows=2)
    assert main(["train", str(recipe), "--device", "cpu", "-o", str(out), "--set", "training.length.steps=4"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "out of memory" in line]
    assert said == [
        "step 1: out of memory with a batch of 2; on with micro-batches of 1 (training.accumulate: 2),"
        " which add up to the same batch"
    ]
    assert json.loads((out / "checkpoints" / "step_4" / "state.json").read_text())["micro_batches"] == 2
    longer = ["--set", "training.length.steps=5"]
    assert main(["train", "--resume", str(out), "--device", "cpu", *longer]) == 0
    assert "out of memory" not in capsys.readouterr().err
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows if "loss/generator/total" in row["values"]] == [2, 4, 6, 8, 10]


def test_a_batch_that_cannot_be_split_ends_it_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_out(monkeypatch, DCGANGenerator, most_rows=2)
    recipe = make_generation_recipe(tmp_path)
    assert main(["train", str(recipe), "--device", "cpu", "-o", str(tmp_path / "run"), "--quiet"]) == 6
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line == (
        "i2i: error: step 1: out of memory with a batch of 4, which cannot be split: that would change the batch norm"
        " in generator, discriminator - try training.activation_checkpointing: true or a smaller training.batch_size"
        " or smaller crops"
    )
