"""A network as a graph that other engines run: recorded once, it takes every batch and every size by itself.

What a runner does around a network in Python - padding to the sides it needs, cutting back, and on request turning
8-bit pixels into numbers and back - is part of the graph. Recording looks at example inputs, but sizes stay symbols.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from i2i.errors import ModelError
from i2i.inference.model_files.exported_metadata import METADATA_KEY, PICTURES
from i2i.inference.runners.openvino_library import load_openvino
from i2i.inference.sizes import MirroredSides
from i2i.pipelines.protocol import EntryPoint, PictureEntryPoint

if TYPE_CHECKING:
    import onnx

ONNX_OPSET = 20
ONNX_MOST_BYTES = 2**31 - 2**20
"""An ONNX file is one protobuf message, which holds less than 2 GiB; beyond, weights would need files of their own."""

# Large enough that no map inside a network has a side of 1, which would be taken for a constant.
_EXAMPLE_CELLS = 2
_EXAMPLE_PIXELS = 24


class Recordable(nn.Module, ABC):
    """A network with all that belongs around it, in a form that exporters can write down."""

    free_axes: tuple[tuple[int, ...], ...]
    """Of each input, the axes that may have any length."""

    @abstractmethod
    def examples(self, cells: int = 1) -> tuple[Tensor, ...]:
        """Inputs to record with, two rows each; pictures have sides of at least `cells` of what the network needs."""


class RecordablePictures(Recordable):
    """Pictures (N, 3, H, W) in [-1, 1], or uint8 (N, H, W, 3), of any size to pictures of the same kind."""

    def __init__(self, network: nn.Module, entry_point: PictureEntryPoint, uint8: bool) -> None:
        super().__init__()
        self.sized = MirroredSides(network, entry_point)
        self.uint8 = uint8
        self.free_axes = ((0, 1, 2),) if uint8 else ((0, 2, 3),)

    def examples(self, cells: int = 1) -> tuple[Tensor, ...]:
        least = max(_EXAMPLE_PIXELS, self.sized.minimum_pixels, cells * self.sized.size_multiple)
        # Sides that differ from each other, and that need padding where any do.
        height, width = least - 1, least + 3
        if self.uint8:
            return (torch.zeros(2, height, width, 3, dtype=torch.uint8),)
        return (torch.zeros(2, 3, height, width),)

    def forward(self, images: Tensor) -> Tensor:
        if not self.uint8:
            return self.sized(images)
        values = images.permute(0, 3, 1, 2).to(torch.float32).mul(2.0 / 255.0).sub(1.0)
        return _levels(self.sized(values))


class RecordableLatents(Recordable):
    """Latents (N, latent), and labels (N,) where there are classes, to (N, C, H, W) or uint8 (N, H, W, C)."""

    def __init__(self, network: nn.Module, latent: int, classes: int, uint8: bool) -> None:
        super().__init__()
        self.network = network
        self.latent = latent
        self.uint8 = uint8
        self.free_axes = ((0,), (0,)) if classes else ((0,),)

    def examples(self, cells: int = 1) -> tuple[Tensor, ...]:
        latents, labels = torch.zeros(2, self.latent), torch.zeros(2, dtype=torch.int64)
        return (latents, labels)[: len(self.free_axes)]

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        pictures = self.network(latents, labels)
        return _levels(pictures) if self.uint8 else pictures


def recordable(network: nn.Module, entry_point: EntryPoint, uint8: bool = False) -> Recordable:
    """The network of an entry point, put into evaluation mode, in a form that can be recorded.

    Args:
        uint8: take and give pictures as uint8 (N, H, W, C), rounded as `ImageModel` rounds; latents stay float32.
    """
    if isinstance(entry_point, PictureEntryPoint):
        module: Recordable = RecordablePictures(network, entry_point, uint8)
    else:
        module = RecordableLatents(network, entry_point.generator.latent, entry_point.classes, uint8)
    return module.eval()


def exported_program(module: Recordable) -> torch.export.ExportedProgram:
    """Record with ``torch.export``; the batch and the sides of pictures stay free."""
    import torch.fx.experimental._config as symbols

    free = torch.export.Dim.DYNAMIC
    shapes = tuple(dict.fromkeys(axes, free) for axes in module.free_axes)
    oblivious = symbols.patch(backed_size_oblivious=True)  # pyright: ignore[reportAttributeAccessIssue] - made at import
    with _recording(), oblivious:
        # Oblivious of the examples' sizes: otherwise a side of 1 counts as a case of its own, which they are not.
        program = torch.export.export(module, module.examples(_EXAMPLE_CELLS), dynamic_shapes=shapes, strict=False)
    # What is left to guard is how the examples lay in memory, not what the operations can compute.
    if hasattr(program, "_guards_code"):
        program._guards_code = []
    # Saved files would carry the examples along.
    program.example_inputs = None
    _forget_places(program)
    return program


def traced(module: Recordable) -> torch.jit.ScriptModule:
    """Record as TorchScript, with the weights frozen into it."""
    with _recording():
        script = torch.jit.trace(module, module.examples(), check_trace=False)
        return torch.jit.freeze(script)


def onnx_model(program: torch.export.ExportedProgram, metadata_text: str = "") -> onnx.ModelProto:
    """The recorded program as ONNX: standard operators alone, weights inside.

    Raises:
        ModelError: the weights are too large for one ONNX file.
    """
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    if weights > ONNX_MOST_BYTES:
        raise ModelError(
            f"the network has {weights:,} bytes of weights, one ONNX file holds less than 2 GiB - export to pt2"
        )
    with _recording():
        recorded = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=ONNX_OPSET,
            output_names=[PICTURES],
            external_data=False,
            verbose=False,
        )
    assert recorded is not None
    model: onnx.ModelProto = recorded.model_proto
    _name_axes(model)
    _forget_recording(model)
    put_metadata(model, metadata_text)
    return model


def put_metadata(model: onnx.ModelProto, metadata_text: str) -> None:
    """Make this text, unless it is empty, the metadata of the ONNX model."""
    del model.metadata_props[:]
    if metadata_text:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, metadata_text


def openvino_model(model: onnx.ModelProto, metadata_text: str = "") -> Any:
    """The ONNX model as an ``openvino.Model``; OpenVINO's own reader of recorded programs knows fewer operations.

    Raises:
        UsageError: OpenVINO is not installed.
    """
    converted = load_openvino().Core().read_model(io.BytesIO(model.SerializeToString()))
    if metadata_text:
        converted.set_rt_info(metadata_text, METADATA_KEY)
    return converted


def _levels(pictures: Tensor) -> Tensor:
    """(N, C, H, W) in [-1, 1] to uint8 (N, H, W, C), rounded to the nearest level.

    As `i2i.inference.levels` does, but nothing in place: engines are to find operations of values alone.
    """
    levels = pictures.add(1.0).mul(127.5).round().clamp(0.0, 255.0)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@contextlib.contextmanager
def _recording() -> Iterator[None]:
    """No gradients, no draw from the caller's random numbers, and none of what exporters have to say."""
    with (
        torch.inference_mode(False),  # its tensors cannot be recorded
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _forget_places(program: torch.export.ExportedProgram) -> None:
    """Drop the stack traces of the recording: source files and lines on this machine."""
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)


def _forget_recording(model: onnx.ModelProto) -> None:
    """Drop what says how it was recorded, source files and lines on this machine among it."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]
    for part in (model.graph, *nodes, *values):
        del part.metadata_props[:]
        part.doc_string = ""


def _name_axes(model: onnx.ModelProto) -> None:
    """Call the free axes what they are, in place of the recorder's symbols."""
    names: dict[str, str] = {}
    for given in model.graph.input:
        dimensions = given.type.tensor_type.shape.dim
        free = [dimension.dim_param for dimension in dimensions if dimension.dim_param]
        names.update(zip(free, ("batch", "height", "width"), strict=False))
    pattern = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names))
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = pattern.sub(lambda found: names[found[0]], dimension.dim_param)
