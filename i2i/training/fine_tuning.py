"""Starting a training from the weights of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from i2i.errors import ModelError
from i2i.inference.model_files.model_file import read_model_file, resolve_model
from i2i.training.checkpoint import CHECKPOINTS_FOLDER, TrainingState, load_checkpoint, load_newest_checkpoint
from i2i.training.engine import Engine


def initialize_from(engine: Engine, path: Path) -> str:
    """Give the networks the weights found at `path`; returns a line that says what was taken.

    A run or a checkpoint folder has all networks of its training, discriminators too; a model file has those for
    inference. Of a network of which a running average was kept, that is taken: it made the pictures for which somebody
    wants to go on from there, and it is what the model file of that run holds. Networks that are not found there keep
    their fresh weights.

    Raises:
        ModelError: nothing there, damaged, or other networks.
    """
    if (path / CHECKPOINTS_FOLDER).is_dir():
        step, state = load_newest_checkpoint(path)
        return _take(engine, state, f"{path}, step {step}")
    if (path / "manifest.json").is_file():
        return _take(engine, load_checkpoint(path), str(path))
    file = resolve_model(path)
    metadata, tensors = read_model_file(file)
    held = {
        f"network/{name}/{key.removeprefix(f'{name}.')}": tensor
        for name in sorted({entry.network for entry in metadata.entry_points.values()})
        for key, tensor in tensors.items()
        if key.startswith(f"{name}.")
    }
    return _take(engine, TrainingState(held, {}), str(file))


def _take(engine: Engine, state: TrainingState, origin: str) -> str:
    """Load those networks of the engine that `state` holds."""
    saved = [name for name in engine.pipeline.networks if name not in engine.pipeline.pretrained]
    found = [name for name in saved if any(key.startswith(f"network/{name}/") for key in state.tensors)]
    if not found:
        raise ModelError(f"{origin}: holds none of the networks {', '.join(saved)}")
    averaged = [name for name in found if any(key.startswith(f"average/{name}/") for key in state.tensors)]
    engine.load_networks(_averages_in_place(state, averaged), names=found)
    how = f" ({', '.join(averaged)} from the running average)" if averaged else ""
    if found == saved:
        return f"all networks start from {origin}{how}"
    return f"{', '.join(found)} start from {origin}{how}; all other networks start fresh"


def _averages_in_place(state: TrainingState, names: Sequence[str]) -> TrainingState:
    """The same weights, but for the named networks their averages."""
    averages = {
        f"network/{name}/{key.removeprefix(f'average/{name}/')}": tensor
        for name in names
        for key, tensor in state.tensors.items()
        if key.startswith(f"average/{name}/")
    }
    return TrainingState({**state.tensors, **averages}, state.counters)
