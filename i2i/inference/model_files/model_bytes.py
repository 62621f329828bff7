"""The bytes of a model file, read once: what is checked is what runs, whatever becomes of the file meanwhile."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from i2i.errors import ModelError
from i2i.files import read_regular


@dataclass(frozen=True)
class ModelBytes:
    """A model file; an OpenVINO model is two."""

    path: Path
    content: bytes = field(repr=False)
    weights: bytes | None = field(default=None, repr=False)
    """What lies in the ``.bin`` beside an ``.xml``; None where there is none."""

    @functools.cached_property
    def sha256(self) -> str:
        """As 64 hexadecimal digits; of two files together."""
        own = hashlib.sha256(self.content).hexdigest()
        if self.weights is None:
            return own
        return hashlib.sha256(f"{own}\n{hashlib.sha256(self.weights).hexdigest()}\n".encode()).hexdigest()


def read_model_bytes(path: Path) -> ModelBytes:
    """Read the model file at `path`, and the weights beside it where it is an ``.xml``.

    Raises:
        ModelError: it cannot be read.
    """
    weights = path.with_suffix(".bin")
    try:
        has_weights = path.suffix.lower() == ".xml" and weights.is_file()
        return ModelBytes(path, read_regular(path), read_regular(weights) if has_weights else None)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error} - check the file") from error
