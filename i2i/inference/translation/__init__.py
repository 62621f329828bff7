"""Many pictures through a model: what goes where, the conveyor, and what is noted about it."""

from __future__ import annotations
