"""What evaluations will cost on this machine, found out with a block of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from i2i.core.device_clock import now
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.training.engine import Engine
from i2i.training.evaluation import Evaluation, undisturbed


@dataclass(frozen=True)
class EvaluationCost:
    """Seconds of wall time."""

    each: float
    """Of one evaluation: making all pictures and looking at them."""
    once: float
    """Of looking at the real pictures, beside the first one; what was seen is kept, for later runs too."""


def measure_cost(evaluation: Evaluation, engine: Engine) -> EvaluationCost:
    """Time one block of every comparison; networks and random states are left as they are.

    What follows the networks (means, distances) is not in it: seconds for thousands of pictures.
    """
    each = once = 0.0
    networks = engine.inference_networks()
    with undisturbed(evaluation.device):
        for comparison in evaluation.comparisons:
            made = comparison.made(networks, evaluation.device)
            block = min(PICTURES_PER_BLOCK, made.count)
            making = _seconds(partial(made.pictures, 0, block), evaluation.device) / block
            looking = 0.0
            if evaluation.extractor is not None:
                look = partial(evaluation.extractor, made.pictures(0, block))
                # A block that is not full takes as long as a full one.
                looking = _seconds(look, evaluation.device) / PICTURES_PER_BLOCK
            each += made.count * (making + looking)
            once += comparison.real.count * looking
    return EvaluationCost(each, once)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of a second call; the first one builds what later ones use."""
    work()
    started = now(device)
    work()
    return now(device) - started
