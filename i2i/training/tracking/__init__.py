"""How a run is followed: its record in the run folder, and the services that show it elsewhere."""

from i2i.training.tracking.best import best_values, higher_is_better
from i2i.training.tracking.opening import open_sinks, wandb_mode
from i2i.training.tracking.reading import ALARMS_FILE, METRICS_FILE, next_attempt, read_alarms, read_metrics
from i2i.training.tracking.record import Tracker
from i2i.training.tracking.settings import TrackingSettings
from i2i.training.tracking.sinks import Attempt, BackgroundSink, Row, Sink

__all__ = [
    "ALARMS_FILE",
    "METRICS_FILE",
    "Attempt",
    "BackgroundSink",
    "Row",
    "Sink",
    "Tracker",
    "TrackingSettings",
    "best_values",
    "higher_is_better",
    "next_attempt",
    "open_sinks",
    "read_alarms",
    "read_metrics",
    "wandb_mode",
]
