"""`i2i evaluate` with metrics: generators, translators, upscalers and folders, through the command line."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.cli import main
from i2i.commands.evaluation.results import keep
from i2i.data.settings import DrawnDigitsSettings
from i2i.data.streams import open_streams
from i2i.evaluation.assessment import assess
from i2i.evaluation.features.lenet import LeNet, open_lenet, save_lenet
from i2i.evaluation.passports.figures import Figure, FigureSheet, Passport, Subject, read_sheets, sheet_of
from i2i.evaluation.pictures.made import GeneratedPictures
from i2i.evaluation.pictures.sources import ArraySource, data_source
from i2i.inference import load_generator
from tests.evaluation.looking_glass import TinyNetwork, tiny_extractor
from tests.inference.models import (
    COLOUR,
    DCGAN,
    GREY,
    MLP,
    write_constant_model,
    write_generator,
    write_nearest_upscaler,
)

DIGITS = """
name: digits
pipeline:
  kind: unconditional
  generator: {kind: dcgan, base_channels: 4}
  discriminator: {kind: dcgan, base_channels: 4}
data: {kind: drawn_digits, pictures: 70, test_pictures: 40}
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def features(tmp_path: Path) -> str:
    """A LeNet of known weights: what it tells apart does not matter here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_lenet(LeNet(), tmp_path / "lenet.safetensors")
    return f"lenet:{tmp_path / 'lenet.safetensors'}"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """As `i2i train` leaves it: a generator and its recipe."""
    folder = tmp_path / "runs" / "digits"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(DIGITS)
    write_generator(folder / "model.safetensors", DCGAN, GREY, provenance={"step": 30, "images": 960})
    return folder


def paint(folder: Path, levels: Mapping[str, int], side: int = 12) -> Path:
    folder.mkdir(parents=True)
    for name, level in levels.items():
        noise = np.random.default_rng(level).integers(-8, 9, (side, side, 3))
        Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)).save(folder / name)
    return folder


def evaluate(*words: object) -> int:
    return main(["evaluate", *map(str, words), "--device", "cpu"])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def figures_of(content: Mapping[str, Any]) -> dict[str, float]:
    return {figure["name"]: figure["value"] for figure in content["figures"]}


class TestGenerator:
    def test_against_the_data_of_its_own_run(
        self, run_folder: Path, features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["-m", run_folder, "--metrics", "kid,fid,is", "--features", features, "--samples", 50, "--seed", 3]
        assert evaluate(*words, "--json", "-o", tmp_path / "a.json") == 0
        content = told(capsys)
        data = open_streams(DrawnDigitsSettings(pictures=70, test_pictures=40), 0)
        expected = assess(
            ["kid", "fid", "is"],
            data_source(data, "real", "train", "digits"),
            GeneratedPictures(model=load_generator(run_folder, "cpu"), count=50, seed=3),
            extractor=open_lenet(tmp_path / "lenet.safetensors", torch.device("cpu")),
            split="train",
            latent_seed=3,
        )
        sheet = FigureSheet.read(tmp_path / "a.json")
        assert list(sheet.figures) == expected
        assert figures_of(content) == {figure.name: figure.value for figure in expected}
        assert (content["subject"]["step"], content["subject"]["images"]) == (30, 960)
        assert sheet.subject.sha256 is not None and len(sheet.subject.sha256) == 64
        assert [list(kept.figures) for kept in read_sheets(run_folder)] == [expected]

    def test_table_and_notes(self, run_folder: Path, features: str, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["-m", run_folder, "--metrics", "fid,parzen", "--features", features, "--split", "test"]
        assert evaluate(*words) == 0
        captured = capsys.readouterr()
        assert [line.split()[0] for line in captured.out.splitlines()] == ["FID", "Parzen", "+-", "lenet5"]
        assert "40 made: " in captured.err and "40 real: data of" in captured.err and "test" in captured.err
        notes = [line for line in captured.err.splitlines() if line.startswith("note: ")]
        assert len(notes) == 1 and "FID of 40 pictures" in notes[0]
        assert evaluate(*words, "--quiet", "--json") == 0
        captured = capsys.readouterr()
        assert captured.err == "" and len(captured.out.splitlines()) == 1

    def test_likelihoods_are_those_of_pictures_that_it_never_saw(
        self, run_folder: Path, features: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["-m", run_folder, "--metrics", "fid,parzen", "--features", features, "--samples", 30, "--json"]
        passports: dict[str, list[tuple[str, int]]] = {}
        for split in (None, "train", "test"):
            assert evaluate(*words, *(() if split is None else ("--split", split))) == 0
            captured = capsys.readouterr()
            figures = json.loads(captured.out)["figures"]
            passports[str(split)] = [(one["passport"]["split"], one["passport"]["real_count"]) for one in figures]
            assert ("parzen: against 40 that it never saw" in captured.err) == (split is None)
        assert passports["None"] == [("train", 70), ("test", 40)]
        assert passports["train"] == [("train", 70), ("train", 70)]
        assert passports["test"] == [("test", 40), ("test", 40)]

    def test_the_sheet_says_how_the_model_was_run(self, run_folder: Path, features: str) -> None:
        assert evaluate("-m", run_folder, "--metrics", "fid", "--features", features, "--samples", 20) == 0
        assert read_sheets(run_folder)[0].subject.settings == {"precision": "fp32", "runner": "torch"}

    def test_the_page_and_the_card_of_the_run_show_it_at_once(self, run_folder: Path, features: str) -> None:
        for name in ("report.html", "card.md"):
            (run_folder / name).write_text("of before")
        assert evaluate("-m", run_folder, "--metrics", "fid", "--features", features, "--samples", 20) == 0
        assert "FID" in (run_folder / "report.html").read_text() and "FID" in (run_folder / "card.md").read_text()

    def test_pictures_that_cannot_be_used_are_failures(
        self, features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = write_generator(tmp_path / "colour.safetensors", MLP, COLOUR)
        data = paint(tmp_path / "set", {f"{index}.png": index * 20 for index in range(12)}, side=32)
        (data / "cut.png").write_bytes((data / "3.png").read_bytes()[:200])
        words = ["-m", model, "--data", data, "--metrics", "kid", "--features", features, "--json", "--quiet"]
        assert evaluate(*words) == 7
        captured = capsys.readouterr()
        content = json.loads(captured.out)
        assert content["figures"][0]["passport"]["real_count"] == 12
        lines = captured.err.splitlines()
        assert [line.startswith("failed: ") and "cut.png" in line for line in lines] == [True, False]
        assert lines[1] == "i2i: error: 1 pictures could not be used, see above" and "cut.png" in content["failed"][0]

    def test_evaluations_of_one_moment_do_not_overwrite_each_other(self, run_folder: Path) -> None:
        figure = Figure(name="fid", label="FID", value=1.0, passport=Passport(metric="fid"))
        sheet = sheet_of(Subject(description="a model"), [figure])
        model = run_folder / "model.safetensors"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: keep(sheet, None, model), range(16)))
        assert len(read_sheets(run_folder)) == 16

    def test_a_second_evaluation_takes_another_name(self, run_folder: Path, features: str) -> None:
        for _ in range(3):
            assert evaluate("-m", run_folder, "--metrics", "fid", "--features", features, "--samples", 20) == 0
        assert len(read_sheets(run_folder)) == 3

    def test_pictures_in_a_folder_are_brought_to_the_generators_size(
        self, features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = write_generator(tmp_path / "colour.safetensors", MLP, COLOUR)
        paint(tmp_path / "set", {f"{index}.png": index * 20 for index in range(12)}, side=40)
        words = ["-m", model, "--data", tmp_path / "set", "--metrics", "kid,parzen", "--features", features]
        assert evaluate(*words, "--samples", 16, "--json") == 0
        content = told(capsys)
        assert [figure["passport"]["real_count"] for figure in content["figures"]] == [12, 12]
        halves = tmp_path / "halves"
        shutil.copytree(tmp_path / "set", halves / "train")
        paint(halves / "test", {"x.png": 9, "y.png": 90})
        words[3] = halves
        assert evaluate(*words, "--samples", 16, "--json", "--split", "train") == 0
        assert figures_of(told(capsys)) == figures_of(content)
        assert evaluate(*words, "--samples", 16, "--json", "--split", "test") == 4, "two are too few for halves"

    def test_default_metrics_need_weights_and_say_which(
        self, run_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert evaluate("-m", run_folder) == 5
        error = capsys.readouterr().err
        assert "i2i data fetch inception" in error and len(error.splitlines()) == 1
        assert evaluate("-m", run_folder, "--metrics", "lpips") == 5
        assert "i2i data fetch alexnet" in capsys.readouterr().err


@pytest.fixture
def translator(tmp_path: Path) -> Path:
    """Paints everything of level 104 (AtoB) or 33 (BtoA)."""
    levels = {"AtoB": (104, 104, 104), "BtoA": (33, 33, 33)}
    return write_constant_model(tmp_path / "model.safetensors", levels)


class TestTranslator:
    def test_both_directions_without_counterparts(
        self, translator: Path, features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "set"
        of_a = paint(root / "testA", {f"a{index}.png": 30 + index for index in range(5)})
        of_b = paint(root / "testB", {f"b{index}.png": 100 + index for index in range(7)})
        assert of_a.is_dir() and of_b.is_dir()
        words = ["-m", translator, "--data", root, "--metrics", "fid,diversity", "--features", features]
        assert evaluate(*words, "--json") == 0
        content = told(capsys)
        found = {figure["name"]: figure for figure in content["figures"]}
        assert list(found) == [
            "fid_AtoB", "diversity_AtoB", "diversity_real_AtoB", "fid_BtoA", "diversity_BtoA", "diversity_real_BtoA",
        ]  # fmt: skip
        passports = {name: figure["passport"] for name, figure in found.items()}
        assert [passports["fid_AtoB"][key] for key in ("split", "real_count", "fake_count")] == ["test b", 7, 5]
        assert [passports["fid_BtoA"][key] for key in ("split", "real_count", "fake_count")] == ["test a", 5, 7]
        for one, other in (("fid_AtoB", "fid_BtoA"), ("fid_BtoA", "fid_AtoB")):
            assert passports[one]["source_sha256"] == passports[other]["data_sha256"]
        assert found["diversity_AtoB"]["value"] == 0 < found["diversity_real_AtoB"]["value"]
        assert evaluate(*words, "--json", "--direction", "btoa", "--samples", "3") == 0
        alone = told(capsys)
        assert next(iter(figures_of(alone))) == "fid_BtoA"
        assert alone["figures"][0]["passport"]["fake_count"] == 3
        assert evaluate("-m", translator, "--data", root, "--metrics", "psnr") == 4
        assert "have none of the same names" in capsys.readouterr().err

    def test_pairs_are_told_by_names_and_damaged_ones_left_out(
        self, translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "set"
        paint(root / "testA", {"x.png": 30, "y.png": 31, "lonely.png": 0, "broken.png": 5})
        paint(root / "testB", {"y.bmp": 104, "x.bmp": 90, "broken.png": 5})
        (root / "testA" / "broken.png").write_bytes(b"no picture")
        words = ["-m", translator, "--data", root, "--metrics", "psnr,l1", "--json"]
        assert evaluate(*words) == 7
        captured = capsys.readouterr()
        content = json.loads(captured.out)
        truth = [np.asarray(Image.open(root / "testB" / f"{name}.bmp")).astype(float) for name in "xy"]
        expected = np.mean([np.abs(one - 104).mean() for one in truth])
        assert figures_of(content)["l1_AtoB"] == pytest.approx(expected)
        assert captured.err.count("failed: ") == 1 and "broken.png" in content["failed"][0]
        assert content["figures"][0]["passport"]["real_count"] == 2

    def test_the_first_pairs_alone(self, translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = tmp_path / "set"
        paint(root / "testA", {f"{index}.png": 30 + index for index in range(5)})
        paint(root / "testB", {f"{index}.png": 90 + index for index in range(5)})
        recipe = tmp_path / "animals.yaml"
        recipe.write_text("extends: cyclegan_demo\ndata: {size_pixels: 32, pictures: 3, test_pictures: 4}\n")
        for data in (root, recipe):
            words = ["-m", translator, "--data", data, "--samples", "2", "--json"]
            assert evaluate(*words) == 0
            scores = told(capsys)
            assert scores["pictures"] == 2
            assert evaluate(*words, "--metrics", "psnr") == 0
            assert figures_of(told(capsys))["psnr_AtoB"] == pytest.approx(figures_of(scores)["psnr_AtoB"], rel=1e-12)
            assert evaluate(*words, "--direction", "btoa", "--split", "test") == 0
            content = told(capsys)
            assert content["directions"].keys() == {"BtoA"} and content["subject"]["settings"]["direction"] == "BtoA"

    @pytest.mark.parametrize("option", [("--features", "lenet:x"), ("--lpips", "vgg16"), ("--seed", "0")])
    def test_what_paired_scores_do_not_use_is_refused(
        self, translator: Path, tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        paint(tmp_path / "set" / "testA", {"x.png": 30})
        paint(tmp_path / "set" / "testB", {"x.png": 90})
        recipe = tmp_path / "animals.yaml"
        recipe.write_text("extends: cyclegan_demo\ndata: {size_pixels: 32, pictures: 3, test_pictures: 2}\n")
        for data in (tmp_path / "set", recipe):
            assert evaluate("-m", translator, "--data", data, *option) == 2
            error = capsys.readouterr().err
            assert f"{option[0]}: " in error and len(error.splitlines()) == 1

    def test_damaged_pictures_of_a_recipes_data_are_failures(
        self, translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "set"
        for name in ("trainA", "trainB", "testA", "testB"):
            paint(root / name, {"x.png": 30, "y.png": 31, "z.png": 99}, side=32)
        (root / "testB" / "z.png").write_bytes((root / "testB" / "z.png").read_bytes()[:100])
        recipe = tmp_path / "folders.yaml"
        recipe.write_text(
            "extends: cyclegan_demo\ndata: {kind: unpaired_folders, "
            f"root: '{root}', resize_pixels: 32, crop_pixels: 32}}\n"
        )
        for more in ([], ["--metrics", "psnr"]):
            assert evaluate("-m", translator, "--data", recipe, "--json", "--quiet", *more) == 7
            captured = capsys.readouterr()
            content = json.loads(captured.out)
            assert content["figures"][0]["passport"]["real_count"] == 2
            lines = captured.err.splitlines()
            assert [line.startswith("failed: ") and "z.png" in line for line in lines] == [True, False]
            assert len(content["failed"]) == 1

    def test_why_there_are_no_counterparts(
        self, translator: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "set"
        paint(root / "testA", {"x.png": 30, "x.bmp": 31})
        paint(root / "testB", {"x.png": 90})
        reason = "x.png: has the same name as x.bmp - rename or remove one"
        assert evaluate("-m", translator, "--data", root, "--metrics", "psnr") == 4
        assert reason in capsys.readouterr().err
        assert evaluate("--real", root / "testB", "--fake", root / "testA", "--metrics", "psnr") == 4
        assert reason in capsys.readouterr().err
        assert evaluate("-m", run_folder, "--metrics", "psnr") == 4
        assert "but those of a generator have none - leave it out" in capsys.readouterr().err
        assert evaluate("-m", translator, "--data", root, "--split", "train", "--metrics", "fid") == 2
        error = capsys.readouterr().err
        assert "of testA and testB the test half alone is known" in error and len(error.splitlines()) == 1

    def test_aligned_data_of_a_recipe_give_paired_scores(
        self, translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recipe = tmp_path / "animals.yaml"
        recipe.write_text("extends: cyclegan_demo\ndata: {size_pixels: 32, pictures: 3, test_pictures: 2}\n")
        assert evaluate("-m", translator, "--data", recipe, "--json", "-o", tmp_path / "a.json") == 0
        content = told(capsys)
        assert content["pictures"] == 2 and set(content["directions"]) == {"AtoB", "BtoA"}
        assert content["directions"]["AtoB"]["mean_picture"]["psnr_db"] > 10
        assert figures_of(content)["psnr_AtoB"] == content["directions"]["AtoB"]["model"]["psnr_db"]
        assert FigureSheet.read(tmp_path / "a.json").figures[0].passport.split == "test b"
        # By name the same pictures give the same score.
        assert evaluate("-m", translator, "--data", recipe, "--metrics", "psnr", "--json") == 0
        assert figures_of(told(capsys))["psnr_AtoB"] == pytest.approx(figures_of(content)["psnr_AtoB"], rel=1e-12)

    def test_data_that_do_not_fit_the_model(
        self, translator: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert evaluate("-m", translator, "--data", run_folder, "--metrics", "psnr") == 2
        assert "has no pictures 'a', which this model needs" in capsys.readouterr().err
        paint(tmp_path / "plain", {"a.png": 1})
        assert evaluate("-m", translator, "--data", tmp_path / "plain", "--metrics", "psnr") == 2
        assert (
            "put the test pictures into folders testA and testB there, or name a recipe or a run"
            in capsys.readouterr().err
        )
        assert evaluate("-m", translator, "--data", tmp_path / "nowhere", "--metrics", "psnr") == 4
        assert "no such folder, file or built-in recipe" in capsys.readouterr().err


class TestUpscaler:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return write_nearest_upscaler(tmp_path / "up.safetensors")

    def test_scores_become_figures(self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        paint(tmp_path / "high", {"a.png": 60, "b.png": 120}, side=32)
        words = ["-m", model, "--hr", tmp_path / "high", "--json"]
        assert evaluate(*words, "-o", tmp_path / "a.json") == 0
        content = told(capsys)
        found = figures_of(content)
        assert found["psnr_y"] == content["mean"]["model"]["psnr_y"]
        assert found["ssim_rgb_bicubic"] == content["mean"]["bicubic"]["ssim_rgb"]
        assert evaluate(*words, "--metrics", "psnr,ssim") == 0
        by_name = figures_of(told(capsys))
        assert set(by_name) == {"psnr", "ssim"}
        assert by_name["psnr"] != found["psnr_rgb"], "the border counts here"
        assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json"), "--json"]) == 0
        assert len(told(capsys)["figures"]) == 10

    def test_a_plain_folder_is_for_another_word(
        self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paint(tmp_path / "plain", {"a.png": 1})
        assert evaluate("-m", model, "--data", tmp_path / "plain") == 2
        assert "which of its pictures this model needs - use --hr PICTURES, or name a" in capsys.readouterr().err

    @pytest.mark.parametrize("given", [False, True])
    def test_damaged_pictures_are_named_and_the_others_measured(
        self, model: Path, given: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        high = paint(tmp_path / "high", {f"{name}.png": 60 for name in "abcde"}, side=32)
        low = paint(tmp_path / "low", {f"{name}.png": 60 for name in "abcde"}, side=16)
        (high / "b.png").write_bytes((high / "b.png").read_bytes()[:200])  # its header is whole
        (high / "d.png").write_bytes(b"no picture")
        if given:
            (low / "e.png").write_bytes((low / "e.png").read_bytes()[:200])
        words = ["-m", model, "--hr", high, *(["--lr", low] if given else []), "--json", "--quiet"]
        broken, whole = ("bde", 2) if given else ("bd", 3)
        counts: list[tuple[int, int]] = []
        for more in ([], ["--metrics", "psnr"]):
            assert evaluate(*words, *more) == 7
            captured = capsys.readouterr()
            content = json.loads(captured.out)
            assert len(content["failed"]) == len(broken)
            failed = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
            assert all(f"{name}.png" in line for name, line in zip(broken, failed, strict=True))
            passport = content["figures"][0]["passport"]
            counts.append((passport["real_count"], passport["fake_count"]))
        assert counts == [(whole, whole)] * 2
        for name in "ace":
            (high / f"{name}.png").write_bytes(b"")
        for more in ([], ["--metrics", "psnr"]):
            assert evaluate(*words, *more) == 4
            assert "none of 5 pictures can be read" in capsys.readouterr().err

    def test_the_first_pictures_alone(
        self, model: Path, features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        high = paint(tmp_path / "high", {f"{index}.png": 40 + index for index in range(12)}, side=32)
        words = ["-m", model, "--hr", high, "--samples", "3", "--json"]
        assert evaluate(*words) == 0
        scores = told(capsys)
        assert [one["name"] for one in scores["pictures"]] == ["0.png", "1.png", "10.png"]
        assert evaluate(*words, "--metrics", "psnr,kid", "--features", features) == 0
        psnr, kid = (figure["passport"] for figure in told(capsys)["figures"])
        assert [psnr[key] for key in ("real_count", "fake_count")] == [3, 3]
        assert [kid[key] for key in ("real_count", "fake_count")] == [12, 3]
        assert psnr["data_sha256"] == scores["figures"][0]["passport"]["data_sha256"]
        assert psnr["source_sha256"] == scores["figures"][0]["passport"]["source_sha256"]

    def test_the_sheet_says_how_the_model_was_run(
        self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        high = paint(tmp_path / "high", {"a.png": 60}, side=32)
        for more in ([], ["--metrics", "psnr"]):
            assert evaluate("-m", model, "--hr", high, "--consistent", "--json", *more) == 0
            assert told(capsys)["subject"]["settings"] == {
                "precision": "fp32", "runner": "torch", "strength": 1.0, "consistent": True,
            }  # fmt: skip

    def test_data_of_a_recipe(self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        recipe = tmp_path / "scenes.yaml"
        recipe.write_text(
            "extends: sr_demo\npipeline: {generator: {scale: 2}}\n"
            "data: {scale: 2, size_pixels: 64, pictures: 2, test_pictures: 3, crop_pixels: 32}\n"
        )
        assert evaluate("-m", model, "--data", recipe, "--json") == 0
        content = told(capsys)
        assert len(content["pictures"]) == 3 and content["scale"] == 2
        assert evaluate("-m", model, "--data", recipe, "--json", "--samples", 2) == 0
        assert told(capsys)["pictures"] == content["pictures"][:2]
        assert content["mean"]["bicubic"]["psnr_y"] > content["mean"]["model"]["psnr_y"] > 15
        assert content["figures"][0]["passport"]["real_count"] == 3


class TestFolders:
    def test_two_folders(self, features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        real = paint(tmp_path / "real", {f"{index}.png": 40 + index for index in range(20)})
        fake = paint(tmp_path / "fake", {f"{index}.bmp": 45 + index for index in range(20)})
        (fake / "broken.png").write_bytes(b"")
        words = ["--real", real, "--fake", fake, "--metrics", "fid,kid,l1", "--features", features, "--json"]
        assert evaluate(*words, "-o", tmp_path / "a.json") == 7
        content = told(capsys)
        sets = [
            ArraySource(
                images=[np.asarray(Image.open(path)) for path in sorted(folder.glob("*.*")) if path.stat().st_size]
            )
            for folder in (real, fake)
        ]
        extractor = open_lenet(tmp_path / "lenet.safetensors", torch.device("cpu"))
        expected = assess(["fid", "kid", "l1"], *sets, extractor=extractor, split="folder")
        assert list(FigureSheet.read(tmp_path / "a.json").figures) == expected
        assert content["subject"]["sha256"] == sets[1].sha256 and len(content["failed"]) == 1

    def test_the_first_pairs_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        real = paint(tmp_path / "real", {f"{index}.png": 40 + index for index in range(4)})
        fake = paint(tmp_path / "fake", {f"{index}.png": 45 + 3 * index for index in range(4)})
        assert evaluate("--real", real, "--fake", fake, "--metrics", "l1", "--samples", 2, "--json") == 0
        content = told(capsys)
        sets = [[np.asarray(Image.open(place / f"{index}.png")).astype(float) for index in range(2)]
                for place in (real, fake)]  # fmt: skip
        expected = np.mean([np.abs(one - other).mean() for one, other in zip(*sets, strict=True)])
        assert figures_of(content)["l1"] == pytest.approx(expected)
        assert content["figures"][0]["passport"]["fake_count"] == 2

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--real", "x", "--fake", "y", "--seed", "0"], "--seed: pictures in folders are not drawn"),
            (["--real", "x", "--fake", "y", "--consistent"], "are for models that enlarge"),
            (["--model", "m", "--hr", "x", "--seed", "3"], "--seed: what a model makes of --hr is not drawn"),
            (["--model", "m", "--hr", "x", "--features", "vgg16"], "--features: scores of --hr look through no"),
            (["--model", "m", "--hr", "x", "--lpips", "vgg16"], "--lpips: scores of --hr look through no network"),
            (["--model", "m", "--metrics", "psnr", "--features", "vgg16"], "--features: none of psnr looks at"),
            (["--model", "m", "--metrics", "fid", "--lpips", "vgg16"], "--lpips: lpips is not among fid"),
            (["--real", "x"], "--fake DIR with made ones"),
            (["--fake", "x"], "--real DIR with true pictures"),
            (["--real", "x", "--fake", "y", "--model", "m"], "--model and --real: evaluate either"),
            (["--real", "x", "--fake", "y", "--split", "test"], "--split and --real"),
            ([], "which model? Give --model M, or compare two folders"),
            (["--model", "m", "--data", "x", "--samples", "1"], "--samples is 1; needs at least 2"),
            (["--model", "m", "--data", "x", "--seed", "-1"], "--seed is -1"),
            (["--model", "m", "--data", "x", "--metrics", "fdi"], "did you mean 'fid'"),
            (["--model", "m", "--data", "x", "--metrics", ""], "no metric is named"),
            (["--model", "m", "--hr", "x", "--split", "test"], "leave it out with --hr"),
        ],
    )
    def test_what_does_not_go_together(
        self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert evaluate(*words) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1

    def test_features_of_a_script_need_trust(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        real = paint(tmp_path / "real", {f"{index}.png": 40 + index for index in range(12)})
        fake = paint(tmp_path / "fake", {f"{index}.png": 50 + index for index in range(12)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a format that PyTorch discourages
            traced = torch.jit.trace(TinyNetwork().eval(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
            torch.jit.save(traced, tmp_path / "tiny.pt")
        words = ["--real", real, "--fake", fake, "--metrics", "fid,is", "--features", tmp_path / "tiny.pt", "--json"]
        assert evaluate(*words) == 5
        assert "--trust" in capsys.readouterr().err
        assert evaluate(*words, "--trust") == 0
        content = told(capsys)
        sets = [
            ArraySource(images=[np.asarray(Image.open(one)) for one in sorted(place.iterdir())])
            for place in (real, fake)
        ]
        expected = assess(["fid", "is"], *sets, extractor=tiny_extractor(), split="folder")
        assert figures_of(content) == pytest.approx({figure.name: figure.value for figure in expected}, rel=1e-6)
        assert content["figures"][0]["passport"]["extractor"] == "tiny"

    def test_unknown_features(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        paint(tmp_path / "real", {"a.png": 1})
        words = ["--real", tmp_path / "real", "--fake", tmp_path / "real"]
        assert evaluate(*words, "--features", "incepton") == 2
        assert "did you mean 'inception'" in capsys.readouterr().err
        assert evaluate(*words, "--metrics", "lpips", "--lpips", "alexnt") == 2
        assert "did you mean 'alexnet'" in capsys.readouterr().err
        assert evaluate(*words, "--metrics", "lpips", "--lpips", "alexnet:one.pth") == 2
        assert "needs the files of the network and of the heads" in capsys.readouterr().err
