"""Running trained models: the model file, picture files in and out, and what lies between."""

from __future__ import annotations

import re
from pathlib import Path

from i2i.errors import UsageError
from i2i.inference.image_model import ImageModel
from i2i.inference.latent_model import LatentModel
from i2i.inference.model_files.loading import read_any_metadata
from i2i.inference.model_files.model_file import resolve_model
from i2i.inference.runtime import Precision

__all__ = ["ImageModel", "LatentModel", "load_any_model", "load_generator", "load_model", "resolve_model"]


def load_model(
    path: Path | str,
    device: str = "auto",
    direction: str | None = None,
    precision: Precision = "fp32",
    *,
    strength: float = 1.0,
    consistent: bool = False,
    runner: str = "auto",
    trust: bool = False,
    worthwhile: bool = False,
    expected_sha256: str | None = None,
) -> ImageModel:
    """Load the model at `path` that translates pictures.

    A model is a run folder, a checkpoint folder, a ``.safetensors``, or what `i2i export` made of one.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:n`` or ``mps``.
        direction: name of an entry point such as ``BtoA``, in any case; the first one by default.
        strength: 0 to 1, of what an upscaler invents; see `i2i.inference.model_files.strength`.
        consistent: make an upscaler's results shrink back to their inputs; see `i2i.inference.consistency`.
        runner: the engine that computes: ``auto``, ``torch``, ``onnxruntime`` or ``openvino``.
        trust: open a TorchScript or ``.pt2`` file that was not exported here; such files can carry code.
        worthwhile: whether ``auto`` may take seconds to find the fastest engine by a timing, which is remembered; else
            it takes the first that fits.
        expected_sha256: that of the model when it was first loaded, where it is loaded again.

    Raises:
        ModelError: no model, damaged, written by something else or by a newer version, not trusted, not as expected,
            or a generator.
        UsageError: no such direction, device or runner, or the model or the runner cannot do what was asked.
    """
    return ImageModel.load(
        Path(path), device, _spelt(direction), precision,
        strength=strength, consistent=consistent, runner=runner, trust=trust, worthwhile=worthwhile,
        expected_sha256=expected_sha256,
    )  # fmt: skip


def load_generator(
    path: Path | str,
    device: str = "auto",
    precision: Precision = "fp32",
    *,
    runner: str = "auto",
    trust: bool = False,
    worthwhile: bool = False,
    expected_sha256: str | None = None,
) -> LatentModel:
    """Load the model at `path` that makes pictures out of latents; see `load_model`.

    Raises:
        ModelError: no model, damaged, written by something else or by a newer version, not trusted, not as expected,
            or no generator.
        UsageError: no such device or runner, or it cannot do what was asked.
    """
    return LatentModel.load(
        Path(path), device, precision,
        runner=runner, trust=trust, worthwhile=worthwhile, expected_sha256=expected_sha256,
    )  # fmt: skip


def load_any_model(
    path: Path | str,
    device: str = "auto",
    direction: str | None = None,
    precision: Precision = "fp32",
    *,
    strength: float = 1.0,
    consistent: bool = False,
    runner: str = "auto",
    trust: bool = False,
    worthwhile: bool = False,
    expected_sha256: str | None = None,
) -> ImageModel | LatentModel:
    """Load the model at `path`, whichever of the two kinds it is.

    Raises:
        ModelError, UsageError: as `load_model`; a generator has no direction and no strength.
    """
    file = resolve_model(Path(path))
    if read_any_metadata(file).translates:
        return load_model(
            file, device, direction, precision,
            strength=strength, consistent=consistent, runner=runner, trust=trust, worthwhile=worthwhile,
            expected_sha256=expected_sha256,
        )  # fmt: skip
    if direction is not None:
        raise UsageError(f"{file}: a generator has no direction {direction!r} - leave it out")
    if strength != 1 or consistent:
        raise UsageError(f"{file}: strength and consistent are for upscalers, this is a generator - leave them out")
    return load_generator(
        file, device, precision, runner=runner, trust=trust, worthwhile=worthwhile, expected_sha256=expected_sha256
    )


def _spelt(direction: str | None) -> str | None:
    """``btoa`` as ``BtoA``; every other name as it is."""
    ends = None if direction is None else re.fullmatch("([a-z])to([a-z])", direction, re.IGNORECASE)
    return direction if ends is None else f"{ends[1].upper()}to{ends[2].upper()}"
