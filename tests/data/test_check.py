"""The look through a folder finds each kind of trouble, and counts nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.data.check import check_folder
from i2i.data.prepare import PrepareSettings, prepare_set
from i2i.errors import DataError
from tests.data.pictures import write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good pictures and one of each kind of remark."""
    rng = np.random.default_rng(7)
    rgb = rng.integers(0, 256, (30, 20, 3), np.uint8)
    write_pictures(tmp_path, 3, side=24)
    (tmp_path / "sub").mkdir()
    Image.open(tmp_path / "01.png").save(tmp_path / "sub" / "same as 01.bmp")
    (tmp_path / "cut.png").write_bytes((tmp_path / "02.png").read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no picture")
    Image.fromarray(rgb[:5]).save(tmp_path / "small.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(rgb[..., 1:2], 3, axis=2)).save(tmp_path / "grey as rgb.png")
    cv2.imwrite(str(tmp_path / "deep.png"), rng.integers(0, 65536, (30, 20, 3)).astype(np.uint16))
    Image.fromarray(rng.integers(0, 256, (30, 20, 4), np.uint8)).save(tmp_path / "alpha.png")
    Image.fromarray(rgb + 1).save(tmp_path / "frames.webp", save_all=True, append_images=[Image.fromarray(rgb)])
    Image.fromarray(np.zeros((70, 90, 3), np.uint8)).save(tmp_path / "huge.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(rgb + 2).save(tmp_path / "turned.png", exif=exif)
    (tmp_path / "notes.txt").write_text("not looked at")
    (tmp_path / "gone.png").symlink_to(tmp_path / "moved away.png")
    return tmp_path


def test_every_kind_of_trouble_is_found(folder: Path) -> None:
    report = check_folder(folder, max_pixels=70 * 90 - 1)
    assert (report.pictures, report.usable) == (14, 10)
    assert report.pictures_by_folder == {".": 13, "sub": 1}
    assert list(report.unreadable) == ["cut.png", "text.jpg"]
    assert report.unreadable["text.jpg"].startswith("not a JPEG")
    assert report.too_large == ["huge.png"]
    assert report.too_small == ["small.png"]
    assert report.duplicates == [["01.png", "sub/same as 01.bmp"]]
    assert report.grey == ["grey as rgb.png", "grey.png"]
    assert report.sixteen_bit == ["deep.png"]
    assert report.alpha == ["alpha.png"]
    assert report.several_frames == ["frames.webp"]
    assert report.rotated == ["turned.png"]
    assert report.ignored == ["gone.png", "notes.txt"]
    assert report.sizes == {"20x30": 5, "24x24": 4, "30x20": 1}
    assert (report.smallest_side_pixels, report.largest_side_pixels) == (20, 30)
    assert report.file_bytes == sum(
        path.stat().st_size for path in folder.rglob("*.*") if path.name not in report.ignored
    )


def test_of_equal_pictures_the_one_that_would_be_kept_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 1, side=24)
    for name in ("00 copy.png", "(1).png", "0.png"):
        (folder / name).write_bytes((folder / "00.png").read_bytes())
    [group] = check_folder(folder).duplicates
    kept = prepare_set(folder, tmp_path / "out", PrepareSettings(size_pixels=16), version="").pictures
    assert [one.source for one in kept] == [group[0]] == ["0.png"]


def test_what_is_too_large_is_never_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not_decode(path: Path, max_pixels: int) -> None:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr("i2i.data.check.decode_rgb8", must_not_decode)
    assert len(check_folder(folder, max_pixels=10).too_large) == 13


def test_what_a_size_would_enlarge_is_listed(folder: Path) -> None:
    assert check_folder(folder).enlarged == []
    assert check_folder(folder, size_pixels=20).enlarged == []
    small = check_folder(folder, size_pixels=24).enlarged
    assert "grey.png" in small and "00.png" not in small and "small.png" not in small


def test_a_folder_that_is_not_there_may_have_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "horses").mkdir()
    with pytest.raises(DataError, match=r"hroses: no such file or folder - did you mean .*horses\?$"):
        check_folder(tmp_path / "hroses")
    with pytest.raises(DataError, match=r"pictures: no such file or folder - check the spelling$"):
        check_folder(tmp_path / "nowhere" / "pictures")


def test_the_report_is_json(folder: Path) -> None:
    report = check_folder(folder)
    assert json.loads(json.dumps(report.to_json()))["duplicates"] == [["01.png", "sub/same as 01.bmp"]]


def test_a_folder_of_rubbish_has_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"rubbish")
    report = check_folder(tmp_path)
    assert (report.usable, report.smallest_side_pixels, report.sizes) == (0, None, {})


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        check_folder(tmp_path)


def test_the_duplicates_of_a_real_set_are_found(real_pictures: Path) -> None:
    report = check_folder(real_pictures / "apple2orange64")
    assert report.usable == report.pictures == 1480
    assert report.sizes == {"64x64": 1480}
    assert len(report.duplicates) > 0
    for group in report.duplicates:
        contents = {
            np.asarray(Image.open(real_pictures / "apple2orange64" / name).convert("RGB")).tobytes() for name in group
        }
        assert len(group) > 1 and len(contents) == 1
