"""Pictures larger than memory: in tiles, or layer by layer in bands of rows."""

from __future__ import annotations
