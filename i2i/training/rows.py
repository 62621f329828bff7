"""The numbers of a step as a run records them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from i2i.training.engine import Engine, UpdateReport


def row_values(engine: Engine, reports: Mapping[str, UpdateReport]) -> dict[str, float]:
    """The numbers of a step by name, as means over micro-batches and processes."""
    engine.settle()
    values: dict[str, Tensor] = {}
    for update, report in reports.items():
        terms = report.losses[0].terms
        for name, term in terms.items():
            value = torch.stack([losses.terms[name].value for losses in report.losses]).mean()
            values[f"loss/{update}/{name}"] = value
            values[f"weighted/{update}/{name}"] = value * term.weight
        values[f"loss/{update}/total"] = torch.stack([values[f"weighted/{update}/{name}"] for name in terms]).sum()
        for name in report.losses[0].watched:
            values[f"output/{name}"] = torch.stack([losses.watched[name] for losses in report.losses]).mean()
        if report.gradient_norm is not None:
            values[f"gradient_norm/{update}"] = report.gradient_norm
    numbers: dict[str, float] = {}
    if values:
        # float64 only where the weights are: not every device has it.
        stacked = torch.stack([value.detach().to(engine.precision.weights_dtype) for value in values.values()])
        numbers |= dict(zip(values, engine.processes.mean(stacked).tolist(), strict=True))
    numbers |= {f"learning_rate/{name}": player.learning_rate for name, player in engine.players.items()}
    numbers |= {f"term_gradient_norm/{name}": norm for name, norm in engine.audit.read().items()}
    numbers["updates/skipped"] = float(engine.skipped_updates)
    return numbers


def peak_memory_gib(device: torch.device) -> float:
    """Most memory in use so far: on the device for CUDA, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
