from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i.core.generators import LatentGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.errors import DataError, ModelError, OutOfMemoryError, UsageError
from i2i.inference import LatentModel, load_generator
from i2i.inference.generation.latents import draw_latents
from i2i.inference.latent_model import BLOCK
from i2i.inference.runtime import Precision
from i2i.pipelines.protocol import LatentEntryPoint
from tests.inference.models import (
    COLOUR,
    DCGAN,
    GREY,
    MLP,
    R3GAN,
    SNGAN,
    generator_network,
    latent_model,
    write_generator,
)


class Painting(nn.Module):
    """Every pixel of a picture is the first number of its latent."""

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return latents[:, :1, None, None].expand(-1, 1, 28, 28)


class Failing(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        raise self.error


def model_of(
    settings: LatentGeneratorSettings = DCGAN,
    shape: ImageShape = GREY,
    classes: int = 0,
    network: nn.Module | None = None,
    precision: Precision = "fp32",
) -> LatentModel:
    network = generator_network(settings, shape, classes) if network is None else network
    return latent_model(network, LatentEntryPoint("generator", settings, shape, classes), precision=precision)


def painting(levels: list[float]) -> np.ndarray:
    """What a model makes of a network's output of these levels: one number each."""
    latents = torch.zeros(len(levels), 5)
    latents[:, 0] = torch.tensor(levels)
    pictures = model_of(MLP, network=Painting())(latents)
    assert np.all(pictures == pictures[:, :1, :1])
    return pictures[:, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "shape", "classes"),
    [(MLP, GREY, 0), (MLP, COLOUR, 3), (DCGAN, GREY, 10), (DCGAN, COLOUR, 0), (SNGAN, COLOUR, 4), (R3GAN, COLOUR, 2)],
    ids=lambda value: getattr(value, "kind", str(value)),
)
class TestPictures:
    def test_have_the_shape_of_the_model(
        self, settings: LatentGeneratorSettings, shape: ImageShape, classes: int
    ) -> None:
        model = model_of(settings, shape, classes)
        pictures = model(model.latents(range(5)), [0] * 5 if classes else None)
        assert pictures.shape == (5, shape.pixels, shape.pixels, shape.channels)
        assert pictures.dtype == np.uint8
        assert len({picture.tobytes() for picture in pictures}) == 5

    def test_depend_neither_on_their_number_nor_on_the_batch_nor_on_the_threads(
        self, settings: LatentGeneratorSettings, shape: ImageShape, classes: int
    ) -> None:
        model = model_of(settings, shape, classes)
        latents = model.latents(range(40))
        labels = torch.arange(40) % classes if classes else None
        expected = model(latents, labels, batch=1)
        threads = torch.get_num_threads()
        try:
            for count, batch, thread_count in ((40, 64, 2), (17, 1, 3), (16, 5, 1), (1, 64, 4)):
                torch.set_num_threads(thread_count)
                pictures = model(latents[:count], None if labels is None else labels[:count], batch=batch)
                assert np.array_equal(pictures, expected[:count])
                assert torch.get_num_threads() == thread_count, "the caller's setting is left alone"
        finally:
            torch.set_num_threads(threads)

    def test_are_those_of_the_network(self, settings: LatentGeneratorSettings, shape: ImageShape, classes: int) -> None:
        model = model_of(settings, shape, classes)
        latents = model.latents(range(20))
        labels = torch.arange(20) % classes if classes else None
        with torch.inference_mode():
            floats = generator_network(settings, shape, classes).eval()(latents, labels)
        expected = ((floats + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
        got = model(latents, labels)
        # Other batch shapes may differ in the last bit, which now and then turns a rounding.
        assert np.abs(got - expected).max() <= 1
        assert np.mean(got != expected) < 1e-3


def test_pictures_of_a_class_differ_from_those_of_another() -> None:
    model = model_of(DCGAN, GREY, 10)
    latents = model.latents([0, 0, 0])
    first, same, other = model(latents, [3, 3, 4])
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_blocks_are_always_whole() -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(Painting):
        def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
            seen.append(tuple(latents.shape))
            return super().forward(latents)

    model_of(MLP, network=Watching())(torch.zeros(2 * BLOCK + 1, 5))
    assert seen == [(BLOCK, 5)] * 3


def test_levels_are_rounded_and_clamped_not_wrapped() -> None:
    def level(value: float) -> float:
        return value / 127.5 - 1

    assert painting([level(100.4), level(100.6), -1.0, 1.0, -7.0, 1.01]).tolist() == [100, 101, 0, 255, 0, 255]


def test_no_latent_gives_no_picture() -> None:
    assert model_of(DCGAN, COLOUR)(torch.zeros(0, 12)).shape == (0, 32, 32, 3)


def test_arrays_are_taken_too() -> None:
    model = model_of(DCGAN, GREY, 10)
    latents = model.latents(range(3))
    assert np.array_equal(model(latents.numpy(), np.array([1, 2, 3])), model(latents, [1, 2, 3]))


def test_runs_in_evaluation_mode() -> None:
    network = generator_network(DCGAN, GREY).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = latent_model(network, LatentEntryPoint("generator", DCGAN, GREY))
    model(model.latents(range(3)))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("shape", [(3,), (3, 11), (3, 13), (3, 12, 1)], ids=str)
def test_latents_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"this model needs \(N, 12\)"):
        model_of()(torch.zeros(shape))


def test_latents_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not all finite"):
        model_of()(torch.full((1, 12), float("nan")))


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (10, None, "labels are missing: this model has 10 classes"),
        (10, [0, 10], "class 10 is out of range - this model has 0 to 9"),
        (10, [0, -1], "class -1 is out of range"),
        (10, [0], r"labels are \(1,\); 2 latents need \(2,\)"),
        (0, [0, 0], "trained without classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(classes: int, labels: list[int] | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of(DCGAN, GREY, classes)(torch.zeros(2, 12), labels)


def test_numbers_that_are_not_finite_are_an_error_and_no_black_picture() -> None:
    network = generator_network(DCGAN, GREY)
    next(network.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        model_of(network=network)(torch.zeros(1, 12))
    with pytest.raises(ModelError, match="--precision fp32"):
        model_of(network=network, precision="bf16")(torch.zeros(1, 12))


def test_bf16_is_close_to_fp32_and_really_another_arithmetic() -> None:
    model = model_of()
    latents = model.latents(range(4))
    exact = model(latents).astype(int)
    rough = model_of(precision="bf16")(latents).astype(int)
    assert exact.std() > 5
    assert 0 < np.abs(exact - rough).mean() < 5


def test_lack_of_memory_names_the_size_and_other_failures_name_the_engine() -> None:
    with pytest.raises(OutOfMemoryError, match="16 pictures of 28x28 pixels - use a smaller --batch"):
        model_of(MLP, network=Failing(MemoryError()))(torch.zeros(1, 5))
    with pytest.raises(ModelError, match=r"torch cannot compute it \(weight of size 3\)"):
        model_of(MLP, network=Failing(RuntimeError("weight of size 3")))(torch.zeros(1, 5))


def test_latents_are_those_of_seed_and_number() -> None:
    model = model_of()
    assert torch.equal(model.latents([4, 7], seed=3), draw_latents(range(8), 12, 3)[[4, 7]])


def test_a_loaded_model_makes_the_pictures_of_the_one_that_was_saved(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "run" / "model.safetensors", DCGAN, GREY, 10)
    loaded, original = load_generator(path.parent, "cpu"), model_of(DCGAN, GREY, 10)
    latents = original.latents(range(3))
    assert np.array_equal(loaded(latents, [1, 2, 3]), original(latents, [1, 2, 3]))
    assert (loaded.name, loaded.path, loaded.latent_width, loaded.classes) == ("generate", path, 12, 10)


def test_loading_does_not_move_the_random_numbers(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "model.safetensors")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_generator(path, "cpu")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [(["cat", "dog", "ox"], ("cat", "dog", "ox")), (["cat", "dog"], ("0", "1", "2")), (None, ("0", "1", "2"))],
)
def test_class_names_are_those_of_the_training_else_numbers(
    tmp_path: Path, recorded: list[str] | None, expected: tuple[str, ...]
) -> None:
    path = write_generator(tmp_path / "model.safetensors", MLP, GREY, 3, {"class_names": recorded})
    assert load_generator(path, "cpu").class_names == expected


def test_a_model_without_classes_has_no_names(tmp_path: Path) -> None:
    assert load_generator(write_generator(tmp_path / "model.safetensors"), "cpu").class_names == ()


@pytest.mark.gpu
def test_gpu_gives_the_pictures_of_the_cpu_and_the_same_bits_again() -> None:
    model = model_of(DCGAN, COLOUR)
    latents = model.latents(range(40))
    expected = model(latents).astype(int)
    entry_point = LatentEntryPoint("generator", DCGAN, COLOUR)
    on_gpu = latent_model(generator_network(DCGAN, COLOUR), entry_point, device="cuda")
    pictures = on_gpu(latents)
    assert np.abs(pictures - expected).max() <= 1
    assert np.array_equal(on_gpu(latents[:17], batch=1), pictures[:17])
