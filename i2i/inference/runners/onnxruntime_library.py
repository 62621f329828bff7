"""The one way in which ONNX Runtime is imported: without its telemetry.

From version 1.31 on the library sends what it did to a web service, some time after. It reads whether it may when it is
loaded.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

_SWITCH = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime() -> ModuleType:
    """The module `onnxruntime`.

    Raises:
        ImportError: it is not installed, or cannot be loaded.
    """
    os.environ[_SWITCH] = "1"
    library = importlib.import_module("onnxruntime")
    # For where somebody else has imported it before.
    library.disable_telemetry_events()
    return library
