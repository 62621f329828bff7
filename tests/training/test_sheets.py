"""Contact sheets show every pixel as it is, under a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.training.sheets import BACKGROUND, cell_factor, save_sheet, sheet, to_uint8


def pictures(count: int, size: int, seed: int = 0) -> torch.Tensor:
    levels = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(seed))
    return levels / 127.5 - 1.0


def find(canvas: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Every place at which the picture lies in the canvas, pixel for pixel."""
    height, width = picture.shape[:2]
    rows, columns = np.nonzero((canvas == picture[0, 0]).all(axis=2))
    return [
        (int(top), int(left))
        for top, left in zip(rows, columns, strict=True)
        if np.array_equal(canvas[top : top + height, left : left + width], picture)
    ]


def test_uint8_is_rounded_clipped_and_leaves_its_input_alone() -> None:
    images = torch.tensor([-1.0, 1.0, 0.0, 3.0, -3.0, float("nan")]).reshape(1, 1, 1, 6).expand(1, 3, 1, 6).clone()
    before = images.clone()
    assert to_uint8(images)[0, 0, :, 0].tolist() == [0, 255, 128, 255, 0, 0]
    assert torch.equal(images.nan_to_num(), before.nan_to_num())
    every = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert np.array_equal(to_uint8(every / 127.5 - 1.0)[0, :, :, 0].ravel(), np.arange(256))


def test_pictures_lie_in_rows_and_columns_pixel_exact() -> None:
    a, b = pictures(3, 100, seed=1), pictures(3, 100, seed=2)
    canvas = sheet([("horse", a), ("zebra", b)])
    places = [[find(canvas, picture) for picture in to_uint8(column)] for column in (a, b)]
    assert all(len(found) == 1 for column in places for found in column)
    (tops_a, lefts_a), (tops_b, lefts_b) = (
        ([found[0][0] for found in column], [found[0][1] for found in column]) for column in places
    )
    assert tops_a == tops_b == sorted(tops_a)
    assert len(set(lefts_a)) == len(set(lefts_b)) == 1
    assert lefts_b[0] >= lefts_a[0] + 100
    assert tops_a[1] >= tops_a[0] + 100
    assert canvas.dtype == np.uint8


def test_a_label_is_drawn_above_each_column() -> None:
    def band(label: str) -> np.ndarray:
        canvas = sheet([(label, torch.ones(1, 3, 128, 128))])
        return canvas[: canvas.shape[0] - 128 - 10]

    assert (band("") == BACKGROUND).all()
    assert (band("horse") != BACKGROUND).any()
    assert not np.array_equal(band("horse"), band("zebra"))


def test_a_long_label_stays_within_its_column() -> None:
    white = torch.ones(1, 3, 100, 100)
    alone = sheet([("", white), ("second", white)])
    crowded = sheet([("a label far too long for a column of a hundred pixels", white), ("second", white)])
    middle = alone.shape[1] // 2
    assert np.array_equal(alone[:, middle:], crowded[:, middle:])
    assert not np.array_equal(alone[:, :middle], crowded[:, :middle])


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    small = pictures(1, 32)
    canvas = sheet([("small", small)])
    enlarged = to_uint8(small)[0].repeat(3, axis=0).repeat(3, axis=1)
    assert len(find(canvas, enlarged)) == 1


@pytest.mark.parametrize(
    ("height", "heights", "factor"),
    [(64, [64], 2), (96, [96], 1), (32, [32, 128], 4), (128, [32, 128], 1), (256, [256], 1)],
)
def test_factors(height: int, heights: list[int], factor: int) -> None:
    assert cell_factor(height, heights) == factor


def test_columns_may_differ_in_size_and_length() -> None:
    low, high = pictures(1, 32, seed=1), pictures(2, 128, seed=2)
    canvas = sheet([("low", low), ("high", high)])
    assert len(find(canvas, to_uint8(low)[0].repeat(4, axis=0).repeat(4, axis=1))) == 1
    assert [len(find(canvas, picture)) for picture in to_uint8(high)] == [1, 1]


def test_rows_can_be_limited_and_columns_are_needed() -> None:
    images = pictures(5, 100)
    assert sheet([("a", images)], most_rows=2).shape == sheet([("a", images[:2])]).shape
    with pytest.raises(ValueError, match="column"):
        sheet([])


def test_a_small_sheet_is_saved_without_loss(tmp_path: Path) -> None:
    canvas = sheet([("a", pictures(2, 100))])
    path = save_sheet(tmp_path, 123, "A to B/1", canvas)
    assert path == tmp_path / "samples" / "step_000123_A-to-B-1.png"
    with Image.open(path) as saved:
        assert np.array_equal(np.array(saved), canvas)


def test_a_large_sheet_is_saved_as_jpeg(tmp_path: Path) -> None:
    canvas = np.full((1200, 1000, 3), 128, np.uint8)
    path = save_sheet(tmp_path, 1, "AtoB", canvas)
    assert path.suffix == ".jpg"
    with Image.open(path) as saved:
        assert saved.size == (1000, 1200)
