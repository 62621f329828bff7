"""Weights of others: where they are looked for, what is refused, and that the right numbers arrive."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from i2i.core.losses.perceptual import ScriptedFeatures, ScriptedFeaturesSettings, VGGFeaturesSettings
from i2i.data import fetch
from i2i.errors import ModelError
from i2i.training import pretrained
from i2i.training.pretrained import load_pretrained
from tests.core.reference_vgg19 import reference_features, reference_vgg19

SMALL = VGGFeaturesSettings(layers={"relu2_1": 1.0}, distance="l1")


def vgg19_weights(seed: int = 0, *, layers: VGGFeaturesSettings = SMALL) -> dict[str, Tensor]:
    """Random weights in torchvision's key layout, with more than the network needs, as its file has."""
    torch.manual_seed(seed)
    weights = {name: torch.randn_like(tensor) for name, tensor in layers.build().state_dict().items()}
    return weights | {"features.34.weight": torch.randn(4, 4, 3, 3), "classifier.0.weight": torch.randn(4, 4)}


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """Stands for the published file: small, and known by its checksum as the real one is."""
    torch.save(vgg19_weights(), tmp_path / "published.pth")
    content = (tmp_path / "published.pth").read_bytes()
    entry = replace(
        fetch.PUBLISHED_WEIGHTS["vgg19"], archive_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setattr(pretrained, "PUBLISHED_WEIGHTS", {"vgg19": entry})
    return content


def put(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vgg19-dcbb9e9d.pth"
    path.write_bytes(content)
    return path


def assert_loaded(network: nn.Module, weights: dict[str, Tensor]) -> None:
    state = network.state_dict()
    assert state and all(torch.equal(tensor, weights[name]) for name, tensor in state.items())
    assert not any(weight.requires_grad for weight in network.parameters())


def test_whole_vgg19_of_torchvision(tmp_path: Path) -> None:
    """The key layout and the features, from the file to the numbers."""
    theirs = reference_vgg19(3)
    torch.save(theirs.state_dict() | {"classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.pth")
    layers = {"conv2_2": 1.0, "relu4_1": 1.0, "relu5_4": 1.0}
    settings = VGGFeaturesSettings(layers=layers, weights=str(tmp_path / "vgg.pth"))
    network = settings.build()
    load_pretrained(network, settings)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    expected = reference_features(theirs, images)
    for index, found in zip((7, 20, 35), network(images), strict=True):
        limit = 1e-4 * float(expected[index].abs().max())
        torch.testing.assert_close(found, expected[index], rtol=1e-4, atol=limit)


@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_a_given_file(tmp_path: Path, form: str) -> None:
    weights = vgg19_weights(7)
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")
    settings = replace(SMALL, weights=str(path))
    network = settings.build()
    load_pretrained(network, settings)
    assert_loaded(network, weights)


@pytest.mark.parametrize("place", ["ours", "torch.hub"])
def test_the_published_file_is_found_in_both_caches(published: bytes, place: str) -> None:
    folder = fetch.weights_folder() if place == "ours" else Path(os.environ["TORCH_HOME"], "hub", "checkpoints")
    path = put(folder, published)
    try:
        network = SMALL.build()
        load_pretrained(network, SMALL)
        assert_loaded(network, vgg19_weights())
    finally:
        path.unlink()


def test_missing_weights_say_where_to_get_them(published: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        load_pretrained(SMALL.build(), SMALL)
    message = str(caught.value)
    assert "\n" not in message
    assert "i2i data fetch vgg19" in message
    assert "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth" in message
    assert str(fetch.weights_folder() / "vgg19-dcbb9e9d.pth") in message
    gone = replace(SMALL, weights="nowhere/vgg.pth")
    with pytest.raises(ModelError, match=r"nowhere/vgg\.pth: no such file.*download\.pytorch\.org.*fetch vgg19"):
        load_pretrained(gone.build(), gone)


def test_a_half_downloaded_file_is_refused(published: bytes) -> None:
    put(fetch.weights_folder(), published[:-1])
    with pytest.raises(ModelError, match=r"its SHA-256 is not the published one.*remove it"):
        load_pretrained(SMALL.build(), SMALL)


def test_the_catalogue_holds_the_digits_that_the_file_is_named_by() -> None:
    entry = fetch.PUBLISHED_WEIGHTS["vgg19"]
    assert entry.file_name == f"vgg19-{entry.sha256[:8]}.pth" == "vgg19-dcbb9e9d.pth"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, r"lacks features.0.bias \(5 of 6 tensors are missing\)"),
        ({"module.features.0.weight": torch.zeros(1)}, r"\(6 of 6 tensors are missing\) - give a VGG19"),
        ([1, 2], "holds a list, not tensors by name"),
        (vgg19_weights() | {"features.2.weight": torch.zeros(64, 32, 3, 3)}, r"features.2.weight is \(64, 32, 3, 3\)"),
        (
            vgg19_weights() | {"features.0.bias": torch.zeros(64, dtype=torch.int64)},
            r"features.0.bias is .* torch.int64",
        ),
        (nn.Linear(2, 2), "damaged, or holds more than plain tensors"),
    ],
    ids=["part", "prefix", "list", "shape", "integers", "code"],
)
def test_files_of_something_else(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    settings = replace(SMALL, weights=str(tmp_path / "weights.pth"))
    with pytest.raises(ModelError, match=message) as caught:
        load_pretrained(settings.build(), settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\3\4" + bytes(200)])
def test_files_of_nonsense(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    settings = replace(SMALL, weights=str(tmp_path / name))
    with pytest.raises(ModelError, match="damaged, or holds more than plain tensors") as caught:
        load_pretrained(settings.build(), settings)
    assert "\n" not in str(caught.value)


# --- TorchScript -----------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.convolution(images)
        return maps, maps.relu()


@pytest.fixture
def script(tmp_path: Path) -> tuple[Tiny, ScriptedFeaturesSettings]:
    torch.manual_seed(1)
    network = Tiny()
    path = tmp_path / "features.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 8, 8)), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return network, ScriptedFeaturesSettings(path=str(path), sha256=digest.upper(), output_weights=(1.0, 0.5))


def test_a_script_whose_checksum_is_known(script: tuple[Tiny, ScriptedFeaturesSettings]) -> None:
    original, settings = script
    network = settings.build()
    load_pretrained(network, settings)
    images = (torch.rand(2, 3, 8, 8) * 2 - 1).requires_grad_()
    found = network(images)
    for ours, theirs in zip(found, original(network.prepared(images)), strict=True):
        torch.testing.assert_close(ours, theirs)
    settings.loss(found, [torch.zeros_like(maps) for maps in found]).backward()
    assert images.grad is not None and float(images.grad.abs().sum()) > 0
    assert isinstance(network, ScriptedFeatures) and network.script is not None
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not network.train().script.training  # type: ignore[union-attr]


def test_any_other_script_is_never_opened(
    script: tuple[Tiny, ScriptedFeaturesSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened in spite of its checksum")

    monkeypatch.setattr(torch.jit, "load", opened)
    wrong = replace(script[1], sha256="0" * 64)
    with pytest.raises(ModelError, match=r"its SHA-256 is [0-9a-f]{64}, the recipe allows 00000000... alone"):
        load_pretrained(wrong.build(), wrong)
    gone = replace(script[1], path="nowhere.pt")
    with pytest.raises(ModelError, match=r"nowhere\.pt: no such file of a scripted network"):
        load_pretrained(gone.build(), gone)


def test_what_is_no_script(tmp_path: Path) -> None:
    path = tmp_path / "features.pt"
    path.write_bytes(b"no script")
    settings = ScriptedFeaturesSettings(path=str(path), sha256=hashlib.sha256(b"no script").hexdigest())
    with pytest.raises(ModelError, match="cannot be read as TorchScript") as caught:
        load_pretrained(settings.build(), settings)
    assert "\n" not in str(caught.value)
