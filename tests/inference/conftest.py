from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.models import write_constant_model


@pytest.fixture
def two_way_model(tmp_path: Path) -> Path:
    """AtoB gives (200, 40, 40) and BtoA (40, 200, 40), after rounding."""
    colours = {"AtoB": (199.7, 40.3, 40.0), "BtoA": (40.0, 199.7, 40.3)}
    return write_constant_model(tmp_path / "run" / "model.safetensors", colours)
