"""What a training does between its steps, done once and thrown away: it takes memory that the steps alone do not."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.measures import METRICS
from i2i.pipelines.protocol import Grid
from i2i.training.engine import Engine
from i2i.training.evaluation import Evaluation, undisturbed
from i2i.training.evaluation_judgement import Judge
from i2i.training.looks import diversity, shown
from i2i.training.run import Run
from i2i.training.sheets import grid, sheet

_MATRICES_OF_FID = 8
"""As large as a covariance, in float64: of both sets, a root, products, and what decompositions hold."""


def draw_sheets(run: Run) -> None:
    """The sheets of this moment; a training begins with them."""
    for pictured in shown(run).values():
        _ = grid(pictured.pictures, pictured.columns) if isinstance(pictured, Grid) else sheet(pictured)


def rehearse(run: Run) -> None:
    """Sheets, scores and all that goes into a checkpoint; nothing is written and the training stays where it is."""
    draw_sheets(run)
    diversity(run)
    if run.validation:
        run.validation.score(run.engine.inference_networks())
    _hold_checkpoint(run.engine)
    if run.evaluation is not None:
        _hold_evaluation(run.engine, run.evaluation)


def _hold_checkpoint(engine: Engine) -> None:
    """What is laid out anew for files: weights and optimizer states in the order of the file, weights once more."""
    laid_out = [tensor.contiguous() for tensor in engine.state().tensors.values()]
    del laid_out
    networks = engine.inference_networks().values()
    copies = [tensor.to("cpu", copy=True) for network in networks for tensor in network.state_dict().values()]
    del copies


def _hold_evaluation(engine: Engine, evaluation: Evaluation) -> None:
    """A block of pictures before every network that looks at them, and numbers of all pictures side by side."""
    networks = engine.inference_networks()
    wanted = {METRICS[name].needs for name in evaluation.settings.measured}
    with undisturbed(evaluation.device):
        for comparison in evaluation.comparisons:
            made = comparison.made(networks, evaluation.device)
            pictures = made.pictures(0, min(PICTURES_PER_BLOCK, made.count))
            comparison.real.pictures(0, min(PICTURES_PER_BLOCK, comparison.real.count))
            if evaluation.settings.judged and len({picture.shape for picture in pictures}) == 1:
                judge = Judge(engine.pipeline.networks[str(comparison.entry.judge)], evaluation.device)
                labels = np.arange(len(pictures)) % comparison.classes if comparison.classes else None
                judge.probabilities(pictures, labels)
            if evaluation.extractor is not None and "features" in wanted:
                evaluation.extractor(pictures)
                width = evaluation.extractor.width
                # Ones, not zeros: the system has no memory set aside for a page of zeros.
                vectors = np.ones((comparison.real.count + made.count, width), np.float32)
                matrices = np.ones((_MATRICES_OF_FID * ("fid" in evaluation.settings.measured), width, width))
                del vectors, matrices
