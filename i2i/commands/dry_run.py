"""`i2i train --dry-run`: one step, and what the whole training would take."""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path

import torch
import typer

from i2i.commands.planning import build_engine, choose, read_plan, settle_arithmetic
from i2i.data.loader import StreamLoader
from i2i.data.streams import open_streams
from i2i.inference.image_model import resolve_device
from i2i.training.distributed import Processes
from i2i.training.loop import bind_draws, peak_memory_gib
from i2i.training.progress_bar import format_duration
from i2i.training.timing import Length

_TIMED_STEPS = 2


def run(recipe_name: str | None, overrides: list[str], *, resume: Path | None, device_name: str, json: bool) -> None:
    """Check recipe and data, take a step to warm up and two to time, print time and memory; writes nothing.

    Raises:
        I2IError: as `i2i.commands.train.start`.
    """
    device = resolve_device(device_name)
    recipe = choose(read_plan(recipe_name, overrides, resume), device)
    settle_arithmetic(recipe)
    data = open_streams(recipe.data, recipe.seed)
    engine = build_engine(recipe, data, Processes(), device)
    with StreamLoader(
        data.train, recipe.training.batch_size, micro_batches=recipe.training.accumulate, device=device
    ) as loader:
        draw = bind_draws(loader, engine)
        engine.take_step(draw)
        started = _now(device)
        for _ in range(_TIMED_STEPS):
            engine.take_step(draw)
        seconds = (_now(device) - started) / _TIMED_STEPS
    steps = Length(recipe.training.length, engine.images_per_epoch, recipe.training.batch_size).total_steps()
    minutes = recipe.training.length.minutes
    total = min(seconds * steps if steps else float("inf"), 60 * minutes if minutes else float("inf"))
    result = {
        "recipe": recipe.name,
        "precision": recipe.precision,
        "device": str(device),
        "images_per_epoch": engine.images_per_epoch,
        "parameters": {
            name: sum(parameter.numel() for parameter in network.parameters())
            for name, network in engine.pipeline.networks.items()
        },
        "seconds_per_step": seconds,
        "total_steps": steps,
        "total_seconds": total,
        "peak_memory_gib": peak_memory_gib(device),
        "skipped_pictures": len(data.report),
    }
    if json:
        typer.echo(json_module.dumps(result))
        return
    typer.echo(f"{recipe.name}: {recipe.precision} on {device}, {engine.images_per_epoch} pictures an epoch")
    typer.echo(", ".join(f"{name} {count / 1e6:.2f} M weights" for name, count in result["parameters"].items()))
    typer.echo(f"{seconds:.3f} s a step; {steps or 'as many steps as fit'}: about {format_duration(total)}")
    typer.echo(f"peak memory {result['peak_memory_gib']:.2f} GiB; nothing was written")


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
