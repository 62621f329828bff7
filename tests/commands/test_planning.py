"""What is settled before a training begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.commands.planning import with_whole_paths
from i2i.pipelines import SRGANSettings
from i2i.recipe import load_recipe


def test_a_run_keeps_paths_that_mean_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = ["data.root=photos", "initialize_from=runs/pixels", "pipeline.perceptual.weights=weights/vgg19.pth"]
    recipe = with_whole_paths(load_recipe("srgan_x4", changes))
    assert recipe.data.root == str(tmp_path / "photos")  # type: ignore[union-attr]
    assert recipe.initialize_from == str(tmp_path / "runs" / "pixels")
    assert isinstance(recipe.pipeline, SRGANSettings) and recipe.pipeline.perceptual is not None
    assert recipe.pipeline.perceptual.weights == str(tmp_path / "weights" / "vgg19.pth")  # type: ignore[union-attr]


def test_what_is_not_given_stays_so() -> None:
    recipe = with_whole_paths(load_recipe("srgan_x4"))
    assert recipe.initialize_from is None
    assert isinstance(recipe.pipeline, SRGANSettings) and recipe.pipeline.perceptual is not None
    assert recipe.pipeline.perceptual.weights is None  # type: ignore[union-attr]
