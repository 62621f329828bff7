"""Instance norm with the statistics of a shrunken picture: about right, and computed at once.

With its statistics fixed a network sees no further than its layers reach, so that it runs on tiles.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.layers import InstanceNorm
from i2i.core.moments import moments_of
from i2i.inference.image_model import ImageModel
from i2i.inference.levels import floats_of
from i2i.inference.runners import PyTorchRunner
from i2i.inference.runtime import numerics, out_of_memory_as_help
from i2i.inference.sizes import AnySize

_SAMPLE_PIXELS = 512
"""Side of the part of the picture on which the error is measured."""
_SMALLEST_PIXELS = 16
"""Side to which a sample is shrunken at least."""


def with_thumbnail_statistics(
    model: ImageModel, rgb: np.ndarray, pixels: int, on_note: Callable[[str], None]
) -> ImageModel:
    """The model with the statistics that a shrunken picture has in its instance norms.

    Args:
        model: runs in PyTorch.
        rgb: (H, W, 3), uint8 or uint16.
        pixels: number of pixels to shrink it to.
        on_note: told how far off the results are on a sample.

    Raises:
        OutOfMemoryError: too little memory for so many pixels.
    """
    factor = max(1.0, math.sqrt(rgb.shape[0] * rgb.shape[1] / pixels))
    if factor > 1:
        most, mean, side = _error_on_sample(model, rgb, factor)
        on_note(
            f"statistics of the picture shrunken {factor:.1f} times: on a sample of {side[1]}x{side[0]} pixels up to"
            f" {most:.0f} grey levels off, {mean:.1f} on average"
        )
    return _frozen(model, _shrunken(rgb, factor))


def _error_on_sample(model: ImageModel, rgb: np.ndarray, factor: float) -> tuple[float, float, tuple[int, int]]:
    """Most and mean difference in grey levels on the middle of the picture, as if that were all of it."""
    wanted = max(_SAMPLE_PIXELS, math.ceil(_SMALLEST_PIXELS * factor))
    height, width = (min(side, wanted) for side in rgb.shape[:2])
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    sample = rgb[top : top + height, left : left + width]
    images = floats_of(sample[None], model.device)
    exact = model.translate_float(images).clamp(-1, 1)
    about = _frozen(model, _shrunken(sample, factor)).translate_float(images).clamp(-1, 1)
    difference = exact.sub(about).abs().mul(127.5)
    return float(difference.max()), float(difference.mean()), (height, width)


def _shrunken(rgb: np.ndarray, factor: float) -> np.ndarray:
    import cv2

    height, width = (max(2, round(side / factor)) for side in rgb.shape[:2])
    # Every pixel counts alike in what it becomes a part of, as it does in a mean over the picture.
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)


def _frozen(model: ImageModel, thumbnail: np.ndarray) -> ImageModel:
    """The model with the statistics of a small picture (H, W, 3)."""
    network = model.runner.network
    assert network is not None, "asked before"
    # The weights are shared.
    frozen = copy.deepcopy(network, {id(weight): weight for weight in network.parameters()})
    for name, module in list(frozen.named_modules()):
        if isinstance(module, InstanceNorm):
            frozen.set_submodule(name, _FrozenNorm(module.epsilon))
    _measure(AnySize(frozen, model.entry_point), model, thumbnail)
    runner = PyTorchRunner(frozen, model.entry_point, model.device, model.precision)
    return ImageModel(
        runner,
        model.entry_point,
        name=model.name,
        names=model.names,
        consistent=model.consistent,
        metadata=model.metadata,
        path=model.path,
    )


def _measure(network: AnySize, model: ImageModel, thumbnail: np.ndarray) -> None:
    with (
        torch.inference_mode(),
        numerics(model.device, model.precision),
        out_of_memory_as_help(1, thumbnail.shape[0], thumbnail.shape[1], "use --tile-statistics exact"),
    ):
        network.to(model.device)(floats_of(thumbnail[None], model.device))


class _FrozenNorm(nn.Module):
    """Instance norm whose statistics are those of the first picture that it sees."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self._statistics: tuple[Tensor, ...] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        if self._statistics is None:
            moments = moments_of(images)
            self._statistics = tuple(part.float().to(images.device) for part in (moments.mean, moments.variance))
        mean, variance = self._statistics
        return functional.batch_norm(images, mean, variance, None, None, False, 0.0, self.epsilon)
