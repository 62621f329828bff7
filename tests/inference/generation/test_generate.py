from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.core.image_shape import ImageShape
from i2i.errors import ModelError, StorageError, UsageError
from i2i.inference import LatentModel
from i2i.inference.generation import generate as module
from i2i.inference.generation.generate import (
    Series,
    Share,
    Target,
    check_target,
    class_folders,
    drawn_series,
    generate_files,
    saved_series,
)
from i2i.inference.generation.latents import SavedLatents
from i2i.pipelines.protocol import LatentEntryPoint
from tests.inference.models import COLOUR, DCGAN, GREY, generator_network, latent_model


def model_of(shape: ImageShape = GREY, classes: int = 0) -> LatentModel:
    network = generator_network(DCGAN, shape, classes)
    return latent_model(network, LatentEntryPoint("generator", DCGAN, shape, classes))


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def make(model: LatentModel, count: int, folder: Path, *, seed: int = 0, **options) -> dict[str, bytes]:
    made = generate_files(model, drawn_series(model, count, seed=seed), Target(folder=folder, count=count), **options)
    assert made.skipped == 0
    return contents(folder)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33])
def test_exactly_so_many_files_named_by_number(tmp_path: Path, count: int) -> None:
    files = make(model_of(), count, tmp_path / "out")
    assert list(files) == [f"{number:06d}.png" for number in range(count)]
    assert len(set(files.values())) == count


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=str)
def test_files_hold_the_pictures_of_the_model(tmp_path: Path, shape: ImageShape) -> None:
    model = model_of(shape)
    make(model, 3, tmp_path)
    expected = model(model.latents(range(3)))
    for number in range(3):
        with Image.open(tmp_path / f"{number:06d}.png") as image:
            assert image.mode == ("L" if shape is GREY else "RGB")
            pixels = np.asarray(image)
        assert np.array_equal(pixels if shape is COLOUR else pixels[..., None], expected[number])


def test_a_picture_is_the_same_however_many_are_asked_for_and_in_flight(tmp_path: Path) -> None:
    model = model_of(COLOUR)
    expected = make(model, 50, tmp_path / "all")
    for count, batch in ((50, 1), (50, 64), (50, 20), (7, 3), (33, 1000)):
        files = make(model, count, tmp_path / f"{count}-{batch}", batch=batch)
        assert files == dict(list(expected.items())[:count])
    assert not set(make(model, 3, tmp_path / "other", seed=1).values()) & set(expected.values())


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_shares_of_several_processes_make_the_whole(tmp_path: Path, processes: int) -> None:
    model = model_of()
    expected = make(model, 50, tmp_path / "alone")
    written = 0
    for rank in range(processes):
        series, target = drawn_series(model, 50), Target(folder=tmp_path / "shared", count=50)
        check_target(target, series, Share(rank, processes))
        made = generate_files(model, series, target, share=Share(rank, processes), keep=20 if rank == 0 else 0)
        written += made.written
        if rank == 0:
            kept = model(model.latents(range(20)))
            assert np.array_equal(made.first, kept), "those of the other processes are kept too"
    assert written == 50
    assert contents(tmp_path / "shared") == expected


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    model = model_of()
    expected = make(model, 40, tmp_path / "all")
    series, target = drawn_series(model, 40), Target(folder=tmp_path / "some", count=40)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "000003.png").write_bytes(b"mine")
    (tmp_path / "some" / "000039.png").write_bytes(b"mine too")
    settled: list[int] = []
    made = generate_files(model, series, target, skip_existing=True, batch=16, on_settled=settled.append)
    assert (made.written, made.skipped, sum(settled)) == (38, 2, 40)
    files = contents(tmp_path / "some")
    assert files == expected | {"000003.png": b"mine", "000039.png": b"mine too"}
    again = generate_files(model, series, target, skip_existing=True)
    assert (again.written, again.skipped) == (0, 40)


class TestClasses:
    def test_go_in_turn_by_the_number_of_the_picture(self, tmp_path: Path) -> None:
        model = model_of(GREY, 10)
        labels = drawn_series(model, 25).labels
        assert labels is not None
        assert labels(range(25)).tolist() == [number % 10 for number in range(25)]
        chosen = drawn_series(model, 25, classes=(7, 2)).labels
        assert chosen is not None
        assert chosen([0, 1, 2, 24]).tolist() == [7, 2, 7, 7]

    def test_have_folders_of_equal_content(self, tmp_path: Path) -> None:
        model = model_of(GREY, 3)
        target = Target(folder=tmp_path, count=11, class_folders=("cat", "dog", "ox"))
        generate_files(model, drawn_series(model, 11), target)
        files = contents(tmp_path)
        assert len(files) == 11
        for label, name in enumerate(("cat", "dog", "ox")):
            numbers = [int(Path(path).stem) for path in files if path.startswith(f"{name}/")]
            assert numbers == list(range(label, 11, 3))
        flat = tmp_path / "flat"
        generate_files(model, drawn_series(model, 11), Target(folder=flat, count=11))
        assert {Path(path).name: content for path, content in files.items()} == contents(flat)

    @pytest.mark.parametrize(
        ("names", "folders"),
        [
            (["cat", "dog"], ["cat", "dog"]),
            ([str(label) for label in range(11)], [f"{label:02d}" for label in range(11)]),
            (["7", "3"], ["7", "3"]),
            (["a/b", "..\\x", "süß + neu"], ["a_b", "_x", "süß + neu"]),
            (["a/b", "a_b"], ["0_a_b", "1_a_b"]),
            (["Cat", "cat"], ["0_Cat", "1_cat"]),
            (["..", "x"], ["0_", "1_x"]),
        ],
    )
    def test_folders_can_be_made_and_told_apart(self, tmp_path: Path, names: list[str], folders: list[str]) -> None:
        assert list(class_folders(names)) == folders
        for folder in folders:
            (tmp_path / folder).mkdir()
            assert (tmp_path / folder).resolve().parent == tmp_path.resolve()


class TestSavedLatents:
    def test_give_the_pictures_that_they_were_saved_with(self, tmp_path: Path) -> None:
        model = model_of(GREY, 4)
        expected = make(model, 20, tmp_path / "drawn")
        saved = SavedLatents(model.latents(range(20)), torch.arange(20) % 4)
        series = saved_series(model, saved)
        generate_files(model, series, Target(folder=tmp_path / "read", count=series.count))
        assert contents(tmp_path / "read") == expected
        assert saved_series(model, saved, 3).count == 3

    def test_named_classes_replace_the_saved_ones(self) -> None:
        model = model_of(GREY, 4)
        series = saved_series(model, SavedLatents(torch.zeros(5, 12), None), None, (3, 1))
        assert series.labels is not None
        assert series.labels(range(5)).tolist() == [3, 1, 3, 1, 3]

    @pytest.mark.parametrize(
        ("labels", "count", "message"),
        [
            (None, None, "labels are missing: .* say which with --classes"),
            (torch.tensor([0, 4]), None, "hold class 4, this model has 0 to 3"),
            (torch.tensor([0, 1]), 3, "3 pictures from a file of 2 latents"),
        ],
    )
    def test_that_do_not_suffice_are_refused(
        self, labels: torch.Tensor | None, count: int | None, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            saved_series(model_of(GREY, 4), SavedLatents(torch.zeros(2, 12), labels), count)

    def test_labels_are_of_no_account_for_a_model_without_classes(self) -> None:
        assert saved_series(model_of(), SavedLatents(torch.zeros(2, 12), torch.tensor([0, 9]))).labels is None


class TestTarget:
    @pytest.mark.parametrize("name", ["000001.png", "000099.png", "notes.txt", "deeper/x.jpg"])
    def test_a_folder_with_files_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        with pytest.raises(UsageError, match=f"such as {name}.*-o.*--skip-existing.*--force"):
            check_target(Target(folder=tmp_path, count=3), drawn_series(model_of(), 3), Share())

    def test_an_empty_one_and_hidden_files_are_not(self, tmp_path: Path) -> None:
        series = drawn_series(model_of(), 3)
        check_target(Target(folder=tmp_path / "none", count=3), series, Share())
        (tmp_path / ".DS_Store").touch()
        (tmp_path / "empty").mkdir()
        check_target(Target(folder=tmp_path, count=3), series, Share())

    def test_several_processes_pass_over_each_others_files_only(self, tmp_path: Path) -> None:
        series, target, second = drawn_series(model_of(), 40), Target(folder=tmp_path, count=40), Share(1, 2)
        (tmp_path / "000000.png").touch()
        (tmp_path / "sheet.png").touch()
        check_target(target, series, second, beside=[tmp_path / "sheet.png"])
        for name in ("000016.png", "000040.png", "0000.png", "other.png"):
            (tmp_path / name).touch()
            with pytest.raises(UsageError, match=name):
                check_target(target, series, second, beside=[tmp_path / "sheet.png"])
            (tmp_path / name).unlink()

    def test_names_grow_with_the_number(self, tmp_path: Path) -> None:
        assert Target(folder=tmp_path, count=10**6).path(5, None).name == "000005.png"
        assert Target(folder=tmp_path, count=10**6 + 1).path(5, None).name == "0000005.png"


@pytest.mark.parametrize(("format", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF")])
@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=str)
def test_formats(tmp_path: Path, format: module.OutputFormat, kind: str, shape: ImageShape) -> None:
    model = model_of(shape)
    generate_files(model, drawn_series(model, 2), Target(folder=tmp_path, count=2, format=format))
    expected = model(model.latents([0]))[0]
    with Image.open(tmp_path / f"000000.{format}") as image:
        assert image.format == kind
        shown = np.asarray(image.convert("L" if shape is GREY else "RGB")).reshape(expected.shape)
    assert np.abs(shown.astype(int) - expected).mean() < (1 if format in ("png", "tiff") else 12)


def test_a_disk_that_fails_ends_the_work_and_leaves_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.write_atomically

    def failing(path: Path, content: bytes) -> None:
        if path.stem == "000005":
            raise StorageError("the disk is full")
        real(path, content)

    monkeypatch.setattr(module, "write_atomically", failing)
    model = model_of()
    with pytest.raises(StorageError, match="full"):
        make(model, 64, tmp_path / "out", batch=1)
    monkeypatch.undo()
    written = contents(tmp_path / "out")
    expected = make(model, 64, tmp_path / "all")
    assert 0 < len(written) < 64
    assert all(expected[name] == content for name, content in written.items())


def test_a_network_that_fails_ends_the_work(tmp_path: Path) -> None:
    model = model_of()
    assert model.runner.network is not None
    next(model.runner.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        make(model, 20, tmp_path)


def test_latents_are_asked_for_in_whole_blocks_and_once(tmp_path: Path) -> None:
    model, asked = model_of(), []

    def latents(numbers) -> torch.Tensor:
        asked.append(list(numbers))
        return model.latents(numbers)

    generate_files(model, Series(count=40, latents=latents), Target(folder=tmp_path, count=40), batch=20)
    assert asked == [list(range(32)), list(range(32, 40))]
