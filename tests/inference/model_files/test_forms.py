"""What a model file is, is told without opening it to anything that could run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from i2i.errors import ModelError
from i2i.export.checkpoint_files import read_checkpoint
from i2i.files import sha256_of_file
from i2i.inference.model_files.forms import CHECKPOINT_SUFFIXES, archived_text, form_of
from i2i.inference.model_files.model_bytes import read_model_bytes


def archive(path: Path, **members: str) -> Path:
    """A zip with one folder, as PyTorch writes them; of a member's name the first "_" stands for "/"."""
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(f"folder/{name.replace('_', '/', 1)}", text)
    return path


def torchscript(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            file.writestr(f"folder/{name}", "x")
    with zipfile.ZipFile(path, "a") as file:
        for name, text in members.items():
            file.writestr(f"folder/{name.replace('_', '/', 1)}", text)
    return path


@pytest.mark.parametrize(
    ("name", "form"), [("m.safetensors", "safetensors"), ("m.ONNX", "onnx"), ("m.xml", "openvino")]
)
def test_some_are_told_by_their_suffix(tmp_path: Path, name: str, form: str) -> None:
    assert form_of(tmp_path / name) == form


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ts", "model"])
def test_torchscript_is_told_by_what_lies_in_it_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert form_of(torchscript(tmp_path / name)) == "torchscript"


def test_an_exported_program_is_told_by_its_mark(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as file:
        file.writestr("folder/archive_format", "pt2")
    assert form_of(tmp_path / "m.pt2") == "pt2"


@pytest.mark.parametrize("suffix", CHECKPOINT_SUFFIXES)
def test_a_pickled_checkpoint_is_for_convert_which_takes_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save({"code/weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"i2i convert .*model.* -o"):
        form_of(path)
    assert list(read_checkpoint(path).weights) == ["code/weight"]


@pytest.mark.parametrize("name", ["model.zip", "model.model", "model"])
def test_a_checkpoint_of_another_name_is_for_convert_under_one_that_it_takes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"suffix \.pth and .* i2i convert"):
        form_of(path)


def test_any_other_zip_is_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model file - give"):
        form_of(archive(tmp_path / "photos.zip", photo="x"))


def test_of_two_files_that_belong_together_the_right_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"weights")
    with pytest.raises(ModelError, match="i2i convert"):
        form_of(tmp_path / "m.bin")
    (tmp_path / "m.xml").write_text("<net/>")
    with pytest.raises(ModelError, match=r"give the \.xml beside it: .*m\.xml$"):
        form_of(tmp_path / "m.bin")


def test_an_old_pickle_is_for_convert_and_is_not_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "boom",))

    (tmp_path / "old.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="i2i convert"):
        form_of(tmp_path / "old.pth")
    with pytest.raises(ModelError, match="not a model file"):
        (tmp_path / "old.pth").rename(tmp_path / "old")
        form_of(tmp_path / "old")
    assert not (tmp_path / "boom").exists()


def test_half_a_zip_is_damaged(tmp_path: Path) -> None:
    whole = torchscript(tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged"):
        form_of(tmp_path / "m.pt")


def test_the_text_in_an_archive(tmp_path: Path) -> None:
    path = torchscript(tmp_path / "m.pt", extra_i2i="text", extra_other="no")
    assert archived_text(path, path.read_bytes(), "i2i") == "text"
    with pytest.raises(ModelError, match="carries no metadata"):
        archived_text(path, path.read_bytes(), "missing")


def test_every_byte_of_an_archive_is_checked(tmp_path: Path) -> None:
    path = torchscript(tmp_path / "m.pt", extra_i2i="text", data_0="weights" * 20)
    content = bytearray(path.read_bytes())
    content[content.index(b"weightsweights")] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="checksum of folder/data/0"):
        archived_text(path, path.read_bytes(), "i2i")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\0" * 100], ids=["empty", "torn", "zeros"])
def test_what_is_no_archive_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pt2").write_bytes(content)
    for look in (lambda: form_of(tmp_path / "m.pt2"), lambda: archived_text(tmp_path / "m.pt2", content, "i2i")):
        with pytest.raises(ModelError, match=r"m\.pt2") as caught:
            look()
        assert "\n" not in str(caught.value)


def test_the_checksum_of_an_openvino_model_is_that_of_both_files(tmp_path: Path) -> None:
    text, weights = tmp_path / "m.xml", tmp_path / "m.bin"
    text.write_text("<net/>")
    weights.write_bytes(b"1")
    first = read_model_bytes(text).sha256
    weights.write_bytes(b"2")
    assert len({first, read_model_bytes(text).sha256, sha256_of_file(text)}) == 3
    assert read_model_bytes(weights).sha256 == sha256_of_file(weights)
