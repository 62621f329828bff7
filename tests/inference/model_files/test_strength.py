from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import i2i
from i2i.errors import UsageError
from i2i.inference import ImageModel, load_any_model, load_model
from i2i.inference.model_files.model_file import PictureRecord, read_model_file
from tests.inference.models import upscaling_network, write_generator, write_upscaler


@pytest.fixture
def upscaler(tmp_path: Path) -> Path:
    return write_upscaler(tmp_path / "run" / "model.safetensors")


def weights(path: Path, strength: float = 1.0) -> dict[str, torch.Tensor]:
    network = load_model(path, "cpu", strength=strength).runner.network
    assert network is not None
    return network.state_dict()


def test_both_networks_are_in_the_file(upscaler: Path) -> None:
    metadata, tensors = read_model_file(upscaler)
    (record,) = metadata.entry_points.values()
    assert isinstance(record, PictureRecord)
    assert (record.network, record.pixel_network, record.scale) == ("generator", "generator_pixel", 2)
    assert {name.partition(".")[0] for name in tensors} == {"generator", "generator_pixel"}
    assert metadata.description == "upscale: srresnet, enlarges pictures 2 times, strength 0 to 1"


def test_the_ends_are_the_two_networks_bit_by_bit(upscaler: Path) -> None:
    adversarial, pixel = (upscaling_network(seed).state_dict() for seed in (0, 1))
    for got in (weights(upscaler), weights(upscaler, strength=1.0)):
        assert all(torch.equal(got[name], value) for name, value in adversarial.items())
    got = weights(upscaler, strength=0.0)
    assert all(torch.equal(got[name], value) for name, value in pixel.items() if value.is_floating_point())
    assert not all(torch.equal(adversarial[name], value) for name, value in pixel.items()), "or this shows nothing"


@pytest.mark.parametrize("strength", [0.25, 0.7])
def test_weights_and_statistics_lie_between_and_counters_do_not(upscaler: Path, strength: float) -> None:
    adversarial, pixel = (upscaling_network(seed).state_dict() for seed in (0, 1))
    got = weights(upscaler, strength=strength)
    statistics = counters = 0
    for name, value in got.items():
        statistics += "running_var" in name
        if value.is_floating_point():
            expected = (1 - strength) * pixel[name].double() + strength * adversarial[name].double()
            torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
        else:
            counters += 1
            assert torch.equal(value, adversarial[name])
    assert statistics and counters


def test_pictures_change_with_the_strength(upscaler: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    default, full, half = (
        model(image)
        for model in (
            load_model(upscaler, "cpu"),
            load_any_model(upscaler, "cpu", strength=1.0),
            load_any_model(upscaler, "cpu", strength=0.5),
        )
        if isinstance(model, ImageModel)
    )
    assert default.shape == (12, 10, 3)
    assert np.array_equal(default, full)
    assert not np.array_equal(default, half)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_strength_out_of_range_is_a_usage_error(upscaler: Path, strength: float) -> None:
    with pytest.raises(UsageError, match=r"--strength .*use 0 .* to 1"):
        load_model(upscaler, "cpu", strength=strength)


def test_a_model_without_the_second_network_says_what_would_have_one(tmp_path: Path) -> None:
    alone = write_upscaler(tmp_path / "m.safetensors", with_pixel_network=False)
    load_model(alone, "cpu", strength=1.0)
    with pytest.raises(UsageError, match=r"m\.safetensors: --strength 0\.7 needs a model that also holds.*srgan_x4"):
        load_model(alone, "cpu", strength=0.7)


def test_a_generator_has_no_strength(tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "g.safetensors")
    i2i.load(generator, device="cpu")
    with pytest.raises(UsageError, match=r"g\.safetensors: .* are for upscalers"):
        i2i.load(generator, device="cpu", strength=0.5)
    with pytest.raises(UsageError, match=r"g\.safetensors: .* are for upscalers"):
        i2i.load(generator, device="cpu", consistent=True)
