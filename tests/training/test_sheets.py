"""Contact sheets show every pixel as it is, under a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from i2i.training.sheets import (
    BACKGROUND,
    cell_factor,
    film,
    grid,
    layout_of,
    read_grid,
    read_sheet,
    save_sheet,
    sheet,
    sheet_layout,
    to_uint8,
)


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


def test_grey_pictures_stay_grey_and_other_channels_are_refused() -> None:
    grey = pictures(2, 100)[:, :1]
    assert to_uint8(grey).shape == (2, 100, 100, 1)
    canvas = sheet([("grey", grey), ("colour", pictures(2, 100, seed=3))])
    assert len(find(canvas, to_uint8(grey)[0].repeat(3, axis=2))) == 1
    with pytest.raises(ValueError, match="2 channels"):
        to_uint8(torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize(("channels", "size", "factor"), [(1, 28, 6), (3, 256, 1)])
def test_a_grid_shows_every_picture_in_its_place(channels: int, size: int, factor: int) -> None:
    made = pictures(7, size)[:, :channels]
    canvas = grid(made, 4)
    layout = layout_of(made, 4)
    assert canvas.shape == (layout.height, layout.width, 3)
    assert layout.factor == factor
    for index, picture in enumerate(to_uint8(made)):
        shown = picture.repeat(factor, axis=0).repeat(factor, axis=1).repeat(4 - picture.shape[2], axis=2)[..., :3]
        top, left = layout.corner(index)
        assert np.array_equal(canvas[top : top + shown.shape[0], left : left + shown.shape[1]], shown)
    assert layout.corner(4) == (layout.corner(0)[0] + size * factor + layout.gap, layout.corner(0)[1])
    top, left = layout.corner(7)
    assert (canvas[top:, left:] == BACKGROUND).all()


def test_row_labels_stand_before_their_rows() -> None:
    made = pictures(4, 64)
    plain, labelled = grid(made, 2), grid(made, 2, ["step 1", "step 20,000"])
    assert labelled.shape[0] == plain.shape[0]
    indent = labelled.shape[1] - plain.shape[1]
    assert indent > 20
    margin = layout_of(made, 2).left
    assert np.array_equal(labelled[:, indent + margin :], plain[:, margin:])
    band = labelled[:, : indent + margin]
    half = band.shape[0] // 2
    assert (band[:half] != BACKGROUND).any() and (band[half:] != BACKGROUND).any()
    assert (band[:, 0] == BACKGROUND).all() and (band[:, -1] == BACKGROUND).all()


@pytest.mark.parametrize(("count", "columns", "labels"), [(0, 2, None), (4, 0, None), (4, 2, ["one"])])
def test_a_grid_needs_pictures_columns_and_all_labels(count: int, columns: int, labels: list[str] | None) -> None:
    with pytest.raises(ValueError, match=r"at least one|labels"):
        grid(pictures(count, 8), columns, labels)


def test_a_saved_grid_gives_its_pictures_back(tmp_path: Path) -> None:
    made = pictures(6, 28)
    path = save_sheet(tmp_path, 5, "generate", grid(made, 3), layout_of(made, 3))
    with Image.open(path) as file:
        cells = read_grid(file)
    assert cells is not None
    assert np.array_equal(cells, to_uint8(made))


def test_a_large_grid_saved_as_jpeg_does_so_nearly(tmp_path: Path) -> None:
    smooth = torch.linspace(-1, 1, 512).expand(6, 3, 512, 512)
    path = save_sheet(tmp_path, 5, "generate", grid(smooth, 3), layout_of(smooth, 3))
    assert path.suffix == ".jpg"
    with Image.open(path) as file:
        cells = read_grid(file)
    assert cells is not None and cells.shape == (6, 512, 512, 3)
    assert np.abs(cells.astype(int) - to_uint8(smooth)).mean() < 2


def test_what_is_no_grid_gives_nothing(tmp_path: Path) -> None:
    made = pictures(6, 28)
    plain = save_sheet(tmp_path, 1, "sheet", sheet([("a", made)]))
    cropped = save_sheet(tmp_path, 2, "cropped", grid(made, 3)[:50], layout_of(made, 3))
    damaged = tmp_path / "damaged.png"
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", 'i2i grid {"count": "many"}')
    Image.new("RGB", (8, 8)).save(damaged, pnginfo=note)
    for path in (plain, cropped, damaged):
        with Image.open(path) as file:
            assert read_grid(file) is None


def test_a_film_has_a_row_for_each_step() -> None:
    early, late = to_uint8(pictures(6, 32, seed=1)), to_uint8(pictures(6, 32, seed=2))
    canvas = film([(100, early), (20_000, late)], columns=3)
    factor = 768 // (3 * 32)
    for row, cells in enumerate((early, late)):
        for column in range(3):
            enlarged = cells[column].repeat(factor, axis=0).repeat(factor, axis=1)
            ((top, left),) = find(canvas, enlarged)
            assert top // (32 * factor) == row and left // (32 * factor) >= column
    assert not find(canvas, early[3].repeat(factor, axis=0).repeat(factor, axis=1))


def test_a_saved_sheet_gives_its_columns_back(tmp_path: Path) -> None:
    low, high = pictures(2, 24, seed=1), pictures(2, 96, seed=2)
    columns = [("low", low), ("high", high)]
    with Image.open(save_sheet(tmp_path, 5, "upscale", sheet(columns), sheet_layout(columns))) as file:
        assert read_grid(file) is None
        found = read_sheet(file)
    assert found is not None
    assert [(column.label, column.factor, shown.shape) for column, shown in found] == [
        ("low", 4, (2, 96, 96, 3)),
        ("high", 1, (2, 96, 96, 3)),
    ]
    assert np.array_equal(found[0][1][:, ::4, ::4], to_uint8(low))
    assert np.array_equal(found[1][1], to_uint8(high))


def test_what_is_no_sheet_gives_nothing(tmp_path: Path) -> None:
    made = pictures(3, 100)
    columns = [("a", made)]
    plain = save_sheet(tmp_path, 1, "plain", sheet(columns))
    cropped = save_sheet(tmp_path, 2, "cropped", sheet(columns)[:50], sheet_layout(columns))
    paths = [plain, cropped]
    lie = '{"columns": [{"label": "", "left": 0, "width": 4, "height": 9, "count": %s, "factor": 1}], "top": 0}'
    for number, content in enumerate(("[]", "{}", lie % 1, lie.replace("}]", '}], "row_height": 8, "gap": 0') % 0)):
        note = PngImagePlugin.PngInfo()
        note.add_text("Comment", f"i2i sheet {content}")
        paths.append(tmp_path / f"damaged_{number}.png")
        Image.new("RGB", (8, 8)).save(paths[-1], pnginfo=note)
    for path in paths:
        with Image.open(path) as file:
            assert read_sheet(file) is None
