"""Files of tensors, written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from i2i.files import TEMPORARY, atomic_path


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file.

    Raises:
        StorageError: it cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        # The library writes under a name of its own beside the one it is given, and a kill would leave that there.
        tempfile.TemporaryDirectory(dir=temporary.parent, prefix=TEMPORARY, ignore_cleanup_errors=True) as own,
    ):
        written = Path(own) / "tensors"
        try:
            save_file(dict(tensors), written, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # It wraps a full disk in its own error.
            raise OSError(str(error)) from error
        written.replace(temporary)
