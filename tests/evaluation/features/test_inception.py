"""FID's Inception: the published key layout, and torch-fidelity's numbers from the same weights."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.errors import ModelError
from i2i.evaluation.features.inception import CLASSES, WIDTH, Inception, open_inception
from i2i.evaluation.features.network import NetworkExtractor
from i2i.evaluation.features.protocol import Features
from i2i.files import sha256_of_file
from tests.evaluation.features.random_inception import random_inception_weights, write_random_inception
from tests.real import WEIGHTS

CPU = torch.device("cpu")
# Beside a checkout may lie a list of the published file's tensors.
LAYOUT = WEIGHTS / "inception_fid/pt_inception-2015-12-05-6726825d.keys.json"
PICTURES = {
    "small": (8, 8, 3),
    "odd": (31, 57, 3),
    "grey": (64, 64, 1),
    "exact": (299, 299, 3),
    "large": (480, 640, 3),
}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_inception(tmp_path_factory.mktemp("inception") / "weights.pth")


@pytest.fixture(scope="module")
def ours(weights_file: Path) -> NetworkExtractor:
    return open_inception(weights_file, CPU)


@pytest.fixture(scope="module")
def theirs(weights_file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
        return module.FeatureExtractorInceptionV3(
            "ours", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights_file)
        )


def picture(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(shape[0]).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.skipif(not LAYOUT.is_file(), reason="the list of tensors is not at hand")
def test_the_layout_is_the_published_one() -> None:
    """So that random weights in it stand for the published ones."""
    published = json.loads(LAYOUT.read_text())
    ours = random_inception_weights()
    assert len(published) == 566
    assert {name: list(tensor.shape) for name, tensor in ours.items()} == {
        name: entry["shape"] for name, entry in published.items()
    }


@pytest.fixture(scope="module")
def found(ours: NetworkExtractor) -> Features:
    """What ours sees in all pictures."""
    return ours([picture(shape) for shape in PICTURES.values()])


def test_features_and_logits_are_torch_fidelitys(found: Features, theirs: Any) -> None:
    assert found.logits is not None
    for row, shape in enumerate(PICTURES.values()):
        image = torch.from_numpy(picture(shape)).permute(2, 0, 1).expand(3, -1, -1)[None].contiguous()
        features, logits = (tensor.numpy()[0] for tensor in theirs(image))
        # Values of some dozens: 1e-4 is the eighth digit of the largest.
        assert 5 < np.abs(features).max() < 500
        np.testing.assert_allclose(found.vectors[row], features, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.logits[row], logits, rtol=1e-5, atol=1e-4)
    # Pictures that differ are told apart, by far more than that.
    assert np.abs(found.vectors[0] - found.vectors[1]).max() > 0.1


def test_the_passport(ours: NetworkExtractor, weights_file: Path) -> None:
    assert ours.name == "inception-2015-12-05"
    assert ours.weights_sha256 == sha256_of_file(weights_file)
    assert (ours.width, ours.classes) == (WIDTH, CLASSES) == (2048, 1008)
    assert "TensorFlow 1 bilinear to 299x299" in ours.preprocessing


def test_companions_change_nothing(ours: NetworkExtractor, found: Features) -> None:
    alone = ours([picture(PICTURES["grey"])])
    row = list(PICTURES).index("grey")
    assert alone.vectors[0].tobytes() == found.vectors[row].tobytes()
    assert alone.logits is not None and found.logits is not None
    assert alone.logits[0].tobytes() == found.logits[row].tobytes()


def test_logits_are_without_bias(weights_file: Path, tmp_path: Path, ours: NetworkExtractor) -> None:
    """As the reference reads them: the file's bias moves nothing, its weights do."""
    weights = torch.load(weights_file, weights_only=True)
    torch.save(weights | {"fc.bias": weights["fc.bias"] + 100}, tmp_path / "other.pth")
    vectors = torch.from_numpy(np.random.default_rng(0).random((3, WIDTH), np.float32))
    network = open_inception(tmp_path / "other.pth", CPU).compute
    assert isinstance(network, Inception) and network.fc.bias is None
    torch.testing.assert_close(network.fc(vectors), vectors @ weights["fc.weight"].T)


def without(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if part not in name}


def test_weights_of_something_else(weights_file: Path, tmp_path: Path) -> None:
    weights = torch.load(weights_file, weights_only=True)
    file = tmp_path / "weights.pth"
    torch.save(without(weights, "running_var"), file)
    with pytest.raises(ModelError, match=r"lacks .*running_var \(94 of 471 tensors are missing\) - give weights-incep"):
        open_inception(file, CPU)
    torch.save(weights | {"fc.weight": torch.zeros(1000, 2048)}, file)
    with pytest.raises(ModelError, match=r"fc.weight is \(1000, 2048\).*inception_v3 is another") as error:
        open_inception(file, CPU)
    assert "\n" not in str(error.value)
