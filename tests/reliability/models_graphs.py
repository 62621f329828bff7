"""Exported models gone wrong: ONNX and OpenVINO graphs, and the two forms that carry code."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from i2i.inference.runners.openvino_library import load_openvino
from tests.reliability import traps
from tests.reliability.archives import Planted, damaged
from tests.reliability.models_spoiled import Random, change_metadata, pick

# ONNX


def _metadata(form: str) -> dict[str, Any]:
    content = json.loads(traps.METADATA)
    content["export"]["form"] = form
    return content


def good_onnx() -> Any:
    """A graph of two operators that passes for an export of i2i's."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])
    pictures = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, "h", "w"])
    weight = numpy_helper.from_array(np.full((3, 3, 3, 3), 0.03, np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Tanh", ["c"], ["pictures"]),
    ]
    graph = helper.make_graph(nodes, "g", [images], [pictures], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    entry = model.metadata_props.add()
    entry.key, entry.value = "i2i", json.dumps(_metadata("onnx"))
    assert isinstance(model, onnx.ModelProto)
    return model


def onnx_damaged(rng: Random, folder: Path) -> bytes:
    """Any bytes are others."""
    return damaged(good_onnx().SerializeToString(), rng)


def onnx_metadata(rng: Random, folder: Path) -> bytes:
    """i2i's own words in the file say something else."""
    model, content = good_onnx(), _metadata("onnx")
    change_metadata(content, rng)
    odd = pick(rng, ["", "{", "[" * 9000, "null", "\0", "{}" * 1000])
    model.metadata_props[0].value = odd if rng.random() < 0.1 else json.dumps(content)
    return model.SerializeToString()


def onnx_graph(rng: Random, folder: Path) -> bytes:
    """A graph that reads elsewhere, takes foreign operators, never ends, or wants terabytes."""
    from onnx import TensorProto, helper, numpy_helper

    model = good_onnx()
    graph, weight = model.graph, model.graph.initializer[0]
    match int(rng.integers(9)):
        case 0:
            weight.data_location = TensorProto.EXTERNAL
            entry = weight.external_data.add()
            entry.key = "location"
            entry.value = pick(
                rng, ["../outside/decoy", "/etc/passwd", "/dev/zero", "", "x", "given.onnx", "a/../../b"]
            )
            if rng.random() < 0.5:
                weight.ClearField("raw_data")
        case 1:
            del weight.dims[:]
            weight.dims.extend(pick(rng, [[2**40], [-1, 3, 3, 3], [2**31, 2**31, 3, 3], [0], [3, 3, 3], [2**62, 4]]))
        case 2:
            model.opset_import.append(helper.make_opsetid(pick(rng, ["com.microsoft", "evil", "ai.onnx.ml"]), 1))
            graph.node[1].domain = model.opset_import[-1].domain
            graph.node[1].op_type = pick(rng, ["Gelu", "PythonOp", "Tanh", "x" * 5000, ""])
        case 3:
            graph.node[1].op_type = pick(rng, ["Loop", "Scan", "If", "PythonOp", "", "Softmax", "Identity", "Reshape"])
        case 4:
            _make_endless(model)
        case 5:
            # A shape of a terabyte, out of a few numbers.
            shape = numpy_helper.from_array(np.array([1, 3, 2**19, 2**19], np.int64), "s")
            graph.initializer.append(shape)
            graph.node[1].CopyFrom(helper.make_node("ConstantOfShape", ["s"], ["pictures"]))
        case 6:
            del model.opset_import[:]
            model.opset_import.append(helper.make_opsetid("", pick(rng, [0, -1, 1, 999, 2**40])))
        case 7:
            graph.node[0].input[0] = pick(rng, ["pictures", "nowhere", "", "c"])
        case 8:
            graph.output[0].name = pick(rng, ["images", "nowhere", "w", ""])
            graph.input[0].type.tensor_type.elem_type = pick(rng, [1, 7, 8, 0, 99])
    return model.SerializeToString()


def _make_endless(model: Any) -> None:
    from onnx import TensorProto, helper, numpy_helper

    none = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Tanh", ["x"], ["y"])],
        "body",
        [none("i", TensorProto.INT64, []), none("go", TensorProto.BOOL, []), none("x", TensorProto.FLOAT, None)],
        [none("on", TensorProto.BOOL, []), none("y", TensorProto.FLOAT, None)],
    )
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(2**62, np.int64), "often"))
    graph.initializer.append(numpy_helper.from_array(np.array(True), "start"))
    graph.node[1].CopyFrom(helper.make_node("Loop", ["often", "start", "c"], ["pictures"], body=body))


ONNX_FILES: dict[str, Callable[[Random, Path], bytes]] = {
    "onnx damaged": onnx_damaged,
    "onnx metadata": onnx_metadata,
    "onnx graph": onnx_graph,
}

# OpenVINO: an .xml and a .bin


def good_openvino() -> tuple[bytes, bytes]:
    """The same graph as OpenVINO keeps it."""
    library = load_openvino()
    model = library.Core().read_model(good_onnx().SerializeToString(), b"")
    model.set_rt_info(json.dumps(_metadata("openvino")), "i2i")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.xml"
        library.save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def openvino_damaged(good: tuple[bytes, bytes], rng: Random) -> tuple[bytes, bytes]:
    """Any bytes of one of the two are others."""
    graph, weights = good
    return (damaged(graph, rng), weights) if rng.random() < 0.7 else (graph, damaged(weights, rng))


def openvino_xml(good: tuple[bytes, bytes], rng: Random) -> tuple[bytes, bytes]:
    """An .xml that unfolds, reads elsewhere, nests without end, or claims other sizes and operators."""
    graph, weights = good
    text = graph.decode()
    head, _, rest = text.partition("?>")
    entities = "".join(f'<!ENTITY e{index} "{f"&e{index - 1};" * 10}">' for index in range(1, 12))
    bomb = f'{head}?><!DOCTYPE net [<!ENTITY e0 "xxxxxxxxxx">{entities}]>{rest}'
    match int(rng.integers(6)):
        case 0:
            return bomb.replace('name="images"', 'name="&e11;"').encode(), weights
        case 1:
            outside = f'{head}?><!DOCTYPE net [<!ENTITY e SYSTEM "file:///etc/passwd">]>{rest}'
            return outside.replace("<layers>", "<layers>&e;").encode(), weights
        case 2:
            depth = int(10 ** rng.uniform(2, 5))
            return text.replace("<layers>", "<a>" * depth + "</a>" * depth + "<layers>").encode(), weights
        case 3:
            numbers = [index for index, character in enumerate(text) if character.isdigit()]
            place = pick(rng, numbers)
            odd = pick(rng, ["-1", "99999999999999999999", "0", "1e9", "x", "4294967296"])
            return (text[:place] + odd + text[place + 1 :]).encode(), weights
        case 4:
            old = pick(rng, ['type="Convolution"', 'type="Tanh"', 'version="opset1"', 'type="Const"'])
            kinds = ['type="Loop"', 'type="TensorIterator"', 'type="ReadValue"', 'type="X"', 'version="extension"']
            return text.replace(old, pick(rng, kinds)).encode(), weights
    content = _metadata("openvino")
    change_metadata(content, rng)
    start, end = text.index("<i2i value=") + len("<i2i value="), text.index("/>", text.index("<i2i value="))
    return (text[:start] + quoteattr(json.dumps(content)) + text[end:]).encode(), weights


OPENVINO_FILES: dict[str, Callable[[tuple[bytes, bytes], Random], tuple[bytes, bytes]]] = {
    "openvino damaged": openvino_damaged,
    "openvino xml": openvino_xml,
}

# Programs: TorchScript and .pt2


def write_programs(folder: Path) -> None:
    """A hostile one of each form, made once: compiling takes longer than all that is done to it. Marks say so."""
    for name, trap in (("torchscript", traps.torchscript), ("pt2", traps.exported_program)):
        trap(folder / f"{name}.program", folder / "mark")


def spoiled_program(good: bytes, rng: Random) -> bytes:
    """As it is, damaged, or with a part of its zip replaced by a pickle that calls something."""
    kind = rng.random()
    if kind < 0.3:
        return good
    if kind < 0.7:
        return damaged(good, rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        names = source.namelist()
        chosen = pick(rng, names)
        for name in names:
            content = source.read(name)
            target.writestr(name, pickle.dumps(Planted("mark")) if name == chosen else content)
    return buffer.getvalue()
