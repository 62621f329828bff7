"""The verb through the real command line: exit codes, what is printed where, what lies in the folders."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.cli import main
from i2i.inference import load_generator
from i2i.inference.generation.latents import draw_latents
from i2i.inference.latent_model import LatentModel
from tests.commands.generating import contents, generate, pixels, the_error
from tests.inference.models import DCGAN, GREY, MLP, write_constant_model, write_generator

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


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
            "model": str(classed), "device": "cpu", "precision": "fp32", "runner": "torch", "n": 6, "folder": "out",
            "written": 6, "skipped": 0, "classes": {"cat": 2, "dog": 2, "fox": 1, "hen": 1}, "grid": "g.png",
            "saved_latents": None, "seed": 0, "truncation": None,
        }  # fmt: skip

    def test_the_files_beside_the_pictures_are_named(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("-o", "out", "--grid", "sheet.png", "--save-latents", "z.safetensors")
        assert generate("-m", plain, "-n", 101, *words) == 0
        assert capsys.readouterr().err.splitlines()[1:] == [
            "the first 100 on one sheet: sheet.png", "latents: z.safetensors",
        ]  # fmt: skip
        assert generate("-m", plain, "-n", 3, "-o", "few", "--grid", "few.png", "--json") == 0
        captured = capsys.readouterr()
        assert captured.err.splitlines()[1:] == ["on one sheet: few.png"]
        report = json.loads(captured.out)
        assert (report["grid"], report["saved_latents"]) == ("few.png", None)

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


class TestModel:
    def test_the_newest_run_is_the_default(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for age, name in enumerate(("new", "old")):
            path = write_generator(tmp_path / "runs" / name / "model.safetensors", MLP)
            os.utime(path, (1e9 - age, 1e9 - age))
        (tmp_path / "runs" / "just_begun").mkdir()
        assert generate("-n", 1) == 0
        assert f"model {Path('runs/new')} (the newest run that generates)" in capsys.readouterr().err
        assert contents(Path("generated/new"))

    def test_a_newer_run_that_translates_is_passed_over(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_constant_model(tmp_path / "runs" / "horses" / "model.safetensors", {"AtoB": (1, 2, 3)})
        path = write_generator(tmp_path / "runs" / "digits" / "model.safetensors", MLP)
        os.utime(path, (1e9, 1e9))
        assert generate("-n", 1) == 0
        assert f"model {Path('runs/digits')} (the newest run that generates)" in capsys.readouterr().err

    def test_runs_that_only_translate_are_a_usage_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_constant_model(tmp_path / "runs" / "horses" / "model.safetensors", {"AtoB": (1, 2, 3)})
        assert generate() == 2
        line = the_error(capsys)
        assert "horses: the newest run, and no other under runs, makes pictures from noise; its model" in line
        assert "--model" in line and "i2i translate" in line

    @pytest.mark.parametrize("there", [True, False])
    def test_no_run_is_a_usage_error(self, there: bool, capsys: pytest.CaptureFixture[str]) -> None:
        if there:
            Path("runs").mkdir()
        assert generate() == 2
        place = Path("runs").absolute()
        assert f"no run with a model under {place} - say which generator with --model" in the_error(capsys)

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
        (["--save-latents", "my/z.npy"], "latents are kept as safetensors - name the file my/z.safetensors"),
        (["--save-latents", "z"], "name the file z.safetensors"),
        (["elsewhere"], "elsewhere: belongs to no option - see i2i generate --help"),
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


@pytest.mark.parametrize("run", ["runs/my run", "model.safetensors"])
def test_a_model_without_its_option_is_hinted_at(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", run]) == 2
    assert the_error(capsys).endswith(f"{run}: a model needs its option - write --model {shlex.quote(run)}")


class TestInterruption:
    @pytest.fixture
    def interrupt_after_two_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real, calls = LatentModel.__call__, []

        def interrupted(self: LatentModel, *arguments, **options) -> np.ndarray:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return real(self, *arguments, **options)

        monkeypatch.setattr(LatentModel, "__call__", interrupted)

    @pytest.mark.usefixtures("interrupt_after_two_calls")
    def test_says_how_many_there_are_and_how_to_go_on(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("-m", plain, "-o", "out", "--batch", 1)
        assert generate(*words) == 130
        names = [path.name for path in Path("out").iterdir()]
        assert 1 <= len(names) <= 32 and not any(name.startswith(".") for name in names)
        assert all(pixels(path).shape == (28, 28) for path in Path("out").iterdir())
        assert capsys.readouterr().err == (
            f"i2i: interrupted; {len(names)} of 100 pictures are in out"
            " - the same command with --skip-existing makes the others\n"
        )
        assert generate(*words, "--skip-existing") == 0
        assert f"{100 - len(names)} written to out, {len(names)} skipped" in capsys.readouterr().err
        assert generate("-m", plain, "-o", "whole") == 0
        assert contents(Path("out")) == contents(Path("whole"))

    @pytest.mark.usefixtures("interrupt_after_two_calls")
    def test_counts_nothing_where_old_files_are_overwritten(
        self, plain: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert generate("-m", plain, "-o", "out", "--batch", 1, "--force") == 130
        assert capsys.readouterr().err == (
            "i2i: interrupted; out may hold old pictures beside the new ones - run the command again\n"
        )


def test_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert main(["generate", "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for option in ("--model", "--n", "--truncation", "--classes", "--grid", "--interpolate", "--arithmetic"):
        assert option in text
    usage = next(line for line in text.splitlines() if "Usage" in line)
    assert usage.split() == ["Usage:", "i2i", "generate", "[OPTIONS]"], "a model without its option is no offer"
