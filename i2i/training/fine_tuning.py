"""Starting a training from the weights of another."""

from __future__ import annotations

from pathlib import Path

from i2i.errors import ModelError
from i2i.inference.image_model import read_model_file, resolve_model
from i2i.training.checkpoint import CHECKPOINTS_FOLDER, TrainingState, load_checkpoint, load_newest_checkpoint
from i2i.training.engine import Engine


def initialize_from(engine: Engine, path: Path) -> str:
    """Give the networks the weights found at `path`; returns a line that says what was taken.

    A run or a checkpoint folder has all networks, discriminators too. A model file has those for inference; the others
    keep their fresh weights.

    Raises:
        ModelError: nothing there, damaged, or other networks.
    """
    if (path / CHECKPOINTS_FOLDER).is_dir():
        step, state = load_newest_checkpoint(path)
        engine.load_networks(state)
        return f"all networks start from {path}, step {step}"
    if (path / "manifest.json").is_file():
        engine.load_networks(load_checkpoint(path))
        return f"all networks start from {path}"
    file = resolve_model(path)
    metadata, tensors = read_model_file(file)
    found = sorted({entry.network for entry in metadata.entry_points.values()} & set(engine.pipeline.networks))
    if not found:
        raise ModelError(f"{file}: holds none of the networks {', '.join(engine.pipeline.networks)}")
    held = {
        f"network/{name}/{key.removeprefix(f'{name}.')}": tensor
        for name in found
        for key, tensor in tensors.items()
        if key.startswith(f"{name}.")
    }
    engine.load_networks(TrainingState(held, {}), names=found)
    return f"{', '.join(found)} start from {file}; all other networks start fresh"
