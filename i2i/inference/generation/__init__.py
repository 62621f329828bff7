"""Many pictures from a generator: latents, and what is made of them."""

from __future__ import annotations
