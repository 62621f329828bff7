from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from i2i.core.generators import ResNetGeneratorSettings
from i2i.errors import StorageError
from i2i.inference.image_model import ImageModel
from i2i.inference.pictures import image_files
from i2i.inference.pictures.image_files import Picture, read_picture, write_picture
from i2i.inference.tiling.tiles import TileSettings
from i2i.inference.translation import conveyor as module
from i2i.inference.translation.conveyor import Job, Outcome, plan_translation, translate_files
from i2i.inference.translation.ledger import Ledger, Maker
from i2i.pipelines.protocol import PictureEntryPoint
from tests.inference.models import image_model, paint


class Negative(nn.Module):
    """Turns a picture into its negative and keeps the sizes it has seen."""

    def __init__(self, act: Callable[[Tensor], None] = lambda images: None) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.act = act

    def __deepcopy__(self, memo: object) -> Negative:
        return self  # An engine may run a copy of the network; what that has seen counts.

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        self.act(images)
        return -images


def negative(act: Callable[[Tensor], None] = lambda images: None) -> tuple[ImageModel, Negative]:
    network = Negative(act)
    return image_model(network, PictureEntryPoint("net", ResNetGeneratorSettings())), network


def run(jobs: tuple[Job, ...], **options: object) -> dict[str, Outcome]:
    model, _ = negative()
    return {outcome.source.name: outcome for outcome in translate_files(model, jobs, **options)}  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_every_picture_goes_to_its_own_place_and_is_its_own_negative(tmp_path: Path, batch: int) -> None:
    for level in range(17):
        paint(tmp_path / f"in/{level:02}.png", level, (12, 8) if level % 5 else (10, 9))
    plan = plan_translation([tmp_path / "in"], tmp_path / "out")
    outcomes = run(plan.jobs, batch=batch)
    assert len(outcomes) == 17
    assert {outcome.status for outcome in outcomes.values()} == {"written"}
    for level in range(17):
        pixels = read_picture(tmp_path / f"out/{level:02}.png").rgb
        assert pixels.shape == ((12, 8, 3) if level % 5 else (10, 9, 3))
        assert np.all(pixels == 255 - level)


def test_pictures_of_equal_size_share_a_batch_and_others_do_not(tmp_path: Path) -> None:
    sizes = [(8, 8), (8, 8), (8, 8), (8, 12), (8, 8), (8, 8)]
    for index, size in enumerate(sizes):
        paint(tmp_path / f"in/{index}.png", size=size)
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    model, network = negative()
    translate_files(model, jobs, batch=2)
    assert [shape[0] for shape in network.seen] == [2, 1, 1, 2]
    model, network = negative()
    translate_files(model, jobs)
    assert [shape[0] for shape in network.seen] == [1] * 6


def test_broken_pictures_fail_and_the_others_are_done(tmp_path: Path) -> None:
    for index in range(5):
        paint(tmp_path / f"in/{index}.png", index)
    broken = tmp_path / "in/2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (tmp_path / "in/3.png").write_bytes(b"no picture")
    outcomes = run(plan_translation([tmp_path / "in"], tmp_path / "out").jobs, batch=2)
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "0.png": "written", "1.png": "written", "2.png": "failed", "3.png": "failed", "4.png": "written",
    }  # fmt: skip
    assert str(broken) in outcomes["2.png"].message
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "4.png"]


def test_what_does_not_fit_into_memory_together_is_tried_alone(tmp_path: Path) -> None:
    def refuse(images: Tensor) -> None:
        if len(images) > 1 or images.shape[-1] == 16:
            raise MemoryError

    for index, width in enumerate((8, 8, 16, 8)):
        paint(tmp_path / f"in/{index}.png", size=(8, width))
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    model, _ = negative(refuse)
    outcomes = {outcome.source.name: outcome for outcome in translate_files(model, jobs, batch=4)}
    assert [outcomes[f"{index}.png"].status for index in range(4)] == ["written", "written", "failed", "written"]
    assert "2.png" in outcomes["2.png"].message
    assert "16x8 pixels" in outcomes["2.png"].message


def test_skip_existing_leaves_results_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paint(tmp_path / f"in/{name}.png")
    paint(tmp_path / "out/a.png", 7)
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    outcomes = run(jobs, skip_existing=True)
    assert (outcomes["a.png"].status, outcomes["b.png"].status) == ("skipped", "written")
    assert np.all(read_picture(tmp_path / "out/a.png").rgb == 7)
    run(jobs)
    assert np.all(read_picture(tmp_path / "out/a.png").rgb == 255)


def test_alpha_profile_and_16_bits_go_through(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    source = Picture(rgb=pixels[..., :3], alpha=pixels[..., 3])
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in/x.png", source, "png")
    run(plan_translation([tmp_path / "in"], tmp_path / "out", "tiff").jobs)
    result = read_picture(tmp_path / "out/x.tiff")
    assert result.bits == 16
    assert np.array_equal(result.rgb, 65535 - source.rgb)
    assert result.alpha is not None and np.array_equal(result.alpha, pixels[..., 3])


def test_notes_of_reading_and_of_writing_reach_the_caller(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (8, 8), (9, 9, 9, alpha)) for alpha in (100, 200)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    outcomes = run(plan_translation([tmp_path / "x.png"], tmp_path / "out", "jpg").jobs)
    assert outcomes["x.png"].notes == ("first of 2 frames", "transparency laid on white for jpg")


def test_a_full_disk_stops_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        raise StorageError(f"{path}: no space") from OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(module, "write_picture", full)
    for index in range(30):
        paint(tmp_path / f"in/{index:02}.png")
    model, network = negative()
    with pytest.raises(StorageError, match="no space"):
        translate_files(model, plan_translation([tmp_path / "in"], tmp_path / "out").jobs)
    assert len(network.seen) < 15


def test_another_write_error_fails_one_picture(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paint(tmp_path / f"in/{name}.png")
    (tmp_path / "out/a.png").mkdir(parents=True)
    outcomes = run(plan_translation([tmp_path / "in"], tmp_path / "out").jobs)
    assert (outcomes["a.png"].status, outcomes["b.png"].status) == ("failed", "written")


@pytest.mark.parametrize("place", ["_fit_to_format", "_encode"])
def test_a_picture_that_memory_is_too_short_to_write_fails_alone(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., object] = getattr(image_files, place)

    def short(picture: Picture, *rest: object) -> object:
        if picture.rgb.shape[0] == 16:
            raise MemoryError
        return original(picture, *rest)

    monkeypatch.setattr(image_files, place, short)
    for name, height in (("a", 8), ("b", 16), ("c", 8)):
        paint(tmp_path / f"in/{name}.png", size=(height, 8))
    outcomes = run(plan_translation([tmp_path / "in"], tmp_path / "out").jobs)
    assert [outcomes[f"{name}.png"].status for name in "abc"] == ["written", "failed", "written"]
    assert "b.png: too little memory to encode the picture" in outcomes["b.png"].message


def test_memory_short_behind_the_network_fails_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(path: Path, *_: object) -> tuple[str, ...]:
        if path.name == "a.png":
            raise MemoryError
        return ()

    monkeypatch.setattr(module, "write_picture", short)
    for name in ("a", "b"):
        paint(tmp_path / f"in/{name}.png")
    outcomes = run(plan_translation([tmp_path / "in"], tmp_path / "out").jobs)
    assert (outcomes["a.png"].status, outcomes["b.png"].status) == ("failed", "written")
    assert "a.png: too little memory to write 96 pixels - shrink" in outcomes["a.png"].message


def test_a_picture_replaced_while_it_is_translated_is_not_taken_for_done(tmp_path: Path) -> None:
    source = paint(tmp_path / "in/a.png")
    jobs = plan_translation([source], tmp_path / "out").jobs
    maker = Maker(model_sha256="", direction="AtoB", precision="fp32")
    model, _ = negative(lambda images: paint(source, 9, (5, 5)) and None)
    translate_files(model, jobs, ledger=Ledger(maker, {}))
    assert Ledger(maker, {}).state(jobs[0]) == "other source"


def test_a_model_of_eight_bits_is_given_and_gives_eight_bits_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    level = 100 * 257 + 200  # nearer to 101
    deep = Picture(rgb=np.full((9, 7, 3), level, np.uint16), alpha=np.full((9, 7), 65535, np.uint16))
    write_picture(tmp_path / "in/deep.png", deep, "png")
    paint(tmp_path / "in/plain.png", 7)
    model, _ = negative()
    model.eight_bits = True
    outcomes = {one.source.name: one for one in translate_files(model, plan_translation([tmp_path / "in"]).jobs)}
    assert (outcomes["deep.png"].notes, outcomes["plain.png"].notes) == (("16 bits rounded to 8 by this model",), ())
    written = read_picture(tmp_path / "in_translated/deep.png")
    assert written.bits == 8 and np.all(written.rgb == 255 - 101)
    assert written.alpha is not None and np.all(written.alpha == 255)


@pytest.mark.parametrize(("processes", "together", "large"), [(1, [3, 1], 0), (2, [1, 1, 1, 1], 0), (4, [], 4)])
def test_what_memory_holds_counts_all_that_lies_in_it_together(
    tmp_path: Path, processes: int, together: list[int], large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for three pictures at a time."""
    monkeypatch.setattr(module, "needs_tiles", lambda *arguments: arguments[4] > 3)
    monkeypatch.setattr(module, "translate_large", lambda *_, **__: ("in bands",))
    for index in range(4):
        paint(tmp_path / f"in/{index}.png")
    model, network = negative()
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    outcomes = translate_files(model, jobs, batch=8, tiles=TileSettings(), processes=processes)
    assert [shape[0] for shape in network.seen] == together
    assert [outcome.notes for outcome in outcomes].count(("in bands",)) == large


def test_an_interruption_leaves_whole_files_and_no_threads(tmp_path: Path) -> None:
    for index in range(12):
        paint(tmp_path / f"in/{index:02}.png", index)
    calls = 0

    def interrupt(images: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    threads = threading.active_count()
    model, _ = negative(interrupt)
    with pytest.raises(KeyboardInterrupt):
        translate_files(model, plan_translation([tmp_path / "in"], tmp_path / "out").jobs)
    assert threading.active_count() == threads
    written = sorted((tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else []
    assert len(written) <= 4
    for path in written:
        assert np.all(read_picture(path).rgb == 255 - int(path.stem))


def test_reading_runs_ahead_of_the_network_but_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    second_read = threading.Event()
    original = module.read_picture

    def counting(path: Path, max_pixels: int) -> Picture:
        read.append(path)
        if len(read) == 2:
            second_read.set()
        return original(path, max_pixels)

    monkeypatch.setattr(module, "read_picture", counting)
    for index in range(20):
        paint(tmp_path / f"in/{index:02}.png")
    ahead: list[int] = []

    def look(images: Tensor) -> None:
        # While the network has the first picture, the second one is read without its help.
        assert len(ahead) > 0 or second_read.wait(timeout=60)
        ahead.append(len(read) - len(network.seen))

    model, network = negative(look)
    translate_files(model, plan_translation([tmp_path / "in"], tmp_path / "out").jobs)
    assert len(ahead) == 20
    assert max(ahead) <= 4


def test_large_pictures_are_not_read_far_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING_BYTES", 2 * 12 * 8 * 3)
    read: list[Path] = []
    original = module.read_picture

    def counting(path: Path, max_pixels: int) -> Picture:
        read.append(path)
        return original(path, max_pixels)

    monkeypatch.setattr(module, "read_picture", counting)
    for index in range(12):
        paint(tmp_path / f"in/{index:02}.png", index, (12, 8) if index != 5 else (90, 90))
    ahead: list[int] = []
    model, network = negative(lambda images: ahead.append(len(read) - len(network.seen)))
    outcomes = translate_files(model, plan_translation([tmp_path / "in"], tmp_path / "out").jobs, batch=4)
    assert {outcome.status for outcome in outcomes} == {"written"} and len(outcomes) == 12
    # Of eleven that wait, two fit; and what is larger than all room comes alone.
    assert max(ahead) <= 4 + 3
    for index in range(12):
        assert np.all(read_picture(tmp_path / f"out/{index:02}.png").rgb == 255 - index)
