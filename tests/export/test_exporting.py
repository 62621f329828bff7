"""From a model file to a file of another form, and the proof that the two agree."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import i2i
from i2i.errors import ModelError, StorageError, UsageError
from i2i.export import exporting
from i2i.export.exporting import ExportReport, as_json
from i2i.export.formats import FORMATS, Recording
from i2i.files import sha256_of_file
from i2i.inference import ImageModel, LatentModel, load_any_model
from i2i.inference.model_files.exported_metadata import ExportForm, parse_exported_metadata
from i2i.inference.model_files.forms import archived_text, form_of
from i2i.inference.model_files.loading import read_any_metadata
from i2i.inference.model_files.model_bytes import read_model_bytes
from i2i.inference.model_files.trust import is_sealed, report_path
from tests.inference.models import write_constant_model, write_generator, write_upscaler

export_model = functools.partial(exporting.export_model, version=i2i.__version__)


class Made(NamedTuple):
    source: Path
    file: Path
    report: ExportReport
    cache: Path


FORMS: dict[ExportForm, str] = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2", "openvino": ".xml"}
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="needs the extra openvino")
each_form = pytest.mark.parametrize(
    "form", [pytest.param(form, marks=needs_openvino if form == "openvino" else ()) for form in FORMS]
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ExportForm], Made]:
    """Exports of one upscaler, each made once; their key lies beside them."""
    folder = tmp_path_factory.mktemp("made")
    source = write_upscaler(folder / "model.safetensors")
    done: dict[ExportForm, Made] = {}

    def make(form: ExportForm) -> Made:
        if form not in done:
            out = folder / form / f"m{FORMS[form]}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("I2I_CONFIG", str(folder / "cache"))
                done[form] = Made(source, out, export_model(source, form, out, strength=0.25), folder / "cache")
        return done[form]

    return make


@pytest.fixture
def upscaler(tmp_path: Path) -> Path:
    return write_upscaler(tmp_path / "model.safetensors")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@each_form
def test_the_file_gives_what_the_model_gives(
    form: ExportForm, made: Callable[[ExportForm], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, report, cache = made(form)
    # No trust needs to be given: this user made it.
    monkeypatch.setenv("I2I_CONFIG", str(cache))
    exported, model = load_any_model(out, "cpu"), load_any_model(source, "cpu", strength=0.25, runner="torch")
    assert isinstance(exported, ImageModel) and isinstance(model, ImageModel)
    assert (form_of(out), exported.name, exported.entry_point.scale) == (form, "upscale", 2)
    images = np.random.default_rng(0).integers(0, 256, (2, 13, 9, 3), np.uint8)
    expected = model(images).astype(int)
    assert expected.std() > 5 and np.abs(exported(images) - expected).max() <= 1
    at_full_strength = load_any_model(source, "cpu", runner="torch")(images).astype(int)
    assert np.abs(at_full_strength - expected).max() > 1
    # Its one strength is settled.
    with pytest.raises(UsageError, match="strength"):
        load_any_model(out, "cpu", strength=0.5)
    assert report.levels <= 1 and len(report.parity) == 10


@each_form
def test_what_is_written_beside_it(form: ExportForm, made: Callable[[ExportForm], Made]) -> None:
    source, out, report, _ = made(form)
    files = [out, out.with_suffix(".bin")] if form == "openvino" else [out]
    assert names(out.parent) == {*(file.name for file in files), f"{out.name}.json"}
    written = json.loads(report_path(out).read_text())
    assert written == json.loads(json.dumps(as_json(report)))
    assert written["sha256"] == read_model_bytes(out).sha256
    assert written["source_sha256"] == sha256_of_file(source)
    assert written["versions"]["i2i"] == i2i.__version__ and written["versions"]["torch"] == torch.__version__
    assert written["bytes"] == sum(file.stat().st_size for file in files)
    assert written["levels"] == max(row["levels"] for row in written["parity"]) <= 1
    assert read_any_metadata(out).provenance == read_any_metadata(source).provenance


@each_form
def test_pixels_of_eight_bits(form: ExportForm, upscaler: Path, tmp_path: Path) -> None:
    out = tmp_path / f"m{FORMS[form]}"
    assert export_model(upscaler, form, out, uint8=True).uint8
    images = np.random.default_rng(0).integers(0, 256, (2, 7, 10, 3), np.uint8)
    expected = load_any_model(upscaler, "cpu", runner="torch")(images).astype(int)
    assert expected.std() > 5 and np.abs(load_any_model(out, "cpu")(images) - expected).max() <= 1


@each_form
def test_generators_too(form: ExportForm, tmp_path: Path) -> None:
    source = write_generator(tmp_path / "model.safetensors", classes=3)
    out = tmp_path / f"m{FORMS[form]}"
    export_model(source, form, out)
    exported, model = load_any_model(out, "cpu"), load_any_model(source, "cpu", runner="torch")
    assert isinstance(exported, LatentModel) and isinstance(model, LatentModel)
    latents, labels = model.latents(range(3)), [0, 1, 2]
    expected = model(latents, labels).astype(int)
    assert expected.std() > 5 and np.abs(exported(latents, labels) - expected).max() <= 1


def test_one_direction_is_exported(tmp_path: Path) -> None:
    colours = {"AtoB": (200.0, 40.0, 40.0), "BtoA": (40.0, 200.0, 40.0)}
    two_way, out = write_constant_model(tmp_path / "run" / "model.safetensors", colours), tmp_path / "m.pt"
    export_model(two_way, "torchscript", out, direction="BtoA")
    metadata, facts = parse_exported_metadata(out, archived_text(out, out.read_bytes(), "i2i"))
    assert list(metadata.entry_points) == ["BtoA"] and facts.form == "torchscript"
    picture = load_any_model(out, "cpu")(np.zeros((5, 6, 3), np.uint8))
    assert picture[0, 0].tolist() == [40, 200, 40]
    with pytest.raises(UsageError, match="no direction"):
        export_model(two_way.parent, "torchscript", out, direction="CtoA")


@each_form
def test_a_file_that_differs_is_not_kept(
    form: ExportForm, upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    format_ = FORMATS[form]

    def write_another(recording: Recording, text: str, path: Path) -> None:
        with torch.no_grad():
            for parameter in recording.module.parameters():
                parameter.add_(0.05)
        format_.write(recording, text, path)

    monkeypatch.setattr(exporting, "FORMATS", {form: replace(format_, write=write_another)})
    out = tmp_path / "new" / f"m{FORMS[form]}"
    with pytest.raises(ModelError, match=r"differs by .* grey levels .* no file was written"):
        export_model(upscaler, form, out)
    assert names(out.parent) == set()


@each_form
def test_a_full_disk_leaves_what_was_there(
    form: ExportForm, upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "old" / f"m{FORMS[form]}"
    out.parent.mkdir()
    for file in (out, out.with_suffix(".bin"), report_path(out)):
        file.write_text(f"<old><i2i value='{file.name}'/></old>")

    def write_a_part(recording: Recording, text: str, path: Path) -> None:
        path.write_bytes(b"half")
        if form == "openvino":
            path.with_suffix(".bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "FORMATS", {form: replace(FORMATS[form], write=write_a_part)})
    with pytest.raises(StorageError, match="No space left"):
        export_model(upscaler, form, out)
    assert len(names(out.parent)) == 3
    assert all(path.read_text() == f"<old><i2i value='{path.name}'/></old>" for path in out.parent.iterdir())


@pytest.mark.parametrize("form", ["torchscript", "pt2"])
def test_files_that_can_carry_code_are_known_again(
    form: ExportForm, made: Callable[[ExportForm], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, original, _, cache = made(form)
    monkeypatch.setenv("I2I_CONFIG", str(cache))
    out = tmp_path / original.name
    out.write_bytes(original.read_bytes())
    sha256 = sha256_of_file(out)
    assert is_sealed(original, sha256) and not is_sealed(out, sha256)
    report_path(out).write_bytes(report_path(original).read_bytes())
    assert is_sealed(out, sha256)
    content = bytearray(out.read_bytes())
    content[len(content) // 2] ^= 1
    out.write_bytes(content)
    assert not is_sealed(out, sha256_of_file(out))
    with pytest.raises(ModelError):
        load_any_model(out, "cpu")


def test_without_a_key_the_file_is_made_all_the_same(
    upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("I2I_CONFIG", str(tmp_path / "file" / "below"))
    report = export_model(upscaler, "torchscript", tmp_path / "m.pt")
    assert report.seal is None and report.unsealed is not None
    assert "export_key" in report.unsealed and "I2I_CONFIG" in report.unsealed
    with pytest.raises(ModelError, match="--trust"):
        load_any_model(tmp_path / "m.pt", "cpu")
    assert load_any_model(tmp_path / "m.pt", "cpu", trust=True).name == "upscale"


@pytest.mark.parametrize("form", ["torchscript", "pt2"])
def test_no_place_of_this_machine_is_in_the_file(form: ExportForm, made: Callable[[ExportForm], Made]) -> None:
    _, out, _, _ = made(form)
    with zipfile.ZipFile(out) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert len(content) > 1000
    for place in (Path(i2i.__file__).parent, Path(torch.__file__).parent):
        assert str(place).encode() not in content


def test_calls_that_cannot_work_are_refused_before_anything_is_done(
    upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("it was written")

    monkeypatch.setattr(exporting, "_record", never)
    for form, name, expected in (
        ("onnx", "m.pt", r"ends in \.onnx - rename it"),
        ("torchscript", "m.onnx", r"ends in \.pt or"),
        ("openvino", "m.bin", r"ends in \.xml"),
        ("coreml", "m.onnx", "unknown - use onnx, torchscript, pt2, openvino"),
    ):
        with pytest.raises(UsageError, match=expected):
            export_model(upscaler, form, tmp_path / name)  # type: ignore[arg-type]
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        export_model(upscaler, "onnx", tmp_path / "folder.onnx")
    with pytest.raises(UsageError, match="strength"):
        export_model(upscaler, "onnx", tmp_path / "m.onnx", strength=2)
    with pytest.raises(ModelError, match="no such file"):
        export_model(tmp_path / "none.safetensors", "onnx", tmp_path / "m.onnx")
    assert names(tmp_path) <= {"model.safetensors", "folder.onnx"}


def test_an_exported_file_is_not_exported_again(made: Callable[[ExportForm], Made], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="an exported file already"):
        export_model(made("torchscript").file, "onnx", tmp_path / "m.onnx")


def test_openvino_that_is_not_there_is_said_first(
    upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"i2i\[openvino\]"):
        export_model(upscaler, "openvino", tmp_path / "m.xml")
    assert names(tmp_path) <= {"model.safetensors"}


@needs_openvino
def test_weights_of_others_are_not_replaced(upscaler: Path, tmp_path: Path) -> None:
    out, weights = tmp_path / "m.xml", tmp_path / "m.bin"
    weights.write_bytes(b"a disk image")
    for text in (None, "<net/>", "no graph"):
        if text is not None:
            out.write_text(text)
        with pytest.raises(UsageError, match=r"m\.bin beside it would be replaced, .* choose another name"):
            export_model(upscaler, "openvino", out)
        assert weights.read_bytes() == b"a disk image"
    weights.unlink()
    export_model(upscaler, "openvino", out)
    first = weights.read_bytes()
    # Its own it may replace.
    export_model(upscaler, "openvino", out)
    assert weights.read_bytes() == first


def test_a_model_that_is_replaced_meanwhile_is_not_mixed(
    upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sha256_of_file(upscaler)
    another = write_upscaler(tmp_path / "another.safetensors", with_pixel_network=False)
    load, record = exporting.load_any_model, exporting._record

    def replaced_after_the_first_reading(*arguments: object, **named: object) -> object:
        another.replace(upscaler)
        return load(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "load_any_model", replaced_after_the_first_reading)
        with pytest.raises(ModelError, match="changed since it was first read - run again"):
            export_model(upscaler, "torchscript", tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()

    def replaced_before_the_recording(*arguments: object) -> None:
        write_constant_model(upscaler, {"AtoB": (1, 2, 3)})
        record(*arguments)  # type: ignore[arg-type]

    upscaler = write_upscaler(tmp_path / "model.safetensors")
    assert sha256_of_file(upscaler) == before
    monkeypatch.setattr(exporting, "_record", replaced_before_the_recording)
    report = export_model(upscaler, "torchscript", tmp_path / "m.pt")
    assert report.source_sha256 == before != sha256_of_file(upscaler)
    assert report.levels <= 1
