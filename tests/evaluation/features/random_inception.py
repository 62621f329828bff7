"""Random weights in the key layout of FID's Inception, well enough scaled that values neither vanish nor explode."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from i2i.evaluation.features.inception import Inception


def random_inception_weights(seed: int = 0) -> dict[str, Tensor]:
    """All 566 tensors of the published file, filled at random."""
    random = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        network = Inception()
    weights: dict[str, Tensor] = {}
    for convolution in network.convolutions():
        shape = convolution.layer.weight.shape
        deviation = (2 / shape[1:].numel()) ** 0.5
        weights[f"{convolution.name}.conv.weight"] = torch.randn(shape, generator=random) * deviation
        for part in ("weight", "running_var"):
            weights[f"{convolution.name}.bn.{part}"] = torch.rand(shape[0], generator=random) + 0.5
        for part in ("bias", "running_mean"):
            weights[f"{convolution.name}.bn.{part}"] = torch.randn(shape[0], generator=random) / 5
        weights[f"{convolution.name}.bn.num_batches_tracked"] = torch.tensor(1)
    weights["fc.weight"] = torch.randn(1008, 2048, generator=random) / 50
    weights["fc.bias"] = torch.randn(1008, generator=random)
    return weights


def write_random_inception(path: Path, seed: int = 0) -> Path:
    """A file like the published one."""
    torch.save(random_inception_weights(seed), path)
    return path
