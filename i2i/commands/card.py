"""`i2i card MODEL...`: a Markdown card beside each model that says what it is and what it can be trusted with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from i2i.errors import UsageError


def run(models: Sequence[Path], *, licence: str | None = None) -> list[Path]:
    """Write a card for each run folder or model file and return their paths, in order.

    Args:
        models: run folders get ``card.md``, a model file ``FILE.card.md``.
        licence: for all of them; by default what an earlier card says, else "unknown".

    Raises:
        UsageError: none is given, or an empty licence.
        ModelError: one of them is no model.
        StorageError: a card cannot be written.
    """
    from i2i.inference import resolve_model
    from i2i.report.card import write_card, write_model_card

    if not models:
        raise UsageError("card: no model given - name at least one run folder or model file")
    if licence is not None and not licence.strip():
        raise UsageError("--licence: is empty - give a name such as CC-BY-4.0, or leave it out")
    # All of them before the first is written.
    for model in models:
        resolve_model(Path(model))
    return [
        write_card(Path(model), licence=licence) if Path(model).is_dir() else write_model_card(model, licence=licence)
        for model in models
    ]
