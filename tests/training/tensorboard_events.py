"""Reads what a run told TensorBoard, with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from i2i.training.tracking.tensorboard_sink import TENSORBOARD_FOLDER


def read_events(run_folder: Path) -> Any:
    """All events of a run, in TensorBoard's own accumulator."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Zero: keep them all, not a sample.
    every = dict.fromkeys(("scalars", "images", "tensors", "histograms", "compressedHistograms", "audio"), 0)
    accumulator = EventAccumulator(str(run_folder / TENSORBOARD_FOLDER), size_guidance=every)
    accumulator.Reload()
    return accumulator


def scalars(events: Any, name: str) -> list[tuple[int, float]]:
    """Step and value, a 32-bit float, of every entry of a name."""
    return [(event.step, event.value) for event in events.Scalars(name)]


def texts(events: Any, name: str) -> list[tuple[int, str]]:
    """Step and text of every entry of a name."""
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in events.Tensors(f"{name}/text_summary")]
