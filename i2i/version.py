"""The version of the package: of its own module, for what lies below all others records it too."""

from __future__ import annotations

__version__ = "0.1.0"
