"""LeNet-5: it learns digits within seconds, is written and read again, and takes any size and colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from i2i.data.drawn_digits import draw_digits
from i2i.errors import DataError, ModelError, StorageError
from i2i.evaluation.features.lenet import LeNet, grey, lenet_input, load_lenet, open_lenet, save_lenet, train_lenet
from i2i.files import sha256_of_file
from i2i.inference import tensor_files
from tests.real import WEIGHTS

CPU = torch.device("cpu")
# Beside a checkout may lie one that was trained on MNIST.
PUBLIC = WEIGHTS / "dcgan_csinva/lenet_epoch=12_test_acc=0.991.pth"


@pytest.fixture(scope="module")
def trained() -> LeNet:
    return train_lenet(*draw_digits(28, 1500, 0, "train"), epochs=3)


@pytest.fixture(scope="module")
def file(trained: LeNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lenet") / "lenet.safetensors"
    save_lenet(trained, path)
    return path


@pytest.mark.parametrize("pixels", [28, 32])
def test_it_tells_digits_apart(file: Path, pixels: int) -> None:
    pictures, labels = draw_digits(pixels, 300, 1, "test")
    found = open_lenet(file, CPU)(list(pictures))
    assert found.vectors.shape == (300, 84) and found.logits is not None and found.logits.shape == (300, 10)
    # One of ten by chance.
    assert (found.logits.argmax(1) == labels).mean() > 0.9


@pytest.mark.skipif(not PUBLIC.is_file(), reason="the trained weights are not at hand")
def test_the_public_layout() -> None:
    network = load_lenet(PUBLIC)
    theirs = torch.load(PUBLIC, weights_only=True)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items())
    assert set(theirs) == set(network.state_dict())


def test_the_passport(file: Path) -> None:
    extractor = open_lenet(file, CPU)
    assert extractor.name == "lenet5" and extractor.weights_sha256 == sha256_of_file(file)
    assert (extractor.width, extractor.classes) == (84, 10)


def test_what_is_written_is_read(trained: LeNet, file: Path) -> None:
    read = load_lenet(file).state_dict()
    assert all(torch.equal(tensor, read[name]) for name, tensor in trained.state_dict().items())


def test_training_repeats_and_touches_no_random_state() -> None:
    pictures, labels = draw_digits(28, 100, 0, "train")
    state = torch.get_rng_state()
    first = train_lenet(pictures, labels, epochs=1, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    with torch.no_grad():
        again, other = (train_lenet(pictures, labels, epochs=1, seed=seed) for seed in (3, 4))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        assert not torch.equal(tensor, other.state_dict()[name])
    assert not first.training and not any(weight.requires_grad for weight in first.parameters())


def test_grey_written_as_colour_comes_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(grey(levels.repeat(1, 1, 1, 3)), grey(levels))
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [1, 2, 3]], dtype=torch.uint8).reshape(1, 2, 2, 3)
    # 0.299 * 255 = 76.2, 149.7, 29.1; 0.299 + 1.174 + 0.342 = 1.8.
    assert grey(colours).flatten().tolist() == [76, 150, 29, 2]


def test_pictures_of_32_pixels_are_taken_as_they_are() -> None:
    levels = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lenet_input(levels), levels.float() / 255)


def test_files_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.pth: no such file of LeNet weights - give one, as lenet:FILE"):
        load_lenet(tmp_path / "nowhere.pth")
    torch.save({"conv1.weight": torch.zeros(6, 1, 5, 5)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"\(10 of 10 tensors are missing\) - give the weights of a LeNet-5"):
        load_lenet(tmp_path / "other.pth")


def test_pictures_without_labels() -> None:
    with pytest.raises(DataError, match="with 3 labels"):
        train_lenet(np.zeros((4, 28, 28, 1), np.uint8), np.zeros(3))


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(StorageError, match="No space left"):
        save_lenet(LeNet(), tmp_path / "lenet.safetensors")
    assert not [*tmp_path.iterdir()]
