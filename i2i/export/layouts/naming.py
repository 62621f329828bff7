"""Keys of layers on both sides, put together from their names."""

from __future__ import annotations

from collections.abc import Iterable

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def keys(pairs: Iterable[tuple[str, str]], normalization: str) -> dict[str, str]:
    """Keys of convolutions and of the normalization one place behind each, on both sides."""
    layout: dict[str, str] = {}
    for ours, theirs in pairs:
        layout[f"{ours}.weight"] = f"{theirs}.weight"
        if normalization == "none":
            layout[f"{ours}.bias"] = f"{theirs}.bias"
        if normalization == "batch":
            layout |= {f"{following(ours)}.{name}": f"{following(theirs)}.{name}" for name in BATCH_NORM}
    return layout


def end_keys(pairs: Iterable[tuple[str, str]], normalization: str) -> dict[str, str]:
    """Keys of convolutions without a normalization behind them, which have biases only where there is none at all."""
    if normalization == "none":
        return weight_and_bias(pairs)
    return {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in pairs}


def weight_and_bias(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keys of layers that have both."""
    return {f"{ours}.{name}": f"{theirs}.{name}" for ours, theirs in pairs for name in ("weight", "bias")}


def following(key: str) -> str:
    """The layer one place behind."""
    stem, _, index = key.rpartition(".")
    return f"{stem}.{int(index) + 1}"
