"""Pictures in bands come out as they do whole, in files of every kind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from i2i.errors import OutOfMemoryError, StorageError
from i2i.inference import load_model
from i2i.inference.image_model import ImageModel
from i2i.inference.pictures.image_files import OUTPUT_FORMATS, OutputFormat, read_picture
from i2i.inference.tiling.tiles import TileSettings
from i2i.inference.translation import conveyor as conveyor
from i2i.inference.translation import large_pictures as module
from i2i.inference.translation.conveyor import Outcome, translate_files
from i2i.inference.translation.planning import plan_translation
from tests.inference.models import write_constant_model, write_nearest_upscaler, write_upscaler

TILES = TileSettings(side=16)


@pytest.fixture
def upscaler(tmp_path: Path) -> ImageModel:
    return load_model(write_upscaler(tmp_path / "up.safetensors"), "cpu", runner="torch")


@pytest.fixture
def tinting(tmp_path: Path) -> ImageModel:
    return load_model(write_nearest_upscaler(tmp_path / "t.safetensors", (30.0, 0.0, -30.0)), "cpu", runner="torch")


def picture(path: Path, mode: str = "RGB", height: int = 45, width: int = 37) -> Path:
    rows, columns = np.mgrid[:height, :width]
    channels = np.stack([rows * 3, columns * 4, rows + columns, (rows * 5) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(channels, "RGBA").convert(mode).save(path)
    return path


def run(model: ImageModel, source: Path, out: Path, **options: object) -> Outcome:
    (outcome,) = translate_files(model, plan_translation([source], out).jobs, **options)  # type: ignore[arg-type]
    assert outcome.status == "written", outcome.message
    return outcome


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_bands_and_whole_give_the_same_file(
    upscaler: ImageModel, tmp_path: Path, format: OutputFormat, mode: str
) -> None:
    source = picture(tmp_path / "x.png", mode)
    shares: list[float] = []
    whole = run(upscaler, source, tmp_path / f"whole.{format}")
    banded = run(upscaler, source, tmp_path / f"bands.{format}", tiles=TILES, on_part=shares.append)
    assert whole.notes == banded.notes[-len(whole.notes) :] if whole.notes else not banded.notes
    assert (banded.pixels, whole.pixels) == (45 * 37, 45 * 37)
    assert len(shares) > 1 and shares == sorted(shares) and shares[-1] == 1
    with Image.open(tmp_path / f"whole.{format}") as one, Image.open(tmp_path / f"bands.{format}") as other:
        assert one.mode == other.mode and one.size == other.size == (74, 90)
        difference = np.abs(np.asarray(one).astype(int) - np.asarray(other))
    # Compression with a loss may make more of one level.
    assert difference.max() <= (1 if format in ("png", "tiff") else 12)
    assert np.mean(difference) < 0.2


def test_sixteen_bits_and_profile_go_through(tinting: ImageModel, tmp_path: Path) -> None:
    import cv2

    pixels = np.random.default_rng(0).integers(9000, 56000, (40, 20, 4), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "x.png"), pixels[..., [2, 1, 0, 3]])
    run(tinting, tmp_path / "x.png", tmp_path / "y.tiff", tiles=TILES)
    result = read_picture(tmp_path / "y.tiff")
    assert result.bits == 16 and result.alpha is not None
    doubled = pixels[..., :3].repeat(2, axis=0).repeat(2, axis=1).astype(int) + np.array([30, 0, -30]) * 257
    assert np.abs(result.rgb - doubled).max() <= 1


def test_transparency_goes_through_the_model_in_bands_too(tinting: ImageModel, tmp_path: Path) -> None:
    source = picture(tmp_path / "x.png", "RGBA")
    run(tinting, source, tmp_path / "whole.png", alpha="model")
    run(tinting, source, tmp_path / "bands.png", alpha="model", tiles=TILES)
    whole, banded = read_picture(tmp_path / "whole.png"), read_picture(tmp_path / "bands.png")
    assert whole.alpha is not None and banded.alpha is not None
    assert np.abs(whole.alpha.astype(int) - banded.alpha).max() <= 1
    assert np.abs(whole.rgb.astype(int) - banded.rgb).max() <= 1
    copied = read_picture(source).alpha
    assert copied is not None
    assert np.abs(banded.alpha.astype(int) - copied.repeat(2, 0).repeat(2, 1)).min() > 0, "it has been tinted"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png", ".png", ".png", ".safetensors"]


def test_small_and_large_pictures_share_a_conveyor(upscaler: ImageModel, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    sizes = [(8, 8), (8, 8), (45, 37), (45, 37), (8, 8)]
    for number, size in enumerate(sizes):
        picture(tmp_path / f"in/{number}.png", "RGB", *size)
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    shares: list[float] = []
    outcomes = translate_files(upscaler, jobs, batch=2, tiles=TILES, on_part=shares.append)
    assert [outcome.status for outcome in outcomes] == ["written"] * 5 and shares.count(1.0) == 2
    for number, (height, width) in enumerate(sizes):
        assert read_picture(tmp_path / f"out/{number}.png").rgb.shape == (2 * height, 2 * width, 3)


def test_what_runs_out_of_memory_as_a_whole_goes_in_bands(
    upscaler: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageModel.translate_float

    def refusing(self: ImageModel, images: Tensor) -> Tensor:
        if images.shape[-2] >= 45:
            raise OutOfMemoryError("too little memory for 1 picture of 37x45 pixels - shrink the picture")
        return whole(self, images)

    monkeypatch.setattr(ImageModel, "translate_float", refusing)
    monkeypatch.setattr(conveyor, "needs_tiles", lambda *_: False)
    source = picture(tmp_path / "x.png")
    run(upscaler, source, tmp_path / "y.png", tiles=TILES)
    (outcome,) = translate_files(upscaler, plan_translation([source], tmp_path / "z.png").jobs)
    assert outcome.status == "failed" and "37x45" in outcome.message, "never where tiles are off"


def test_a_disk_too_small_is_found_out_before_anything_is_computed(
    upscaler: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Iterator[np.ndarray]:
        raise AssertionError("computed")

    monkeypatch.setattr(module, "bands", never)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=90 * 74 * 3 - 1))
    source = picture(tmp_path / "x.png")
    (outcome,) = translate_files(upscaler, plan_translation([source], tmp_path / "new/y.tiff").jobs, tiles=TILES)
    assert outcome.status == "failed"
    assert "y.tiff: takes up to 0.02 MB, and the disk has 0.02 MB left - free space or choose" in outcome.message
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=90 * 74 * 3))
    with pytest.raises(AssertionError, match="computed"):
        translate_files(upscaler, plan_translation([source], tmp_path / "new/y.tiff").jobs, tiles=TILES)
    assert not (tmp_path / "new" / "y.tiff").exists()


def test_another_engine_takes_over_what_this_one_cannot_do_in_bands(tmp_path: Path) -> None:
    path = write_constant_model(tmp_path / "m.safetensors", {"AtoB": (200.0, 40.0, 40.0)})
    source = picture(tmp_path / "x.png")
    model, asked = load_model(path, "cpu", runner="torch"), 0
    plain = load_model(path, "cpu", runner="torch")
    plain.runner = SimpleNamespace(  # type: ignore[assignment]
        name="other", device=model.device, precision=model.precision, network=None
    )

    def torch_model() -> ImageModel:
        nonlocal asked
        asked += 1
        return model

    run(plain, source, tmp_path / "y.png", tiles=TILES, large_model=torch_model)
    assert asked == 1
    assert np.all(read_picture(tmp_path / "y.png").rgb == (200, 40, 40))
    (outcome,) = translate_files(plain, plan_translation([source], tmp_path / "z.png").jobs, tiles=TILES)
    assert outcome.status == "failed" and "--runner torch" in outcome.message


def test_an_interruption_leaves_nothing(upscaler: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(share: float) -> None:
        raise KeyboardInterrupt

    source = picture(tmp_path / "x.png")
    with pytest.raises(KeyboardInterrupt):
        run(upscaler, source, tmp_path / "out" / "y.tiff", tiles=TILES, on_part=interrupted)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_a_storage_error(upscaler: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    from i2i.inference.pictures.tiff_strips import TiffStrips

    monkeypatch.setattr(TiffStrips, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        run(upscaler, picture(tmp_path / "x.png"), tmp_path / "y.tiff", tiles=TILES)
    assert not (tmp_path / "y.tiff").exists()
