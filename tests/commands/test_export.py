"""What the verb says of what it made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2i.commands.export import run
from tests.inference.models import write_constant_model, write_generator, write_upscaler


def test_it_says_what_the_file_is_and_how_to_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_upscaler(tmp_path / "model.safetensors"), tmp_path / "m.pt"
    run(source, "torchscript", out, uint8=True)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{out}: upscale: srresnet, enlarges pictures 2 times; torchscript, uint8 (N, H, W, C), ")
    assert second.startswith("from model.safetensors: differs by at most ") and str(out) + ".json" in second
    assert second.endswith(f"{out}.card.md for a card")
    assert third == f"use it: i2i translate --model {out} PICTURES"


def test_a_generator_is_used_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.pt"
    run(write_generator(tmp_path / "model.safetensors"), "torchscript", out)
    assert capsys.readouterr().out.splitlines()[-1] == f"use it: i2i generate --model {out}"


def test_the_other_direction_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_constant_model(tmp_path / "model.safetensors", {"AtoB": (1, 2, 3), "BtoA": (3, 2, 1)})
    run(source, "torchscript", tmp_path / "m.pt")
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "it has AtoB alone; for a file of what else the model has: --direction BtoA"
    run(source, "torchscript", tmp_path / "m.pt", direction="AtoB")
    assert "alone" not in capsys.readouterr().out


def test_json_is_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_upscaler(tmp_path / "model.safetensors"), tmp_path / "m.pt"
    run(source, "torchscript", out, strength=0.5, json=True)
    said = json.loads(capsys.readouterr().out)
    card = f"{out}.card.md"
    assert said == {"out": str(out), **json.loads(Path(f"{out}.json").read_text()), "card": card}
    assert "Holds one network of strength 0.5" in Path(card).read_text()
    assert (said["strength"], said["form"], len(said["parity"])) == (0.5, "torchscript", 10)


def test_without_a_key_it_says_that_trust_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("I2I_CONFIG", str(tmp_path / "file" / "below"))
    run(write_upscaler(tmp_path / "model.safetensors"), "torchscript", tmp_path / "m.pt")
    said = capsys.readouterr().out.splitlines()[2]
    assert "--trust" in said and f"{tmp_path / 'file' / 'below' / 'export_key'}: " in said and "I2I_CONFIG" in said
