"""The filter of TensorFlow 1: by hand, and to the last bit as torch-fidelity computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from i2i.evaluation.features.tensorflow_resize import tensorflow_resize

SIZES = [(1, 1), (7, 31), (299, 299), (300, 298), (64, 500), (640, 33)]


def noise(height: int, width: int, channels: int = 3, count: int = 2) -> torch.Tensor:
    levels = np.random.default_rng(height).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return torch.from_numpy(levels)


def test_a_row_by_hand() -> None:
    """Output i lies at i * 2 / 4: 0, 0.5, 1, 1.5; beyond the last pixel there is that pixel."""
    row = torch.tensor([10, 20], dtype=torch.uint8).reshape(1, 1, 2, 1)
    assert tensorflow_resize(row, 4)[0, 0, :, 0].tolist() == [10, 15, 20, 20]
    # Shrinking takes every second one, whatever lies between.
    row = torch.tensor([10, 255, 30, 255], dtype=torch.uint8).reshape(1, 1, 4, 1)
    assert tensorflow_resize(row, 2)[0, 0, :, 0].tolist() == [10, 30]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_torch_fidelity_to_the_last_bit(size: tuple[int, int]) -> None:
    reference = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    pictures = noise(*size)
    expected = reference.interpolate_bilinear_2d_like_tensorflow1x(
        pictures.permute(0, 3, 1, 2).float(), size=(299, 299), align_corners=False
    )
    found = tensorflow_resize(pictures, 299)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_against_the_definition_in_float64(size: tuple[int, int]) -> None:
    pictures = noise(*size, channels=1, count=1)
    levels, found = pictures[0, :, :, 0].double().numpy(), tensorflow_resize(pictures, 50)[0, :, :, 0].numpy()
    for i, j in [(0, 0), (49, 49), (20, 33), (7, 41)]:
        y, x = i * size[0] / 50, j * size[1] / 50
        top, left = int(y), int(x)
        bottom, right = min(top + 1, size[0] - 1), min(left + 1, size[1] - 1)
        above = levels[top, left] + (levels[top, right] - levels[top, left]) * (x - left)
        below = levels[bottom, left] + (levels[bottom, right] - levels[bottom, left]) * (x - left)
        assert found[i, j] == pytest.approx(above + (below - above) * (y - top), abs=0.02)


def test_equal_size_changes_nothing() -> None:
    pictures = noise(299, 299)
    assert torch.equal(tensorflow_resize(pictures, 299), pictures.float())
