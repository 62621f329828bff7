"""Model files: our own, and what exporting makes of them; which may be opened, and how."""

from __future__ import annotations
