from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2i.core.generators import PictureGeneratorSettings
from i2i.errors import OutOfMemoryError, StorageError
from i2i.inference.tiling.streaming import streamed_rows
from i2i.inference.tiling.streaming.planning import Rates
from i2i.inference.tiling.streaming.spill import SpillFile
from tests.inference.networks import NORMALIZING, PLAIN, network_of
from tests.inference.tiling.streaming.streams import FREE_DISK, FREE_WORK, image, run, streamed

LEVEL = 2 / 255
EVERY_NORMALIZING = pytest.mark.parametrize("settings", NORMALIZING.values(), ids=NORMALIZING)


def size_of(settings: PictureGeneratorSettings, height: int, width: int) -> tuple[int, int]:
    multiple = settings.size_multiple
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


@EVERY_NORMALIZING
@pytest.mark.parametrize(("height", "width"), [(64, 64), (9, 131), (131, 70)])
@pytest.mark.parametrize(("rates", "room_bytes"), [(FREE_DISK, 1e12), (FREE_DISK, 1e5), (FREE_WORK, 0)])
def test_statistics_are_those_of_the_whole_picture(
    settings: PictureGeneratorSettings, height: int, width: int, rates: Rates, room_bytes: float, tmp_path: Path
) -> None:
    network, images = network_of(settings), image(*size_of(settings, height, width))
    stream = streamed(network, images, tmp_path, rates=rates, room_bytes=room_bytes)
    with torch.inference_mode():
        whole = network(images)
    assert whole.std() > 5 * LEVEL, "a picture in which differences would show"
    torch.testing.assert_close(run(stream), whole, rtol=0, atol=LEVEL / 50)
    assert stream.plan.bytes_at_most <= room_bytes
    assert (stream.work.bytes_written > 0) == (stream.plan.bytes_written > 0)


@pytest.mark.parametrize("settings", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("band_bytes", [1.0, 3e4])
def test_without_statistics_one_pass_does(
    settings: PictureGeneratorSettings, band_bytes: float, tmp_path: Path
) -> None:
    network, images = network_of(settings), image(*size_of(settings, 45, 38))
    stream = streamed(network, images, tmp_path, band_bytes=band_bytes)
    with torch.inference_mode():
        torch.testing.assert_close(run(stream), network(images), rtol=0, atol=1e-5)
    assert len(stream.plan.passes) == 1 and stream.work.bytes_written == 0


@EVERY_NORMALIZING
def test_no_row_is_computed_twice_where_all_is_kept(settings: PictureGeneratorSettings, tmp_path: Path) -> None:
    images = image(*size_of(settings, 200, 36))
    stream = streamed(network_of(settings), images, tmp_path, band_bytes=6000)
    bands = list(run(stream).split(1, dim=2))
    assert len(bands) == stream.shapes[-1].height
    once = sum(stream.graph.multiplications(stream.shapes))
    assert stream.plan.multiplications == once
    # Rows of what is enlarged by a layer that pads by itself are counted by the row of its result.
    assert stream.work.multiplications == pytest.approx(once, rel=1e-6)


def test_what_is_on_the_disk_is_as_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = NORMALIZING["resnet"]
    stream = streamed(network_of(settings), image(64, 48), tmp_path)
    living: list[SpillFile] = []
    most = 0
    make, close = SpillFile.__init__, SpillFile.close

    def made(self: SpillFile, *arguments: Any) -> None:
        nonlocal most
        make(self, *arguments)
        living.append(self)
        most = max(most, len(living))

    def closed(self: SpillFile) -> None:
        close(self)
        living.remove(self)

    monkeypatch.setattr(SpillFile, "__init__", made)
    monkeypatch.setattr(SpillFile, "close", closed)
    run(stream)
    assert not living
    assert 1 < most <= len(set(stream.plan.room_of.values())) < len(stream.plan.room_of), "room is used again"
    assert stream.work.bytes_written == stream.plan.bytes_written
    assert stream.work.bytes_read == stream.plan.bytes_read


def test_leaves_no_file_behind_even_when_dropped_on_the_way(tmp_path: Path) -> None:
    stream = streamed(network_of(NORMALIZING["resnet"]), image(64, 48), tmp_path)
    with torch.inference_mode():
        rows = streamed_rows(stream)
        next(rows)
        assert list(tmp_path.iterdir()) == [], "files without names, which a kill leaves none of"
        rows.close()
    assert list(tmp_path.iterdir()) == []


class ShortOfMemory:
    """Convolutions that fail for inputs of more numbers than there is memory for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, numbers: int, failures: float = float("inf")) -> None:
        self.failed, self._numbers, self._failures = 0, numbers, failures
        self._convolve = functional.conv2d
        monkeypatch.setattr(functional, "conv2d", self)

    def __call__(self, images: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if images.numel() > self._numbers and self.failed < self._failures:
            self.failed += 1
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return self._convolve(images, *arguments, **options)


@pytest.mark.parametrize("failures", [1, 3, float("inf")])
def test_out_of_memory_halves_the_rows_and_loses_nothing(
    failures: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images = network_of(NORMALIZING["resnet"]), image(96, 48)
    with torch.inference_mode():
        whole = network(images)
    stream = streamed(network, images, tmp_path, band_bytes=1e6)
    halvings: list[None] = []
    # Bands of all rows fail; a quarter fits.
    short = ShortOfMemory(monkeypatch, 4 * 30 * 60, failures)
    result = run(stream, lambda: halvings.append(None))
    assert short.failed and len(halvings) == short.failed == stream.work.halvings
    torch.testing.assert_close(result, whole, rtol=0, atol=LEVEL / 50)


def test_gives_up_when_not_even_single_rows_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = streamed(network_of(NORMALIZING["resnet"]), image(32, 32), tmp_path)
    ShortOfMemory(monkeypatch, 0)
    with pytest.raises(OutOfMemoryError, match="free memory"):
        run(stream)


def test_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = streamed(network_of(NORMALIZING["resnet"]), image(32, 32), tmp_path)

    def full(self: SpillFile, first: int, rows: Tensor) -> None:
        raise self._failure(OSError(28, "No space left on device"))

    monkeypatch.setattr(SpillFile, "write", full)
    with pytest.raises(StorageError, match=r"No space left on device - free space"):
        run(stream)
