"""Networks computed by OpenVINO on the CPU."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from i2i.inference.runners.computation import Computation
from i2i.inference.runners.openvino_library import load_openvino
from i2i.inference.runners.signal_stack import signal_stack_kept
from i2i.inference.runtime import Precision

_TYPES = {"fp32": "f32", "bf16": "bf16"}


class OpenVINORunner:
    """An OpenVINO or ONNX graph in fp32, or in bf16 where the CPU computes in it.

    Args:
        computation: of an ``.xml`` or ``.onnx`` file, or of a network that is recorded first.

    Raises:
        RuntimeError: a damaged file.
        ModelError: a network too large for a graph.
    """

    name = "openvino"
    network = None
    device = torch.device("cpu")

    def __init__(self, computation: Computation, precision: Precision = "fp32") -> None:
        self.precision: Precision = precision
        self._computation = computation.without_weights
        threads = torch.get_num_threads()
        settings = {
            # Without a word it would take bf16 wherever the CPU has it.
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "INFERENCE_NUM_THREADS": threads,
            # Blocks of latents run side by side, each on one thread: see LatentModel.
            "NUM_STREAMS": 1 if computation.takes_pictures else threads,
        }
        self._compiled = _compiled(computation, settings)
        # A request serves one caller at a time.
        self._requests = threading.local()

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        given = [value.cpu().numpy() for value in self._computation.to_graph(*inputs)]
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        output = self._requests.own.infer(given, share_inputs=True)[0]
        return self._computation.from_graph(torch.from_numpy(output))


def computes_in_bf16() -> bool:
    """Whether the CPU does so; else OpenVINO would compute in fp32 and say nothing."""
    return "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compiled(computation: Computation, settings: dict[str, Any]) -> Any:
    core = load_openvino().Core()
    if computation.form == "safetensors":
        from i2i.inference.graphs import openvino_model

        model = openvino_model(computation.recorded)
    else:
        file = computation.graph
        model = core.read_model(file.content, file.weights or b"")
    with signal_stack_kept():
        return core.compile_model(model, "CPU", settings)
