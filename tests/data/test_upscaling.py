"""Pictures in two resolutions from files: made or given, held out, too small, in archives, in the cache."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.data import upscaling_files
from i2i.data.degradation_settings import SecondOrderSettings
from i2i.data.degradations import bicubic
from i2i.data.settings import UpscalingFolderSettings
from i2i.data.streams import DataSet, open_streams
from i2i.errors import DataError

_SIZES = ((40, 60), (52, 44), (47, 50), (64, 41), (41, 64), (43, 43))
"""Height and width of the pictures."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))


def _picture(number: int) -> np.ndarray:
    height, width = _SIZES[number % len(_SIZES)]
    coarse = np.random.default_rng(number).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _cut(picture: np.ndarray, scale: int = 4) -> np.ndarray:
    height, width = (side - side % scale for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _write(folder: Path, count: int = 6, *, first: int = 0, name: str = "{:02d}.png", low: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        picture = _picture(number)
        Image.fromarray(bicubic(_cut(picture), 4) if low else picture).save(folder / name.format(number))
    return folder


def _open(root: Path, seed: int = 3, **changes: Any) -> DataSet:
    small = UpscalingFolderSettings(root=str(root), crop_pixels=32)
    return open_streams(replace(small, **{k: str(v) if isinstance(v, Path) else v for k, v in changes.items()}), seed)


def _samples(data: DataSet, count: int = 12) -> list[tuple[bytes, bytes]]:
    low, high = data.train["low"], data.train["high"]
    return [(low[counter].tobytes(), high[counter].tobytes()) for counter in range(count)]


@pytest.mark.parametrize("cache", [True, False])
def test_counterparts_are_made_from_whole_pictures(tmp_path: Path, cache: bool) -> None:
    data = _open(_write(tmp_path / "set"), flip=False, quarter_turns=False, cache=cache)
    assert set(data.train) == {"low", "high"}
    assert (dict(data.test), dict(data.shown), data.aligned, data.report) == ({}, {}, False, [])
    pairs = {_cut(_picture(number)).tobytes(): number for number in range(6)}
    assert len(pairs) == 6 and data.train["low"].images_per_epoch == data.train["high"].images_per_epoch == 6
    lows = [bicubic(_cut(_picture(number)), 4) for number in range(6)]
    highs = [_cut(_picture(number)) for number in range(6)]
    for counter in range(30):
        low, high = data.train["low"][counter], data.train["high"][counter]
        assert any(
            np.array_equal(small[top : top + 8, left : left + 8], low)
            and np.array_equal(large[4 * top : 4 * top + 32, 4 * left : 4 * left + 32], high)
            for small, large in zip(lows, highs, strict=True)
            for top in range(small.shape[0] - 7)
            for left in range(small.shape[1] - 7)
        )


def test_given_counterparts_equal_made_ones_if_they_are_the_same(tmp_path: Path) -> None:
    root, low = _write(tmp_path / "hr"), _write(tmp_path / "lr", name="{:02d}x4.png", low=True)
    both = _write(_write(tmp_path / "both", name="img_{:03d}_SRF_4_HR.png"), name="img_{:03d}_SRF_4_LR.png", low=True)
    made = _samples(_open(root))
    assert _samples(_open(root, low=low)) == made == _samples(_open(both, low=both))
    assert len(set(made)) == 12


@pytest.mark.parametrize("low", [True, False])
def test_an_archive_is_the_folder_in_it(tmp_path: Path, low: bool) -> None:
    root = _write(tmp_path / "hr")
    archive = tmp_path / "hr.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(root.iterdir()):
            opened.write(path, f"hr/{path.name}")
    given: dict[str, Any] = {"low": _write(tmp_path / "lr", low=True)} if low else {}
    assert _samples(_open(archive, **given)) == _samples(_open(root, **given))


def test_held_out_pictures_are_spread_and_not_trained_on(tmp_path: Path) -> None:
    root = _write(tmp_path / "set")
    data = _open(root, held_out=2)
    assert data.aligned and data.train["high"].images_per_epoch == 4
    assert [picture.tobytes() for picture in data.test["high"]] == [_cut(_picture(n)).tobytes() for n in (1, 4)]
    assert [picture.tobytes() for picture in data.test["low"]] == [
        bicubic(_cut(_picture(n)), 4).tobytes() for n in (1, 4)
    ]
    rest = _write(tmp_path / "rest", 1)
    for number in (2, 3, 5):
        _write(rest, 1, first=number)
    assert _samples(data) == _samples(_open(rest))
    assert data.content_hash != _open(root).content_hash != _open(root, held_out=1).content_hash
    with pytest.raises(DataError, match=r"held_out is 6, but 6 pictures can be used - lower data\.held_out"):
        _open(root, held_out=6)


def test_test_pictures_of_their_own(tmp_path: Path) -> None:
    root, test = _write(tmp_path / "set"), _write(tmp_path / "test", 3, first=20)
    made = _open(root, test=test)
    given = _open(root, test=test, test_low=_write(tmp_path / "test_low", 3, first=20, low=True))
    for data in (made, given):
        assert data.aligned and data.train["low"].images_per_epoch == 6
        for number, (low, high) in enumerate(zip(data.test["low"], data.test["high"], strict=True), start=20):
            assert np.array_equal(high, _cut(_picture(number)))
            assert np.array_equal(low, bicubic(high, 4))


def test_shown_are_the_middles_all_of_one_size(tmp_path: Path) -> None:
    data = _open(_write(tmp_path / "set"), test=_write(tmp_path / "test", 3))
    # Low sides: 10 x 15, 13 x 11, 11 x 12.
    assert [picture.shape for picture in data.shown["low"]] == [(10, 10, 3)] * 3
    assert [picture.shape for picture in data.shown["high"]] == [(40, 40, 3)] * 3
    assert np.array_equal(data.shown["low"][0], data.test["low"][0][:, 2:12])
    assert np.array_equal(data.shown["high"][0], data.test["high"][0][:, 8:48])


def test_pictures_smaller_than_the_crop_are_skipped_by_name_and_size(tmp_path: Path) -> None:
    root = _write(tmp_path / "set")
    data = _open(root, crop_pixels=44)
    assert data.train["high"].images_per_epoch == 2
    assert data.report[0] == (
        f"{root}/00.png: 60 x 40, cut to multiples of 4, is smaller than crop_pixels 44 - lower data.crop_pixels"
    )
    assert len(data.report) == 4
    with pytest.raises(DataError, match=r"00\.png: 60 x 40, .* is smaller than crop_pixels 96 - lower data\.crop_pix"):
        _open(root, crop_pixels=96)
    # Another crop reads no file again.
    assert len(list((tmp_path / "cache" / "pictures").glob("*.u8"))) == 1


def test_unreadable_and_tiny_pictures_are_skipped(tmp_path: Path) -> None:
    root = _write(tmp_path / "set", 3)
    (root / "01.png").write_bytes((root / "01.png").read_bytes()[:60])
    Image.fromarray(np.zeros((3, 50, 3), np.uint8)).save(root / "tiny.png")
    test = _write(tmp_path / "test", 1)
    Image.fromarray(np.zeros((20, 50, 3), np.uint8)).save(test / "low.png")
    data = _open(root, test=test)
    assert data.train["low"].images_per_epoch == 2 and len(data.test["low"]) == 1
    assert [line.removeprefix(f"{tmp_path}/").split(",")[0].split(" - ")[0] for line in data.report] == [
        "set/01.png: damaged or unsupported",
        "set/tiny.png: 50 x 3 is smaller than scale 4",
        "test/low.png: 48 x 20",
    ]
    assert "smaller than 24 x 24, the least to test on" in data.report[2]


def test_all_kinds_of_pictures_become_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    ramp = np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))
    Image.fromarray(ramp).save(folder / "grey.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "deep.png")
    alpha = np.dstack([ramp, ramp, ramp, np.full_like(ramp, 255)])
    Image.fromarray(alpha).save(folder / "alpha.png")
    data = _open(folder, flip=False, quarter_turns=False, crop_pixels=40)
    assert data.report == []
    for counter in range(3):
        assert np.array_equal(data.train["high"][counter], np.repeat(ramp[:, :, None], 3, axis=2))
    skipped = _open(folder, max_pixels=1600)
    assert skipped.train["high"].images_per_epoch == 3
    with pytest.raises(DataError, match=r"none of 3 pictures can be used.*the limit is 1,599"):
        _open(folder, max_pixels=1599)


def test_names_and_sizes_that_do_not_match_are_one_line(tmp_path: Path) -> None:
    root, low = _write(tmp_path / "hr"), _write(tmp_path / "lr", low=True)
    Image.fromarray(np.zeros((10, 10, 3), np.uint8)).save(low / "03.png")
    with pytest.raises(DataError) as caught:
        _open(root, low=low)
    assert str(caught.value) == (
        f"{low}/03.png: 10 x 10 does not fit {root}/03.png, 41 x 64 - at data.scale 4 it needs 10 x 16"
    )
    with pytest.raises(DataError, match=r"lr/00\.png: 15 x 10 does not fit .* at data.scale 2 it needs 30 x 20"):
        _open(root, low=low, scale=2)
    (low / "03.png").unlink()
    with pytest.raises(DataError, match=r"hr/03\.png: has no low-resolution counterpart in .*lr - "):
        _open(root, low=low)
    with pytest.raises(DataError, match=r"test/00_LR\.png: looks like .* set data\.test_low to its folder"):
        _open(root, test=_write(_write(tmp_path / "test", 1), 1, name="{:02d}_LR.png", low=True))
    with pytest.raises(DataError, match="no such folder"):
        _open(tmp_path / "nowhere")


def test_blind_samples_differ_each_time_and_test_pictures_never(tmp_path: Path) -> None:
    root, blind = _write(tmp_path / "set", 5), SecondOrderSettings()
    first = _open(root, seed=1, held_out=2, degradation=blind)
    second = _open(root, seed=2, held_out=2, degradation=blind, cache=False)
    assert len({low for low, _ in _samples(first)}) == 12
    assert _samples(first) == _samples(_open(root, seed=1, held_out=2, degradation=blind)) != _samples(second)
    plain = _open(root, seed=1, held_out=2)
    assert [high for _, high in _samples(first)] == [high for _, high in _samples(plain)]
    for one, other, undisturbed in zip(first.test["low"], second.test["low"], plain.test["low"], strict=True):
        assert np.array_equal(one, other) and one.shape == undisturbed.shape
        assert not np.array_equal(one, undisturbed)
    other = _open(root, held_out=2, degradation=SecondOrderSettings(final_sinc_probability=0.0))
    assert not all(np.array_equal(*pair) for pair in zip(first.test["low"], other.test["low"], strict=True))


def test_given_test_counterparts_are_taken_with_a_blind_training_too(tmp_path: Path) -> None:
    test, test_low = _write(tmp_path / "test", 2), _write(tmp_path / "test_low", 2, low=True)
    data = _open(_write(tmp_path / "set"), degradation=SecondOrderSettings(), test=test, test_low=test_low)
    assert np.array_equal(data.test["low"][1], bicubic(_cut(_picture(1)), 4))


def test_the_content_hash_is_that_of_the_files(tmp_path: Path) -> None:
    root = _write(tmp_path / "hr")
    before = _open(root).content_hash
    assert before == _open(root, seed=9, cache=False, crop_pixels=16).content_hash
    low = _write(tmp_path / "lr", low=True)
    given = _open(root, low=low).content_hash
    Image.fromarray(255 - bicubic(_cut(_picture(2)), 4)).save(low / "02.png")
    assert len({before, given, _open(root, low=low).content_hash}) == 3
    (root / "00.png").rename(root / "zz.png")
    assert _open(root).content_hash != before


def test_the_second_time_nothing_is_decoded_and_changed_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _write(tmp_path / "set")
    first = _samples(_open(root))
    decoded: list[str] = []
    original = upscaling_files.decode_rgb8_bytes

    def counting(content: bytes, path: Path, max_pixels: int) -> np.ndarray:
        decoded.append(path.name)
        return original(content, path, max_pixels)

    monkeypatch.setattr(upscaling_files, "decode_rgb8_bytes", counting)
    assert _samples(_open(root)) == first and decoded == []
    Image.fromarray(255 - _picture(2)).save(root / "02.png")
    assert _samples(_open(root)) != first and len(decoded) == 6
    _open(root, scale=2)
    _open(root, degradation=SecondOrderSettings())
    assert len(decoded) == 18
