"""Any function of pictures as a feature extractor, for the Python API and for TorchScript files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from i2i.data.weight_files import read_script
from i2i.errors import ModelError, one_line
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.features.network import Compute, NetworkExtractor, Prepare, as_colour, sha256_of_parameters
from i2i.evaluation.features.tensorflow_resize import tensorflow_resize
from i2i.files import sha256_of_file
from i2i.inference.runtime import exact_float32

Function = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
"""(N, 3, H, W) uint8 to vectors (N, D), or to vectors and logits (N, K); what torch-fidelity's extractors take too."""

_TRIAL_PIXELS = 64


def callable_extractor(
    function: Function,
    *,
    name: str,
    preprocessing: str = "uint8 RGB at its own size, all else in the network",
    weights_sha256: str | None = None,
    device: str | torch.device = "cpu",
    size_pixels: int | None = None,
) -> NetworkExtractor:
    """A feature extractor made of `function`, which is called once to learn its widths.

    Args:
        function: (N, 3, H, W) uint8 on `device` to vectors (N, D), or to a pair of vectors and logits (N, K). It gets
            32 pictures of one size at a time, padded with black ones; each row must depend on its own picture alone,
            so a network has to be in evaluation mode.
        name: of the network, for passports.
        preprocessing: what `function` does to a picture first, in words.
        weights_sha256: what tells these weights from others. By default the hash of a module's tensors; a function
            that is no module then has the hash of nothing, and its name has to tell it apart.
        device: where `function` expects its pictures.
        size_pixels: bring pictures to squares of this side first, as FID's Inception does, in float32; None leaves
            them as they are.

    Raises:
        ModelError: it fails, returns something else than vectors and logits, or is a module in training mode.
    """
    if isinstance(function, nn.Module) and function.training:
        raise ModelError(f"{name}: the network is in training mode, where pictures influence each other - call .eval()")
    place = torch.device(device)
    if weights_sha256 is None:
        weights_sha256 = (
            sha256_of_parameters(function) if isinstance(function, nn.Module) else hashlib.sha256().hexdigest()
        )
    if size_pixels is not None:
        preprocessing = f"TensorFlow 1 bilinear to {size_pixels}x{size_pixels} without antialiasing, {preprocessing}"

    def prepare(pictures: Tensor) -> Tensor:
        levels = pictures if size_pixels is None else tensorflow_resize(pictures, size_pixels)
        return as_colour(levels).permute(0, 3, 1, 2).contiguous()

    def compute(prepared: Tensor) -> tuple[Tensor, Tensor | None]:
        found = function(prepared)
        return (found, None) if isinstance(found, Tensor) else (found[0], found[1])

    width, classes = _widths(prepare, compute, name, place)
    return NetworkExtractor(
        name=name,
        weights_sha256=weights_sha256,
        preprocessing=preprocessing,
        width=width,
        classes=classes,
        device=place,
        prepare=prepare,
        compute=compute,
    )


def open_script(path: Path, device: torch.device) -> NetworkExtractor:
    """The extractor in a TorchScript file, which can carry code: only for one that somebody vouched for.

    It takes (N, 3, H, W) uint8 and returns vectors (N, D), or vectors and logits (N, K).

    Raises:
        ModelError: no TorchScript, or one that returns something else.
    """
    network = read_script(path).to(device).eval()
    return callable_extractor(network, name=path.stem, weights_sha256=sha256_of_file(path), device=device)


def _widths(prepare: Prepare, compute: Compute, name: str, device: torch.device) -> tuple[int, int | None]:
    """D and K, from a block of noise."""
    noise = np.random.default_rng(0).integers(
        0, 256, (PICTURES_PER_BLOCK, _TRIAL_PIXELS, _TRIAL_PIXELS, 3), dtype=np.uint8
    )
    try:
        with torch.inference_mode(), exact_float32(device):
            found = compute(prepare(torch.from_numpy(noise).to(device)))
    except Exception as error:
        # It is anyone's code: nothing is known of what it raises.
        raise ModelError(
            f"{name}: fails for {PICTURES_PER_BLOCK} pictures of {_TRIAL_PIXELS} pixels ({one_line(error)})"
            " - give a network that takes (N, 3, H, W) uint8"
        ) from error
    vectors, logits = found
    for part in found:
        if part is not None and not (
            isinstance(part, Tensor) and part.ndim == 2 and len(part) == PICTURES_PER_BLOCK and part.shape[1]
        ):
            what = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise ModelError(
                f"{name}: returns {what} for {PICTURES_PER_BLOCK} pictures"
                " - give a network that returns vectors (N, D), or vectors and logits (N, K)"
            )
    return vectors.shape[1], None if logits is None else logits.shape[1]
