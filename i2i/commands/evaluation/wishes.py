"""What a user asked `i2i evaluate` for, and whether it goes together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from i2i.errors import UsageError

if TYPE_CHECKING:
    from i2i.inference.runtime import Precision

DEFAULT_SAMPLES = 10_000
"""A generator makes as many pictures as there are real ones, but no more than this unless asked to."""

_WHAT_ON = (
    "what to score on? Give --data SET, or for models that enlarge --hr PICTURES (and --lr PICTURES),"
    " or without a model --real DIR --fake DIR"
)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options of the verb; None where one was not given."""

    model: Path | None = None
    data: str | None = None
    real: Path | None = None
    fake: Path | None = None
    hr: str | None = None
    lr: str | None = None
    metrics: str | None = None
    features: str = "inception"
    lpips: str = "alexnet"
    samples: int | None = None
    seed: int = 0
    split: Literal["train", "test"] | None = None
    direction: str | None = None
    strength: float = 1.0
    consistent: bool = False
    out: Path | None = None
    device: str = "auto"
    precision: Precision = "fp32"
    runner: str = "auto"
    trust: bool = False
    max_pixels: int = 200_000_000
    json: bool = False
    quiet: bool = False

    @property
    def folders(self) -> bool:
        """Whether two folders are compared, without a model."""
        return self.real is not None or self.fake is not None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: they do not, or something is missing or unknown.
        """
        if self.metrics is not None:
            from i2i.evaluation.measures import parse_metrics

            parse_metrics(self.metrics)
        if self.samples is not None and self.samples < 2:
            raise UsageError(f"--samples is {self.samples}; needs at least 2")
        if self.seed < 0:
            raise UsageError(f"--seed is {self.seed}; needs 0 or more")
        if self.folders:
            self._check_folders()
            return
        if self.model is None:
            raise UsageError("which model? Give --model M, or compare two folders with --real DIR --fake DIR")
        if (self.data is not None and self.hr is not None) or (self.hr is None and self.lr is not None):
            raise UsageError(_WHAT_ON)
        if self.hr is not None and self.split is not None:
            raise UsageError("--split is for data sets with both halves - leave it out with --hr")

    def _check_folders(self) -> None:
        if self.real is None or self.fake is None:
            raise UsageError("two folders are needed: --real DIR with true pictures and --fake DIR with made ones")
        of_models = {
            "--model": self.model, "--data": self.data, "--hr": self.hr, "--lr": self.lr, "--split": self.split,
            "--direction": self.direction,
        }  # fmt: skip
        given = [name for name, value in of_models.items() if value is not None]
        if given:
            raise UsageError(f"{given[0]} and --real: evaluate either a model or two folders - leave one out")

    def nothing_to_score_on(self) -> UsageError:
        """The error where neither an option nor the model's own run says on what."""
        return UsageError(_WHAT_ON)
