"""What follows a run besides the files of its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModelUpload = Literal["never", "end", "checkpoint"]


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Which services follow a run, besides the files of the run folder.

    Raises:
        ValueError: `finish_seconds` is negative.
    """

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """ "auto" sends to Weights & Biases if a key is at hand and records offline otherwise."""
    project: str = "i2i"
    """The Weights & Biases project."""
    upload_model: ModelUpload = "end"
    """When the model goes to Weights & Biases as an artifact: every checkpoint makes a version that takes up space."""
    finish_seconds: float = 60.0
    """How long the end of a training waits for what is still to be sent; the rest stays in the run folder."""
    tensorboard: bool = False
    """Also write TensorBoard events, into `tensorboard/` of the run folder."""

    def __post_init__(self) -> None:
        if not self.finish_seconds >= 0:
            raise ValueError(f"finish_seconds is {self.finish_seconds}; needs 0 or more")
