"""Latents that are kept, and ways through them: films and arithmetic, through the real command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from i2i.commands import latent_walks
from i2i.inference import load_generator
from i2i.inference.generation import film
from i2i.inference.generation.latents import draw_latents
from tests.commands.generating import contents, generate, pixels, the_error

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


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

    def test_between_classes_there_is_none(self, classed: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", classed, "--interpolate", 2, "--classes", "cat,dog") == 2
        assert "stays in one class" in the_error(capsys)
        assert not Path("generated").exists()

    def test_names_the_latents_it_kept(self, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate("-m", plain, "--interpolate", 2, "--frames", 1, "--save-latents", "z.safetensors") == 0
        assert capsys.readouterr().err.splitlines()[-1] == "latents: z.safetensors"

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
        assert capsys.readouterr().err.splitlines()[-1] == (
            "on the sheet a is the mean of rows 1, 2, 3, b is the mean of rows 4, 5, 6, c is row 7; a mean stands"
            " below its rows; the result is in the middle of its neighbours"
        )
        assert generate(*words[:-1], "3", "-o", "same") == 0
        assert np.array_equal(pixels(Path("same/result.png")), model(z[3:4])[0, :, :, 0])

    def test_columns_are_called_by_letters(self, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[list[str]] = []
        real = latent_walks.sheet

        def noted(columns: Sequence[tuple[str, torch.Tensor]]) -> np.ndarray:
            drawn.append([label for label, _ in columns])
            return real(columns)

        monkeypatch.setattr(latent_walks, "sheet", noted)
        save_file({"latents": torch.randn(10, 12)}, "z.safetensors")
        for expression in ("(1,2,3)-(4,5,6)+7", "-1+2", "+".join("1" * 28)):
            words = ("--latents", "z.safetensors", "--arithmetic", expression, "--force", "-o", "out")
            assert generate("-m", plain, *words) == 0
        assert drawn[0] == ["a", "- b", "+ c", "", "= result", ""]
        assert drawn[1] == ["- a", "+ b", "", "= result", ""]
        assert drawn[2][25:28] == ["+ z", "+ a1", "+ b1"]

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
