"""The one way in which OpenVINO is imported: without its telemetry.

The library reports its import, and every conversion, to a web service where it finds the package `openvino_telemetry`,
which installs with it. Where that package cannot be imported it is silent; so it is made one that cannot.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from i2i.errors import UsageError

_TELEMETRY = "openvino_telemetry"


def load_openvino() -> ModuleType:
    """The module `openvino`.

    Raises:
        UsageError: it is not installed.
    """
    if _TELEMETRY not in sys.modules:
        # None is how Python itself marks a module as not to be found.
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise UsageError("OpenVINO is not installed - pip install 'i2i[openvino]', or use another runner") from error
