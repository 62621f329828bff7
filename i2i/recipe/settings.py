"""The recipe: everything that decides an experiment, composed from the settings of its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from i2i.core.losses.adversarial import CROSS_ENTROPY_KINDS
from i2i.data.settings import DataSettings
from i2i.evaluation.measures import D_PROBABILITY, METRICS
from i2i.pipelines import PipelineSettings, UnconditionalSettings
from i2i.training.settings import EvaluationSettings, PrecisionName, SpeedName, TrainingSettings, TrickName
from i2i.training.tracking import TrackingSettings

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment, complete: two equal recipes on one machine give the same run.

    Raises:
        ValueError: the name would make no folder name, or the seed is out of range.
    """

    name: str
    """Names the run's folder; a file that gives none is called after itself."""
    seed: int = 0
    """Everything random derives from it."""
    initialize_from: str | None = None
    """A run folder or model whose weights training starts from (fine-tuning)."""
    precision: PrecisionName = "auto"
    """Arithmetic of the networks; "auto" measures which pays on this machine. "fp64" is for tests."""
    speed: SpeedName | tuple[TrickName, ...] = "auto"
    """What makes a step faster with the same mathematics, by name; "auto" takes what pays on this machine and writes
    the names into the run, "plain" leaves everything out that makes a step harder to follow."""
    deterministic: bool = False
    """Same bits from the same seed on CUDA too, at some cost; on CPU always so."""
    pipeline: PipelineSettings
    data: DataSettings
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluate: EvaluationSettings | None = None
    """What to measure while training, beside validation, which is cheap; nothing unless asked for."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name is {self.name[:60]!r}; it names a folder - use letters, digits, '_', '-' and '.'")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ValueError(f"seed is {self.seed}; needs 0 to 2**63 - 1")
        if len(set(self.speed)) < len(self.speed) and not isinstance(self.speed, str):
            raise ValueError(f"speed is {list(self.speed)}; needs each name once")

    def contradictions(self) -> list[tuple[str, str]]:
        """What the parts, each fine by itself, ask of each other and do not get: (dotted key, message) pairs."""
        found: list[tuple[str, str]] = []
        for player in self.training.optimizers:
            if player not in self.pipeline.players:
                known = " and ".join(self.pipeline.players)
                found.append(
                    (f"training.optimizers.{player}", f"training.optimizers.{player}: {self.pipeline.kind} has {known}")
                )
        missing = [stream for stream in self.pipeline.streams if stream not in self.data.streams]
        if missing:
            found.append(("data", self._what_is_missing(missing)))
            return found
        if "label" in self.data.streams and "label" not in self.pipeline.streams:
            found.append(
                ("data.labels", "data.labels is true, but pipeline.classes is 0 - set it to the number of classes")
            )
        if self.pipeline.scale != self.data.scale:
            message = f"data.scale is {self.data.scale}, but pipeline.generator.scale is {self.pipeline.scale}"
            found.append(("data.scale", f"{message} - set both to the same number"))
        problem = self.pipeline.size_problem(self.data.shape)
        if problem is not None:
            key = f"data.{self.data.pixels_key}"
            found.append((key, f"{key} is {self.data.shape.pixels}; {problem}"))
        return found + self._of_batches() + (self._of_evaluation(self.evaluate) if self.evaluate is not None else [])

    def _of_batches(self) -> list[tuple[str, str]]:
        """What the method cannot do with batches of this size."""
        # Weights from elsewhere may bring along what the first batch is needed for.
        if not isinstance(self.pipeline, UnconditionalSettings) or self.initialize_from is not None:
            return []
        training, key = self.training, "training.batch_size"
        problem = self.pipeline.batch_problem(training.batch_size // training.accumulate)
        return [] if problem is None else [(key, f"{key} is {training.batch_size}; {problem}")]

    def _of_evaluation(self, wanted: EvaluationSettings) -> list[tuple[str, str]]:
        """What cannot be measured of such a training."""
        found: list[tuple[str, str]] = []
        pipeline, key = self.pipeline, "evaluate.metrics"
        paired = [name for name in wanted.measured if METRICS[name].needs == "counterparts"]
        if paired and "real" in pipeline.streams:
            what = f"{key}: {paired[0]} compares with true counterparts, and pictures out of nothing have none"
            found.append((key, f"{what} - leave it out, or take fid or kid"))
        if wanted.judged and "discriminator" not in pipeline.players:
            found.append((key, f"{key}: {D_PROBABILITY} asks the discriminator, and there is none - leave it out"))
        elif wanted.judged and pipeline.adversarial not in CROSS_ENTROPY_KINDS:
            what = f"{key}: {D_PROBABILITY}: under the {pipeline.adversarial} loss a logit is no probability's"
            found.append((key, f"{what} - leave it out; training shows the logits"))
        direction = wanted.direction_of_best
        if direction and direction not in pipeline.directions:
            kind = wanted.kind_of_best
            assert kind is not None
            names = [kind.name, *(f"{kind.name}_{name}" for name in pipeline.directions)]
            message = f"evaluate.best is {wanted.best!r}; this pipeline gives {' and '.join(names)}"
            found.append(("evaluate.best", message))
        return found

    def _what_is_missing(self, missing: list[str]) -> str:
        if missing == ["label"]:
            return (
                f"pipeline.classes is {self.pipeline.classes}: training with classes needs to know the class of every"
                " picture - set data.labels to true, or pipeline.classes to 0"
            )
        wanted, given = (_KINDS_OF_DATA.get(streams[0], streams[0]) for streams in (missing, self.data.streams))
        return (
            f"pipeline of kind {self.pipeline.kind} learns from {wanted}, and data.kind {self.data.kind} is {given}"
            " - choose another data.kind"
        )


_KINDS_OF_DATA = {
    "real": "one set of pictures",
    "a": "two sets of pictures",
    "b": "two sets of pictures",
    "low": "pictures with smaller versions of themselves",
    "high": "pictures with smaller versions of themselves",
}
"""By the name of a stream: what has it, in plain words."""
