"""Real pictures, public weights and more reference numbers than are bundled: none of them is part of the project.

Whoever has them names their folder in the environment variable I2I_TEST_DATA; tests of what is not there are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(os.environ.get("I2I_TEST_DATA", os.devnull))

PICTURES = _FOLDER / "data"
"""Published sets: a folder each."""
WEIGHTS = _FOLDER / "weights"
"""Published weights: a folder a project."""
CASES = _FOLDER / "golden"
"""Numbers of reference implementations, in the form of `tests/parity/cases`."""
