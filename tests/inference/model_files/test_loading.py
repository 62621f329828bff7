"""Models of every form go through every engine; what may carry code is opened only when it is trusted."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import i2i
from i2i.errors import ModelError, OutOfMemoryError, UsageError
from i2i.export.exporting import export_model
from i2i.files import sha256_of_file
from i2i.inference import load_any_model, load_generator, load_model
from i2i.inference.model_files import loading
from i2i.inference.model_files.loading import RunnerSettings, open_model, read_any_metadata
from i2i.inference.model_files.trust import is_sealed
from i2i.inference.runners import RUNNERS, Runner
from i2i.inference.runtime import is_out_of_memory
from tests.inference.models import COLOUR, SNGAN, write_generator, write_upscaler

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2", "openvino": ".xml"}
ENGINES = {"onnx": "onnxruntime"}
"""Where the name of what runs a form is not that of the form."""
HAS_OPENVINO = RUNNERS["openvino"].installed


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Exported files of a small upscaler and a small generator with classes, made when first asked for."""
    folder = tmp_path_factory.mktemp("exports")
    sources = {
        "upscaler": write_upscaler(folder / "upscaler.safetensors"),
        "generator": write_generator(folder / "generator.safetensors", SNGAN, COLOUR, 4),
    }

    def made(which: str, form: str) -> Path:
        if form == "safetensors":
            return sources[which]
        if form == "openvino" and not HAS_OPENVINO:
            pytest.skip("openvino is not installed")
        path = folder / f"{which}{SUFFIXES[form]}"
        if not path.exists():
            export_model(sources[which], form, path, version="1")  # type: ignore[arg-type]
        return path

    return made


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_exported_upscaler_gives_the_pictures_of_its_source(
    exports: Callable[[str, str], Path], form: str, precision: str
) -> None:
    path = exports("upscaler", form)
    try:
        model = load_model(path, "cpu", precision=precision, trust=True)  # type: ignore[arg-type]
    except UsageError as error:
        assert precision == "bf16" and form in ("onnx", "openvino")
        pytest.skip(str(error))
    images = pictures(2, 23, 9)
    expected = load_model(exports("upscaler", "safetensors"), "cpu")(images).astype(int)
    got = model(images)
    assert got.shape == (2, 46, 18, 3)
    assert np.abs(got - expected).max() <= (1 if precision == "fp32" else 6)
    assert expected.std() > 10
    assert model.runner.name == (
        ENGINES.get(form, form) if precision == "fp32" else {"onnx": "openvino"}.get(form, form)
    )
    assert (model.precision, model.name, model.names) == (precision, "upscale", ("upscale",))
    assert model.metadata is not None and model.metadata.provenance == {"recipe": "test"}
    assert model.runner.network is None


@pytest.mark.parametrize("form", SUFFIXES)
def test_an_exported_generator_makes_the_pictures_of_its_source_with_any_threads(
    exports: Callable[[str, str], Path], form: str
) -> None:
    source = load_generator(exports("generator", "safetensors"), "cpu")
    latents, labels = source.latents(range(40)), torch.arange(40) % 4
    expected = source(latents, labels).astype(int)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            model = load_generator(exports("generator", form), "cpu", trust=True)
            results.append(model(latents, labels))
            assert np.array_equal(model(latents[:17], labels[:17], batch=1), results[-1][:17])
    finally:
        torch.set_num_threads(threads)
    assert np.abs(results[0] - expected).max() <= 1
    assert expected.std() > 5
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_weights_run_on_other_engines_without_an_export(exports: Callable[[str, str], Path], name: str) -> None:
    if not RUNNERS[name].installed:
        pytest.skip(f"{name} is not installed")
    path = exports("upscaler", "safetensors")
    images = pictures(1, 11, 30)
    torch.manual_seed(4)
    drawn = torch.rand(2)
    torch.manual_seed(4)
    plain, other = load_model(path, "cpu"), load_model(path, "cpu", runner=name)
    assert torch.equal(torch.rand(2), drawn), "recording moves no random numbers"
    assert (plain.runner.name, other.runner.name) == ("torch", name)
    assert np.abs(plain(images).astype(int) - other(images)).max() <= 1


def test_8_bit_graphs_give_the_same_levels(tmp_path: Path) -> None:
    source = write_upscaler(tmp_path / "m.safetensors")
    export_model(source, "torchscript", tmp_path / "m.pt", uint8=True, version="1")
    images = pictures(2, 10, 7)
    whole, levels = load_model(source, "cpu"), load_model(tmp_path / "m.pt", "cpu")
    assert np.abs(whole(images).astype(int) - levels(images)).max() <= 1
    assert levels.translate_float(torch.zeros(1, 3, 5, 5)).dtype == torch.float32


def test_i2i_load_takes_them_too(exports: Callable[[str, str], Path]) -> None:
    path = exports("upscaler", "onnx")
    model = i2i.load(path, device="cpu", runner="onnxruntime")
    assert model.runner.name == "onnxruntime"
    assert model.path == path


@pytest.mark.parametrize("form", ["torchscript", "pt2"])
class TestTrust:
    def test_own_exports_are_trusted_until_they_are_changed(
        self, exports: Callable[[str, str], Path], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("I2I_CONFIG", str(tmp_path / "config"))
        path = tmp_path / f"m{SUFFIXES[form]}"
        export_model(exports("upscaler", "safetensors"), form, path, version="1")  # type: ignore[arg-type]
        assert load_model(path, "cpu").runner.name == form
        with path.open("ab") as file:
            file.write(b"\0")
        with pytest.raises(ModelError, match="--trust"):
            load_model(path, "cpu")

    def test_files_of_others_are_not_run_but_can_be_read(
        self, exports: Callable[[str, str], Path], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / f"foreign{SUFFIXES[form]}"
        shutil.copy(exports("upscaler", form), path)

        def refuse(*arguments: object, **named: object) -> None:
            raise AssertionError("it was opened")

        with monkeypatch.context() as patch:
            for module, name in ((torch.jit, "load"), (torch.export, "load"), (torch, "load")):
                patch.setattr(module, name, refuse)
            for load in (load_any_model, open_model):
                with pytest.raises(ModelError, match=r"can carry code.*--trust if you know who made it"):
                    load(path)
            assert read_any_metadata(path).translates
        assert load_model(path, "cpu", trust=True).runner.name == form

    def test_what_was_checked_is_what_runs_though_the_file_is_replaced(
        self, exports: Callable[[str, str], Path], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / f"m{SUFFIXES[form]}"
        export_model(exports("upscaler", "safetensors"), form, path, version="1")  # type: ignore[arg-type]
        own = sha256_of_file(path)

        def replaced(*arguments: object) -> bool:
            sealed = is_sealed(*arguments)  # type: ignore[arg-type]
            path.write_bytes(b"what somebody else put there meanwhile")
            return sealed

        monkeypatch.setattr(loading, "is_sealed", replaced)
        model = load_model(path, "cpu")
        assert (model.sha256, model.runner.name) == (own, form)
        assert model(pictures(4, 4)).shape == (8, 8, 3)
        assert path.stat().st_size < 100

    def test_damage_is_found_before_anything_is_opened(
        self, exports: Callable[[str, str], Path], form: str, tmp_path: Path
    ) -> None:
        content = bytearray(exports("upscaler", form).read_bytes())
        content[len(content) // 3] ^= 0x10
        path = tmp_path / f"m{SUFFIXES[form]}"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            load_model(path, "cpu", trust=True)


@pytest.mark.parametrize("form", SUFFIXES)
def test_damaged_files_are_errors_of_one_line(exports: Callable[[str, str], Path], form: str, tmp_path: Path) -> None:
    original = exports("upscaler", form)
    content = original.read_bytes()
    path = tmp_path / original.name
    if form == "openvino":
        shutil.copy(original.with_suffix(".bin"), path.with_suffix(".bin"))
    for damaged in (b"", content[: len(content) // 2], content[:-20], b"\0" * 50, b"\x80\x04K\x01."):
        path.write_bytes(damaged)
        with pytest.raises(ModelError) as caught:
            load_model(path, "cpu", trust=True)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_openvino_needs_both_files(exports: Callable[[str, str], Path], tmp_path: Path) -> None:
    original = exports("upscaler", "openvino")
    shutil.copy(original, tmp_path / "m.xml")
    with pytest.raises(ModelError, match=r"no m\.bin beside it"):
        load_model(tmp_path / "m.xml", "cpu")
    weights = original.with_suffix(".bin").read_bytes()
    (tmp_path / "m.bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cannot be run") as caught:
        load_model(tmp_path / "m.xml", "cpu")
    assert "\n" not in str(caught.value)


class TestForeignOnnx:
    def changed(
        self, exports: Callable[[str, str], Path], path: Path, change: Callable[[onnx.ModelProto], object]
    ) -> Path:
        model = onnx.load(exports("upscaler", "onnx"))
        change(model)
        path.write_bytes(model.SerializeToString())
        return path

    def test_without_our_metadata(self, exports: Callable[[str, str], Path], tmp_path: Path) -> None:
        path = self.changed(exports, tmp_path / "m.onnx", lambda model: model.metadata_props.pop())
        with pytest.raises(ModelError, match="without i2i's metadata"):
            load_model(path, "cpu")

    @pytest.mark.parametrize("place", ["weights", "node", "function"])
    def test_with_weights_elsewhere(self, exports: Callable[[str, str], Path], tmp_path: Path, place: str) -> None:
        def move(model: onnx.ModelProto) -> None:
            if place == "weights":
                tensor = model.graph.initializer[0]
            else:
                nodes = model.graph.node if place == "node" else model.functions.add(name="f").node
                attribute = nodes.add(op_type="Constant", output=["unused"]).attribute.add(name="value")
                attribute.type, tensor = onnx.AttributeProto.TENSOR, attribute.t
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", "../../etc/passwd"

        path = self.changed(exports, tmp_path / "m.onnx", move)
        with pytest.raises(ModelError, match="weights lie in other files"):
            load_model(path, "cpu")

    def test_with_operators_of_its_own(self, exports: Callable[[str, str], Path], tmp_path: Path) -> None:
        path = self.changed(
            exports, tmp_path / "m.onnx", lambda model: model.opset_import.add(domain="evil", version=1)
        )
        with pytest.raises(ModelError, match="operators of evil"):
            load_model(path, "cpu")

    @pytest.mark.parametrize("place", ["loop", "function"])
    def test_with_what_may_never_end(self, exports: Callable[[str, str], Path], tmp_path: Path, place: str) -> None:
        def add(model: onnx.ModelProto) -> None:
            if place == "function":
                model.functions.add(name="f")
                return
            attribute = model.graph.node.add(op_type="Loop", output=["unused"]).attribute.add(name="body")
            attribute.type = onnx.AttributeProto.GRAPH
            attribute.g.name = "body"

        path = self.changed(exports, tmp_path / "m.onnx", add)
        with pytest.raises(ModelError, match="graphs within its graph, and loops of these may never end"):
            load_model(path, "cpu")


def test_what_a_file_cannot_do_is_said(exports: Callable[[str, str], Path]) -> None:
    path = exports("upscaler", "onnx")
    with pytest.raises(UsageError, match="was exported with strength 1"):
        load_model(path, "cpu", strength=0.5)
    with pytest.raises(UsageError, match=r"no direction 'BtoA'"):
        load_model(path, "cpu", "BtoA")
    with pytest.raises(UsageError, match="onnxruntime computes in fp32 alone"):
        load_model(path, "cpu", precision="bf16", runner="onnxruntime")
    with pytest.raises(UsageError, match="torch runs no onnx files - use --runner auto or onnxruntime, openvino"):
        load_model(path, "cpu", runner="torch")
    with pytest.raises(UsageError, match=r"--runner tensorrt: unknown - use auto, torch, onnxruntime, openvino"):
        load_model(path, "cpu", runner="tensorrt")
    with pytest.raises(ModelError, match="i2i generate"):
        load_model(exports("generator", "onnx"), "cpu")


def test_nothing_is_timed_unless_it_is_worthwhile(
    exports: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not HAS_OPENVINO:
        pytest.skip("openvino is not installed, so there is nothing to choose for an ONNX file")
    path, seen = exports("upscaler", "onnx"), []

    def timed(runner: Runner, example: object) -> float:
        seen.append(runner.name)
        return {"onnxruntime": 2.0, "openvino": 1.0}[runner.name]

    monkeypatch.setattr("i2i.inference.runners.choice._seconds", timed)
    quick = load_model(path, "cpu")
    assert quick.choice is not None
    assert (quick.runner.name, quick.choice.seconds, seen) == ("onnxruntime", {}, [])
    chosen = load_model(path, "cpu", worthwhile=True)
    assert chosen.choice is not None and not chosen.choice.remembered
    assert (chosen.runner.name, seen) == ("openvino", ["onnxruntime", "openvino"])
    again = load_model(path, "cpu", worthwhile=True)
    assert again.choice is not None and again.choice.remembered
    assert (again.runner.name, len(seen)) == ("openvino", 2)
    assert load_model(path, "cpu", runner="onnxruntime", worthwhile=True).runner.name == "onnxruntime"


def test_the_checksum_is_that_of_the_bytes_that_were_loaded(tmp_path: Path) -> None:
    path = write_upscaler(tmp_path / "m.safetensors")
    before = sha256_of_file(path)
    model = load_model(path, "cpu")
    write_upscaler(path, with_pixel_network=False)
    assert model.sha256 == before != sha256_of_file(path)


@pytest.mark.parametrize("form", ["safetensors", *SUFFIXES])
def test_a_model_that_was_replaced_is_not_taken_for_the_first(
    exports: Callable[[str, str], Path], form: str, tmp_path: Path
) -> None:
    original = exports("upscaler", form)
    path = tmp_path / original.name
    for suffix in (original.suffix, *([".bin"] if form == "openvino" else [])):
        shutil.copy(original.with_suffix(suffix), path.with_suffix(suffix))
    first = load_model(path, "cpu", trust=True)
    assert first.form == form and first.sha256 is not None
    again = load_any_model(path, "cpu", trust=True, expected_sha256=first.sha256)
    assert again.sha256 == first.sha256
    message = rf"{re.escape(str(path))}: changed since it was first read - run again"
    with pytest.raises(ModelError, match=message):
        load_any_model(path, "cpu", trust=True, expected_sha256="ab" * 32)
    changed = path.with_suffix(".bin") if form == "openvino" else path
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(ModelError, match=message):
        load_model(path, "cpu", trust=True, expected_sha256=first.sha256)
    # What is loaded stays what it was called.
    assert first(pictures(4, 4)).shape == (8, 8, 3)


def test_a_generator_that_was_replaced_is_not_taken_for_the_first(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "m.safetensors")
    first = load_generator(path, "cpu")
    assert first.sha256 == sha256_of_file(path)
    load_generator(path, "cpu", expected_sha256=first.sha256)
    with pytest.raises(ModelError, match="changed since it was first read"):
        load_generator(path, "cpu", expected_sha256="ab" * 32)


def test_a_model_says_what_it_is(tmp_path: Path) -> None:
    source = write_upscaler(tmp_path / "m.safetensors")
    export_model(source, "torchscript", tmp_path / "m.pt", strength=0.25, uint8=True, version="1")
    model, exported = load_model(source, "cpu", strength=0.5), load_model(tmp_path / "m.pt", "cpu")
    assert (model.form, model.strength, model.eight_bits) == ("safetensors", 0.5, False)
    assert (exported.form, exported.strength, exported.eight_bits) == ("torchscript", 0.25, True)


def test_want_of_memory_is_known_in_the_words_of_every_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (
        "onnxruntime: [ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer",
        "Exception from src/inference: std::bad_alloc",
        "CUDA out of memory. Tried to",
        "could not create a primitive",
    ):
        assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
    assert not is_out_of_memory(RuntimeError("unsupported memory format option"))
    assert not is_out_of_memory(ValueError("alloc"))
    source = open_model(write_upscaler(tmp_path / "m.safetensors"))

    def lacking(*arguments: object) -> None:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr("i2i.inference.runners.pytorch.prepared", lacking)
    record = source.metadata.entry_points["upscale"]
    with pytest.raises(OutOfMemoryError, match="too little memory for this network"):
        source.runner(record, torch.device("cpu"), RunnerSettings())
