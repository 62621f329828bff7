"""The campaign around the trainings: what is measured, resized, kept and not done twice."""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i.evaluation.features.lenet import LeNet

TOOLS = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("bench_dcgan")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("plain_dcgan")


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def arguments(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """A tiny MNIST, and a LeNet that knows nothing."""
    random = np.random.default_rng(0)
    for name in ("train", "t10k"):
        pictures = random.integers(0, 256, (100, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", pictures)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(100, np.uint8))
    torch.save(LeNet().state_dict(), tmp_path / "lenet.pth")
    monkeypatch.setattr(bench, "LEAST_ACCURACY", 0.0)
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    words = f"--mnist {tmp_path} --lenet {tmp_path / 'lenet.pth'} --images 40 --samples 100 --seeds 2 --plain-only"
    return parser.parse_args([*words.split(), "--resume", str(tmp_path / "log.jsonl")])


def test_read_idx(bench: Any, tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "some", values)
    assert bench.read_idx(tmp_path / "some").numpy().tolist() == values.tolist()
    with pytest.raises(SystemExit, match="not there"):
        bench.read_idx(tmp_path / "other")


def test_halving_is_the_mean_of_four(bench: Any) -> None:
    pictures = torch.randint(0, 256, (3, 1, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = torch.nn.functional.avg_pool2d(pictures.float(), 2).round().to(torch.uint8)
    assert torch.equal(bench.resized(pictures, 32), expected)
    assert torch.equal(bench.resized(pictures, 64), pictures)


def test_the_count_of_samples_does_not_change_them(bench: Any) -> None:
    few, many = (torch.cat(list(bench._made(lambda x: x, 5, count, 0))) for count in (130, 200))
    assert few.shape == (130, 5)
    assert torch.equal(few, many[:130])
    assert not torch.equal(few, torch.cat(list(bench._made(lambda x: x, 5, 130, 1))))


def test_a_finished_training_is_not_done_again(
    bench: Any, arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def measure(seed: int, *rest: object) -> tuple[float, float, dict[str, float]]:
        trained.append(seed)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return 10.0 + seed, 100.0, {}

    monkeypatch.setattr(bench, "_measure_plain", measure)
    with pytest.raises(KeyboardInterrupt):
        bench.run(arguments)
    result = bench.run(arguments)
    assert trained == [0, 1, 1]
    assert [piece["distance"] for piece in result["pieces"]] == [10.0, 11.0]
    assert result["medians"] == {"plain_distance": 10.5, "plain_seconds": 100.0}
    assert "10.50" in "\n".join(bench.table(result))
    assert json.loads(json.dumps(result)) == result
    # Another length is another campaign.
    arguments.images = 41
    bench.run(arguments)
    assert trained == [0, 1, 1, 0, 1]


def test_both_sides_make_ratios(bench: Any, arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments.methods, arguments.recipe = ("plain", "ours"), "cyclegan_demo"
    monkeypatch.setattr(bench, "_measure_plain", lambda *_: (20.0, 300.0, {}))
    monkeypatch.setattr(bench, "_measure_ours", lambda *_: (15.0, 30.0, {}))
    result = bench.run(arguments)
    assert result["medians"]["distance_ratio"] == pytest.approx(0.75)
    assert result["medians"]["seconds_ratio"] == pytest.approx(0.1)
    assert "\n".join(bench.table(result)).count("0.750") == 3


def test_a_judge_that_knows_no_digits_is_refused(
    bench: Any, arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "LEAST_ACCURACY", 1.01)
    with pytest.raises(SystemExit, match="no distance is measured"):
        bench.run(arguments)


def test_the_plain_recipe_trains_on_just_so_many_pictures(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "BATCH", 2)
    seen: list[int] = []
    judge = plain.plain_discriminator

    def counting(*sizes: int) -> torch.nn.Module:
        network = judge(*sizes)
        network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        return network

    monkeypatch.setattr(plain, "plain_discriminator", counting)
    pictures = torch.zeros(3, 1, 64, 64, dtype=torch.uint8)
    generator, seconds = plain.train_plain(pictures, 4, seed=0, device=torch.device("cpu"))
    # Real, generated, and generated again for the generator.
    assert seen == [2] * 6
    assert seconds > 0
    assert generator(torch.zeros(2, plain.LATENT, 1, 1)).shape == (2, 1, 64, 64)
