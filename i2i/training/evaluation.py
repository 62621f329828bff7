"""Figures of the averaged networks while they train, as `i2i evaluate` makes them of the model file of that step.

All processes take part, and what they find does not depend on their number. The training itself must not notice: the
networks are copies in evaluation mode, and the global random states are afterwards what they were.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from i2i.core.step import Progress
from i2i.data.dataset import DataSet
from i2i.errors import InterruptedBySignal, ModelError, RecipeError, UsageError
from i2i.evaluation.assessment import assess, cautions, check
from i2i.evaluation.features.blocks import Share
from i2i.evaluation.features.opening import TORCHSCRIPT, open_extractor, split_spec
from i2i.evaluation.features.protocol import FeatureExtractor
from i2i.evaluation.features.store import default_features_folder
from i2i.evaluation.measures import METRICS
from i2i.evaluation.passports.figures import EVALUATIONS_FOLDER, Figure, Subject, sheet_of
from i2i.evaluation.perceptual_opening import open_perceptual
from i2i.evaluation.pictures.sources import PictureSource, at_most, given_to
from i2i.files import sha256_of_file
from i2i.pipelines.protocol import Pipeline
from i2i.training.distributed import Collect
from i2i.training.engine import Engine
from i2i.training.evaluation_judgement import Judge, judge_figures
from i2i.training.evaluation_sets import Comparison, comparisons
from i2i.training.settings import EvaluationSettings
from i2i.training.signals import StopRequest


class Evaluation:
    """What is measured of a training; opened once, at its start.

    Args:
        settings: of the recipe.
        pipeline, data: what trains, and on what.
        extractor: from `open_features`.
        device: where networks and extractor run.
        description: of the data, for a person.
        store: folder for features and statistics of real pictures; that of the user's cache by default.

    Raises:
        RecipeError: the data have no pictures to measure by, or a metric needs another network.
        ModelError: the weights of LPIPS are missing or unfit.
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        pipeline: Pipeline,
        data: DataSet,
        *,
        extractor: FeatureExtractor | None,
        device: torch.device,
        description: str,
        store: Path | None = None,
    ) -> None:
        self.settings = settings
        self.device = device
        self.store = store or default_features_folder()
        self.comparisons = comparisons(settings, pipeline, data, description)
        self.extractor = extractor
        try:
            self.perceptual = open_perceptual(settings.lpips, device) if "lpips" in settings.measured else None
            check(settings.measured, self.extractor, self.perceptual)
        except UsageError as error:
            raise RecipeError(f"evaluate: {error}") from error

    def figures(self, engine: Engine, stop: StopRequest) -> list[Figure]:
        """Measure what the engine's networks make now: the same figures on every process.

        Raises:
            InterruptedBySignal: `stop` was asked for on this process.
            I2IError: a network's pictures are not finite, memory is short, or another process failed.
        """

        def work(collect: Collect) -> list[Figure]:
            with undisturbed(self.device):
                networks = engine.inference_networks()
                return [
                    figure
                    for comparison in self.comparisons
                    for figure in self._compare(comparison, networks, engine, stop, collect)
                ]

        return engine.processes.together(work)

    def deciding(self, figures: Sequence[Figure]) -> tuple[float, bool] | None:
        """The value that ranks models and whether more of it is better; None where no figure decides."""
        kind, best = self.settings.kind_of_best, self.settings.best
        if kind is None:
            return None
        names = {best} if self.settings.direction_of_best else {f"{kind.name}{one.suffix}" for one in self.comparisons}
        values = [figure.value for figure in figures if figure.name in names]
        assert len(values) == len(names), "the settings refuse what no metric gives"
        return sum(values) / len(values), bool(kind.higher_is_better)

    def describe(self) -> str:
        """What is measured against what, in one phrase."""
        sets = "; ".join(
            f"{one.count:,} made pictures{f' {one.name}' if one.suffix else ''}"
            f" against {one.real.count:,} real ones ({one.split})"
            for one in self.comparisons
        )
        return f"{', '.join(self.settings.metrics)} of {sets}"

    def cautions(self) -> list[str]:
        """A line for each thing of which so few pictures say little."""
        lines = [
            line
            for one in self.comparisons
            for line in cautions(self.settings.measured, one.real.count, one.count, self.extractor)
        ]
        return list(dict.fromkeys(lines))

    def _compare(
        self,
        comparison: Comparison,
        networks: Mapping[str, nn.Module],
        engine: Engine,
        stop: StopRequest,
        collect: Collect,
    ) -> list[Figure]:
        settings = self.settings
        made: PictureSource = _Interruptible(comparison.made(networks, self.device), stop)
        share = Share(engine.processes.rank, engine.processes.count)
        figures: list[Figure] = []
        for metrics, real, split in _against(settings.measured, comparison):
            figures += assess(
                metrics,
                _Interruptible(real, stop),
                made,
                extractor=self.extractor,
                split=split,
                latent_seed=comparison.latent_seed,
                suffix=comparison.suffix,
                share=share,
                collect=collect,
                store=self.store,
                perceptual=self.perceptual,
            )
        if settings.judged:
            # The newest: of discriminators no average is kept.
            judge = Judge(engine.pipeline.networks[str(comparison.entry.judge)], self.device)
            figures += judge_figures(judge, comparison, _Interruptible(comparison.real, stop), made, share, collect)
        return figures


def _against(metrics: Sequence[str], comparison: Comparison) -> list[tuple[list[str], PictureSource, str]]:
    """Which metrics compare with which real pictures, and of which half these are."""
    groups: dict[str, list[str]] = {}
    for name in metrics:
        groups.setdefault(METRICS[name].needs, []).append(name)
    real, split, held_out = comparison.real, comparison.split, comparison.held_out
    found = [
        (groups.get("features", []) + groups.get("logits", []), real, split),
        (groups.get("counterparts", []), at_most(real, comparison.count), split),
        # A likelihood of what was learnt from would praise learning by heart.
        (groups.get("pixels", []), *((real, split) if held_out is None else (held_out, "test"))),
    ]
    return [group for group in found if group[0]]


def with_whole_path(features: str) -> str:
    """The same network, its file named so that it means the same from every working directory."""
    name, file = split_spec(features)
    if file is None:
        return features
    return _absolute(file) if name == TORCHSCRIPT else f"{name}:{_absolute(file)}"


def with_whole_files(lpips: str) -> str:
    """The same for the two files of a perceptual distance."""
    name, colon, files = lpips.partition(":")
    return f"{name}:{','.join(map(_absolute, files.split(',')))}" if colon else lpips


def _absolute(file: str) -> str:
    return str(Path(file).expanduser().absolute())


def write_sheet(run_folder: Path, figures: Sequence[Figure], progress: Progress) -> Path:
    """Write the figures of one step, with their passports, beside those of other steps; returns the path.

    Raises:
        StorageError: they cannot be written.
    """
    subject = Subject(
        description=f"{run_folder.name} at step {progress.step:,}",
        step=progress.step,
        images=progress.images,
        # As `i2i evaluate` runs the model file by default, whatever the training computes in.
        settings={"precision": "fp32", "runner": "torch"},
    )
    path = run_folder / EVALUATIONS_FOLDER / f"step_{progress.step:08d}.json"
    sheet_of(subject, figures).write(path)
    return path


def remove_later_sheets(run_folder: Path, step: int) -> None:
    """Remove the figures of steps beyond `step`, from which a training went back."""
    for path in (run_folder / EVALUATIONS_FOLDER).glob("step_*.json"):
        found = re.fullmatch(r"step_(\d+)\.json", path.name)
        if found is not None and int(found[1]) > step:
            path.unlink(missing_ok=True)


def open_features(settings: EvaluationSettings | None, device: torch.device) -> FeatureExtractor | None:
    """The network that the metrics look through; None where none of them does, or nothing is measured.

    Raises:
        ModelError: weights are missing, or a file that can carry code is not the one that the recipe allows.
    """
    if settings is None or not any(METRICS[name].needs in ("features", "logits") for name in settings.measured):
        return None
    name, file = split_spec(settings.features)
    if name != TORCHSCRIPT or file is None:
        return open_extractor(settings.features, device)
    path, allowed = Path(file).expanduser(), str(settings.features_sha256).lower()
    if path.is_file() and (found := sha256_of_file(path)) != allowed:
        raise ModelError(
            f"{path}: its SHA-256 is {found}, the recipe allows {allowed[:8]}... alone"
            " - if you trust this file, which can carry code, correct evaluate.features_sha256"
        )
    return open_extractor(settings.features, device, trust=True)


@contextlib.contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Whatever runs inside, the process's random states, number of threads and arithmetic are afterwards as before."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    threads, products, cudnn = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn
    flags = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(products)
            for name, value in flags.items():
                setattr(cudnn, name, value)


class _Interruptible:
    """A source that gives no more pictures once a signal has asked the training to stop."""

    def __init__(self, source: PictureSource, stop: StopRequest) -> None:
        self._source, self._stop = source, stop
        self.count = source.count
        self.description = source.description
        self.given = given_to(source)

    @property
    def sha256(self) -> str | None:
        return self._source.sha256

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        if self._stop.signal_number:
            raise InterruptedBySignal(self._stop.signal_number, "the evaluation was cut off")
        return self._source.pictures(first, last)
