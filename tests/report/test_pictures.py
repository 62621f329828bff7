"""Pictures of a report: sheets, and fixed latents over time, within their budgets."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.report.pictures import grids_over_time, sample_sheets
from i2i.training.sheets import save_sheet
from i2i.training.tracking import Tracker


def latents_over_time(folder: Path, steps: Sequence[int], *, channels: int = 3, size: int = 32) -> None:
    tracker = Tracker(folder)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(12, channels, 5, 5, generator=generator)
    made = torch.tanh(torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic"))
    for step in steps:
        tracker.grid(step, "generate", made * step / max(steps), 4)
    tracker.finish()


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


def test_many_large_sheets_stay_within_the_budget(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 450, 3), dtype=np.uint8)
    path = save_sheet(tmp_path, 0, "AtoB", noise)
    for step in range(1, 40):
        (path.parent / f"step_{step:06d}_AtoB.png").write_bytes(path.read_bytes())
    (group,) = sample_sheets(tmp_path / "samples", total_bytes=1_200_000)
    assert sum(len(frame["url"]) for frame in group["frames"]) <= 1_200_000
    steps = [frame["step"] for frame in group["frames"]]
    assert (steps[0], steps[-1], len(steps)) == (0, 39, 16)
    with opened(group["frames"][0]["url"]) as picture:
        assert picture.format == "WEBP"
    with opened(group["frames"][-1]["url"]) as newest:
        assert newest.size == (450, 300), "the newest is shown at its own size"


def test_a_sheet_that_compresses_badly_does_not_coarsen_those_after_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    for step in range(12):
        save_sheet(tmp_path, step, "generate", noise if step == 0 else np.full((800, 800, 3), 20 * step, np.uint8))
    (group,) = sample_sheets(tmp_path / "samples", total_bytes=300_000)
    widths = []
    for frame in group["frames"]:
        with opened(frame["url"]) as picture:
            widths.append(picture.width)
    assert widths[0] < 800 and widths[-6:] == [800] * 6


@pytest.mark.parametrize("channels", [1, 3])
def test_fixed_latents_become_an_animation_and_a_film(tmp_path: Path, channels: int) -> None:
    steps = [0, 100, 200, 400, 1000]
    latents_over_time(tmp_path, steps, channels=channels)
    parts = grids_over_time(tmp_path / "samples")["generate"]
    assert parts["animation"]["steps"] == parts["film"]["steps"] == steps
    with opened(parts["animation"]["url"]) as animation:
        assert animation.format == "WEBP"
        assert getattr(animation, "n_frames", 1) == len(steps)
        assert animation.info["loop"] == 0
        assert animation.size == (parts["animation"]["width"], parts["animation"]["height"])
        first = np.asarray(animation.convert("RGB")).astype(int)
        animation.seek(len(steps) - 1)
        last = np.asarray(animation.convert("RGB")).astype(int)
        assert animation.info["duration"] > 1000, "the newest is held longest"
    assert np.abs(first - last).max() > 50
    with opened(parts["film"]["url"]) as film:
        assert film.width == pytest.approx(film.height * 8 / 5, rel=0.1)  # five rows of eight, and their labels


def test_an_animation_is_bounded_in_frames_and_bytes(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        tracker.grid(step, "noise", torch.rand(16, 3, 64, 64, generator=generator) * 2 - 1, 4)
    tracker.finish()
    parts = grids_over_time(tmp_path / "samples", animation_bytes=1_000_000, film_bytes=100_000)["noise"]
    steps = parts["animation"]["steps"]
    assert len(parts["animation"]["url"]) <= 1_000_000 and len(parts["film"]["url"]) <= 100_000
    assert 10 <= len(steps) <= 40
    assert (steps[0], steps[-1]) == (0, 59)
    assert len(parts["film"]["steps"]) == 8
    # Most happens at first: the film's steps grow like square numbers.
    assert parts["film"]["steps"] == [0, 1, 5, 11, 19, 30, 43, 59]
    assert grids_over_time(tmp_path / "samples", animation_bytes=1000, film_bytes=1000) == {}


def test_sheets_single_grids_and_damaged_ones_do_not_move(tmp_path: Path) -> None:
    for step in (1, 2):
        save_sheet(tmp_path / "sheets", step, "AtoB", np.full((40, 60, 3), step, np.uint8))
    assert grids_over_time(tmp_path / "sheets" / "samples") == {}
    latents_over_time(tmp_path, [5])
    assert grids_over_time(tmp_path / "samples") == {}
    latents_over_time(tmp_path, [5, 6, 7])
    (tmp_path / "samples" / "step_000007_generate.png").write_bytes(b"cut off")
    assert grids_over_time(tmp_path / "samples")["generate"]["film"]["steps"] == [5, 6]
    latents_over_time(tmp_path, [8], size=48)
    # Beside a grid of another size there is nothing to compare.
    assert "film" not in grids_over_time(tmp_path / "samples")["generate"]
