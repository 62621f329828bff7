"""Any function as an extractor, and TorchScript as one."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i.errors import ModelError
from i2i.evaluation.features.callable import callable_extractor, open_script
from i2i.files import sha256_of_file


class Means(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = images.float().mean((2, 3))
        return means, torch.cat([means, -means], 1)


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((4, 5, 3), (9, 2, 1), (4, 5, 3))]


def means() -> np.ndarray:
    return np.array([np.broadcast_to(one.mean((0, 1)), 3) for one in pictures()])


def test_a_function() -> None:
    extractor = callable_extractor(lambda images: images.float().mean((2, 3)), name="means")
    assert (extractor.width, extractor.classes, extractor.name) == (3, None, "means")
    assert extractor.weights_sha256 == hashlib.sha256(b"").hexdigest()
    found = extractor(pictures())
    assert found.logits is None
    np.testing.assert_allclose(found.vectors, means(), rtol=1e-5)


def test_a_module_with_logits_and_weights() -> None:
    last = nn.Linear(3 * 8 * 8, 5)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Flatten(), last)

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images / 255)

    extractor = callable_extractor(Scaled().eval(), name="linear", preprocessing="x / 255", size_pixels=8)
    assert (extractor.width, extractor.classes) == (5, None)
    assert extractor.preprocessing == "TensorFlow 1 bilinear to 8x8 without antialiasing, x / 255"
    first = extractor.weights_sha256
    last.bias.data += 1
    assert callable_extractor(Scaled().eval(), name="linear", size_pixels=8).weights_sha256 != first
    both = callable_extractor(Means().eval(), name="both", weights_sha256="a" * 64)
    assert (both.width, both.classes, both.weights_sha256) == (3, 6, "a" * 64)
    found = both(pictures())
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, np.concatenate([means(), -means()], 1), rtol=1e-5)


def fails(images: Tensor) -> Tensor:
    raise KeyError("nothing\nhere")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, r"wrong: fails for 32 pictures of 64 pixels .*nothing"),
        (lambda images: images.float(), r"wrong: returns \(32, 3, 64, 64\) for 32 pictures"),
        (lambda images: images.float().mean(), r"wrong: returns \(\) for 32 pictures"),
        (lambda images: torch.zeros(32, 0), r"returns \(32, 0\)"),
        (lambda images: ([1.0], None), r"returns list for 32 pictures"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3 * 64 * 64)), r"wrong: the network is in training mode"),
    ],
    ids=["raises", "maps", "scalar", "no width", "a list", "training"],
)
def test_functions_that_will_not_do(function: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        callable_extractor(function, name="wrong")
    assert "\n" not in str(error.value)


def test_torchscript(tmp_path: Path) -> None:
    file = tmp_path / "means.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Means()).save(str(file))
    extractor = open_script(file, torch.device("cpu"))
    assert (extractor.name, extractor.width, extractor.classes) == ("means", 3, 6)
    assert extractor.weights_sha256 == sha256_of_file(file)
    np.testing.assert_allclose(extractor(pictures()).vectors, means(), rtol=1e-5)
