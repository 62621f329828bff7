"""What a runner is to compute, in whatever form its model file has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from i2i.core.cells import CELL
from i2i.inference.levels import pixels_of
from i2i.inference.model_files.forms import Form
from i2i.inference.model_files.model_bytes import ModelBytes
from i2i.pipelines.protocol import EntryPoint, PictureEntryPoint

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class Computation:
    """One entry point of a model file."""

    form: Form
    entry_point: EntryPoint
    network: Callable[[], nn.Module] | None = None
    """Builds the network with its weights anew; only a ``.safetensors`` has one."""
    file: ModelBytes | None = None
    """All that a ``.safetensors`` has not: a graph to be read by the engine."""
    uint8: bool = False
    """Whether the file's graph takes and gives uint8 (N, H, W, C)."""

    @property
    def takes_pictures(self) -> bool:
        """Or else latents, and labels where there are classes."""
        return isinstance(self.entry_point, PictureEntryPoint)

    def built(self) -> nn.Module:
        """The network; only of a ``.safetensors``."""
        assert self.network is not None
        return self.network()

    @property
    def graph(self) -> ModelBytes:
        """The file to be read by the engine; all but a ``.safetensors`` have one."""
        assert self.file is not None
        return self.file

    @functools.cached_property
    def recorded(self) -> onnx.ModelProto:
        """The network as a graph that takes any batch and any size; only of a ``.safetensors``.

        Recording takes seconds, so it is kept for the next engine.

        Raises:
            ModelError: the weights are too large for one graph.
        """
        from i2i.inference.graphs import exported_program, onnx_model, recordable
        from i2i.inference.runners.preparation import compute_by_cells

        network, entry_point = self.built(), self.entry_point
        # A graph has no way to decide by a picture's size, so its cells must be whole at every one.
        if (
            isinstance(entry_point, PictureEntryPoint)
            and entry_point.generator.size_multiple * entry_point.scale % CELL == 0
        ):
            compute_by_cells(network)
        module = recordable(network, entry_point)
        return onnx_model(exported_program(module))

    @property
    def without_weights(self) -> Computation:
        """The same for runners to keep, which need no second copy of the weights."""
        return replace(self, network=None, file=None)

    def to_graph(self, *inputs: Tensor | None) -> list[Tensor]:
        """A runner's inputs as the file's graph takes them, on the same device."""
        given = [value for value in inputs if value is not None]
        if self.uint8 and self.takes_pictures:
            return [pixels_of(given[0])]
        return [value.contiguous() for value in given]

    def from_graph(self, output: Tensor) -> Tensor:
        """What the file's graph gave as a runner gives it: float32 (N, C, H, W)."""
        if self.uint8:
            return output.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        return output.float()
