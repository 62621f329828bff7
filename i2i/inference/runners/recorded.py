"""Networks that PyTorch recorded in a file, TorchScript or ``.pt2``.

Both can carry code: see `i2i.inference.model_files.trust`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from i2i.inference.runners.computation import Computation
from i2i.inference.runtime import Precision, numerics


class RecordedRunner:
    """A graph that PyTorch computes.

    Args:
        computation: says what the graph takes and gives.
        graph: lies on `device`.
        name: of the kind of file.
    """

    network = None

    def __init__(
        self,
        computation: Computation,
        graph: Callable[..., Tensor],
        device: torch.device,
        precision: Precision,
        *,
        name: str,
    ) -> None:
        self.name = name
        self.device = device
        self.precision: Precision = precision
        self._computation = computation
        self._graph = graph

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor | None) -> Tensor:
        given = self._computation.to_graph(*(None if value is None else value.to(self.device) for value in inputs))
        with numerics(self.device, self.precision, deterministic=not self._computation.takes_pictures):
            return self._computation.from_graph(self._graph(*given))


def torchscript_runner(computation: Computation, device: torch.device, precision: Precision = "fp32") -> RecordedRunner:
    """The runner of a TorchScript file. Loading one can run code: only files that are trusted come here.

    Raises:
        RuntimeError: a damaged file.
    """
    with _loading("TorchScript"):
        graph = torch.jit.load(io.BytesIO(computation.graph.content), map_location=device)
    return RecordedRunner(computation, graph, device, precision, name="torchscript")


def exported_program_runner(
    computation: Computation, device: torch.device, precision: Precision = "fp32"
) -> RecordedRunner:
    """The runner of a ``.pt2`` file. Loading one can run code: only files that are trusted come here.

    Raises:
        RuntimeError: a damaged file.
    """
    with _loading("pt2"):
        program = torch.export.load(io.BytesIO(computation.graph.content))
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        graph = program.module()
        if precision != "fp32":
            _allow_other_types(graph)
    return RecordedRunner(computation, graph, device, precision, name="pt2")


def _allow_other_types(module: nn.Module) -> None:
    """Drop the checks that every number has the type it was recorded with."""
    assert isinstance(module, torch.fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    module.recompile()


@contextlib.contextmanager
def _loading(kind: str) -> Iterator[None]:
    """What a damaged file raises, as one kind of error; TorchScript's deprecation is not the user's business."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MemoryError:
        raise
    except Exception as error:  # parsers of damaged files raise whatever they stumble over
        raise RuntimeError(f"{kind}: {' '.join(str(error).split())[:300]}") from error
