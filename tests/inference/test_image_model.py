from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i.core.generators import GeneratorSettings, ResNetGeneratorSettings, UNetGeneratorSettings
from i2i.errors import ModelError, OutOfMemoryError, UsageError
from i2i.inference import load_model
from i2i.inference.image_model import ImageModel
from i2i.inference.runtime import Precision, resolve_device
from i2i.inference.sizes import pad_mirrored, padded_side
from i2i.pipelines.protocol import PictureEntryPoint
from tests.inference.models import image_model

RESNET = ResNetGeneratorSettings(base_channels=4, blocks=1)
UNET = UNetGeneratorSettings(base_channels=2, levels=5, normalization="batch", dropout=0.5)


class Affine(nn.Module):
    """The picture times a factor plus an offset: what comes out is known."""

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, images: Tensor) -> Tensor:
        return images * self.factor + self.offset


class Failing(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error


def model_of(network: nn.Module, settings: GeneratorSettings = RESNET, precision: Precision = "fp32") -> ImageModel:
    return image_model(network, PictureEntryPoint("net", settings), precision=precision)


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("settings", [RESNET, UNET], ids=["resnet", "unet"])
@pytest.mark.parametrize("size", [(67, 53), (1, 1), (3, 500), (64, 32), (2, 9), (5, 8)], ids=str)
def test_any_size_comes_back_in_that_size(settings: GeneratorSettings, size: tuple[int, int]) -> None:
    images = pictures(2, *size)
    translated = model_of(settings.build(), settings)(images)
    assert translated.shape == images.shape
    assert translated.dtype == np.uint8


@pytest.mark.parametrize("size", [(67, 53), (1, 1), (3, 500)], ids=str)
def test_padding_is_cut_back_to_the_picture_itself(size: tuple[int, int]) -> None:
    images = pictures(1, *size)
    assert np.array_equal(model_of(nn.Identity())(images), images)


def test_one_picture_without_a_batch_axis() -> None:
    image = pictures(12, 8)
    assert np.array_equal(model_of(nn.Identity())(image), image)


def test_network_sees_reflection_and_its_result_is_that_of_the_padded_picture() -> None:
    network = RESNET.build().eval()
    image = pictures(67, 53)
    padded = np.pad(image, ((0, 1), (0, 3), (0, 0)), mode="reflect")
    floats = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        expected = ((network(floats) + 1) * 127.5).round()[0, :, :67, :53].permute(1, 2, 0).numpy()
    got = model_of(network)(image)
    # Channels-last arithmetic may differ in the last bit, which now and then turns a rounding.
    assert np.abs(got - expected).max() <= 1
    assert np.mean(got != expected) < 1e-3


@pytest.mark.parametrize(
    ("have", "want", "mode"), [((5, 7), (8, 8), "reflect"), ((3, 3), (8, 12), "symmetric"), ((1, 1), (8, 8), "edge")]
)
def test_padding_mirrors_and_repeats_when_too_small(have: tuple[int, int], want: tuple[int, int], mode: str) -> None:
    image = np.random.default_rng(1).random(have)
    missing = [(0, target - side) for side, target in zip(have, want, strict=True)]
    expected = np.pad(image, missing, mode=mode)  # type: ignore[call-overload]
    assert np.array_equal(pad_mirrored(torch.from_numpy(image)[None, None], *want)[0, 0].numpy(), expected)


def test_padded_side_keeps_multiple_and_minimum() -> None:
    assert [padded_side(pixels, 4, 8) for pixels in (1, 8, 9, 12, 13)] == [8, 8, 12, 12, 16]
    assert padded_side(256, 256, 256) == 256


def test_results_are_rounded_not_truncated() -> None:
    # 100 / 127.5 - 1 is level 100; 0.6 of a level more must become 101.
    image = np.full((8, 8, 3), 100, np.uint8)
    assert np.all(model_of(Affine(offset=0.6 / 127.5))(image) == 101)
    assert np.all(model_of(Affine(offset=0.4 / 127.5))(image) == 100)


def test_values_out_of_range_are_clamped_not_wrapped() -> None:
    image = np.array([[[0, 128, 255]] * 8] * 8, np.uint8)
    assert np.all(model_of(Affine(factor=2.0))(image)[0, 0] == [0, 129, 255])


def test_every_level_of_8_and_16_bits_survives_the_way_through_floats() -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    sixteen = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256, 1).repeat(3, axis=3)
    model = model_of(nn.Identity())
    assert np.array_equal(model(eight), eight)
    translated = model.translate_array(sixteen)
    assert translated.dtype == np.uint16
    assert np.array_equal(translated, sixteen)


def test_floats_in_floats_out() -> None:
    images = torch.rand(2, 3, 9, 6) * 2 - 1
    translated = model_of(Affine(factor=0.5)).translate_float(images)
    assert translated.shape == images.shape
    assert translated.dtype == torch.float32
    torch.testing.assert_close(translated, images * 0.5)


def test_wrong_arrays_are_refused() -> None:
    model = model_of(nn.Identity())
    for wrong in (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 4), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected"):
            model(wrong)


def test_runs_in_evaluation_mode() -> None:
    network = UNET.build().train()
    model = model_of(network, UNET)
    image = pictures(32, 32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert np.array_equal(model(image), model(image)), "dropout must be off"
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "statistics must not move"


def test_bf16_is_close_to_fp32_and_really_another_arithmetic() -> None:
    network = RESNET.build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)  # spreads the output over many levels
    image = pictures(32, 32)
    exact = model_of(network)(image).astype(int)
    rough = model_of(network, precision="bf16")(image).astype(int)
    assert exact.std() > 5
    assert 0 < np.abs(exact - rough).mean() < 5


def test_numbers_that_are_not_finite_are_an_error_and_no_black_picture() -> None:
    network = Affine(offset=float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        model_of(network)(pictures(8, 8))
    with pytest.raises(ModelError, match="--precision fp32"):
        model_of(network, precision="bf16")(pictures(8, 8))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_out_of_memory_names_the_size(error: Exception) -> None:
    with pytest.raises(OutOfMemoryError, match="16x8 pixels"):
        model_of(Failing(error))(pictures(8, 16))


def test_what_an_engine_cannot_do_names_it_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"torch cannot compute it \(cuDNN error: FAILED\) - try another") as caught:
        model_of(Failing(RuntimeError("cuDNN error:\nFAILED")))(pictures(8, 16))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_mistakes_of_a_network_are_not_disguised() -> None:
    with pytest.raises(TypeError, match="no number"):
        model_of(Failing(TypeError("no number")))(pictures(8, 16))


def test_a_loaded_model_gives_the_bits_of_the_network(two_way_model: Path) -> None:
    image = pictures(32, 24)
    first, second = load_model(two_way_model, "cpu"), load_model(two_way_model, "cpu")
    assert np.array_equal(first(image), second(image))
    assert first.precision == "fp32"


def test_each_direction_has_its_own_network(two_way_model: Path) -> None:
    image = pictures(10, 10)
    forth, back = load_model(two_way_model, "cpu", "AtoB"), load_model(two_way_model, "cpu", direction="BtoA")
    assert (forth.name, back.name) == ("AtoB", "BtoA")
    assert (forth.entry_point.domains, back.entry_point.domains) == (("a", "b"), ("b", "a"))
    assert np.all(forth(image) == [200, 40, 40])
    assert np.all(back(image) == [40, 200, 40])


def test_first_direction_is_the_default_and_an_unknown_one_lists_those_there_are(two_way_model: Path) -> None:
    model = load_model(two_way_model, "cpu")
    assert (model.name, model.names) == ("AtoB", ("AtoB", "BtoA"))
    with pytest.raises(UsageError, match=r"no direction 'AtoC' - this model has AtoB, BtoA"):
        load_model(two_way_model, "cpu", "AtoC")


def test_loading_does_not_move_the_random_numbers(two_way_model: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_model(two_way_model, "cpu")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "meta", "xpu"])
def test_a_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}"):
        resolve_device(name)


def test_auto_is_a_device_that_is_there() -> None:
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.gpu
def test_gpu_gives_the_picture_of_the_cpu() -> None:
    network = ResNetGeneratorSettings(base_channels=16, blocks=3).build()
    image = pictures(67, 53)
    expected = model_of(network)(image).astype(int)
    on_gpu = image_model(network, PictureEntryPoint("net", RESNET), device="cuda")(image).astype(int)
    assert np.abs(on_gpu - expected).max() <= 1
