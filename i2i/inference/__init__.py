"""Running trained models: the model file, picture files in and out, and what lies between."""

from __future__ import annotations

from pathlib import Path

from i2i.inference.image_model import ImageModel, Precision, resolve_model

__all__ = ["ImageModel", "load_model", "resolve_model"]


def load_model(
    path: Path | str, device: str = "auto", direction: str | None = None, precision: Precision = "fp32"
) -> ImageModel:
    """Load the model at `path`: a run folder, a checkpoint folder or a ``.safetensors``.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:n`` or ``mps``.
        direction: name of an entry point such as ``BtoA``; the first one by default.

    Raises:
        ModelError: no model, damaged, written by something else or by a newer version.
        UsageError: no such direction or device.
    """
    return ImageModel.load(Path(path), device, direction, precision)
