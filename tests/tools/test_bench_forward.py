"""Every plain generator is the same function as ours, and the table names the best runner of each size."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.core.generators import (
    DCGANGeneratorSettings,
    MSRResNetSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.inference import load_any_model
from i2i.pipelines.protocol import LatentEntryPoint, PictureEntryPoint
from tests.tools.bench_weights import copy_weights

BENCHES = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    return importlib.import_module("bench_forward")


# Ours, the plain one's module, class or function, its arguments, and an input of ours; pictures get a border that is
# no multiple of anything where the network allows it.
PAIRS = {
    "resnet": (ResNetGeneratorSettings(base_channels=4, blocks=2), "plain_resnet", "plain_generator", (4, 2), 20),
    "unet": (UNetGeneratorSettings(base_channels=2, levels=6), "plain_unet", "PlainUNet", (2, 6), 64),
    "srresnet": (SRResNetSettings(base_channels=4, blocks=2), "plain_upscaling", "PlainSRResNet", (4, 2), 7),
    "msrresnet": (MSRResNetSettings(base_channels=4, blocks=2), "plain_upscaling", "PlainMSRResNet", (4, 2), 7),
    "rrdb": (
        RRDBSettings(base_channels=4, growth_channels=2, blocks=2), "plain_upscaling", "PlainRRDB", (4, 2, 2), 7,
    ),
    "dcgan": (DCGANGeneratorSettings(base_channels=2), "plain_dcgan", "plain_generator", (3, 2), None),
    "r3gan": (
        R3GANGeneratorSettings(widths=(16, 16, 16, 16, 8), cardinalities=(2, 2, 2, 2, 1)),
        "plain_r3gan", "PlainGenerator", (3, (16, 16, 16, 16, 8)), None,
    ),
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", PAIRS)
def test_the_plain_network_is_the_same_function(bench: Any, name: str, tmp_path: Path) -> None:
    settings, module, builder, sizes, side = PAIRS[name]
    entry = (
        LatentEntryPoint("generator", settings, ImageShape(3, 64))
        if side is None
        else PictureEntryPoint("generator", settings, ("low", "high"), getattr(settings, "scale", 1))
    )
    file = importlib.import_module("bench_models").write_network(tmp_path / "x.safetensors", entry)
    ours = load_any_model(file, "cpu", runner="torch").runner.network
    assert ours is not None
    ours.double()
    plain = getattr(importlib.import_module(module), builder)(*sizes).double().eval()
    random = torch.Generator().manual_seed(0)
    shape = (2, settings.latent) if side is None else (2, 3, side, side + (0 if name == "unet" else 4))
    given = torch.randn(shape, dtype=torch.float64, generator=random).clamp(-1, 1)
    plain_given = bench.named(name).plain_input(given.shape)
    copy_weights(ours, plain, given, given.reshape(plain_given))
    made = ours(given)
    assert made.std() > 1e-4
    if getattr(settings, "scale", 1) == 4:
        # The plain ones work on [0, 1].
        torch.testing.assert_close(made, 2 * plain(given / 2 + 0.5) - 1, rtol=0, atol=1e-12)
    else:
        torch.testing.assert_close(made, plain(given.reshape(plain_given)), rtol=0, atol=1e-12)


def test_both_sides_have_the_papers_size(bench: Any) -> None:
    for network in bench.NETWORKS:
        ours = network.ours
        with torch.device("meta"):
            build = ours.generator.build
            built = build(ours.shape) if isinstance(ours, LatentEntryPoint) else build()  # type: ignore[call-arg]
            counts = [
                [parameter.numel() for parameter in side.parameters() if parameter.dim() == 4]
                for side in (built, network.plain())
            ]
        assert sorted(counts[0]) == sorted(counts[1]), network.name
    assert {network.name for network in bench.NETWORKS} == set(PAIRS)


@contextlib.contextmanager
def here(make: Any, *given: Any) -> Iterator[Any]:
    yield make(*given)


def test_the_table(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = [
        bench.Network(
            name=name,
            title=name,
            ours=ours,
            plain=lambda name=name: getattr(importlib.import_module(PAIRS[name][1]), PAIRS[name][2])(*PAIRS[name][3]),
            inputs=inputs,
        )
        for name, ours, inputs in (
            ("srresnet", PictureEntryPoint("generator", PAIRS["srresnet"][0], ("low", "high"), 4), ((1, 3, 6, 6),)),
            ("dcgan", LatentEntryPoint("generator", PAIRS["dcgan"][0], ImageShape(3, 64)), ((1, 100), (2, 100))),
        )
    ]
    monkeypatch.setattr(bench, "NETWORKS", tuple(tiny))
    # Processes of their own are tried once, elsewhere: they take seconds to start.
    monkeypatch.setattr(bench, "in_own_process", here)
    monkeypatch.setattr(bench, "contenders", lambda device: [("torch", "fp32"), ("torch", "bf16"), ("lacking", "fp32")])
    monkeypatch.setattr(bench.Roofline, "look", lambda self, *names: self.limits.update(dict.fromkeys(names, 1e12)))
    forward = bench.our_forward

    def our_forward(name: str, model: str, device: str, runner: str, precision: Any) -> Any:
        def fails(sizes: Any) -> None:
            raise RuntimeError("not\ntoday")

        return fails if runner == "lacking" else forward(name, model, device, runner, precision)

    monkeypatch.setattr(bench, "our_forward", our_forward)
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    result = bench.run(parser.parse_args(["--rounds", "2", "--warmup", "0"]))
    assert json.loads(json.dumps(result)) == result
    runners = ["plain fp32", "torch fp32", "torch bf16", "torchscript fp32"]
    assert [row["runner"] for row in result["rows"]] == 3 * runners
    assert [row["input"] for row in result["rows"][::4]] == [[1, 3, 6, 6], [1, 100], [2, 100]]
    for start in (0, 4, 8):
        of_size = result["rows"][start : start + 4]
        (best,) = [row for row in of_size if row["best"]]
        assert best["times_faster"] == max(row["times_faster"] for row in of_size)
        assert of_size[0]["times_faster"] == 1.0
        assert all(row["operations"] == of_size[0]["operations"] > 0 for row in of_size)
    assert result["rows"][8]["operations"] == 2 * result["rows"][4]["operations"]
    assert result["failed"] == ["srresnet, lacking fp32: not today", "dcgan, lacking fp32: not today"]
    heading, *lines, limit, _, _ = bench.table(result)
    assert {len(line) for line in lines} == {len(heading)}
    assert sum("*" in line for line in lines) == 3
    assert limit.startswith("limit: 3 x 3 convolution")
    only = bench.run(parser.parse_args(["--rounds", "1", "--warmup", "0", "--only", "srresnet"]))
    assert {row["network"] for row in only["rows"]} == {"srresnet"}
