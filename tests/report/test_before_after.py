"""The slider's pictures are the columns of the newest sheet, or sheets of different steps."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.report.before_after import before_after
from i2i.report.pictures import sample_sheets
from i2i.training.tracking import Tracker


def decoded(url: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB")).astype(float)


def groups_of(folder: Path, total_bytes: int = 500_000) -> list[dict[str, Any]]:
    samples = folder / "samples"
    return before_after(samples, sample_sheets(samples), total_bytes)


def test_the_columns_of_the_newest_sheet_lie_over_each_other(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    dark, bright = torch.full((3, 3, 48, 64), -0.8), torch.full((3, 3, 48, 64), 0.8)
    tracker.sheet(1, "AtoB", [("input", bright), ("translated", bright)])
    tracker.sheet(9, "AtoB", [("input", dark), ("translated", bright)])
    tracker.finish()
    (group,) = groups_of(tmp_path)
    assert (group["title"], group["step"], group["columns"]) == ("A → B", 9, ["Input", "Translated"])
    assert (group["left"], group["right"], len(group["pictures"])) == (0, 1, 3)
    first = group["pictures"][0]
    # Enlarged on the sheet, at its own size here: the browser enlarges.
    assert (first["width"], first["height"], first["pixelated"]) == (64, 48, True)
    levels = [decoded(source).mean() for source in first["sources"]]
    assert levels == pytest.approx([25.5, 229.5], abs=2)


def test_columns_of_different_size_are_shown_at_one_size(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.sheet(1, "upscale", [("low", torch.zeros(1, 3, 24, 24)), ("high", torch.zeros(1, 3, 96, 96))])
    tracker.finish()
    (group,) = groups_of(tmp_path)
    (picture,) = group["pictures"]
    assert (picture["width"], picture["height"]) == (96, 96)
    assert [decoded(source).shape for source in picture["sources"]] == [(96, 96, 3), (96, 96, 3)]


def test_sheets_without_columns_are_compared_over_time(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    for step in (0, 5, 10):
        tracker.grid(step, "generate", torch.full((4, 3, 32, 32), step / 10), 2)
    tracker.grid(20, "single", torch.zeros(4, 3, 32, 32), 2)
    tracker.finish()
    (group,) = groups_of(tmp_path)
    assert group["columns"] == ["Step 0", "Step 5", "Step 10"] and (group["left"], group["right"]) == (1, 2)
    # What the page holds already is only referred to.
    assert group["pictures"][0]["sources"] == [["generate", 0], ["generate", 1], ["generate", 2]]


def test_pictures_stay_within_their_bytes(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    coarse = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear")
    tracker.sheet(1, "AtoB", [("input", noise), ("translated", noise.flip(0))])
    tracker.finish()
    (group,) = groups_of(tmp_path, 120_000)
    urls = [source for picture in group["pictures"] for source in picture["sources"]]
    assert len(urls) == 12 and sum(map(len, urls)) <= 120_000
    assert groups_of(tmp_path, 500) == []


def test_a_damaged_sheet_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step_000001_AtoB.png").write_bytes(b"no picture")
    assert groups_of(tmp_path) == []
