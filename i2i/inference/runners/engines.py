"""The engines there are: what each needs, what it can run, and how its runner is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from i2i.errors import UsageError
from i2i.inference.model_files.forms import Form
from i2i.inference.runners.computation import Computation
from i2i.inference.runners.protocol import Runner
from i2i.inference.runtime import Precision

RunnerName = Literal["auto", "torch", "onnxruntime", "openvino"]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Something that computes networks."""

    module: str
    """What it is imported as."""
    install: str
    """What to install where it is missing."""
    forms: tuple[Form, ...]
    """Of model files that it can run."""
    precisions: tuple[Precision, ...]
    takes_device: Callable[[torch.device], bool]
    """Whether it computes there; called only where it is installed."""
    takes_precision: Callable[[Precision], bool]
    """Whether this machine's processor does, of `precisions`; called only where it is installed."""
    build: Callable[[Computation, torch.device, Precision], Runner]

    @property
    def installed(self) -> bool:
        """Whether it is there; it is not imported for that."""
        return importlib.util.find_spec(self.module) is not None


def _torch(computation: Computation, device: torch.device, precision: Precision) -> Runner:
    from i2i.inference.runners.pytorch import PyTorchRunner
    from i2i.inference.runners.recorded import exported_program_runner, torchscript_runner

    if computation.form == "torchscript":
        return torchscript_runner(computation, device, precision)
    if computation.form == "pt2":
        return exported_program_runner(computation, device, precision)
    return PyTorchRunner(computation.built(), computation.entry_point, device, precision)


def _onnxruntime(computation: Computation, device: torch.device, precision: Precision) -> Runner:
    from i2i.inference.runners.onnx import OnnxRunner

    return OnnxRunner(computation, device)


def _onnxruntime_takes(device: torch.device) -> bool:
    from i2i.inference.runners.onnx import takes_device

    return takes_device(device)


def _openvino(computation: Computation, device: torch.device, precision: Precision) -> Runner:
    from i2i.inference.runners.openvino import OpenVINORunner

    return OpenVINORunner(computation, precision)


def _openvino_takes(precision: Precision) -> bool:
    from i2i.inference.runners.openvino import computes_in_bf16

    return precision == "fp32" or computes_in_bf16()


RUNNERS: Mapping[str, Engine] = {
    "torch": Engine(
        module="torch",
        install="torch",
        forms=("safetensors", "torchscript", "pt2"),
        precisions=("fp32", "bf16", "fp16"),
        takes_device=lambda device: True,
        takes_precision=lambda precision: True,
        build=_torch,
    ),
    "onnxruntime": Engine(
        module="onnxruntime",
        install="onnxruntime",
        forms=("safetensors", "onnx"),
        precisions=("fp32",),
        takes_device=_onnxruntime_takes,
        takes_precision=lambda precision: True,
        build=_onnxruntime,
    ),
    "openvino": Engine(
        module="openvino",
        install="i2i[openvino]",
        forms=("safetensors", "onnx", "openvino"),
        precisions=("fp32", "bf16"),
        takes_device=lambda device: device.type == "cpu",
        takes_precision=_openvino_takes,
        build=_openvino,
    ),
}
"""By name; the first one that fits is taken where nothing is to be timed."""


def candidates(form: Form, device: torch.device, precision: Precision, wanted: str = "auto") -> list[str]:
    """Names of the engines here that run files of this `form` in this `precision`, at least one.

    Args:
        wanted: the name of one; "auto" for all that can.

    Raises:
        UsageError: there is none, or the one that is wanted cannot; the message says why and what to do.
    """
    if wanted != "auto" and wanted not in RUNNERS:
        raise UsageError(f"--runner {wanted}: unknown - use auto, {', '.join(RUNNERS)}")
    reasons = {
        name: _reason_against(name, form, device, precision) for name in (RUNNERS if wanted == "auto" else [wanted])
    }
    found = [name for name, reason in reasons.items() if reason is None]
    if found:
        return found
    # Of several reasons the one to act upon: an engine that is merely missing, else what the first able one lacks.
    able = [name for name in reasons if form in RUNNERS[name].forms] or list(reasons)
    able.sort(key=lambda name: RUNNERS[name].installed)
    raise UsageError(f"--runner {wanted}: {reasons[able[0]]}")


def _reason_against(name: str, form: Form, device: torch.device, precision: Precision) -> str | None:
    engine = RUNNERS[name]
    if form not in engine.forms:
        able = ", ".join(other for other, one in RUNNERS.items() if form in one.forms)
        return f"{name} runs no {form} files - use --runner auto or {able}"
    if precision not in engine.precisions:
        return f"{name} computes in {' and '.join(engine.precisions)} alone - use --precision fp32 or another runner"
    if not engine.installed:
        return f"{name} is not installed - install it with: pip install '{engine.install}'"
    if not engine.takes_device(device):
        return f"{name} does not compute on {device} here - use --device cpu or another runner"
    if not engine.takes_precision(precision):
        return f"{name} has no {precision} on this processor - use --precision fp32 or another runner"
    return None
