"""Distances between a picture and the one it should be."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def mean_absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 distance, mean over all values, a float32 (or float64) scalar.

    Source: the cycle and identity terms of CycleGAN (Zhu et al. 2017), equation 2 and section 5.2.
    """
    return functional.l1_loss(_at_least_float32(prediction), _at_least_float32(target))


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype.itemsize < 4 else values
