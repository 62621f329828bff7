"""From a word to an extractor: what is opened, and what is said where something is missing."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.data import fetch, weight_files
from i2i.errors import ModelError, UsageError
from i2i.evaluation.features import opening
from i2i.evaluation.features.lenet import LeNet, save_lenet
from i2i.evaluation.features.opening import open_extractor
from tests.evaluation.features.random_inception import write_random_inception
from tests.real import WEIGHTS


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_inception(tmp_path_factory.mktemp("inception") / "given.pth")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, inception_file: Path) -> Path:
    """A file of random weights that passes for the published one."""
    content = inception_file.read_bytes()
    entry = replace(fetch.PUBLISHED_WEIGHTS["inception"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(opening, "PUBLISHED_WEIGHTS", {"inception": entry})
    return inception_file


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("ours", "weights-inception-2015-12-05-6726825d.pth"),
        ("torch.hub", "weights-inception-2015-12-05-6726825d.pth"),
        ("torch.hub", "pt_inception-2015-12-05-6726825d.pth"),
    ],
)
def test_the_published_inception_is_found(published: Path, folder: str, name: str) -> None:
    """Also where torch-fidelity or pytorch-fid put it."""
    place = fetch.weights_folder() if folder == "ours" else Path(os.environ["TORCH_HOME"], "hub", "checkpoints")
    place.mkdir(parents=True, exist_ok=True)
    (place / name).symlink_to(published)
    try:
        extractor = open_extractor("inception")
    finally:
        (place / name).unlink()
    assert extractor.weights_sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    assert (extractor.name, extractor.width, extractor.classes) == ("inception-2015-12-05", 2048, 1008)


def test_a_given_inception(inception_file: Path) -> None:
    extractor = open_extractor(f"inception:{inception_file}")
    assert extractor.weights_sha256 == hashlib.sha256(inception_file.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["inception", "vgg16", "alexnet"])
def test_missing_weights_say_what_to_put_where(name: str) -> None:
    entry = fetch.PUBLISHED_WEIGHTS[name]
    with pytest.raises(ModelError) as error:
        open_extractor(name)
    message = str(error.value)
    assert "\n" not in message
    assert f"i2i data fetch {name}" in message and entry.url in message
    assert str(fetch.weights_folder() / entry.file_name) in message
    with pytest.raises(ModelError, match=rf"nowhere\.pth: no such file of {name} weights"):
        open_extractor(f"{name}:nowhere.pth")


def test_a_half_downloaded_file_is_refused(inception_file: Path) -> None:
    """A whole file of other weights under the published name, too."""
    path = fetch.weights_folder() / fetch.PUBLISHED_WEIGHTS["inception"].file_name
    path.parent.mkdir(parents=True)
    path.symlink_to(inception_file)
    with pytest.raises(ModelError, match=r"SHA-256 is not the published one.*i2i data fetch inception"):
        open_extractor("inception")


def test_lenet(tmp_path: Path) -> None:
    save_lenet(LeNet(), tmp_path / "lenet.safetensors")
    extractor = open_extractor(f"lenet:{tmp_path / 'lenet.safetensors'}")
    assert (extractor.name, extractor.width, extractor.classes) == ("lenet5", 84, 10)
    with pytest.raises(ModelError, match="lenet has no published weights - give a file of them as lenet:FILE"):
        open_extractor("lenet")


class Mean(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))


def test_torchscript_needs_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mean.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Mean()).save(str(file))
    assert open_extractor(str(file), trust=True).width == 3

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened without trust")

    monkeypatch.setattr(weight_files.torch.jit, "load", opened)
    with pytest.raises(ModelError, match=r"mean\.pt: a torchscript file can carry code - give --trust"):
        open_extractor(str(file))
    with pytest.raises(ModelError, match=r"nowhere\.pt: no such file"):
        open_extractor("nowhere.pt", trust=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("incepton", r"no features 'incepton' - did you mean 'inception'\? known: inception\[:FILE\]"),
        ("dino:file.pth", "no features 'dino:file.pth' - known: "),
        ("", "no features ''"),
    ],
)
def test_unknown_names(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        open_extractor(spec)
    assert "\n" not in str(error.value)


def test_names_of_published_weights_hold_their_digits() -> None:
    """Whoever named the files put the beginning of their SHA-256 there, or we did."""
    for name in ("inception", "vgg16", "alexnet", "lpips_alexnet", "lpips_vgg16"):
        entry = fetch.PUBLISHED_WEIGHTS[name]
        assert entry.name == name and len(entry.sha256) == 64
        assert entry.file_name.endswith(f"-{entry.sha256[:8]}.pth")
    assert len({entry.file_name for entry in fetch.PUBLISHED_WEIGHTS.values()}) == len(fetch.PUBLISHED_WEIGHTS)


LPIPS = WEIGHTS / "lpips_lin/v0.1"


@pytest.mark.skipif(not LPIPS.is_dir(), reason="the published files are not at hand")
@pytest.mark.parametrize(("name", "file"), [("lpips_alexnet", "alex.pth"), ("lpips_vgg16", "vgg.pth")])
def test_the_heads_of_lpips_are_known(name: str, file: str) -> None:
    content = (LPIPS / file).read_bytes()
    entry = fetch.PUBLISHED_WEIGHTS[name]
    assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.archive_bytes, entry.sha256)
