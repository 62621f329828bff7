"""`i2i evaluate --hr` with a model of known effect: it repeats every pixel."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from i2i.cli import main
from i2i.commands import evaluate, evaluate_upscaling
from i2i.core.resize import resize_levels
from i2i.errors import DataError, UsageError
from i2i.evaluation.upscaling import PROTOCOLS, measure_all
from i2i.inference.image_model import ImageModel
from i2i.inference.runners import PyTorchRunner
from i2i.pipelines.protocol import PictureEntryPoint
from tests.inference.models import write_constant_model, write_generator


@dataclass(frozen=True, kw_only=True)
class _Repeating:
    """Settings of a generator that repeats every pixel."""

    kind: Literal["repeating"] = "repeating"
    scale: int = 4
    size_multiple: int = 1
    minimum_pixels: int = 1

    def build(self) -> nn.Module:
        return nn.Upsample(scale_factor=self.scale, mode="nearest")


@pytest.fixture
def scale() -> int:
    return 4


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scale: int) -> Path:
    """Stands for a model file: whoever loads it gets the repeating network."""
    settings = _Repeating(scale=scale)
    path = tmp_path / "model.safetensors"

    def load(
        given: Path | str,
        device: str = "auto",
        *_: object,
        strength: float = 1.0,
        consistent: bool = False,
        runner: str = "auto",
        trust: bool = False,
    ) -> ImageModel:
        assert (Path(given), runner, trust) == (path, "auto", False)
        if strength != 1.0:
            raise UsageError(f"asked for strength {strength:g}")
        entry: Any = PictureEntryPoint("generator", settings, ("low", "high"), scale)  # type: ignore[arg-type]
        return ImageModel(
            PyTorchRunner(settings.build(), entry), entry, name="upscale", path=path, consistent=consistent
        )

    monkeypatch.setattr("i2i.inference.load_model", load)
    return path


def drawn(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with smooth parts, as photos have."""
    rough = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def planes(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]


def small(picture: np.ndarray, scale: int = 4) -> np.ndarray:
    return resize_levels(planes(picture), Fraction(1, scale))[0].permute(1, 2, 0).numpy()


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def high(tmp_path: Path) -> Path:
    """Two pictures; of the first, a row and three columns are beyond a multiple of 4."""
    save(tmp_path / "high" / "a.png", drawn(41, 51, 0))
    save(tmp_path / "high" / "b.png", drawn(32, 64, 1))
    return tmp_path / "high"


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def expected(truth: np.ndarray, low: np.ndarray, scale: int = 4) -> dict[str, dict[str, float]]:
    wanted, given = planes(truth), planes(low)
    repeated = given.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    found = {"model": repeated, "bicubic": resize_levels(given, scale)}
    return {
        who: {name: float(value) for name, value in measure_all(made, wanted, scale).items()}
        for who, made in found.items()
    }


def test_low_pictures_are_made_where_none_are_given(
    model: Path, high: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(model), "--hr", str(high), "--device", "cpu", "--json", "--quiet"]) == 0
    found = told(capsys)
    assert (found["scale"], found["border_pixels"], found["lr"], found["failed"]) == (4, 4, None, [])
    cut = [drawn(41, 51, 0)[:40, :48], drawn(32, 64, 1)]
    each = [expected(truth, small(truth)) for truth in cut]
    for one, name, wanted in zip(found["pictures"], ("a.png", "b.png"), each, strict=True):
        assert one["name"] == name
        assert one["model"] == pytest.approx(wanted["model"], rel=1e-12)
        assert one["bicubic"] == pytest.approx(wanted["bicubic"], rel=1e-12)
        assert one["bicubic"]["psnr_y"] > one["model"]["psnr_y"] > 10, "repeating pixels is worse"
    for name in PROTOCOLS:
        mean = (each[0]["model"][name] + each[1]["model"][name]) / 2
        assert found["mean"]["model"][name] == pytest.approx(mean)


def test_table_goes_to_standard_output(model: Path, high: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_upscaling.run(model, str(high), device="cpu")
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[1].split()[:2] == ["a.png", "model"] and lines[5].startswith("mean of 2")
    assert captured.err == "2 pictures, x4, on cpu\n"


@pytest.mark.parametrize(
    ("high_name", "low_name"),
    [
        ("{}.png", "{}.png"),
        ("img_{}_SRF_4_HR.png", "img_{}_SRF_4_LR.png"),
        ("{}.png", "{}x4.png"),
        ("{}_GT.bmp", "{}_LR.png"),
        ("{}-HR.png", "{}_x4.png"),
    ],
)
def test_given_low_pictures_are_told_by_name(
    model: Path, tmp_path: Path, high_name: str, low_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    truths = {"001": drawn(40, 48, 0), "002": drawn(32, 64, 1)}
    lows = {name: small(truth) // 2 for name, truth in truths.items()}  # not what would be made
    for name, truth in truths.items():
        save(tmp_path / "high" / high_name.format(name), truth)
        save(tmp_path / "low" / low_name.format(name), lows[name])
    evaluate_upscaling.run(model, str(tmp_path / "high"), str(tmp_path / "low"), device="cpu", json=True)
    found = told(capsys)
    for one, name in zip(found["pictures"], truths, strict=True):
        assert one["name"] == high_name.format(name)
        wanted = expected(truths[name], lows[name])
        assert one["model"] == pytest.approx(wanted["model"], rel=1e-12)
        assert one["bicubic"] == pytest.approx(wanted["bicubic"], rel=1e-12)


def test_one_folder_may_hold_both_sizes(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = tmp_path / "set"
    for name, seed in (("img_001_SRF_4", 0), ("img_002_SRF_4", 1)):
        save(both / f"{name}_HR.png", drawn(40, 48, seed))
        save(both / f"{name}_LR.png", small(drawn(40, 48, seed)))
    ways = [
        (str(both), str(both)),
        (f"{both}/*_HR.png", f"{both}/*_LR.png"),
        (f"{both}/*_HR.png", None),
        (str(both), None),
    ]
    results = []
    for hr, lr in ways:
        evaluate_upscaling.run(model, hr, lr, device="cpu", json=True, quiet=True)
        results.append(told(capsys)["pictures"])
    assert [one["name"] for one in results[0]] == ["img_001_SRF_4_HR.png", "img_002_SRF_4_HR.png"]
    assert all(result == results[0] for result in results)


def test_an_uncut_picture_goes_with_the_low_one_of_its_cut_form(
    model: Path, high: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "low" / "a.png", small(drawn(41, 51, 0)[:40, :48]))
    save(tmp_path / "low" / "b.png", small(drawn(32, 64, 1)))
    evaluate_upscaling.run(model, str(high), str(tmp_path / "low"), device="cpu", json=True)
    with_low = told(capsys)["pictures"]
    evaluate_upscaling.run(model, str(high), device="cpu", json=True)
    assert told(capsys)["pictures"] == with_low


def test_names_without_counterpart_are_named(model: Path, high: Path, tmp_path: Path) -> None:
    save(tmp_path / "low" / "a.png", small(drawn(41, 51, 0)))
    save(tmp_path / "low" / "c.png", small(drawn(32, 64, 1)))
    with pytest.raises(DataError) as caught:
        evaluate_upscaling.run(model, str(high), str(tmp_path / "low"), device="cpu")
    assert str(caught.value).startswith("no counterpart for b.png in --hr and c.png in --lr - pairs are told by")
    for name in ("a", "b", "d", "e", "f", "g"):
        save(high / f"{name}.png", drawn(32, 32, 0))
    with pytest.raises(DataError, match=r"for b\.png, d\.png, e\.png and 2 more in --hr and c\.png in --lr") as caught:
        evaluate_upscaling.run(model, str(high), str(tmp_path / "low"), device="cpu")
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_are_refused(model: Path, high: Path) -> None:
    save(high / "a.bmp", drawn(32, 32, 0))
    with pytest.raises(DataError, match=r"a\.bmp and .*a\.png have one name"):
        evaluate_upscaling.run(model, str(high), str(high), device="cpu")


def test_the_scale_of_given_pictures_must_be_the_models(model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "high" / f"{name}.png", drawn(48, 64, 0))
        save(tmp_path / "low" / f"{name}.png", small(drawn(48, 64, 0), 2))
    with pytest.raises(DataError) as caught:
        evaluate_upscaling.run(model, str(tmp_path / "high"), str(tmp_path / "low"), device="cpu")
    message = str(caught.value)
    assert f"{tmp_path / 'high' / 'a.png'} is 64x48 and {tmp_path / 'low' / 'a.png'} is 32x24" in message
    assert "but the model enlarges x4 - these are x2: give the low-resolution" in message
    assert message.endswith("(and 1 more such)") and "\n" not in message


def test_sizes_that_fit_no_scale(model: Path, high: Path, tmp_path: Path) -> None:
    save(tmp_path / "low" / "a.png", drawn(10, 12, 0))
    save(tmp_path / "low" / "b.png", drawn(16, 9, 0))
    with pytest.raises(DataError, match=r"b\.png is 64x32 and .*b\.png is 9x16, but the model enlarges x4 - give the"):
        evaluate_upscaling.run(model, str(high), str(tmp_path / "low"), device="cpu")


def test_pictures_too_small_to_be_scored(model: Path, high: Path) -> None:
    save(high / "tiny.png", drawn(19, 40, 0))
    with pytest.raises(DataError, match=r"tiny\.png is 40x19: too small to be scored at x4 - leave out .* under 19 "):
        evaluate_upscaling.run(model, str(high), device="cpu")


def test_damaged_pictures_are_named_and_the_others_scored(
    model: Path, high: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (high / "a.png").read_bytes()
    (high / "cut.png").write_bytes(whole[: len(whole) // 2])
    (high / "none.png").write_bytes(b"no picture")
    assert main(["evaluate", "-m", str(model), "--hr", str(high), "--device", "cpu", "--json"]) == 7
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [one["name"] for one in found["pictures"]] == ["a.png", "b.png"] and len(found["failed"]) == 2
    lines = captured.err.splitlines()
    for name in ("cut.png", "none.png"):
        assert sum(line.startswith("failed: ") and name in line for line in lines) == 1
    assert lines[-1] == "i2i: error: 2 of 4 pictures could not be read, see above"
    shutil.rmtree(high)
    (tmp_path / "high").mkdir()
    (tmp_path / "high" / "only.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of 1 pictures can be read"):
        evaluate_upscaling.run(model, str(high), device="cpu")


def test_larger_than_allowed_is_a_failure_of_that_picture(
    model: Path, high: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "-m", str(model), "--hr", str(high), "--max-pixels", "2060"]) == 7
    assert "a.png: 51 x 41 is 2,091 pixels" in capsys.readouterr().err


def test_what_is_not_there(model: Path, high: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder, and no picture fits it"):
        evaluate_upscaling.run(model, str(tmp_path / "nowhere"), device="cpu")
    with pytest.raises(DataError, match=r"\*\.jpg: no such folder"):
        evaluate_upscaling.run(model, str(high), f"{high}/*.jpg", device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        evaluate_upscaling.run(model, str(tmp_path / "empty"), device="cpu")


def test_data_is_for_other_models(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"this one enlarges x4 - use --hr PICTURES"):
        evaluate.run(model, tmp_path, device="cpu")


def test_hr_is_for_models_that_enlarge(high: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keeps = write_constant_model(tmp_path / "keeps.safetensors", {"AtoB": (1.0, 2.0, 3.0)})
    with pytest.raises(UsageError, match=r"this one keeps the size - use --data SET"):
        evaluate_upscaling.run(keeps, str(high), device="cpu")
    latent = write_generator(tmp_path / "latent.safetensors")
    assert main(["evaluate", "-m", str(latent), "--hr", str(high)]) == 5
    error = capsys.readouterr().err
    assert "translates no pictures" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["--data", "x", "--hr", "y"], ["--lr", "y"], ["--data", "x", "--lr", "y"]])
def test_either_a_set_or_pictures(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_constant_model(tmp_path / "lone.safetensors", {"AtoB": (1.0, 2.0, 3.0)})
    assert main(["evaluate", "--model", str(model), *words]) == 2
    error = capsys.readouterr().err
    assert "Give --data SET, or for models that enlarge --hr PICTURES" in error and len(error.splitlines()) == 1


def test_a_model_that_is_not_there_is_the_nearer_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--model", "runs/nothing"]) == 5
    assert "runs/nothing: no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [3])
def test_another_scale(model: Path, high: Path, scale: int, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_upscaling.run(model, str(high), device="cpu", json=True)
    found = told(capsys)
    assert (found["scale"], found["border_pixels"]) == (3, 3)
    cut = drawn(41, 51, 0)[:39, :51]
    assert found["pictures"][0]["model"] == pytest.approx(expected(cut, small(cut, 3), 3)["model"], rel=1e-12)


def test_strength_and_consistency_reach_the_model(model: Path, high: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--model", str(model), "--hr", str(high), "--json"]
    scores = []
    for more in ([], ["--consistent"]):
        assert main([*words, *more]) == 0
        scores.append(json.loads(capsys.readouterr().out))
    # What shrinks back to the small picture is nearer to the large one than repeated pixels are.
    assert scores[1]["mean"]["model"]["psnr_y"] > scores[0]["mean"]["model"]["psnr_y"] + 0.1
    assert [score["consistent"] for score in scores] == [False, True]
    assert main([*words, "--strength", "0.5"]) == 2
    assert "asked for strength 0.5" in capsys.readouterr().err


def test_pairs_of_one_size_know_no_strength(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    translator = write_constant_model(tmp_path / "model.safetensors", {"AtoB": (104, 104, 104)})
    assert main(["evaluate", "--model", str(translator), "--data", str(tmp_path), "--strength", "0.5"]) == 2
    assert "score them with --hr PICTURES" in capsys.readouterr().err
