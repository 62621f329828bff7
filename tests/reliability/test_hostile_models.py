"""Model files that carry code: whatever they are called and wherever they are given, nothing of them runs."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.cli import main
from i2i.files import sha256_of_file
from i2i.inference.model_files.model_file import resolve_model
from i2i.inference.model_files.trust import report_path
from tests.inference.models import write_constant_model
from tests.reliability import traps
from tests.reliability.traps import Trap

PICKLES = (traps.bare_pickle, traps.zipped_checkpoint, traps.legacy_checkpoint, traps.checkpoint_with_metadata)
PROGRAMS = (traps.torchscript, traps.exported_program)
SUFFIXES = (".pth", ".pt", ".ckpt", ".pt2", ".safetensors", ".onnx", ".xml", ".ts", ".zip", "")


def _springs(load: Callable[[], Any], mark: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):  # what happens after the trap is of no account
            load()
    sprung = mark.exists()
    shutil.rmtree(mark, ignore_errors=True)
    mark.unlink(missing_ok=True)
    return sprung


@pytest.mark.parametrize(
    ("trap", "load"),
    [
        (traps.bare_pickle, lambda path: pickle.loads(path.read_bytes())),
        (traps.zipped_checkpoint, lambda path: torch.load(path, weights_only=False)),
        (traps.legacy_checkpoint, lambda path: torch.load(path, weights_only=False)),
        # PyTorch itself would take it for a program and not find one.
        (traps.checkpoint_with_metadata, lambda path: pickle.loads(ZipFile(path).read(f"{path.stem}/constants.pkl"))),
        (traps.torchscript, lambda path: torch.jit.load(path)(torch.zeros(1))),  # pyright: ignore[reportPrivateImportUsage]
        (traps.exported_program, torch.export.load),
    ],
)
def test_the_traps_work(trap: Trap, load: Callable[[Path], Any], tmp_path: Path) -> None:
    path, mark = tmp_path / "x.pt2", tmp_path / "mark"
    trap(path, mark)
    assert _springs(lambda: load(path), mark)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(path)
    return path


def commands(model: Path, picture: Path) -> list[list[str]]:
    out = str(model.parent / "out")
    return [
        ["translate", "--model", str(model), str(picture), "-o", out],
        ["generate", "--model", str(model), "-n", "1", "-o", out],
        ["evaluate", "--model", str(model), "--hr", str(picture)],
        ["export", "--model", str(model), "--to", "onnx", "-o", f"{out}.onnx"],
        ["convert", str(model), "-o", f"{out}.safetensors"],
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("trap", PICKLES + PROGRAMS)
def test_no_command_runs_it(
    trap: Trap, suffix: str, tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, mark = tmp_path / "x.pt2", tmp_path / "mark"
    trap(made, mark)
    model = made.rename(tmp_path / f"model{suffix}")
    for command in commands(model, picture):
        assert main(command) == 5, command
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert "model" in line and " - " in line
        assert not mark.exists(), command
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors"])
@pytest.mark.parametrize("trap", PICKLES)
def test_nor_in_a_run_folder(trap: Trap, name: str, tmp_path: Path, picture: Path) -> None:
    mark, run = tmp_path / "mark", tmp_path / "run"
    run.mkdir()
    trap(tmp_path / "x.pt", mark)
    (tmp_path / "x.pt").rename(run / name)
    assert resolve_model(run) == run / name
    for command in commands(run, picture)[:-1]:
        assert main(command) == 5
        assert not mark.exists()


@pytest.mark.parametrize("trap", PROGRAMS)
@pytest.mark.parametrize("claim", [None, "0" * 64, "checksum", 7])
def test_a_report_beside_it_is_no_proof(trap: Trap, claim: Any, tmp_path: Path, picture: Path) -> None:
    """Anyone can write a report; nobody else can seal one."""
    path, mark = tmp_path / "x.pt2", tmp_path / "mark"
    trap(path, mark)
    checksum = sha256_of_file(path)
    report = {"sha256": checksum, "seal": checksum if claim == "checksum" else claim, "trusted": True}
    report_path(path).write_text(json.dumps(report))
    assert main(["translate", "--model", str(path), str(picture), "-o", str(tmp_path / "out")]) == 5
    assert not mark.exists()


def test_an_honest_model_passes_the_same_commands(tmp_path: Path, picture: Path) -> None:
    model = write_constant_model(tmp_path / "model.safetensors", {"AtoB": (1, 2, 3)})
    assert main(commands(model, picture)[0]) == 0


def test_weights_elsewhere_on_the_machine_are_not_read(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(3 * 8 * 8, dtype=np.float32).tobytes())
    for place in ("initializer", "constant"):
        tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1, 3, 8, 8])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", secret.name
        images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
        pictures = onnx.helper.make_tensor_value_info("pictures", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
        nodes = [onnx.helper.make_node("Add", ["images", "w"], ["pictures"])]
        if place == "constant":
            nodes.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
        initializers = [tensor] if place == "initializer" else []
        graph = onnx.helper.make_graph(nodes, "g", [images], [pictures], initializers)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
        metadata = model.metadata_props.add()
        metadata.key, metadata.value = "i2i", traps.METADATA.replace("torchscript", "onnx")
        (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
        assert main(["translate", "--model", str(tmp_path / "x.onnx"), str(picture), "-o", str(tmp_path / "out")]) == 5
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        # The engine itself refuses constants of that kind.
        assert place == "constant" or "its weights lie in other files" in line
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
