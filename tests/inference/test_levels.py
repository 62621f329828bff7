from __future__ import annotations

import numpy as np
import pytest
import torch

from i2i.inference.levels import floats_of, levels_of, pixels_of, rounded

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_survives_the_way_through_floats(dtype: type[np.unsignedinteger]) -> None:
    levels = np.iinfo(dtype).max + 1
    rgb = np.arange(levels, dtype=dtype).reshape(1, 16, -1, 1).repeat(3, axis=3)
    floats = floats_of(rgb, CPU)
    assert floats.shape == (1, 3, 16, levels // 16) and floats.dtype == torch.float32
    assert (float(floats.min()), float(floats.max())) == (-1.0, 1.0)
    back = levels_of(floats, dtype)
    assert back.dtype == dtype and np.array_equal(back, rgb)


def test_numbers_are_rounded_and_clamped() -> None:
    images = torch.tensor([100.4, 100.6, -3.0, 300.0]).reshape(1, 1, 2, 2) / 127.5 - 1.0
    kept = images.clone()
    assert rounded(images).flatten().tolist() == [100.0, 101.0, 0.0, 255.0]
    assert pixels_of(images).tolist() == [[[[100], [101]], [[0], [255]]]]
    assert pixels_of(images).dtype == torch.uint8 and pixels_of(images, 65535).dtype == torch.int32
    assert torch.equal(images, kept), "what is given is left as it is"
