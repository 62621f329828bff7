"""Scores of the averaged networks on test pictures, and which of them decides what is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from i2i.evaluation.psnr import l1, psnr
from i2i.pipelines.protocol import PictureEntryPoint, Pipeline
from i2i.training.precision import Precision
from i2i.training.sheets import to_uint8

_PICTURES_AT_ONCE = 4


@dataclass(frozen=True)
class Scores:
    """What a validation found."""

    values: Mapping[str, float]
    """By metric: ``psnr_<entry point>`` (dB), ``l1_<entry point>`` (grey levels), ``consistency`` (in [0, 2])."""
    deciding: float
    """One number to rank checkpoints by; higher is better."""


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
        self._pictures = {stream: np.stack([test[stream][i] for i in picked]) for stream in pipeline.streams if picked}

    def __bool__(self) -> bool:
        """Whether there is anything to score: a method without truth and without a way back has no validation."""
        return bool(self._pictures)

    @torch.inference_mode()
    def score(self, networks: Mapping[str, nn.Module]) -> Scores:
        """With known counterparts PSNR and L1 of every entry point, else the pipeline's consistency."""
        with self._precision.computing():
            return self._score_pairs(networks) if self._aligned else self._score_consistency(networks)

    def _score_consistency(self, networks: Mapping[str, nn.Module]) -> Scores:
        consistency_of = self._pipeline.consistency
        assert consistency_of is not None, "no pictures were picked then"
        scores = torch.cat([consistency_of(networks, batch).float() for batch in self._batches()])
        consistency = float(scores.mean())
        return Scores({"consistency": consistency}, -consistency)

    def _score_pairs(self, networks: Mapping[str, nn.Module]) -> Scores:
        values: dict[str, float] = {}
        for name, entry in self._pipeline.entry_points.items():
            if not isinstance(entry, PictureEntryPoint) or entry.domains is None:
                continue
            source, target = entry.domains
            made = np.concatenate([to_uint8(networks[entry.network](batch[source])) for batch in self._batches()])
            truth = self._pictures[target]
            values[f"psnr_{name}"] = float(np.mean([psnr(a, b) for a, b in zip(made, truth, strict=True)]))
            values[f"l1_{name}"] = float(np.mean([l1(a, b) for a, b in zip(made, truth, strict=True)]))
        return Scores(values, float(np.mean([value for name, value in values.items() if name.startswith("psnr_")])))

    def _batches(self) -> list[Mapping[str, Tensor]]:
        count = len(next(iter(self._pictures.values())))
        return [
            {
                stream: to_batch(stack[i : i + _PICTURES_AT_ONCE], self._precision)
                for stream, stack in self._pictures.items()
            }
            for i in range(0, count, _PICTURES_AT_ONCE)
        ]


def to_batch(pictures: np.ndarray | Sequence[np.ndarray], precision: Precision) -> Tensor:
    """uint8 pictures (N, H, W, 3) to (N, 3, H, W) in [-1, 1], channels-last, on the device of `precision`."""
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(list(pictures)))).to(precision.device)
    return stacked.permute(0, 3, 1, 2).to(precision.weights_dtype).div_(127.5).sub_(1.0)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` indices (at most `count`), evenly over range(count), without drawing lots."""
    wanted = min(count, wanted)
    return [index * count // wanted for index in range(wanted)]
