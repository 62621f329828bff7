"""From what a user types to the perceptual distance that is meant: its two files of weights, and their hashes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch

from i2i.data.fetch import PUBLISHED_WEIGHTS
from i2i.data.weight_files import given_file, published_file, read_tensors
from i2i.errors import UsageError
from i2i.evaluation.metrics.perceptual_distance import BackboneName, PerceptualDistance
from i2i.evaluation.pixel_measures import PerceptualMeasure
from i2i.files import sha256_of_file

GRAMMAR = "alexnet, vgg16, or one of them with its files: alexnet:BACKBONE.pth,HEADS.pth"
"""What `open_perceptual` understands, for help texts."""


def open_perceptual(spec: str, device: str | torch.device = "cpu") -> PerceptualMeasure:
    """LPIPS 0.1 with the backbone that `spec` names, on `device`.

    Args:
        spec: "alexnet" or "vgg16" with the published weights of both network and heads, or with the names of both files
            behind it.
        device: where it computes.

    Raises:
        UsageError: there is no such backbone, or only one file.
        ModelError: weights are missing or unfit.
    """
    name, _, files = spec.partition(":")
    known: Mapping[str, BackboneName] = {name: name for name in get_args(BackboneName)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        guess = f", did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"--lpips {spec}: no such network{guess} - known: {GRAMMAR}")
    given = [Path(file) for file in files.split(",") if file]
    if len(given) not in (0, 2):
        raise UsageError(f"--lpips {spec}: needs the files of the network and of the heads - known: {GRAMMAR}")
    published = [PUBLISHED_WEIGHTS[key] for key in (name, f"lpips_{name}")]
    if given:
        paths = [given_file(file, one) for file, one in zip(given, published, strict=True)]
    else:
        paths = [published_file(one) for one in published]
    network = PerceptualDistance(backbone=known[name])
    wanted = [key for key in network.state_dict() if key.startswith("features.")]
    heads = [f"lin{index}.model.1.weight" for index in range(len(network.heads))]
    network.load(read_tensors(paths[0], wanted), read_tensors(paths[1], heads))
    return PerceptualMeasure(
        name=f"lpips-0.1-{name}",
        weights_sha256="+".join(sha256_of_file(path) for path in paths),
        preprocessing="RGB in [-1, 1] at its own size, then by ImageNet's mean and deviation",
        between=network.to(torch.device(device)).eval().between,
    )
