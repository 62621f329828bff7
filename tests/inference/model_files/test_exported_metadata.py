from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2i.errors import ModelError
from i2i.inference.model_files.exported_metadata import (
    ExportFacts,
    input_names,
    parse_exported_metadata,
    sealed_metadata,
)
from i2i.inference.model_files.model_file import FORMAT_VERSION, LatentRecord, PictureRecord, read_metadata
from tests.inference.models import write_generator, write_upscaler

FACTS = ExportFacts(form="onnx", uint8=True, strength=0.25, source_sha256="ab", i2i="1", torch="2")
FILE = Path("some.onnx")


def test_what_is_written_is_read(two_way_model: Path) -> None:
    metadata = read_metadata(two_way_model)
    read, facts = parse_exported_metadata(FILE, sealed_metadata(metadata, "BtoA", FACTS))
    assert facts == FACTS
    assert read.entry_points == {"BtoA": metadata.entry_points["BtoA"]}
    assert (read.pipeline, read.provenance) == (metadata.pipeline, metadata.provenance)


def test_the_twin_of_an_upscaler_stays_behind(tmp_path: Path) -> None:
    metadata = read_metadata(write_upscaler(tmp_path / "m.safetensors"))
    record = metadata.entry_points["upscale"]
    assert isinstance(record, PictureRecord) and record.pixel_network is not None
    read, _ = parse_exported_metadata(FILE, sealed_metadata(metadata, "upscale", FACTS))
    only = read.entry_points["upscale"]
    assert isinstance(only, PictureRecord) and only.pixel_network is None


@pytest.mark.parametrize(("classes", "names"), [(0, ("latents",)), (3, ("latents", "labels"))])
def test_inputs_have_names(tmp_path: Path, classes: int, names: tuple[str, ...]) -> None:
    metadata = read_metadata(write_generator(tmp_path / "m.safetensors", classes=classes))
    record = metadata.entry_points["generate"]
    assert isinstance(record, LatentRecord) and input_names(record) == names


def test_other_texts_are_refused_in_one_line(two_way_model: Path) -> None:
    metadata = read_metadata(two_way_model)
    good = json.loads(sealed_metadata(metadata, "AtoB", FACTS))
    other_form = {**good, "export": {**good["export"], "form": "coreml"}}
    unknown_fact = {**good, "export": {**good["export"], "quantized": True}}
    unknown_setting = json.loads(json.dumps(good))
    unknown_setting["model"]["entry_points"]["AtoB"]["generator"]["attention"] = True
    newer = {**good, "model": {**good["model"], "format_version": FORMAT_VERSION + 1}}
    two = json.loads(json.dumps(good))
    two["model"]["entry_points"]["again"] = good["model"]["entry_points"]["AtoB"]
    cases = {
        "nonsense": "unreadable",
        "[]": "unreadable",
        "[" * 100_000: "unreadable",
        json.dumps({"model": {}}): "unreadable",
        json.dumps({"model": good["model"]}): "export",
        json.dumps(other_form): "export.form",
        json.dumps(unknown_fact): "export.quantized",
        json.dumps(unknown_setting): "attention",
        json.dumps(newer): "install a newer i2i",
        json.dumps(two): "2 entry points",
    }
    for text, expected in cases.items():
        with pytest.raises(ModelError) as caught:
            parse_exported_metadata(FILE, text)
        assert expected in str(caught.value) and str(caught.value).startswith("some.onnx: ")
        assert "\n" not in str(caught.value)
