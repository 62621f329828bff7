"""Networks computed by ONNX Runtime."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from i2i.inference.runners.computation import Computation
from i2i.inference.runners.onnxruntime_library import load_onnxruntime
from i2i.inference.runtime import Precision

_NOTHING_SHORT_OF_THE_END = 4
"""Of severity. Errors come as exceptions, which say the same without the colours of a log."""


class OnnxRunner:
    """An ONNX graph in fp32.

    Args:
        computation: of an ``.onnx`` file, or of a network that is recorded first.
        device: the CPU, or a CUDA device where ONNX Runtime has its provider.

    Raises:
        ModelError: a damaged file, or a network too large for a graph.
    """

    name = "onnxruntime"
    network = None
    precision: Precision = "fp32"

    def __init__(self, computation: Computation, device: torch.device) -> None:
        onnxruntime = load_onnxruntime()
        self.device = device
        self._computation = computation.without_weights
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _NOTHING_SHORT_OF_THE_END
        # Blocks of latents run side by side, each on one thread: see LatentModel.
        options.intra_op_num_threads = torch.get_num_threads() if computation.takes_pictures else 1
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the processor from those that read and write pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Pictures have many sizes: remembered plans for each would only keep memory.
        options.enable_mem_pattern = False
        from_file = computation.form == "onnx"
        model = computation.graph.content if from_file else computation.recorded.SerializeToString()
        self._session = _session(onnxruntime, model, options, _providers(device))
        self._names = [given.name for given in self._session.get_inputs()]

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        given = [value.cpu().numpy() for value in self._computation.to_graph(*inputs)]
        try:
            (output,) = self._session.run(None, dict(zip(self._names, given, strict=True)))
        except Exception as error:  # its classes share no base, and which it raises for want of memory is not said
            raise RuntimeError(f"onnxruntime: {' '.join(str(error).split())[:300]}") from error
        return self._computation.from_graph(torch.from_numpy(output).to(self.device))


def takes_device(device: torch.device) -> bool:
    """Whether the installed ONNX Runtime computes on `device`."""
    if device.type == "cpu":
        return True
    return device.type == "cuda" and "CUDAExecutionProvider" in load_onnxruntime().get_available_providers()


def _providers(device: torch.device) -> list[Any]:
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    # TF32 would drop digits that fp32 has; the search for algorithms takes seconds at every new size.
    settings = {"device_id": device.index or 0, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
    return [("CUDAExecutionProvider", settings), "CPUExecutionProvider"]


def _session(library: ModuleType, model: bytes, options: Any, providers: list[Any]) -> Any:
    try:
        return library.InferenceSession(model, options, providers=providers)
    except Exception as error:  # as above
        raise RuntimeError(f"onnxruntime: {' '.join(str(error).split())[:300]}") from error
