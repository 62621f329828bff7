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

DEFAULT_METRICS = "fid,kid"
DEFAULT_FEATURES = "inception"
DEFAULT_LPIPS = "alexnet"

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
    features: str | None = None
    lpips: str | None = None
    samples: int | None = None
    seed: int | None = None
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
            self.metric_names()
        if self.samples is not None and self.samples < 2:
            raise UsageError(f"--samples is {self.samples}; needs at least 2")
        if self.seed is not None and self.seed < 0:
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
        if self.hr is not None:
            self.refuse_seed("what a model makes of --hr is not drawn")
            if self.metrics is None:
                self.refuse_networks("scores of --hr look through no network")

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
        if self.strength != 1.0 or self.consistent:
            raise UsageError("--strength and --consistent are for models that enlarge - leave them out with --real")
        self.refuse_seed("pictures in folders are not drawn")

    def metric_names(self) -> tuple[str, ...]:
        """The metrics that were asked for, or those by default.

        Raises:
            UsageError: one is unknown, or a network is named that none of them looks through.
        """
        from i2i.evaluation.measures import METRICS, parse_metrics

        names = parse_metrics(DEFAULT_METRICS if self.metrics is None else self.metrics)
        if not any(METRICS[name].needs in ("features", "logits") for name in names) and self.features is not None:
            raise UsageError(f"--features: none of {', '.join(names)} looks at features - leave it out")
        if "lpips" not in names and self.lpips is not None:
            raise UsageError(f"--lpips: lpips is not among {', '.join(names)} - add it to --metrics, or leave it out")
        return names

    def refuse_networks(self, reason: str) -> None:
        """Refuse networks to look through, where nothing does.

        Raises:
            UsageError: one is named.
        """
        for option, value in (("--features", self.features), ("--lpips", self.lpips)):
            if value is not None:
                raise UsageError(f"{option}: {reason} - name --metrics, or leave it out")

    def refuse_seed(self, reason: str) -> None:
        """Refuse a seed, where no pictures are drawn.

        Raises:
            UsageError: one is named.
        """
        if self.seed is not None:
            raise UsageError(f"--seed: {reason} - leave it out")

    def nothing_to_score_on(self) -> UsageError:
        """The error where neither an option nor the model's own run says on what."""
        return UsageError(_WHAT_ON)
