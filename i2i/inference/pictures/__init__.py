"""Picture files in and out, and what must survive on the way."""

from __future__ import annotations
