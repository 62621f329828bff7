from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.generators import PictureGeneratorSettings, ResNetGeneratorSettings, SRResNetSettings
from i2i.errors import ModelError, OutOfMemoryError, UsageError
from i2i.inference.image_model import ImageModel
from i2i.inference.runners import PyTorchRunner
from i2i.inference.runtime import Precision
from i2i.inference.tiling import memory, row_bands, tiles
from i2i.inference.tiling.halo_tiles import halo_of, segment_after
from i2i.inference.tiling.streaming import layer_graph
from i2i.inference.tiling.tiles import TileSettings, bands, bytes_at_once, needs_tiles
from tests.inference.networks import NORMALIZING, PLAIN, entry_point_of, network_of

ODD_SIZES = [
    (1, 1), (1, 9), (2, 3), (3, 200), (5, 5), (7, 64), (11, 31), (13, 97), (17, 16), (23, 149),
    (31, 33), (41, 57), (53, 71), (64, 65), (67, 128), (79, 83), (97, 61), (101, 103), (127, 35), (151, 46),
]  # fmt: skip
EVERY = {**PLAIN, **{f"{name}_instance": one for name, one in NORMALIZING.items()}}


class EngineWithoutLayers:
    """As all engines but PyTorch's own: it computes and shows nothing. It notes the shapes that it is given."""

    name = "onnxruntime"
    device = torch.device("cpu")
    precision: Precision = "fp32"
    network = None

    def __init__(self, network: nn.Module, settings: PictureGeneratorSettings) -> None:
        self._computed = PyTorchRunner(network, entry_point_of(settings))
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        assert inputs[0] is not None
        self.shapes.append(tuple(inputs[0].shape))
        return self._computed(*inputs)


def model_of(settings: PictureGeneratorSettings, *, consistent: bool = False) -> ImageModel:
    entry_point = entry_point_of(settings)
    runner = PyTorchRunner(network_of(settings), entry_point)
    return ImageModel(runner, entry_point, name="AtoB", consistent=consistent)


def other_engine(settings: PictureGeneratorSettings) -> tuple[ImageModel, EngineWithoutLayers]:
    engine = EngineWithoutLayers(network_of(settings), settings)
    return ImageModel(engine, entry_point_of(settings), name="AtoB"), engine


def photo(height: int, width: int, dtype: type = np.uint8, noise: float = 0.08) -> np.ndarray:
    """Soft shapes, noise, and brightness that rises to the right and downward."""
    random = np.random.default_rng(0)
    across, down = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    colours = random.uniform(0, 6, 3)
    soft = 0.5 + 0.25 * np.sin(9 * across + colours) * np.cos(7 * down + colours) + 0.15 * (across - down)
    values = np.clip(soft + random.normal(0, noise, (height, width, 3)), 0, 1)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def joined(parts: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))


def difference(result: np.ndarray, whole: np.ndarray) -> int:
    assert result.shape == whole.shape and result.dtype == whole.dtype
    return int(np.abs(result.astype(int) - whole.astype(int)).max())


@pytest.mark.parametrize("settings", EVERY.values(), ids=EVERY)
def test_equal_to_the_whole_at_odd_sizes(settings: PictureGeneratorSettings) -> None:
    model = model_of(settings)
    tile = 24 + 2 * (halo_of(model) or 0)
    sizes = [*ODD_SIZES, (tile + 77, 41), (39, tile + 91), (tile + 47, tile + 51)]
    assert len({size for size in sizes if max(size) > tile}) >= 3, "sizes that take several tiles"
    for height, width in sizes:
        picture = photo(height, width)
        result = joined(bands(model, picture, TileSettings(side=24)))
        assert difference(result, model(picture)) <= 1, (height, width)


@pytest.mark.parametrize("settings", EVERY.values(), ids=EVERY)
def test_equal_to_the_whole_in_bands(settings: PictureGeneratorSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_bands, "_STRIP_HALOS", 1)
    model = model_of(settings)
    assert model.runner.network is not None
    for height, width in ((77, 143), (9, 150)):
        shapes = layer_graph(model.runner.network).shapes(height, width)
        monkeypatch.setattr(row_bands, "_BAND_BYTES", {"cpu": max(shape.numbers for shape in shapes) * 4 / 30})
        picture = photo(height, width)
        parts = list(bands(model, picture, TileSettings()))
        assert difference(np.concatenate(parts), model(picture)) <= 1
        assert len(parts) > 2 or height < 20


@pytest.mark.parametrize("side", [24, "auto"])
@pytest.mark.parametrize("name", ["rrdb_2", "resnet_instance", "msrresnet"])
def test_sixteen_bits_stay(side: Any, name: str) -> None:
    picture, model = photo(61, 83, np.uint16), model_of(EVERY[name])
    result = joined(bands(model, picture, TileSettings(side=side)))
    # Of 65,536 levels: what convolutions round.
    assert difference(result, model.translate_array(picture[None])[0]) <= 4


@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_of_other_engines_have_one_shape(batch: int) -> None:
    settings = PLAIN["resnet"]
    model, engine = other_engine(settings)
    halo = halo_of(model)
    assert halo is not None
    picture = photo(170, 333)
    whole = model(picture)
    engine.shapes.clear()
    result = joined(bands(model, picture, TileSettings(side=32, batch=batch)))
    assert difference(result, whole) <= 1
    assert {shape[1:] for shape in engine.shapes} == {(3, 32 + 2 * halo, 32 + 2 * halo)}
    assert max(shape[0] for shape in engine.shapes) == batch and len(engine.shapes) > 6


@pytest.mark.parametrize("name", ["srresnet_2", "rrdb_2"])
def test_consistent_results_have_no_seams(name: str) -> None:
    model, picture = model_of(PLAIN[name], consistent=True), photo(207, 165)
    result = joined(bands(model, picture, TileSettings(side=24)))
    assert difference(result, model(picture)) <= 1
    assert difference(result, model_of(PLAIN[name])(picture)) > 3, "the correction shows"


@pytest.mark.parametrize("settings", PLAIN.values(), ids=PLAIN)
def test_halo_is_as_wide_as_the_network_sees(settings: PictureGeneratorSettings) -> None:
    model = model_of(settings)
    halo, scale = halo_of(model), model.entry_point.scale
    assert halo is not None and halo % settings.size_multiple == 0
    network, cell = network_of(settings).double(), settings.size_multiple
    with torch.no_grad():
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.Tanh):
                network.set_submodule(name, nn.Identity())  # flat where it is full
        for parameter in network.parameters():
            parameter.abs_()  # no rectifier closes, no two ways cancel
    middle = (halo // cell + 2) * cell
    images = torch.rand(1, 3, 2 * middle, 2 * middle, dtype=torch.float64).mul(0.01).requires_grad_()
    result = network(images)
    for place in {0, cell * scale // 2, cell * scale - 1}:
        row = middle * scale + place
        (gradient,) = torch.autograd.grad(result[0, 0, row, row], images, retain_graph=True)
        seen = gradient[0].sum(dim=(0, 2)).nonzero().flatten()
        assert middle - halo <= int(seen.min()) and int(seen.max()) < middle + cell + halo


def test_tiles_cover_a_side_without_gaps() -> None:
    for length, side, halo in ((100, 10, 3), (16, 20, 3), (27, 10, 3), (26, 10, 8), (1, 1, 0)):
        done, starts = 0, []
        while done < length:
            segment = segment_after(done, length, side, halo)
            assert segment.used_from == done < segment.used_to
            assert segment.end - segment.start == min(side + 2 * halo, length)
            assert segment.start >= 0 and segment.end <= length
            assert segment.start == 0 or segment.used_from - segment.start >= halo
            assert segment.end == length or segment.end - segment.used_to >= halo
            starts.append(segment.start)
            done = segment.used_to
        assert done == length and len(set(starts)) == len(starts)


def test_instance_norm_needs_the_layers() -> None:
    model, _ = other_engine(NORMALIZING["resnet"])
    for statistics in ("exact", "thumbnail"):
        settings = TileSettings(side=24, statistics=statistics)
        with pytest.raises(UsageError, match=r"--runner onnxruntime cannot.*use --runner torch"):
            next(bands(model, photo(40, 40), settings))
    consistent = model_of(NORMALIZING["srresnet"], consistent=True)
    with pytest.raises(UsageError, match=r"--consistent.*--tile off"):
        next(bands(consistent, photo(40, 40), TileSettings(side=24)))


# When


def test_tiles_are_for_what_is_larger_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(ResNetGeneratorSettings(base_channels=8, blocks=1))
    assert not needs_tiles(model, 9000, 12000, TileSettings(side=None))
    assert needs_tiles(model, 10, 65, TileSettings(side=64)) and not needs_tiles(model, 64, 64, TileSettings(side=64))
    needed = bytes_at_once(model, 400, 500)
    # Eight channels at full size twice, in and out of a norm, and their padded copy: not much less, not much more.
    assert 2 < needed / (400 * 500 * 8 * 4) < 5
    for free, expected in ((1.9, True), (2.1, False)):
        monkeypatch.setattr(tiles, "free_memory", lambda device, bytes_=free * needed: bytes_)
        assert needs_tiles(model, 400, 500, TileSettings()) == expected
        assert needs_tiles(model, 400, 250, TileSettings(), 2) == expected


@pytest.mark.parametrize("settings", EVERY.values(), ids=EVERY)
def test_memory_is_known_of_every_family(settings: PictureGeneratorSettings) -> None:
    model, _ = other_engine(settings)
    small, large = bytes_at_once(model, 256, 256), bytes_at_once(model, 512, 512)
    assert 3 * 256 * 256 * 4 < small == pytest.approx(large / 4)


def test_free_memory_heeds_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert 0 < memory.free_memory(cpu) < 1e15
    limit, used = tmp_path / "limit", tmp_path / "used"
    limit.write_text("5000\n")
    used.write_text("2000\n")
    monkeypatch.setattr(memory, "_CGROUP_FILES", ((str(limit), str(used)),))
    assert memory.free_memory(cpu) == 3000
    limit.write_text("max\n")
    assert memory.free_memory(cpu) > 3000


# Out of memory


class ShortOfMemory:
    """Convolutions that fail for inputs of more numbers than there is memory for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
        self.failed, self._numbers = 0, numbers
        self._convolve = functional.conv2d
        monkeypatch.setattr(functional, "conv2d", self)

    def __call__(self, images: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if images.numel() > self._numbers:
            self.failed += 1
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return self._convolve(images, *arguments, **options)


def test_out_of_memory_makes_tiles_smaller_and_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, engine = other_engine(PLAIN["compact"])
    picture, notes = photo(210, 180), list[str]()
    whole = model(picture)
    engine.shapes.clear()
    short = ShortOfMemory(monkeypatch, 4 * 60 * 60)
    result = joined(bands(model, picture, TileSettings(side=128, batch=2), on_note=notes.append))
    assert short.failed == 2 and notes == ["memory ran out: went on with smaller tiles"]
    assert min(shape[2] for shape in engine.shapes) < 60 < max(shape[2] for shape in engine.shapes)
    assert difference(result, whole) <= 1


def test_out_of_memory_makes_bands_thinner_and_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, picture, notes = model_of(NORMALIZING["resnet"]), photo(210, 60), list[str]()
    whole = model(picture)
    short = ShortOfMemory(monkeypatch, 4 * 30 * 70)
    result = joined(bands(model, picture, TileSettings(side=110), on_note=notes.append))
    assert short.failed >= 2 and notes == ["memory ran out: went on with half the rows at a time"]
    assert difference(result, whole) <= 1


@pytest.mark.parametrize("name", ["compact", "resnet_instance"])
def test_gives_up_when_nothing_fits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(EVERY[name])
    ShortOfMemory(monkeypatch, 0)
    with pytest.raises(OutOfMemoryError, match="too little memory"):
        joined(bands(model, photo(70, 70), TileSettings(side=32)))


# Thumbnails


def test_thumbnail_statistics_are_about_right_and_say_how_far_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, picture, notes = model_of(NORMALIZING["resnet"]), photo(300, 400, noise=0.0), list[str]()
    whole = model(picture)
    monkeypatch.setattr(tiles, "_pixels_that_fit", lambda model: 100 * 75)
    settings = TileSettings(side=64, statistics="thumbnail")
    result = joined(bands(model, picture, settings, on_note=notes.append))
    assert len(notes) == 1 and notes[0].startswith(
        "statistics of the picture shrunken 4.0 times: on a sample of 400x300"
    )
    told = float(notes[0].split("up to ")[1].split()[0])
    assert difference(result, whole) > 1
    # The sample is the whole picture here.
    assert told == pytest.approx(difference(result, whole), abs=2)
    assert model(picture).tobytes() == whole.tobytes(), "the model itself is left as it was"


def test_thumbnail_as_large_as_the_picture_is_exact() -> None:
    model, picture, notes = model_of(NORMALIZING["unet"]), photo(96, 128), list[str]()
    settings = TileSettings(side=32, statistics="thumbnail")
    assert difference(joined(bands(model, picture, settings, on_note=notes.append)), model(picture)) <= 1
    assert notes == []


# What else can be


def test_little_room_on_the_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model, picture, notes = model_of(ResNetGeneratorSettings(base_channels=4)), photo(60, 50), list[str]()
    monkeypatch.setattr(row_bands, "_RATES", {"cpu": row_bands.Rates(multiplications_per_second=1.0)})
    result = joined(bands(model, picture, TileSettings(side=32, spill_bytes=0), on_note=notes.append))
    assert difference(result, model(picture)) <= 1
    assert len(notes) == 1 and notes[0].startswith("too little room on the disk: ")


@pytest.mark.parametrize("name", ["compact", "resnet_instance"])
@pytest.mark.parametrize("side", [40, "auto"])
def test_progress_rises_to_the_end(name: str, side: Any) -> None:
    model, shares = model_of(EVERY[name]), list[float]()
    joined(bands(model, photo(150, 120), TileSettings(side=side), on_share=shares.append))
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["compact", "resnet_instance"])
@pytest.mark.parametrize("side", [32, "auto"])
def test_numbers_that_are_not_finite_are_refused(name: str, side: Any) -> None:
    settings = EVERY[name]
    network = network_of(settings)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    entry_point = entry_point_of(settings)
    model = ImageModel(PyTorchRunner(network, entry_point), entry_point, name="AtoB")
    with pytest.raises(ModelError, match="not finite"):
        joined(bands(model, photo(70, 70), TileSettings(side=side)))


@pytest.mark.parametrize("precision", ["bf16"])
def test_narrow_formats_stay_near(precision: Precision) -> None:
    settings = SRResNetSettings(scale=2, base_channels=8, blocks=1, normalization="instance")
    entry_point, picture = entry_point_of(settings), photo(70, 66)
    model = ImageModel(PyTorchRunner(network_of(settings), entry_point, "cpu", precision), entry_point, name="x")
    result = joined(bands(model, picture, TileSettings(side=32)))
    differences = np.abs(result.astype(int) - model(picture).astype(int))
    assert differences.mean() < 1 and differences.max() < 16


def test_refuses_what_is_no_picture() -> None:
    model = model_of(PLAIN["compact"])
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected"):
            next(bands(model, wrong, TileSettings()))
    for options in ({"side": 0}, {"batch": 0}, {"spill_bytes": -1.0}):
        with pytest.raises(ValueError, match="is"):
            TileSettings(**options)  # type: ignore[arg-type]
