"""The verb through the real command line: exit codes, what is printed where, what lies in the folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from i2i.cli import main
from i2i.inference import film, load_generator
from i2i.inference.latents import draw_latents
from tests.inference.models import COLOUR, DCGAN, GREY, MLP, write_constant_model, write_generator

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = ["cat", "dog", "fox", "hen"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_generator(tmp_path / "plain.safetensors", DCGAN, GREY)


@pytest.fixture
def classed(tmp_path: Path) -> Path:
    return write_generator(tmp_path / "classed.safetensors", MLP, COLOUR, 4, {"class_names": NAMES})


def generate(*arguments: object) -> int:
    return main(["generate", *map(str, arguments), "--device", "cpu"])


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("i2i: error: ")
    return line


class TestPictures:
    def test_a_hundred_readable_files(self, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("--model", plain, "--n", 100) == 0
        folder = Path("generated/plain")
        assert sorted(path.name for path in folder.iterdir()) == [f"{number:06d}.png" for number in range(100)]
        for path in folder.iterdir():
            assert pixels(path).shape == (28, 28)
        captured = capsys.readouterr()
        assert captured.out == "", "results only; the rest goes to standard error"
        assert captured.err.startswith(f"100 written to {folder} in ")

    def test_a_hundred_is_the_default(self, plain: Path) -> None:
        assert generate("-m", plain, "-o", "out", "--quiet") == 0
        assert len(contents(Path("out"))) == 100

    def test_same_seed_same_pictures(self, plain: Path) -> None:
        for name, words in {"a": (), "b": ("--seed", 0), "c": ("--seed", 1), "d": ("--truncation", 0.5)}.items():
            assert generate("-m", plain, "-n", 3, "-o", name, *words) == 0
        files = {name: contents(Path(name)) for name in "abcd"}
        assert files["a"] == files["b"]
        assert not set(files["a"].values()) & set(files["c"].values())
        assert not set(files["a"].values()) & set(files["d"].values())
        model = load_generator(plain, "cpu")
        assert np.array_equal(pixels(Path("d/000002.png")), model(draw_latents([2], 12, 0, 0.5))[0, :, :, 0])

    def test_json_is_all_of_standard_output(self, classed: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", classed, "-n", 6, "-o", "out", "--json", "--quiet", "--grid", "g.png") == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        report = json.loads(captured.out)
        assert report.pop("seconds") >= 0
        assert report == {
            "model": str(classed), "device": "cpu", "precision": "fp32", "n": 6, "folder": "out", "written": 6,
            "skipped": 0, "classes": {"cat": 2, "dog": 2, "fox": 1, "hen": 1}, "grid": "g.png", "seed": 0,
            "truncation": None,
        }  # fmt: skip

    def test_quiet_says_nothing(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", plain, "-n", 1, "--quiet") == 0
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "")

    def test_another_format_and_precision(self, classed: Path) -> None:
        assert generate("-m", classed, "-n", 1, "-o", "out", "--format", "JPEG", "--precision", "bf16") == 0
        with Image.open("out/000000.jpg") as image:
            assert image.format == "JPEG"

    def test_a_grid_shows_the_first_hundred(self, plain: Path, classed: Path) -> None:
        assert generate("-m", plain, "-n", 101, "-o", "a", "--grid", "new/sheet.png") == 0
        sheet = pixels(Path("new/sheet.png"))
        assert sheet.shape[0] == sheet.shape[1]
        # Cut out where the layout has it: margin, then ten cells of 28 pixels at a whole factor.
        factor = 768 // 280
        first = pixels(Path("a/000000.png"))
        found = np.repeat(np.repeat(first, factor, 0), factor, 1)
        side = len(found)
        places = [
            (top, left)
            for top in range(20)
            for left in range(20)
            if np.array_equal(sheet[top : top + side, left : left + side, 0], found)
        ]
        assert len(places) == 1
        assert generate("-m", classed, "-n", 8, "-o", "b", "--grid", "columns.jpg") == 0
        shape = pixels(Path("columns.jpg")).shape
        assert shape[1] > 1.5 * shape[0], "a column for each of four classes, hence two rows"


class TestFolder:
    def test_names_come_from_the_run(self, tmp_path: Path) -> None:
        for place in ("runs/first/best", "runs/first/checkpoints/step_7/model", "other/mine"):
            write_generator(tmp_path / f"{place}.safetensors", MLP)
        for model in ("runs/first", "runs/first/checkpoints/step_7", "other/mine.safetensors"):
            assert generate("-m", model, "-n", 1) == 0
        assert sorted(path.name for path in Path("generated").iterdir()) == ["first", "first-step_7", "mine"]

    def test_files_that_are_there_are_no_surprise(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", plain, "-n", 2) == 0
        capsys.readouterr()
        before = contents(Path("generated/plain"))
        assert generate("-m", plain, "-n", 4, "--seed", 1) == 2
        assert "holds files already, such as 000000.png" in the_error(capsys)
        assert contents(Path("generated/plain")) == before
        assert generate("-m", plain, "-n", 4, "--skip-existing") == 0
        assert "2 written to generated/plain, 2 skipped (there already) in" in capsys.readouterr().err
        grown = contents(Path("generated/plain"))
        assert len(grown) == 4 and before.items() <= grown.items()
        assert generate("-m", plain, "-n", 4, "--seed", 1, "--force") == 0
        assert not set(contents(Path("generated/plain")).values()) & set(grown.values())

    def test_one_that_cannot_be_made_is_an_error_before_the_work(
        self, plain: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("file").touch()
        assert generate("-m", plain, "-o", "file/out") == 1
        assert "file/out: cannot be created" in the_error(capsys)


class TestClasses:
    @pytest.mark.parametrize("words", ["dog,3", "1,hen", " DOG , hen "])
    def test_names_and_numbers(self, classed: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", classed, "-n", 5, "-o", "out", "--classes", words, "--labelled") == 0
        assert list(contents(Path("out"))) == [
            "dog/000000.png", "dog/000002.png", "dog/000004.png", "hen/000001.png", "hen/000003.png",
        ]  # fmt: skip
        assert "classes dog, hen" in capsys.readouterr().err

    def test_without_names_folders_are_numbers(self, tmp_path: Path) -> None:
        write_generator(tmp_path / "model.safetensors", DCGAN, GREY, 10)
        assert generate("-m", "model.safetensors", "-n", 20, "-o", "out", "--labelled") == 0
        names = [path.name for path in sorted(Path("out").iterdir())]
        assert names == [str(label) for label in range(10)]
        assert all(len(list(path.iterdir())) == 2 for path in Path("out").iterdir())

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("4", "no class '4', this model has 0 to 3 - use cat, dog, fox, hen"),
            ("-1", "no class '-1'"),
            ("dog,", "no class ''"),
            ("cot", "did you mean 'cat'?"),
            ("1,dog", "class dog stands there twice"),
        ],
    )
    def test_that_are_not_there_are_usage_errors(
        self, classed: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert generate("-m", classed, "--classes", words) == 2
        assert message in the_error(capsys)
        assert not Path("generated").exists()

    @pytest.mark.parametrize("words", [["--classes", "1"], ["--labelled"]])
    def test_of_a_model_without_any_are_usage_errors(
        self, plain: Path, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert generate("-m", plain, *words) == 2
        assert "trained without classes" in the_error(capsys)


class TestLatents:
    def test_saved_ones_give_the_pictures_again(self, classed: Path) -> None:
        assert generate("-m", classed, "-n", 6, "-o", "a", "--seed", 5, "--save-latents", "new/z.safetensors") == 0
        tensors = load_file("new/z.safetensors")
        assert torch.equal(tensors["latents"], draw_latents(range(6), 5, 5))
        assert tensors["labels"].tolist() == [0, 1, 2, 3, 0, 1]
        assert generate("-m", classed, "-o", "b", "--latents", "new/z.safetensors") == 0
        assert contents(Path("a")) == contents(Path("b"))
        assert generate("-m", classed, "-n", 2, "-o", "c", "--latents", "new/z.safetensors", "--labelled") == 0
        assert list(contents(Path("c"))) == ["cat/000000.png", "dog/000001.png"]

    def test_of_a_model_without_classes_have_no_labels(self, plain: Path) -> None:
        assert generate("-m", plain, "-n", 6, "-o", "a", "--save-latents", "z.safetensors") == 0
        assert list(load_file("z.safetensors")) == ["latents"]

    @pytest.mark.parametrize(
        ("tensors", "code", "message"),
        [
            ({"latents": torch.zeros(3, 7)}, 4, "latents of width 7, this model needs 5"),
            ({"weight": torch.zeros(3, 5)}, 4, "holds no latents"),
            ({"latents": torch.zeros(3, 5)}, 2, "labels are missing"),
            ({"latents": torch.zeros(1, 5), "labels": torch.tensor([4])}, 2, "hold class 4, this model has 0 to 3"),
        ],
    )
    @pytest.mark.parametrize("words", [[], ["--interpolate", "2"], ["--arithmetic", "0"]], ids=str)
    def test_that_do_not_fit_are_errors(
        self,
        classed: Path,
        tensors: dict[str, torch.Tensor],
        code: int,
        message: str,
        words: list[str],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        repeats = max(1, 3 // len(next(iter(tensors.values()))))
        save_file({name: torch.cat([value] * repeats) for name, value in tensors.items()}, "z.safetensors")
        assert generate("-m", classed, "--latents", "z.safetensors", *words) == code
        assert message in the_error(capsys)
        assert not Path("generated").exists()

    def test_a_missing_file_is_a_data_error(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", plain, "--latents", "none.safetensors") == 4
        assert "none.safetensors: cannot be read" in the_error(capsys)


class TestInterpolation:
    def test_makes_a_strip_and_two_films(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", plain, "--interpolate", 3, "--frames", 4, "--json") == 0
        folder = Path("generated/plain-interpolation")
        captured = capsys.readouterr()
        assert "12 frames through 3 latents and back" in captured.err
        report = json.loads(captured.out)
        assert report["files"] == ["interpolation.png", "interpolation.gif", "interpolation.mp4"]
        assert sorted(path.name for path in folder.iterdir()) == sorted(report["files"])
        model = load_generator(plain, "cpu")
        stations = model(model.latents(range(3)))[..., 0]
        with Image.open(folder / "interpolation.gif") as image:
            assert getattr(image, "n_frames", 1) == 12
            for leg in range(3):
                image.seek(4 * leg)
                frame = np.asarray(image.convert("L"))
                assert np.abs(frame[::5, ::5].astype(int) - stations[leg]).max() <= 1
        assert cv2.VideoCapture(str(folder / "interpolation.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12
        assert generate("-m", plain, "--interpolate", 2) == 2
        assert "-o or overwrite with --force" in capsys.readouterr().err
        assert generate("-m", plain, "--interpolate", 2, "--force", "--frames", 1) == 0

    def test_starts_from_saved_latents_and_stays_in_one_class(
        self, classed: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("-m", classed, "--interpolate", 2, "--frames", 1)
        assert generate(*words, "-o", "a", "--classes", "fox", "--seed", 3, "--save-latents", "z.safetensors") == 0
        assert "all of class fox" in capsys.readouterr().err
        assert load_file("z.safetensors")["labels"].tolist() == [2, 2]
        assert generate(*words, "-o", "b", "--latents", "z.safetensors") == 0
        assert "all of class fox" in capsys.readouterr().err
        assert contents(Path("a"))["interpolation.gif"] == contents(Path("b"))["interpolation.gif"]
        assert generate(*words, "-o", "c") == 0
        assert "all of class cat" in capsys.readouterr().err

    def test_without_an_encoder_the_gif_remains(
        self, plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(film, "_encode_mp4", lambda path, frames: False)
        assert generate("-m", plain, "--interpolate", 2, "--frames", 2, "-o", "out") == 0
        assert "no MP4: OpenCV has no encoder" in capsys.readouterr().err
        assert sorted(contents(Path("out"))) == ["interpolation.gif", "interpolation.png"]

    def test_through_more_than_there_are_is_a_usage_error(
        self, plain: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_file({"latents": torch.zeros(2, 12)}, "z.safetensors")
        assert generate("-m", plain, "--interpolate", 3, "--latents", "z.safetensors") == 2
        assert "the file has 2 latents" in the_error(capsys)


class TestArithmetic:
    def test_makes_the_result_and_a_sheet(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", plain, "-n", 10, "-o", "a", "--save-latents", "z.safetensors") == 0
        words = ("-m", plain, "--latents", "z.safetensors", "--arithmetic", "(1,2,3)-(4,5,6)+7")
        assert generate(*words) == 0
        folder = Path("generated/plain-arithmetic")
        assert sorted(contents(folder)) == ["arithmetic.png", "result.png"]
        model = load_generator(plain, "cpu")
        z = draw_latents(range(10), 12, 0)
        expected = model((z[1:4].mean(0) - z[4:7].mean(0) + z[7])[None])[0, :, :, 0]
        assert np.abs(pixels(folder / "result.png").astype(int) - expected).max() <= 1
        capsys.readouterr()
        assert generate(*words[:-1], "3", "-o", "same") == 0
        assert np.array_equal(
            pixels(
                Path("same/result.png"),
            ),
            model(z[3:4])[0, :, :, 0],
        )

    def test_the_class_is_that_of_the_rows_or_of_the_command(
        self, classed: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert generate("-m", classed, "-n", 8, "-o", "a", "--save-latents", "z.safetensors") == 0
        capsys.readouterr()
        words = ("-m", classed, "--latents", "z.safetensors", "--arithmetic")
        assert generate(*words, "0-1") == 2
        assert "the rows are of several classes (cat, dog) - name one with --classes" in the_error(capsys)
        assert generate(*words, "1-5", "-o", "b") == 0
        assert generate(*words, "1-5", "-o", "c", "--classes", "dog") == 0
        assert generate(*words, "1-5", "-o", "d", "--classes", "hen") == 0
        assert contents(Path("b")) == contents(Path("c")) != contents(Path("d"))

    @pytest.mark.parametrize(
        ("expression", "message"),
        [("1-", "a row is missing at the end"), ("1-(2,10)", "no row 10 - the file has rows 0 to 9")],
    )
    def test_mistakes_are_usage_errors(
        self, plain: Path, expression: str, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_file({"latents": torch.zeros(10, 12)}, "z.safetensors")
        assert generate("-m", plain, "--latents", "z.safetensors", "--arithmetic", expression) == 2
        assert message in the_error(capsys)
        assert not Path("generated").exists()


class TestModel:
    def test_the_newest_run_is_the_default(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for age, name in enumerate(("new", "old")):
            path = write_generator(tmp_path / "runs" / name / "model.safetensors", MLP)
            os.utime(path, (1e9 - age, 1e9 - age))
        (tmp_path / "runs" / "just_begun").mkdir()
        assert generate("-n", 1) == 0
        assert f"model {Path('runs/new')} (the newest run)" in capsys.readouterr().err
        assert contents(Path("generated/new"))

    def test_a_newest_run_that_translates_is_a_usage_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_constant_model(tmp_path / "runs" / "horses" / "model.safetensors", {"AtoB": (1, 2, 3)})
        assert generate() == 2
        line = the_error(capsys)
        assert "horses: the newest run has no generator, its model translates pictures" in line
        assert "--model" in line and "i2i translate" in line

    @pytest.mark.parametrize("there", [True, False])
    def test_no_run_is_a_usage_error(self, there: bool, capsys: pytest.CaptureFixture[str]) -> None:
        if there:
            Path("runs").mkdir()
        assert generate() == 2
        assert "no run with a model under runs - say which generator with --model" in the_error(capsys)

    def test_one_that_translates_is_a_model_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_constant_model(tmp_path / "model.safetensors", {"AtoB": (1, 2, 3)})
        assert generate("-m", path) == 5
        line = the_error(capsys)
        assert "no generator, this model translates pictures (AtoB: resnet, picture to picture)" in line
        assert f"use i2i translate --model {path}" in line

    def test_a_missing_or_damaged_one_is_a_model_error(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", "nowhere") == 5
        assert "nowhere: no such file or folder" in the_error(capsys)
        plain.write_bytes(plain.read_bytes()[:-1])
        assert generate("-m", plain) == 5
        assert "damaged" in the_error(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", "0"], "--n 0: use 1 or more"),
        (["--n", "-3"], "--n -3: use 1 or more"),
        (["--batch", "0"], "--batch 0: use 1 or more"),
        (["--seed", "-1"], "--seed -1: use 0 or more"),
        (["--interpolate", "1"], "--interpolate 1: use 2 or more"),
        (["--interpolate", "2", "--frames", "0"], "--frames 0: use 1 or more"),
        (["--frames", "5"], "--frames belongs to --interpolate"),
        (["--truncation", "0"], "--truncation 0: use a number above 0"),
        (["--truncation", "nan"], "--truncation nan: use a number above 0"),
        (["--format", "gif"], "--format gif: unknown"),
        (["--grid", "sheet.gif"], "--grid sheet.gif: unknown kind of picture"),
        (["--arithmetic", "1-2"], "add --latents FILE"),
        (["--skip-existing", "--force"], "--skip-existing and --force do not go together"),
        (["--interpolate", "2", "--n", "5"], "--interpolate and --n do not go together"),
        (["--latents", "z", "--seed", "5"], "--latents and --seed do not go together"),
        (["--latents", "z", "--truncation", "1"], "--latents and --truncation do not go together"),
        (["--latents", "z", "--arithmetic", "1", "--grid", "g.png"], "--arithmetic and --grid do not go together"),
        (["--device", "tpu"], "--device tpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_usage_errors(
    plain: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    device = [] if "--device" in words else ["--device", "cpu"]
    assert main(["generate", "--model", str(plain), *words, *device]) == 2
    assert message in the_error(capsys)
    assert not Path("generated").exists()


class TestProcesses:
    def test_batch_processes_and_threads_change_no_byte(self, classed: Path, tmp_path: Path) -> None:
        models = {"classed": classed, "plain": write_generator(tmp_path / "plain.safetensors", DCGAN, COLOUR)}
        for name, model in models.items():
            words = ["--model", str(model), "--n", "70", "--seed", "9"]
            for batch in (1, 64):
                assert generate(*words, "-o", f"{name}-{batch}", "--batch", batch) == 0
            expected = contents(Path(f"{name}-1"))
            assert len(expected) == 70
            assert contents(Path(f"{name}-64")) == expected
            started = [
                start([*words, "-o", f"{name}-2", "--grid", f"{name}.png"], rank, threads=rank + 1) for rank in range(2)
            ]
            lines = [finished(process) for process in started]
            assert contents(Path(f"{name}-2")) == expected
            assert "38 written" in lines[0] and "the other 32 are for the other processes" in lines[0]
            assert lines[1] == "", "the first one speaks for all"
            assert generate(*words, "-o", f"{name}-3", "--grid", f"{name}-alone.png") == 0
            assert Path(f"{name}.png").read_bytes() == Path(f"{name}-alone.png").read_bytes()

    def test_the_second_one_leaves_films_to_the_first(
        self, plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert generate("-m", plain, "--interpolate", 2, "--json") == 0
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "")
        assert not Path("generated").exists()

    @pytest.mark.parametrize(("rank", "count"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "none")])
    def test_an_environment_without_sense_is_a_usage_error(
        self, plain: Path, rank: str, count: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", count)
        assert generate("-m", plain) == 2
        assert f"RANK={rank} and WORLD_SIZE={count}" in the_error(capsys)


def test_an_interruption_ends_with_130_and_leaves_whole_files(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from i2i.inference.latent_model import LatentModel

    real, calls = LatentModel.__call__, []

    def interrupted(self: LatentModel, *arguments, **options) -> np.ndarray:
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    monkeypatch.setattr(LatentModel, "__call__", interrupted)
    assert generate("-m", plain, "-o", "out", "--batch", 1) == 130
    names = [path.name for path in Path("out").iterdir()]
    assert len(names) <= 32 and not any(name.startswith(".") for name in names)
    assert all(pixels(path).shape == (28, 28) for path in Path("out").iterdir())


def test_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert main(["generate", "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for option in ("--model", "--n", "--truncation", "--classes", "--grid", "--interpolate", "--arithmetic"):
        assert option in text


def start(words: list[str], rank: int, threads: int) -> subprocess.Popen[str]:
    environment = os.environ | {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-m", "i2i", "generate", *words, "--device", "cpu"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors
