"""The metadata in ONNX and OpenVINO files, which hold graphs of operators and no code."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from google.protobuf.message import Message

from i2i.errors import ModelError
from i2i.inference.model_files.exported_metadata import METADATA_KEY
from i2i.inference.model_files.forms import SUPPORTED

_STANDARD_DOMAINS = ("", "ai.onnx")
_UNENDING = "graphs within its graph, and loops of these may never end - use a file that i2i export made"


def onnx_text(path: Path, content: bytes) -> str:
    """The metadata text in an ONNX file, after a check that the graph is all in it and made of standard operators.

    Args:
        path: of the file, which only errors name.

    Raises:
        ModelError: damaged, without metadata, with weights in other files, with operators of its own or with graphs
            within the graph.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: damaged or not an ONNX file - copy it anew") from error
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not texts:
        raise ModelError(f"{path}: an ONNX file without i2i's metadata - {SUPPORTED}")
    foreign = sorted({opset.domain for opset in model.opset_import} - set(_STANDARD_DOMAINS))
    if foreign:
        raise ModelError(f"{path}: needs operators of {', '.join(foreign)} - use a file of standard operators")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _messages_in(model, onnx.TensorProto)):
        # Where the weights lie is up to the file, and may be anywhere on this machine.
        raise ModelError(f"{path}: its weights lie in other files - use a file that holds them")
    if any(True for _ in _messages_in(model, onnx.GraphProto, below=model.graph)) or model.functions:
        raise ModelError(f"{path}: has {_UNENDING}")
    return texts[0]


def _messages_in(message: Message, kind: type[Message], below: Message | None = None) -> Iterator[Any]:
    """All parts of one kind, wherever they stand: in the graph, constants of nodes, graphs in nodes, functions.

    Args:
        below: this part does not count itself.
    """
    if isinstance(message, kind) and message is not below:
        yield message
        return
    for _, value in message.ListFields():
        parts = [value] if isinstance(value, Message) else value if isinstance(value, Iterable) else []
        for part in parts:
            if isinstance(part, Message):
                yield from _messages_in(part, kind, below)


def openvino_text(path: Path, content: bytes) -> str:
    """The metadata text in an OpenVINO ``.xml``.

    Args:
        path: of the file; the weights lie beside it.

    Raises:
        ModelError: damaged, without metadata, or without the ``.bin`` beside it.
    """
    text = None
    try:
        for _, element in ElementTree.iterparse(io.BytesIO(content)):
            if element.tag == METADATA_KEY:
                text = element.get("value")
            elif element.tag == "body":
                raise ModelError(f"{path}: has {_UNENDING}")
    except (ElementTree.ParseError, ValueError) as error:
        raise ModelError(f"{path}: damaged or not an OpenVINO file ({error}) - copy it anew") from error
    if text is None:
        raise ModelError(f"{path}: an .xml without i2i's metadata - {SUPPORTED}")
    if not path.with_suffix(".bin").is_file():
        raise ModelError(f"{path}: no {path.with_suffix('.bin').name} beside it - keep both files together")
    return text
