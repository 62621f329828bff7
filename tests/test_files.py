"""Files are written whole or not at all, and only files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from i2i.cli import main
from i2i.errors import ModelError, StorageError
from i2i.files import atomic_path, open_regular, read_regular, sha256_of_file
from i2i.training.checkpoint import load_newest_checkpoint
from i2i.training.tracking import read_metrics

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody ever writes into."""
    os.mkfifo(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@needs_pipes
def test_a_pipe_is_refused_at_once(pipe: Path, tmp_path: Path) -> None:
    for read in (open_regular, read_regular, sha256_of_file):
        with pytest.raises(OSError, match="a pipe or a device in place of a file"):
            read(pipe)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


@needs_pipes
@pytest.mark.parametrize("words", [["translate", "p.png"], ["generate"], ["export", "--to", "onnx", "-o", "x.onnx"]])
def test_a_pipe_in_place_of_a_model_is_an_error(
    words: list[str], pipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--model", str(pipe)]) == 5
    assert "a pipe or a device in place of a file" in capsys.readouterr().err


@needs_pipes
def test_a_pipe_in_place_of_a_picture_is_one_that_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "p.png")
    assert main(["data", "check", str(tmp_path)]) == 4
    assert "no pictures" in capsys.readouterr().err


@needs_pipes
@pytest.mark.parametrize("name", ["manifest.json", "state.json", "state.safetensors"])
def test_a_pipe_in_a_checkpoint_is_damage(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "step_3"
    folder.mkdir(parents=True)
    os.mkfifo(folder / name)
    if name != "manifest.json":
        (folder / "manifest.json").write_text(
            f'{{"format_version": 1, "files": {{"{name}": {{"bytes": 0, "sha256": "x"}}}}}}'
        )
    with pytest.raises(ModelError, match="all its checkpoints are damaged"):
        load_newest_checkpoint(tmp_path)


@needs_pipes
def test_a_pipe_in_place_of_the_record_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(ModelError, match="a pipe or a device in place of a file"):
        read_metrics(tmp_path)


def test_the_reason_is_not_hidden_by_what_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match="No space left on device - free space"), atomic_path(tmp_path / "x"):
        raise OSError(28, "No space left on device")
