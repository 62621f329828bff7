"""A short comparison of the engines on this machine, with a small generator."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from i2i.core.generators import ResNetGeneratorSettings
from i2i.errors import UsageError
from i2i.inference.runners.choice import RunnerChoice, time_runners
from i2i.inference.runners.computation import Computation
from i2i.inference.runners.engines import RUNNERS, candidates
from i2i.inference.runners.protocol import Runner
from i2i.inference.runtime import Precision
from i2i.pipelines.protocol import PictureEntryPoint

_SETTINGS = ResNetGeneratorSettings(base_channels=32, blocks=3)
_PIXELS = 256


def compare_runners(device: torch.device) -> dict[Precision, RunnerChoice]:
    """The fastest engine for a small ResNet generator in fp32 and in bf16, with the seconds of all of them.

    Takes some seconds; nothing of it is remembered.

    Raises:
        I2IError, RuntimeError: no engine works.
    """
    with torch.random.fork_rng(devices=[]):
        network = _SETTINGS.build().eval()
    entry = PictureEntryPoint("generator", _SETTINGS)
    computation = Computation(form="safetensors", entry_point=entry, network=lambda: copy.deepcopy(network))
    picture = torch.linspace(-1.0, 1.0, 3 * _PIXELS**2, device=device).reshape(1, 3, _PIXELS, _PIXELS)
    found: dict[Precision, RunnerChoice] = {}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        try:
            names = candidates("safetensors", device, precision)
        except UsageError:
            continue
        builders = {name: _builder(name, computation, device, precision) for name in names}
        found[precision] = time_runners(builders, (picture,))[0]
    return found


def _builder(name: str, computation: Computation, device: torch.device, precision: Precision) -> Callable[[], Runner]:
    return lambda: RUNNERS[name].build(computation, device, precision)
