"""Scores of the averaged networks on test pictures, and which of them decides what is best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from i2i.core.resize import resize_levels
from i2i.evaluation.metrics.psnr import l1, psnr
from i2i.evaluation.upscaling import luma_psnr
from i2i.inference.sizes import AnySize
from i2i.pipelines.protocol import PictureEntryPoint, Pipeline
from i2i.training.precision import Precision
from i2i.training.sheets import to_uint8

_PICTURES_AT_ONCE, _LARGE_PIXELS = 4, 512
_Metric = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Scores:
    """What a validation found."""

    values: Mapping[str, float]
    """By metric: ``psnr_<entry point>`` (dB) and ``l1_<entry point>`` (grey levels) of translations,
    ``psnr_y_<entry point>`` (dB, luma, a border of `scale` pixels left out) of enlargements, ``consistency``."""
    deciding: float
    """One number to rank checkpoints by; higher is better."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """By metric and baseline (``psnr_y_upscale/bicubic``): what needs no network, on the same pictures."""


class Validation:
    """Test pictures, evenly picked once, and how to score networks on them."""

    def __init__(
        self,
        pipeline: Pipeline,
        test: Mapping[str, Sequence[np.ndarray]],
        *,
        aligned: bool,
        pictures: int,
        precision: Precision,
    ) -> None:
        """`aligned`: the pictures of all streams show the same things in the same order, so truth is known."""
        self._pipeline = pipeline
        self._aligned = aligned
        self._precision = precision
        scored = aligned or pipeline.consistency is not None
        shortest = min((len(test.get(stream, ())) for stream in pipeline.streams), default=0) if scored else 0
        picked = spread(shortest, pictures)
        self._pictures = {stream: [test[stream][i] for i in picked] for stream in pipeline.streams if picked}

    def __bool__(self) -> bool:
        """Whether there is anything to score: a method without truth and without a way back has no validation."""
        return bool(self._pictures)

    @torch.inference_mode()
    def score(self, networks: Mapping[str, nn.Module]) -> Scores:
        """With known counterparts PSNR (and L1) of every entry point, else the pipeline's consistency."""
        with self._precision.computing():
            return self._score_pairs(networks) if self._aligned else self._score_consistency(networks)

    def _score_consistency(self, networks: Mapping[str, nn.Module]) -> Scores:
        consistency_of = self._pipeline.consistency
        assert consistency_of is not None, "no pictures were picked then"
        scores = [
            consistency_of(networks, {name: to_batch(pictures, self._precision) for name, pictures in batch.items()})
            for batch in self._batches(self._pipeline.streams)
        ]
        consistency = float(torch.cat([score.float() for score in scores]).mean())
        return Scores({"consistency": consistency}, -consistency)

    def _score_pairs(self, networks: Mapping[str, nn.Module]) -> Scores:
        values: dict[str, float] = {}
        deciding: list[float] = []
        for name, entry in self._pipeline.entry_points.items():
            if not isinstance(entry, PictureEntryPoint) or entry.domains is None:
                continue
            scores = self._score_entry_point(networks[entry.network], entry)
            values |= {f"{metric}_{name}": float(np.mean(numbers)) for metric, numbers in scores.items()}
            deciding += [values[f"{metric}_{name}"] for metric in scores if metric.startswith("psnr")]
        return Scores(values, float(np.mean(deciding)), self._baselines)

    @cached_property
    def _baselines(self) -> dict[str, float]:
        """The bicubic enlargement's score for every entry point that enlarges; the pictures stay the same."""
        found: dict[str, float] = {}
        for name, entry in self._pipeline.entry_points.items():
            if isinstance(entry, PictureEntryPoint) and entry.domains is not None and entry.scale > 1:
                source, target = (self._pictures[stream] for stream in entry.domains)
                scores = []
                for low, truth in zip(source, target, strict=True):
                    levels = torch.from_numpy(np.array(low)).permute(2, 0, 1)[None]
                    made = resize_levels(levels, entry.scale)[0].permute(1, 2, 0).numpy()
                    scores.append(luma_psnr(made, truth, border_pixels=entry.scale))
                found[f"psnr_y_{name}/bicubic"] = float(np.mean(scores))
        return found

    def _score_entry_point(self, network: nn.Module, entry: PictureEntryPoint) -> dict[str, list[float]]:
        """Each metric of every test picture."""
        assert entry.domains is not None
        source, target = entry.domains
        metrics: dict[str, _Metric] = {"psnr": psnr, "l1": l1}
        if entry.scale > 1:
            metrics = {"psnr_y": lambda made, truth: luma_psnr(made, truth, border_pixels=entry.scale)}
        found: dict[str, list[float]] = {metric: [] for metric in metrics}
        for batch in self._batches(entry.domains):
            # Padded as whoever uses the model file has it.
            made = to_uint8(AnySize(network, entry)(to_batch(batch[source], self._precision)))
            for metric, measure in metrics.items():
                found[metric] += [measure(a, b) for a, b in zip(made, batch[target], strict=True)]
        return found

    def _batches(self, streams: Sequence[str]) -> list[Mapping[str, Sequence[np.ndarray]]]:
        """A few pictures at a time; one at a time where they are large, or of several sizes and cannot be stacked."""
        count = len(self._pictures[streams[0]])
        shapes = [{picture.shape for picture in self._pictures[stream]} for stream in streams]
        small = all(len(sizes) == 1 and max(max(sizes)) <= _LARGE_PIXELS for sizes in shapes)
        size = _PICTURES_AT_ONCE if small else 1
        return [
            {stream: self._pictures[stream][first : first + size] for stream in streams}
            for first in range(0, count, size)
        ]


def to_batch(pictures: np.ndarray | Sequence[np.ndarray], precision: Precision) -> Tensor:
    """uint8 pictures (N, H, W, 3) to (N, 3, H, W) in [-1, 1], channels-last, on the device of `precision`."""
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(list(pictures)))).to(precision.device)
    return stacked.permute(0, 3, 1, 2).to(precision.weights_dtype).div_(127.5).sub_(1.0)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` indices (at most `count`), evenly over range(count), without drawing lots."""
    wanted = min(count, wanted)
    return [index * count // wanted for index in range(wanted)]
