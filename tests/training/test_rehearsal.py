"""What a trial run does beside its steps: all that a training does between them, and nothing that stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from i2i.commands.planning import build_engine, build_evaluation, choose, open_data
from i2i.evaluation.features.protocol import FeatureExtractor
from i2i.recipe import load_recipe
from i2i.training.distributed import Processes
from i2i.training.evaluation import open_features
from i2i.training.progress_bar import TrainingProgress
from i2i.training.rehearsal import rehearse
from i2i.training.run import Run
from i2i.training.validation import Validation
from tests.core.test_recompute import PeakBytes
from tests.training.evaluating import evaluating
from tests.training.runs import make_generation_recipe, make_pictures, make_recipe, make_upscaling_recipe
from tests.training.toys import assert_same_bits, copies

CPU = torch.device("cpu")


def run_of(path: Path, *overrides: str) -> Run:
    recipe = choose(load_recipe(path, list(overrides)), CPU)
    extractor: FeatureExtractor | None = open_features(recipe.evaluate, CPU)
    data = open_data(recipe)
    engine = build_engine(recipe, data, Processes(), CPU)
    return Run(
        engine=engine,
        data=data,
        folder=path.parent / "nowhere",
        tracker=None,
        progress=TrainingProgress(quiet=True),
        provenance={},
        method=recipe.pipeline.kind,
        evaluation=build_evaluation(recipe, engine, data, extractor),
    )


def runs(tmp_path: Path) -> list[Run]:
    """A method with pictures and counterparts to none, one from latents with an evaluation, one that enlarges."""
    return [
        run_of(make_recipe(tmp_path, make_pictures(tmp_path / "pictures"))),
        run_of(make_generation_recipe(tmp_path), *evaluating(tmp_path, metrics="fid, d_probability")),
        run_of(make_upscaling_recipe(tmp_path)),
    ]


def test_it_changes_nothing_and_writes_nothing(tmp_path: Path) -> None:
    for run in runs(tmp_path):
        files = sorted(tmp_path.rglob("*"))
        before = copies(run.engine.state().tensors)
        rehearse(run)
        assert_same_bits(run.engine.state().tensors, before)
        assert sorted(tmp_path.rglob("*")) == files


def test_scores_are_taken_of_as_many_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    whole = Validation.score

    def noting(validation: Validation, networks: object) -> object:
        scored.append(len(next(iter(validation._pictures.values()))))
        return whole(validation, networks)  # type: ignore[arg-type]

    monkeypatch.setattr(Validation, "score", noting)
    rehearse(run_of(make_recipe(tmp_path, make_pictures(tmp_path / "pictures"))))
    assert scored == [3]


def test_it_takes_the_memory_of_a_checkpoint(tmp_path: Path) -> None:
    """Wide networks, so that next to them the pictures are small."""
    wide = ("pipeline.generator.base_channels=24", "speed=[channels_last]")
    run = run_of(make_recipe(tmp_path, make_pictures(tmp_path / "pictures")), *wide)
    laid_out = [tensor for tensor in run.engine.state().tensors.values() if not tensor.is_contiguous()]
    needed = sum(tensor.nbytes for tensor in laid_out)
    assert needed > 1_000_000
    with PeakBytes() as count:
        rehearse(run)
    assert count.peak >= needed
