"""The verb through the real command line: exit codes, what is printed where, what lies in the folders."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.cli import main
from i2i.commands import translate as command
from i2i.errors import I2IError, ModelError, PartialFailureError, UsageError
from i2i.inference import load_model
from i2i.inference.image_model import ImageModel
from i2i.inference.translation.ledger import LEDGER_NAME
from tests.inference.models import write_constant_model, write_generator, write_nearest_upscaler, write_upscaler

RED, GREEN = [200, 40, 40], [40, 200, 40]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A run folder whose model paints everything red (AtoB) or green (BtoA)."""

    return write_constant_model(tmp_path / "run" / "model.safetensors", {"AtoB": RED, "BtoA": GREEN}).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of odd sizes and kinds, one of them in a folder below, and junk."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name, size, mode in (
        ("odd.png", (53, 67), "RGB"),
        ("dot.png", (1, 1), "RGB"),
        ("long.jpg", (500, 3), "RGB"),
        ("grey.png", (20, 30), "L"),
        ("sub/alpha.png", (9, 8), "RGBA"),
    ):
        Image.new(mode, size, 77 if mode == "L" else (1, 2, 3, 99)[: len(mode)]).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def translate(*arguments: object) -> int:
    return main(["translate", *map(str, arguments), "--device", "cpu"])


def results(folder: Path) -> list[Path]:
    """Pictures, without the list of what made them."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != LEDGER_NAME]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_folder_of_odd_pictures(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert translate("--model", model, folder) == 0
    out = folder.with_name("in_translated")
    names = sorted(path.relative_to(out).as_posix() for path in results(out))
    assert names == ["dot.png", "grey.png", "long.jpg", "odd.png", "sub/alpha.png"]
    assert pixels(out / "odd.png").shape == (67, 53, 3)
    assert pixels(out / "dot.png").tolist() == [[RED]]
    assert pixels(out / "long.jpg").shape == (3, 500, 3)
    assert pixels(out / "grey.png").shape == (30, 20, 3)
    assert np.all(pixels(out / "sub/alpha.png") == [*RED, 99])
    captured = capsys.readouterr()
    assert captured.out == "", "results only; the rest goes to standard error"
    assert "direction AtoB (this model also has BtoA" in captured.err
    assert f"5 written to {out} in" in captured.err
    assert "pictures/s" in captured.err


@pytest.mark.parametrize("written", ["BtoA", "btoa", "BTOA"])
def test_the_other_direction(model: Path, folder: Path, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert translate("--model", model, folder / "odd.png", "--direction", written) == 0
    assert np.all(pixels(folder / "odd_BtoA_translated" / "odd.png") == GREEN)
    assert "direction AtoB" not in capsys.readouterr().err


def test_two_directions_of_one_input_lie_apart(model: Path, folder: Path) -> None:
    for direction in ("AtoB", "BtoA"):
        assert translate("--model", model, folder, "--direction", direction, "--skip-existing") == 0
    assert np.all(pixels(folder.with_name("in_translated") / "odd.png") == RED)
    assert np.all(pixels(folder.with_name("in_BtoA_translated") / "odd.png") == GREEN)


def test_one_picture_to_a_named_file(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "red.jpg"
    assert translate("--model", model, folder / "odd.png", "-o", out) == 0
    with Image.open(out) as image:
        assert (image.format, image.size) == ("JPEG", (53, 67))
    assert f"1 written to {out} in" in capsys.readouterr().err
    assert translate("--model", model, folder, "-o", out) == 2
    assert "names one picture" in capsys.readouterr().err


def test_a_broken_picture_gives_exit_code_7_and_the_others_are_done(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.png").write_bytes((folder / "odd.png").read_bytes()[:60])
    assert translate("--model", model, folder, tmp_path / "missing.png", "-o", tmp_path / "out") == 7
    assert len(results(tmp_path / "out")) == 5
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == "i2i: error: 2 of 7 inputs failed, see above; the others are done"
    for reason in ("broken.png", "missing.png: no such file"):
        assert [line.startswith("failed: ") for line in errors if reason in line] == [True], "said once"


def test_a_misspelt_input_alone_is_a_data_error(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert translate("--model", model, folder / "od.png") == 4
    assert capsys.readouterr().err == f"i2i: error: {folder / 'od.png'}: no such file or folder - check the spelling\n"
    assert translate("--model", model, tmp_path / "x.png", f"{tmp_path}/*.jpg", "-o", tmp_path / "out") == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.png: no such" in line and "*.jpg: no such" in line
    assert not (tmp_path / "out").exists()


def test_a_broken_picture_alone_is_named_once(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    assert translate("--model", model, folder / "broken.png", "--quiet") == 7
    failed, last = capsys.readouterr().err.splitlines()
    assert failed.startswith("failed: ") and "broken.png" in failed
    assert last == "i2i: error: nothing could be translated, see above"


def test_json_lists_every_picture_and_is_all_of_standard_output(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.png").write_bytes(b"")
    arguments = ("--model", model, folder, "-o", tmp_path / "out", "--json", "--quiet")
    assert translate(*arguments) == 7
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["written"], report["skipped"], report["failed"]) == (5, 0, 1)
    assert (report["direction"], report["device"], report["precision"]) == ("AtoB", "cpu", "fp32")
    assert {Path(item["source"]).name: item["status"] for item in report["pictures"]}["broken.png"] == "failed"
    assert ["broken.png" in line for line in captured.err.splitlines()] == [True, False]


def test_a_second_run_skips_what_is_there(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", model, folder, "-o", tmp_path / "out", "--skip-existing")
    assert translate(*arguments) == 0
    assert translate(*arguments) == 0
    assert "none written, " in (last := capsys.readouterr().err.splitlines()[-1])
    assert "5 skipped (there already) in" in last


def test_results_of_another_direction_are_made_anew(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", model, folder, "-o", tmp_path / "out", "--skip-existing")
    assert translate(*arguments) == 0
    (tmp_path / "out" / "dot.png").unlink()
    capsys.readouterr()
    assert translate(*arguments, "--direction", "BtoA") == 0
    errors = capsys.readouterr().err
    assert errors.count("made anew: the result that was there came from another model or other settings") == 4
    assert "5 written" in errors
    assert all(np.abs(pixels(path)[..., :3].astype(int) - GREEN).max() < 9 for path in results(tmp_path / "out"))


def test_it_is_said_and_written_down_what_ran(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert translate("--model", model, folder, "-o", tmp_path / "out", "--json") == 0
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert f"runner {said['runner']}, fp32 on cpu" in captured.err
    maker = json.loads((tmp_path / "out" / LEDGER_NAME).read_text().splitlines()[0])
    assert (maker["runner"], maker["direction"]) == (said["runner"], "AtoB")
    assert len(maker["model_sha256"]) == 64
    assert "megapixels/s" in captured.err and said["megapixels"] > 0


def test_format_batch_and_quality(model: Path, folder: Path, tmp_path: Path) -> None:
    assert translate("--model", model, folder, "-o", tmp_path / "out", "--format", "jpeg", "--batch", 4) == 0
    written = results(tmp_path / "out")
    assert len(written) == 5
    for path in written:
        with Image.open(path) as image:
            assert image.format == "JPEG"


def test_max_pixels(model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert translate("--model", model, folder, "-o", tmp_path / "out", "--max-pixels", 1500) == 7
    assert any(line.startswith("failed: ") and "odd.png" in line for line in capsys.readouterr().err.splitlines())


def test_quiet_says_nothing(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert translate("--model", model, folder, "--quiet") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [["--format", "gif"], ["--quality", "0"], ["--batch", "0"], ["--max-pixels", "0"], ["--direction", "CtoD"]],
    ids=lambda arguments: arguments[0],
)
def test_wrong_arguments_are_usage_errors(
    model: Path, folder: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert translate("--model", model, folder, "-o", tmp_path / "out", *arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_pictures(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert translate("--model", model, tmp_path / "empty") == 4
    assert "no pictures found" in capsys.readouterr().err


class _Planted:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["latest_net_G.pth", "model.pt", "model.safetensors"])
def test_a_hostile_model_is_refused_and_not_executed(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "executed"
    (tmp_path / name).write_bytes(pickle.dumps(_Planted(mark)))
    assert translate("--model", tmp_path / name, folder) == 5
    assert not mark.exists()
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and name in errors[0]


def test_a_generator_translates_nothing_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = write_generator(tmp_path / "run" / "model.safetensors")
    assert translate("--model", generator, folder) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "dcgan, 28 x 28 pixels, grey, from latents of width 12" in line
    assert f"use i2i generate --model {generator}" in line


def test_damaged_and_missing_models(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    assert translate("--model", model, folder) == 5
    assert "checksum" in capsys.readouterr().err
    assert translate("--model", tmp_path / "nowhere", folder) == 5
    assert "no such file" in capsys.readouterr().err
    assert not folder.with_name("in_translated").exists()


def test_an_interruption_ends_with_130(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageModel, "translate_array", interrupt)
    assert translate("--model", model, folder, "-o", tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()


def test_an_upscaler_takes_a_strength_and_corrects(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_upscaler(tmp_path / "up" / "model.safetensors")
    results = []
    for name, options in (
        ("default", []), ("full", ["--strength", 1]), ("less", ["--strength", 0.25]), ("true", ["--consistent"]),
    ):  # fmt: skip
        out = tmp_path / name
        assert translate("--model", model, folder / "odd.png", "-o", out, "--json", "--quiet", *options) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["scale"], said["strength"]) == (2, 0.25 if name == "less" else 1)
        assert said["consistent"] == (name == "true")
        results.append(pixels(out / "odd.png"))
    default, full, less, true = results
    assert default.shape == (134, 106, 3)
    assert np.array_equal(default, full)
    assert not np.array_equal(default, less)
    assert not np.array_equal(default, true)


def test_upscaling_counts_the_pixels_it_reads(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_nearest_upscaler(tmp_path / "up" / "model.safetensors")
    assert translate("--model", model, folder, "-o", tmp_path / "out", "--max-pixels", 3_550) == 7
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: "))
    assert "odd.png: 53 x 67 is 3,551 pixels, the limit is 3,550" in line
    assert pixels(tmp_path / "out" / "long.jpg").shape == (6, 1000, 3)
    assert pixels(tmp_path / "out" / "grey.png").shape == (60, 40), "grey stays grey"


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("--strength", 0.5), "also holds a network trained on pixels"), (("--consistent",), "keeps the size")],
    ids=["strength", "consistent"],
)
def test_what_a_translator_cannot_do_is_a_usage_error(
    model: Path, folder: Path, options: tuple, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert translate("--model", model, folder, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not folder.with_name("in_translated").exists()


# Tiles, transparency, standard input and output, videos


def test_tiles_and_transparency_are_passed_on(folder: Path, tmp_path: Path) -> None:
    model = write_upscaler(tmp_path / "up" / "model.safetensors")
    for name, tile in (("whole", "off"), ("bands", "16"), ("auto", "auto")):
        command.run(model, [folder], tmp_path / name, device="cpu", tile=tile, alpha="drop", quiet=True)
    for path in results(tmp_path / "whole"):
        relative = path.relative_to(tmp_path / "whole")
        difference = pixels(path).astype(int) - pixels(tmp_path / "bands" / relative)
        assert np.abs(difference).max() <= (1 if path.suffix == ".png" else 12)
    assert pixels(tmp_path / "bands" / "sub" / "alpha.png").shape == (16, 18, 3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tile": "0"}, "--tile 0: use auto, off or the side of a tile"),
        ({"tile": "big"}, "--tile big"),
        ({"tile_statistics": "none"}, "--tile-statistics none: use exact or thumbnail"),
        ({"jobs": 0}, "--jobs 0: use 1 or more"),
        ({"alpha": "keep"}, "--alpha keep: use copy, model or drop"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(model: Path, folder: Path, options: dict, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        command.run(model, [folder], **options)
    assert reason in str(caught.value)


class _Bytes:
    """Stands in for standard input or output."""

    def __init__(self, content: bytes = b"", *, terminal: bool = False) -> None:
        self.buffer, self._terminal = io.BytesIO(content), terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(("format", "expected"), [(None, "PNG"), ("jpg", "JPEG"), ("tiff", "TIFF")])
def test_one_picture_through_a_pipe(
    model: Path, folder: Path, format: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _Bytes()
    monkeypatch.setattr("sys.stdin", _Bytes((folder / "odd.png").read_bytes()))
    monkeypatch.setattr("sys.stdout", out)
    command.run(model, ["-"], device="cpu", format=format)
    with Image.open(io.BytesIO(out.buffer.getvalue())) as image:
        assert (image.format, image.size) == (expected, (53, 67))
        assert np.abs(np.asarray(image).astype(int) - RED).max() < 5


def test_from_a_pipe_to_a_file_and_from_a_file_to_a_pipe(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", _Bytes((folder / "long.jpg").read_bytes()))
    command.run(model, ["-"], tmp_path / "y.webp", device="cpu")
    assert pixels(tmp_path / "y.webp").shape == (3, 500, 3)
    assert f"1 written to {tmp_path / 'y.webp'}" in capsys.readouterr().err
    out = _Bytes()
    monkeypatch.setattr("sys.stdout", out)
    command.run(model, [folder / "long.jpg"], Path("-"), device="cpu")
    assert out.buffer.getvalue().startswith(b"\xff\xd8\xff")


def test_what_cannot_go_through_a_pipe_is_said(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(inputs: list, out: Path | None = None, content: bytes = b"", terminal: bool = False, **more) -> str:
        capsys.readouterr()
        stream = _Bytes(terminal=terminal)
        with monkeypatch.context() as patch, pytest.raises(I2IError) as caught:
            patch.setattr("sys.stdin", _Bytes(content))
            patch.setattr("sys.stdout", stream)
            command.run(model, inputs, out, device="cpu", **more)
        assert stream.buffer.getvalue() == b""
        return str(caught.value)

    picture = (folder / "odd.png").read_bytes()
    assert "name a file with -o" in message(["-"], content=picture, terminal=True)
    assert "both want standard output" in message(["-"], content=picture, json=True)
    assert "for one picture" in message(["-", folder / "odd.png"])
    assert "is a folder" in message([folder], Path("-"))
    assert "standard input: not a JPEG" in message(["-"], content=b"hello")
    assert "standard input: the file is empty" in message(["-"])
    assert message(["-"], content=picture[:70]) == "nothing could be translated, see above"
    assert "failed: standard input: cannot be decoded" in capsys.readouterr().err


def test_videos_without_ffmpeg_are_refused_before_anything_is_done(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.mp4").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"x\.mp4: videos need ffmpeg"):
        command.run(model, [folder, tmp_path / "x.mp4"], tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_video_that_fails_is_one_of_several(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text("#!/bin/sh\necho no such thing >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "x.mp4").touch()
    with pytest.raises(PartialFailureError, match="1 of 2 inputs failed"):
        command.run(model, [folder / "odd.png", tmp_path / "x.mp4"], tmp_path / "out", device="cpu", runner="torch")
    assert "x.mp4: no video in it (no such thing)" in capsys.readouterr().err
    assert [path.name for path in results(tmp_path / "out")] == ["odd.png"]


# What the file of the model may do meanwhile, and what it may not


def test_the_way_out_for_large_pictures_is_the_same_model_or_none(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(model, "cpu", runner="torch")
    options: Any = SimpleNamespace(runner="auto", precision="fp32", strength=1.0, consistent=False, trust=False)
    way_out = command._large_model(loaded, options)
    assert way_out is not None and way_out() is way_out(), "loaded once for pictures and videos together"
    again = command._large_model(loaded, options)
    write_constant_model(model / "model.safetensors", {"AtoB": GREEN, "BtoA": RED})
    assert again is not None
    with pytest.raises(ModelError, match="changed since it was first read - run again"):
        again()
    monkeypatch.setattr(loaded, "form", "onnx")
    assert command._large_model(loaded, options) is None, "PyTorch does not open it"
    options.runner = "torch"
    assert command._large_model(load_model(model, "cpu", runner="torch"), options) is None, "asked for by name"


def test_the_list_names_the_strength_that_the_model_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exported(*arguments: Any, **options: Any) -> ImageModel:
        loaded = load_model(*arguments, **options)
        loaded.strength = 0.25
        return loaded

    monkeypatch.setattr("i2i.inference.load_model", exported)
    upscaler = write_upscaler(tmp_path / "up.safetensors")
    command.run(upscaler, [folder / "dot.png"], tmp_path / "out", device="cpu", runner="torch", json=True)
    maker = json.loads((tmp_path / "out" / LEDGER_NAME).read_text().splitlines()[0])
    assert (maker["strength"], json.loads(capsys.readouterr().out)["strength"]) == (0.25, 0.25)


def test_a_list_of_results_that_cannot_be_written_is_found_before_anything_is_computed(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / LEDGER_NAME).mkdir(parents=True)
    assert translate("-m", model, folder, "-o", tmp_path / "out", "--runner", "torch") == 1
    assert results(tmp_path / "out") == []
