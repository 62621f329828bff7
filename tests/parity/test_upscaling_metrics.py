"""Bicubic resizing and the measures of enlarged pictures equal the reference's, MATLAB's own numbers included."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.cli import main
from i2i.core.resize import imresize, resize_levels
from i2i.data.decoding import decode_rgb8
from i2i.evaluation.upscaling import luma, measure_all
from tests.parity.cases import Case, folders
from tests.real import WEIGHTS

COLUMNS = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
(RESIZE,) = (Case(folder) for folder in folders("07b_imresize"))
(PAIRS,) = (Case(folder) for folder in folders("07d_psnr_ssim_pairs"))
(SET5,) = (Case(folder) for folder in folders("07a_set5_bicubic_metrics"))


def planes(picture: Tensor) -> Tensor:
    """(H, W, 3) as (1, 3, H, W)."""
    return picture.permute(2, 0, 1)[None]


def test_every_resizing_of_the_case_is_compared() -> None:
    assert len(RESIZE.group("out")) == len(RESIZE.about["hyper_parameters"]) >= 6


@pytest.mark.parametrize("name", sorted(RESIZE.group("out")))
def test_imresize(name: str) -> None:
    asked = RESIZE.about["hyper_parameters"][name]
    levels = planes(RESIZE.tensors[asked["source"]])
    expected = planes(RESIZE.tensors[f"out/{name}"])
    found = imresize(levels.double() / 255, Fraction(asked["scale"]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    single = imresize(levels.float() / 255, Fraction(asked["scale"]))
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=2e-5)


def test_imresize_as_matlab_itself_computed_it() -> None:
    found = folders("07c_imresize_matlab")
    if not found:
        pytest.skip("crops of a benchmark photo, which cannot be passed on")
    case = Case(found[0])
    for corner in ("top_left", "bottom_right"):
        (levels,) = (case.tensors[name] for name in case.tensors if name.startswith("in/") and corner in name)
        expected = case.tensors[f"out/{corner}"]
        small = imresize(planes(levels).double(), Fraction(1, 4)).clamp(0, 255)[0].permute(1, 2, 0)
        mine = small[:14, :14] if corner == "top_left" else small[-14:, -14:]
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", sorted(PAIRS.about["results"]))
def test_measures_of_pairs(name: str) -> None:
    pair, crop = name.removeprefix("pair").split("_crop")
    first, second = (planes(PAIRS.tensors[f"in/{which}{pair}"]) for which in "ab")
    found = measure_all(first, second, int(crop))
    for column, expected in zip(COLUMNS, PAIRS.tensors[f"out/{name}"].tolist(), strict=True):
        limit = PAIRS.about["tolerances"]["psnr_db" if "psnr" in column else "ssim"]
        assert float(found[column]) == pytest.approx(expected, abs=limit), column


def test_luma_of_pairs() -> None:
    for index in range(3):
        found = luma(planes(PAIRS.tensors[f"in/a{index}"]))[0, 0]
        torch.testing.assert_close(found.float(), PAIRS.tensors[f"out/y{index}"], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def set5(real_pictures: Path) -> dict[str, np.ndarray]:
    """The five pictures by the names of the case, recognised by their pixels."""
    found: dict[str, np.ndarray] = {}
    for path in sorted((real_pictures / "set5" / "x4").glob("*_HR.png")):
        picture = decode_rgb8(path)
        digest = hashlib.sha256(picture.tobytes()).hexdigest()
        found |= {name: picture for name, one in SET5.about["results"].items() if one["pixels_sha256"] == digest}
    if len(found) < 5:
        pytest.skip(f"of Set5 only {', '.join(found) or 'nothing'} is at hand as the case knows it")
    return found


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_on_set5(set5: dict[str, np.ndarray], scale: int) -> None:
    columns: dict[str, list[float]] = {column: [] for column in COLUMNS}
    compared = 0
    for name in SET5.about["images"]:
        truth = planes(torch.from_numpy(set5[name]))
        height, width = (side - side % scale for side in truth.shape[-2:])
        truth = truth[..., :height, :width]
        low = resize_levels(truth, Fraction(1, scale))
        rows = low[0].permute(1, 2, 0).contiguous().numpy()
        exact = imresize(truth.double(), Fraction(1, scale))
        if not ((exact - exact.floor() - 0.5).abs() < 1e-9).any():
            # What lies half way between two levels is rounded by the reference as its last digit happens to be.
            digest = SET5.about["results"][name][f"x{scale}"]["lr_uint8_sha256"]
            assert hashlib.sha256(rows.tobytes()).hexdigest() == digest, name
            compared += 1
        # The case crops 4 pixels at every scale.
        found = measure_all(resize_levels(low, scale), truth, 4)
        for column in COLUMNS:
            columns[column].append(float(found[column]))
    assert compared == (0 if scale == 2 else 5)
    for column, found in columns.items():
        limit = SET5.about["tolerances"]["psnr_db" if "psnr" in column else "ssim"]
        assert found == pytest.approx(SET5.tensors[f"out/x{scale}_{column}"].tolist(), abs=limit), column


def test_daala_similarity_of_bicubic_set5(set5: dict[str, np.ndarray]) -> None:
    """On either side of the 0.8211 that the SRGAN paper prints; how exactly it made its pictures is not known."""
    found: dict[int, list[float]] = {0: [], 4: []}
    for picture in set5.values():
        truth = planes(torch.from_numpy(picture))
        made = resize_levels(resize_levels(truth, Fraction(1, 4)), 4)
        for border, numbers in found.items():
            numbers.append(float(measure_all(made, truth, border)["ssim_daala"]))
    assert float(np.mean(found[0])) == pytest.approx(0.82211, abs=5e-6)
    assert float(np.mean(found[4])) == pytest.approx(0.82023, abs=5e-6)


def test_public_weights_reach_their_known_figure_on_set5(
    real_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From another project's checkpoint through the model file to the table: 30.66 dB, bicubic 28.43."""
    weights = WEIGHTS / "srgan_leftthomas" / "netG_epoch_4_100.pth"
    pictures = real_pictures / "set5" / "x4"
    if not (weights.is_file() and pictures.is_dir()):
        pytest.skip(f"no weights at {weights} or no pictures at {pictures}")
    model = tmp_path / "model.safetensors"
    assert main(["convert", str(weights), "-o", str(model)]) == 0
    capsys.readouterr()
    words = ["--hr", f"{pictures}/*_HR.png", "--lr", f"{pictures}/*_LR.png", "--device", "cpu", "--json", "--quiet"]
    assert main(["evaluate", "--model", str(model), *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["pictures"]) == 5
    assert told["mean"]["model"]["psnr_y"] == pytest.approx(30.66, abs=5e-3)
    assert told["mean"]["bicubic"]["psnr_y"] == pytest.approx(28.43, abs=5e-3)
