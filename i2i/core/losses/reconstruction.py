"""Distances between a picture and the one it should be, and what is asked of a picture by itself."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def mean_absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 distance, mean over all values, a float32 (or float64) scalar.

    Source: the cycle and identity terms of CycleGAN (Zhu et al. 2017), equation 2 and section 5.2.
    """
    return functional.l1_loss(_at_least_float32(prediction), _at_least_float32(target))


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared L2 distance, mean over all values, a float32 (or float64) scalar.

    Source: the pixel loss of SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802), equation 4.
    """
    return functional.mse_loss(_at_least_float32(prediction), _at_least_float32(target))


def total_variation(images: Tensor) -> Tensor:
    """How much neighbouring pixels differ: mean absolute differences down and across, a float32 (or float64) scalar.

    `images`: (N, C, H, W) of two pixels or more a side. Zero for a picture of one colour.

    Source: Rudin, Osher & Fatemi 1992, in the form that treats the two axes apart; as a regularizer of enlarged
    pictures in the first version of SRGAN (Ledig et al. 2016, https://arxiv.org/abs/1609.04802v1), section 2.2.
    """
    assert min(images.shape[-2:]) > 1, "a single row or column has no neighbours to differ from"
    images = _at_least_float32(images)
    down = images[..., 1:, :] - images[..., :-1, :]
    across = images[..., :, 1:] - images[..., :, :-1]
    return down.abs().mean() + across.abs().mean()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype.itemsize < 4 else values
