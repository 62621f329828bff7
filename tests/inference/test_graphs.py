"""What a recorded network is, whoever runs it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import i2i
from i2i.core.generators import CompactSettings, ResNetGeneratorSettings
from i2i.errors import ModelError
from i2i.inference import graphs
from i2i.inference.graphs import exported_program, onnx_model, openvino_model, put_metadata, recordable, traced
from i2i.inference.sizes import AnySize
from i2i.pipelines.protocol import LatentEntryPoint, PictureEntryPoint
from tests.inference.models import GREY, MLP, generator_network, image_model

SETTINGS = ResNetGeneratorSettings(base_channels=4, blocks=1)
ENTRY = PictureEntryPoint("generator", SETTINGS)
UPSCALER = CompactSettings(scale=2, base_channels=4, convs=1)
UPSCALING = PictureEntryPoint("generator", UPSCALER, None, 2)
# Below, at and between multiples; one side of a single pixel.
SIZES = ((1, 2, 3), (2, 1, 7), (3, 8, 8), (1, 33, 20))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SETTINGS.build().eval()


@pytest.fixture(scope="module")
def program(network: torch.nn.Module) -> torch.export.ExportedProgram:
    return exported_program(recordable(network, ENTRY))


@pytest.fixture(scope="module")
def graph(program: torch.export.ExportedProgram) -> onnx.ModelProto:
    return onnx_model(program, "what it says")


@torch.no_grad()
def test_one_recording_runs_at_every_size(network: torch.nn.Module, program: torch.export.ExportedProgram) -> None:
    plain, recorded, script = AnySize(network, ENTRY), program.module(), traced(recordable(network, ENTRY))
    for batch, height, width in SIZES:
        images = torch.rand(batch, 3, height, width) * 2 - 1
        expected = plain(images)
        assert expected.std() > 0.01
        torch.testing.assert_close(recorded(images), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(script(images), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_single_pixel_is_a_picture() -> None:
    network = UPSCALER.build()
    script, recorded = traced(recordable(network, UPSCALING)), exported_program(recordable(network, UPSCALING)).module()
    images = torch.rand(1, 3, 1, 1)
    expected = network(images)
    assert expected.shape == (1, 3, 2, 2)
    torch.testing.assert_close(recorded(images), expected)
    torch.testing.assert_close(script(images), expected)


def test_onnx_has_standard_operators_names_and_free_axes(graph: onnx.ModelProto) -> None:
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 20)]
    assert {node.domain for node in graph.graph.node} == {""}
    (given,), (result,) = graph.graph.input, graph.graph.output
    assert (given.name, result.name) == ("images", "pictures")
    for value in (given, result):
        dimensions = value.type.tensor_type.shape.dim
        assert [each.dim_param or each.dim_value for each in dimensions] == ["batch", 3, "height", "width"]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.graph.initializer)


def test_onnx_carries_one_metadata_text(graph: onnx.ModelProto) -> None:
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    assert [(entry.key, entry.value) for entry in copied.metadata_props] == [("i2i", "what it says")]
    put_metadata(copied, "something else")
    assert [(entry.key, entry.value) for entry in copied.metadata_props] == [("i2i", "something else")]
    put_metadata(copied, "")
    assert not copied.metadata_props


def test_onnx_says_nothing_about_where_it_was_recorded(graph: onnx.ModelProto) -> None:
    content = graph.SerializeToString()
    for place in (Path(i2i.__file__).parent, Path(torch.__file__).parent):
        assert str(place).encode() not in content


@torch.no_grad()
def test_uint8_pixels_go_in_and_come_out() -> None:
    network = UPSCALER.build()
    module = recordable(network, UPSCALING, uint8=True)
    model = image_model(network, UPSCALING)
    script = traced(module)
    graph = onnx_model(exported_program(module))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [each.shape for each in session.get_inputs()] == [["batch", "height", "width", 3]]
    for batch, height, width in SIZES:
        images = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8)
        expected = torch.from_numpy(model(images.numpy())).int()
        (run,) = session.run(None, {"images": images.numpy()})
        for result in (script(images), torch.from_numpy(run)):
            assert result.dtype == torch.uint8 and result.shape == expected.shape
            assert int((result.int() - expected).abs().max()) <= 1
        # Rounded, not cut off: half of all values would differ.
        assert float((script(images).int() != expected).float().mean()) < 0.05


@pytest.mark.parametrize("classes", [0, 3])
@torch.no_grad()
def test_latents_of_every_number_give_pictures(classes: int) -> None:
    entry = LatentEntryPoint("generator", MLP, GREY, classes)
    network = generator_network(MLP, GREY, classes).eval()
    recorded = exported_program(recordable(network, entry)).module()
    rounded = traced(recordable(network, entry, uint8=True))
    for count in (1, 4):
        inputs: tuple[Tensor, ...] = (torch.randn(count, MLP.latent),)
        if classes:
            inputs = (*inputs, torch.arange(count) % classes)
        expected = network(*inputs)
        assert expected.std() > 0.01
        torch.testing.assert_close(recorded(*inputs), expected)
        levels = expected.add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        assert torch.equal(rounded(*inputs), levels)


def test_recording_is_silent_and_leaves_no_trace(
    network: torch.nn.Module, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    training, state = SETTINGS.build().train(), torch.random.get_rng_state()
    before = {name: value.clone() for name, value in training.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = recordable(training, ENTRY)
        onnx_model(exported_program(module))
        traced(module)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert all(torch.equal(value, before[name]) for name, value in training.state_dict().items())


def test_it_records_for_callers_that_only_compute(network: torch.nn.Module) -> None:
    with torch.inference_mode():
        program = exported_program(recordable(network, ENTRY))
        script = traced(recordable(network, ENTRY))
        images = torch.rand(1, 3, 9, 10)
        torch.testing.assert_close(program.module()(images), script(images), atol=1e-4, rtol=0)


def test_weights_that_one_onnx_file_cannot_hold_are_refused(
    program: torch.export.ExportedProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "ONNX_MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="less than 2 GiB - export to pt2"):
        onnx_model(program)


def test_openvino_takes_the_graph(graph: onnx.ModelProto) -> None:
    pytest.importorskip("openvino")
    model = openvino_model(graph, "what it says")
    assert model.get_rt_info("i2i").value == "what it says"
    assert [model.input(0).get_any_name(), model.output(0).get_any_name()] == ["images", "pictures"]
    assert model.input(0).partial_shape.is_dynamic
