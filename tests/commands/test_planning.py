"""What is settled before a training begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from i2i.commands import train
from i2i.commands.planning import arithmetic_as_before, settle_arithmetic, with_whole_paths
from i2i.pipelines import SRGANSettings
from i2i.recipe import load_recipe
from tests.training.runs import make_generation_recipe


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


def arithmetic() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return torch.get_deterministic_debug_mode(), cudnn.benchmark, cudnn.allow_tf32, workspace


def test_a_deterministic_training_makes_nothing_after_it_deterministic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next `i2i.train` is slower for no reason to be seen, and the caller's own code may be refused."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = arithmetic()
    recipe = str(make_generation_recipe(tmp_path))
    train.start(recipe, ["deterministic=true", "training.length.steps=1"], out=tmp_path / "run", quiet=True)
    assert arithmetic() == before
    with arithmetic_as_before():
        for deterministic in (True, False):
            settle_arithmetic(load_recipe(recipe, [f"deterministic={deterministic}"]))
            assert torch.are_deterministic_algorithms_enabled() is deterministic
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8" and not torch.backends.cudnn.benchmark
    assert arithmetic() == before
