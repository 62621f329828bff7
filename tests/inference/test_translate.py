from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from i2i.core.generators import ResNetGeneratorSettings
from i2i.errors import DataError, StorageError, UsageError
from i2i.inference import translate as module
from i2i.inference.image_files import Picture, read_picture, write_picture
from i2i.inference.image_model import ImageModel
from i2i.inference.translate import Job, Outcome, plan_translation, prepare_folders, translate_files
from i2i.pipelines.protocol import PictureEntryPoint
from tests.inference.models import image_model


class Negative(nn.Module):
    """Turns a picture into its negative and keeps the sizes it has seen."""

    def __init__(self, act: Callable[[Tensor], None] = lambda images: None) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.act = act

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        self.act(images)
        return -images


def negative(act: Callable[[Tensor], None] = lambda images: None) -> tuple[ImageModel, Negative]:
    network = Negative(act)
    return image_model(network, PictureEntryPoint("net", ResNetGeneratorSettings())), network


def paint(path: Path, level: int = 0, size: tuple[int, int] = (12, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), level, np.uint8)).save(path)
    return path


def targets(folder: Path, *arguments: object, **options: object) -> dict[str, str]:
    """Sources to destinations of a plan, relative to `folder`."""
    plan = plan_translation(*arguments, **options)  # type: ignore[arg-type]
    return {str(job.source.relative_to(folder)): str(job.destination.relative_to(folder)) for job in plan.jobs}


def run(jobs: tuple[Job, ...], **options: object) -> dict[str, Outcome]:
    model, _ = negative()
    return {outcome.source.name: outcome for outcome in translate_files(model, jobs, **options)}  # type: ignore[arg-type]


# Which file goes where


def test_a_folder_goes_to_its_neighbour_and_keeps_its_structure(tmp_path: Path) -> None:
    for name in ("in/b.jpg", "in/sub/deep/a.png", "in/sub/a.TIF", "in/c.bmp", "in/d.jpeg"):
        paint(tmp_path / name)
    assert targets(tmp_path, [tmp_path / "in"]) == {
        "in/b.jpg": "in_translated/b.jpg",
        "in/c.bmp": "in_translated/c.png",
        "in/d.jpeg": "in_translated/d.jpeg",
        "in/sub/a.TIF": "in_translated/sub/a.TIF",
        "in/sub/deep/a.png": "in_translated/sub/deep/a.png",
    }


def test_junk_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/.hidden/x.png")
    for name in ("notes.txt", "Thumbs.db", "._a.png", ".DS_Store", "model.safetensors"):
        (tmp_path / "in" / name).write_bytes(b"junk")
    assert targets(tmp_path, [tmp_path / "in"]) == {"in/a.png": "in_translated/a.png"}


def test_a_format_changes_only_the_suffix_of_other_formats(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/b.jpeg")
    assert targets(tmp_path, [tmp_path / "in"], tmp_path / "out", "jpg") == {
        "in/a.png": "out/a.jpg",
        "in/b.jpeg": "out/b.jpeg",
    }


def test_one_file_several_files_and_a_pattern(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/b.png", "in/sub/c.png", "in/sub/d.jpg"):
        paint(tmp_path / name)
    (tmp_path / "in/junk.txt").touch()
    assert targets(tmp_path, [tmp_path / "in/a.png"]) == {"in/a.png": "in/a_translated/a.png"}
    together = {"in/a.png": "in_translated/a.png", "in/b.png": "in_translated/b.png"}
    assert targets(tmp_path, [tmp_path / "in/a.png", tmp_path / "in/b.png"]) == together
    assert targets(tmp_path, [f"{tmp_path}/in/*"]) == together
    assert targets(tmp_path, [f"{tmp_path}/in/**/*.png"]) == together | {"in/sub/c.png": "in_translated/sub/c.png"}
    assert targets(tmp_path, [f"{tmp_path}/*/a.png"], tmp_path / "out") == {"in/a.png": "out/in/a.png"}


def test_the_folder_one_stands_in_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "in/a.png")
    monkeypatch.chdir(tmp_path / "in")
    assert plan_translation(["."]).jobs[0].destination == tmp_path / "in_translated" / "a.png"
    assert plan_translation(["a.png", "./a.png"]).jobs[0].destination == tmp_path / "in_translated" / "a.png"


def test_brackets_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    paint(tmp_path / "in/a[1].png")
    assert targets(tmp_path, [tmp_path / "in/a[1].png"], tmp_path / "out") == {"in/a[1].png": "out/a[1].png"}


def test_results_inside_the_input_are_not_taken_for_inputs(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/out/a.png")
    assert targets(tmp_path, [tmp_path / "in"], tmp_path / "in/out") == {"in/a.png": "in/out/a.png"}
    assert targets(tmp_path, [f"{tmp_path}/in/**/*.png"], tmp_path / "in/out") == {"in/a.png": "in/out/a.png"}


def test_two_inputs_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    paint(tmp_path / "x/a.png")
    paint(tmp_path / "y/a.png")
    with pytest.raises(UsageError, match=r"x/a\.png and .*y/a\.png would both be written to .*out/a\.png"):
        plan_translation([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    paint(tmp_path / "x/a.jpg")
    with pytest.raises(UsageError, match="both be written"):
        plan_translation([tmp_path / "x"], tmp_path / "out", "png")
    assert not (tmp_path / "out").exists()


def test_the_same_picture_given_twice_is_done_once(tmp_path: Path) -> None:
    picture = paint(tmp_path / "in/a.png")
    assert len(plan_translation([picture, tmp_path / "in", picture], tmp_path / "out").jobs) == 1


def test_inputs_are_never_overwritten(tmp_path: Path) -> None:
    picture = paint(tmp_path / "in/a.png")
    other = paint(tmp_path / "in/out/b.png")
    for inputs, out in (
        ([tmp_path / "in"], tmp_path / "in"),
        ([picture], tmp_path / "in"),
        ([picture, other], tmp_path / "in/out"),
        ([other, picture], tmp_path / "in/out"),
    ):
        with pytest.raises(UsageError, match="choose another folder"):
            plan_translation(inputs, out)
    with pytest.raises(UsageError, match="choose another folder"):
        plan_translation([tmp_path / "in"], tmp_path / "in", "jpg")


def test_missing_inputs_are_listed_and_the_others_planned(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    plan = plan_translation([tmp_path / "in", tmp_path / "nothing.png", f"{tmp_path}/*.jpg"], tmp_path / "out")
    assert len(plan.jobs) == 1
    assert [outcome.status for outcome in plan.missing] == ["failed", "failed"]
    assert "nothing.png: no such file" in plan.missing[0].message
    alone = plan_translation([tmp_path / "in", tmp_path / "nothing" / "x.png"])
    assert alone.folders == (tmp_path / "in_translated",), "no folder is made for what is not there"
    with pytest.raises(UsageError, match="say where with -o"):
        plan_translation(["/"])


def test_only_missing_inputs_are_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^nothing\.png: no such file or folder - check the spelling$"):
        plan_translation(["nothing.png"], tmp_path / "out")
    with pytest.raises(DataError, match=r"a: no such.*; b: no such.*; c: no such[^;]*; and 1 more$"):
        plan_translation(["a", "b", "c", "d"])


def test_a_direction_is_part_of_the_default_folder_alone(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/b.png")
    assert targets(tmp_path, [tmp_path / "in/a.png"], direction="BtoA") == {"in/a.png": "in/a_BtoA_translated/a.png"}
    both = {"in/a.png": "in_BtoA_translated/a.png", "in/b.png": "in_BtoA_translated/b.png"}
    assert targets(tmp_path, [tmp_path / "in"], direction="BtoA") == both
    assert targets(tmp_path, [f"{tmp_path}/in/*"], direction="BtoA") == both
    assert targets(tmp_path, [tmp_path / "in/a.png"], tmp_path / "out", direction="BtoA") == {"in/a.png": "out/a.png"}
    paint(tmp_path / "in/b_BtoA_translated/b.png")
    assert targets(tmp_path, [tmp_path / "in"], direction="BtoA") == both, "earlier results are no input"


def test_one_picture_may_be_given_the_name_of_its_result(tmp_path: Path) -> None:
    picture = paint(tmp_path / "in/a.png")
    plan = plan_translation([picture], tmp_path / "out" / "b.JPG")
    assert [(job.source, job.destination, job.format) for job in plan.jobs] == [
        (picture, tmp_path / "out" / "b.JPG", "jpg")
    ]
    assert plan.folders == (tmp_path / "out",)
    assert targets(tmp_path, [picture], tmp_path / "b.tiff", "tiff") == {"in/a.png": "b.tiff"}
    # A folder stays a folder, whatever it is called.
    (tmp_path / "c.png").mkdir()
    assert targets(tmp_path, [picture], tmp_path / "c.png") == {"in/a.png": "c.png/a.png"}
    for inputs in ([picture, picture], [tmp_path / "in"], [f"{tmp_path}/in/*.png"]):
        with pytest.raises(UsageError, match=r"x\.png: names one picture, and the input may be several"):
            plan_translation(inputs, tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"\.bmp is only read, not written"):
        plan_translation([picture], tmp_path / "x.bmp")
    with pytest.raises(UsageError, match=r"x\.png and --format jpg contradict each other"):
        plan_translation([picture], tmp_path / "x.png", "jpg")
    with pytest.raises(UsageError, match="an input would be overwritten"):
        plan_translation([picture], picture)
    with pytest.raises(DataError, match="no such file"):
        plan_translation([tmp_path / "nothing.png"], tmp_path / "x.png")


def test_a_folder_without_pictures_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="no pictures found"):
        plan_translation([tmp_path])


def test_output_folders_are_made_or_refused_at_once(tmp_path: Path) -> None:
    plan = plan_translation([paint(tmp_path / "in/a.png")], tmp_path / "deep" / "out")
    prepare_folders(plan)
    assert (tmp_path / "deep" / "out").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file, and its name is no picture's"):
        prepare_folders(plan_translation([tmp_path / "in"], tmp_path / "file"))


# The conveyor


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


def test_an_unreadable_folder_is_listed(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    closed = tmp_path / "in/closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        if os.access(closed, os.R_OK):
            pytest.skip("this user may read everything")
        plan = plan_translation([tmp_path / "in"], tmp_path / "out")
    finally:
        closed.chmod(0o755)
    assert len(plan.jobs) == 1
    assert "cannot be listed" in plan.missing[0].message
