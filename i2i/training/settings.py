"""How long, how fast and how carefully to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from i2i.core.ramp import CosineRamp, bounds
from i2i.evaluation.features.opening import TORCHSCRIPT, split_spec
from i2i.evaluation.measures import D_PROBABILITY, FigureKind, figure_names, kind_of, parse_metrics
from i2i.training.loss_audit import LossAuditSettings
from i2i.training.schedule import ConstantSchedule, ScheduleSettings
from i2i.training.watchdog import WatchdogSettings

PrecisionName = Literal["auto", "fp64", "fp32", "bf16", "fp16"]
SpeedName = Literal["auto", "plain"]
TrickName = Literal[
    "channels_last", "fused_optimizers", "kept_memory", "fitting_threads", "raced_convolutions", "compiled_networks"
]
"""What makes a step faster; `i2i.training.acceleration` says what each does."""


@dataclass(frozen=True, kw_only=True)
class LengthSettings:
    """When training ends: at the first of the limits that are given."""

    epochs: float | None = None
    steps: int | None = None
    images: int | None = None
    minutes: float | None = None
    """Wall time over all attempts of the run; where it ends depends on the machine's speed."""

    def __post_init__(self) -> None:
        limits = (self.epochs, self.steps, self.images, self.minutes)
        if all(limit is None for limit in limits):
            raise ValueError("length needs one of epochs, steps, images, minutes")
        _refuse_below(self, 0, "epochs", "steps", "images", "minutes", inclusive=False)


def _refuse_below(owner: object, least: float, *names: str, inclusive: bool = True) -> None:
    """Raise ValueError for the first named number of `owner` that is too small; None passes."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and (value < least or (value == least and not inclusive)):
            raise ValueError(f"{name} is {value}; needs {'at least' if inclusive else 'more than'} {least:g}")


@dataclass(frozen=True, kw_only=True)
class AdamSettings:
    """Adam (Kingma & Ba 2015)."""

    kind: Literal["adam"] = "adam"
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    second_beta: CosineRamp | None = None
    """In place of the second of `betas`, for methods that change it while they train (R3GAN)."""
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _refuse_below(self, 0, "learning_rate", "epsilon", inclusive=False)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; each needs 0 up to, not including, 1")
        if self.second_beta is not None and not all(0 <= beta < 1 for beta in bounds(self.second_beta)):
            raise ValueError("second_beta needs to stay within 0 up to, not including, 1")


@dataclass(frozen=True, kw_only=True)
class SGDSettings:
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.5

    def __post_init__(self) -> None:
        _refuse_below(self, 0, "learning_rate", inclusive=False)
        _refuse_below(self, 0, "momentum")


OptimizerSettings = AdamSettings | SGDSettings


@dataclass(frozen=True, kw_only=True)
class NonfiniteSettings:
    """What happens when a loss or gradient is not a finite number: that update is skipped and counted."""

    tolerated_steps: int = 10
    """So many steps in a row with a skipped update are endured."""
    then: Literal["stop", "rollback"] = "stop"
    """Afterwards stop, or go back to the last checkpoint and on with fresh data."""
    rollbacks: int = 3
    """So many times at most, then stop."""

    def __post_init__(self) -> None:
        _refuse_below(self, 0, "tolerated_steps", "rollbacks")


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When to write a checkpoint (at the end of training always) and how many to keep."""

    every_minutes: float | None = 10.0
    every_steps: int | None = None
    keep_last: int = 2

    def __post_init__(self) -> None:
        _refuse_below(self, 0, "every_minutes", "every_steps", inclusive=False)
        _refuse_below(self, 1, "keep_last")


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """When to score the averaged networks on the test pictures."""

    every_epochs: float | None = 5.0
    every_steps: int | None = None
    every_minutes: float | None = None
    pictures: int = 50
    """Test pictures used, evenly spread over the set; 0 leaves validation out."""

    def __post_init__(self) -> None:
        _refuse_below(self, 0, "every_epochs", "every_steps", "every_minutes", inclusive=False)
        _refuse_below(self, 0, "pictures")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to measure of the averaged networks while they train, and when; at the end in any case."""

    every_epochs: float | None = None
    every_steps: int | None = None
    every_minutes: float | None = None
    metrics: tuple[str, ...] = ("fid", "kid")
    """As `i2i evaluate --metrics` takes them, and "d_probability"."""
    samples: int = 1000
    """Pictures to make; of test pictures, so many at most are translated each way."""
    seed: int = 0
    """Pictures out of nothing are those of `i2i generate --seed`."""
    features: str = "inception"
    """The network that looks at the pictures, as `i2i evaluate --features` takes it."""
    features_sha256: str | None = None
    """Of a TorchScript file in `features`. Such files can carry code: only this one is run."""
    lpips: str = "alexnet"
    """The network of the metric "lpips", as `i2i evaluate --lpips` takes it."""
    best: str | None = None
    """The figure that decides which model is the best, in place of validation: "fid", or "fid_AtoB" where there are
    several directions; of these, "fid" is the mean."""

    def __post_init__(self) -> None:
        _refuse_below(self, 0, "every_epochs", "every_steps", "every_minutes", inclusive=False)
        _refuse_below(self, 2, "samples")
        _refuse_below(self, 0, "seed")
        if self.measured or not self.judged:
            parse_metrics(self.measured)  # refuses what it does not know
        if split_spec(self.features)[0] == TORCHSCRIPT and self.features_sha256 is None:
            raise ValueError("features is a TorchScript file, which can carry code; name its SHA-256: features_sha256")
        if self.best is not None:
            given = figure_names(self.measured)
            kind = self.kind_of_best
            if kind is None or kind.name not in given:
                there = f"these give {', '.join(given)}" if given else "add one, such as fid"
                raise ValueError(f"best is {self.best!r}, which none of the metrics gives; {there}")
            if kind.higher_is_better is None:
                raise ValueError(f"best is {self.best!r}, of which neither more nor less is better - name another")

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics that compare pictures with pictures, each once."""
        return tuple(dict.fromkeys(name for name in self.metrics if name != D_PROBABILITY))

    @property
    def judged(self) -> bool:
        """Whether the discriminator is asked too."""
        return D_PROBABILITY in self.metrics

    @property
    def kind_of_best(self) -> FigureKind | None:
        """What kind of figure `best` is."""
        return None if self.best is None else kind_of(self.best)

    @property
    def direction_of_best(self) -> str:
        """The direction that `best` names; empty for the mean of all."""
        kind = self.kind_of_best
        return "" if self.best is None or kind is None else self.best.removeprefix(kind.name).removeprefix("_")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """When to draw contact sheets of fixed test pictures."""

    every_epochs: float | None = 1.0
    every_steps: int | None = None
    every_minutes: float | None = None
    pictures: int = 4

    def __post_init__(self) -> None:
        _refuse_below(self, 0, "every_epochs", "every_steps", "every_minutes", inclusive=False)
        _refuse_below(self, 1, "pictures")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Everything about a training that is not the method, the data or the tracking."""

    batch_size: int = 1
    """Samples in the joined batch of all processes and micro-batches."""
    accumulate: int = 1
    """Micro-batches that the batch is split into to save memory; more of them where memory runs out."""
    activation_checkpointing: bool = False
    """Keep only what goes into the blocks of the networks and compute the rest again when gradients are taken: less
    memory, the same numbers, a third more arithmetic."""
    length: LengthSettings = field(default_factory=lambda: LengthSettings(epochs=200))
    optimizers: Mapping[str, OptimizerSettings] = field(default_factory=dict)
    """By player; a player without an entry gets the defaults of Adam."""
    schedule: ScheduleSettings = field(default_factory=ConstantSchedule)
    ema_half_life_images: float = 0.0
    """Half-life of the running average kept for inference; 0 keeps the weights themselves."""
    clip_gradient_norm: float | None = None
    """Upper bound of the norm over all gradients of a player."""
    workers: int = 0
    """Processes that prepare pictures; 0 prepares them between steps."""
    nonfinite: NonfiniteSettings = field(default_factory=NonfiniteSettings)
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)
    loss_audit: LossAuditSettings = field(default_factory=LossAuditSettings)
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    samples: SampleSettings = field(default_factory=SampleSettings)
    log_every_steps: int = 50

    def __post_init__(self) -> None:
        _refuse_below(self, 1, "batch_size", "accumulate")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} cannot be split into {self.accumulate} equal micro-batches")
        _refuse_below(self, 0, "ema_half_life_images", "workers")
        _refuse_below(self, 0, "clip_gradient_norm", inclusive=False)
        _refuse_below(self, 1, "log_every_steps")
