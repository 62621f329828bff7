"""VGG16 and AlexNet: torchvision's key layouts and torchvision's numbers from the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from i2i.core.losses.perceptual import IMAGENET_DEVIATION, IMAGENET_MEAN
from i2i.errors import ModelError
from i2i.evaluation.features.torchvision_networks import (
    TORCHVISION_NETWORKS,
    load_torchvision_network,
    open_torchvision_network,
)
from i2i.files import sha256_of_file

CPU = torch.device("cpu")


def reference(name: str) -> Any:
    """torchvision's network, on no device."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        return getattr(models, name)().eval()


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = TORCHVISION_NETWORKS["alexnet"].build()
    path = tmp_path_factory.mktemp("alexnet") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("name", list(TORCHVISION_NETWORKS))
def test_the_key_layout_is_torchvisions(name: str) -> None:
    with torch.device("meta"):
        ours = TORCHVISION_NETWORKS[name].build().state_dict()
    theirs = reference(name).state_dict()
    assert len(theirs) in (16, 32)
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in theirs.items()}


@pytest.mark.parametrize("name", list(TORCHVISION_NETWORKS))
def test_the_layers_are_torchvisions(name: str) -> None:
    """Layer by layer, for 138 million random weights of a VGG16 would take long: kind, stride, padding."""
    with torch.device("meta"):
        ours = TORCHVISION_NETWORKS[name].build()
    theirs = reference(name)
    for part in ("features", "classifier"):
        mine, other = getattr(ours, part), getattr(theirs, part)
        assert len(mine) == len(other)
        for layer, expected in zip(mine, other, strict=True):
            # Dropout does nothing in evaluation.
            assert type(layer) is (nn.Identity if isinstance(expected, nn.Dropout) else type(expected))
            for setting in ("kernel_size", "stride", "padding", "dilation", "groups", "ceil_mode"):
                found, wanted = getattr(layer, setting, None), getattr(expected, setting, None)
                assert found == wanted, (layer, setting)


def test_alexnets_numbers_are_torchvisions(alexnet_file: Path) -> None:
    theirs = reference("alexnet")
    theirs.load_state_dict(torch.load(alexnet_file, weights_only=True), assign=True)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vectors, logits = load_torchvision_network("alexnet", alexnet_file)(images)
        expected = theirs.classifier[:-1](theirs.avgpool(theirs.features(images)).flatten(1))
        torch.testing.assert_close(vectors, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(logits, theirs(images), rtol=1e-5, atol=1e-6)
    assert vectors.shape == (2, 4096) and float(vectors.abs().max()) > 1e-3


def test_pictures_are_prepared_as_torch_fidelity_does(alexnet_file: Path) -> None:
    """Resized in the same way, then torchvision's normalization in levels."""
    resize = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    normalize = pytest.importorskip("torchvision.transforms.functional").normalize
    extractor = open_torchvision_network("alexnet", alexnet_file, CPU)
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 50, 70, 3), dtype=np.uint8))
    levels = resize.interpolate_bilinear_2d_like_tensorflow1x(
        pictures.permute(0, 3, 1, 2).float(), size=(224, 224), align_corners=False
    )
    mean, deviation = [255 * number for number in IMAGENET_MEAN], [255 * number for number in IMAGENET_DEVIATION]
    torch.testing.assert_close(extractor.prepare(pictures), normalize(levels, mean, deviation))
    found = extractor([pictures[0].numpy()])
    assert found.vectors.shape == (1, 4096) and found.logits is not None and found.logits.shape == (1, 1000)
    assert extractor.weights_sha256 == sha256_of_file(alexnet_file)
    assert (extractor.name, extractor.width, extractor.classes) == ("alexnet", 4096, 1000)


def test_weights_of_another_network(alexnet_file: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks .* - give the weights of torchvision's vgg16"):
        load_torchvision_network("vgg16", alexnet_file)
