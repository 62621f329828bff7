from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from i2i.errors import ModelError
from i2i.export.checkpoint_files import read_checkpoint
from tests.inference.models import write_nearest_upscaler

STATE = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.tensor([1.0, 2.0])}


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def assert_is_the_state(path: Path, wrapper: str = "") -> None:
    checkpoint = read_checkpoint(path)
    assert checkpoint.wrapper == wrapper
    assert checkpoint.weights.keys() == STATE.keys()
    assert all(torch.equal(checkpoint.weights[name], value) for name, value in STATE.items())


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and " - " in message
    return message


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin", ".PTH"])
def test_a_plain_state_is_read(tmp_path: Path, suffix: str) -> None:
    assert_is_the_state(saved(tmp_path / f"x{suffix}", OrderedDict(STATE)))


def test_files_from_before_the_zip_format_and_safetensors(tmp_path: Path) -> None:
    assert_is_the_state(saved(tmp_path / "x.pth", STATE, _use_new_zipfile_serialization=False))
    save_file(STATE, tmp_path / "x.safetensors")
    assert_is_the_state(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "wrapper"),
    [
        ({"params": STATE}, "params"),
        ({"params": {"other": torch.zeros(1)}, "params_ema": STATE}, "params_ema"),
        ({"epoch": 3, "state_dict": STATE, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, "state_dict"),
        ({"model": {"state_dict": STATE}}, "model.state_dict"),
        ({"generator": STATE, "discriminator": {"x": torch.zeros(1)}}, "generator"),
        ({"step": torch.tensor(5), "network": STATE}, "network"),
    ],
    ids=["params", "ema", "state_dict", "nested", "generator", "alone"],
)
def test_wrappers_are_taken_off(tmp_path: Path, content: dict, wrapper: str) -> None:
    assert_is_the_state(saved(tmp_path / "x.pth", content), wrapper)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "netG."])
def test_prefixes_are_taken_off(tmp_path: Path, prefix: str) -> None:
    state = {f"{prefix}{name}": value for name, value in STATE.items()}
    assert_is_the_state(saved(tmp_path / "x.pth", {"params": state}), "params")


def test_a_prefix_of_some_names_alone_is_a_name(tmp_path: Path) -> None:
    state = {"module.x": torch.zeros(1), "y": torch.zeros(1)}
    assert read_checkpoint(saved(tmp_path / "x.pth", state)).weights.keys() == state.keys()


class _Planted:
    """An object whose unpickling creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "executed"
    content = STATE | {"evil": _Planted(mark)}
    path = saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert mark.exists(), "the trap must work"
    mark.rmdir()
    message = refused(path)
    assert "can run code" in message and "mkdir" in message
    assert not mark.exists()
    path.write_bytes(pickle.dumps(_Planted(mark)))
    refused(path)
    assert not mark.exists()


def test_other_objects_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"state_dict": STATE, "options": argparse.Namespace(scale=4)})
    message = refused(path)
    assert "argparse.Namespace" in message and "torch.save(model.state_dict()" in message


def test_torchscript_is_refused(tmp_path: Path) -> None:
    # What PyTorch tells such an archive by; making a real one takes its compiler seconds.
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl"):
            archive.writestr(f"x/{name}", b"\x80\x02).")
        archive.writestr("x/version", b"3\n")
    assert "TorchScript" in refused(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_model_errors(tmp_path: Path, zipped: bool) -> None:
    whole = saved(tmp_path / "x.pth", STATE, _use_new_zipfile_serialization=zipped).read_bytes()
    for content in (b"", b"hello", whole[:20], whole[: len(whole) // 2], b"\x80\x02}" + b"\xff" * 40):
        (tmp_path / "x.pth").write_bytes(content)
        refused(tmp_path / "x.pth")
    (tmp_path / "x.safetensors").write_bytes(b"\0" * 30)
    refused(tmp_path / "x.safetensors")


def test_what_is_no_state_says_what_it_is(tmp_path: Path) -> None:
    assert "holds a list" in refused(saved(tmp_path / "x.pth", [torch.zeros(1)]))
    assert "it is empty" in refused(saved(tmp_path / "x.pth", {}))
    assert "its entries are epoch, loss" in refused(saved(tmp_path / "x.pth", {"epoch": 1, "loss": 0.5}))
    both = {"netG": STATE, "netD": STATE}
    assert "its entries are netG, netD" in refused(saved(tmp_path / "x.pth", both))
    assert "no such file" in refused(tmp_path / "none.pth")
    (tmp_path / "x.onnx").touch()
    assert "not a checkpoint" in refused(tmp_path / "x.onnx")
    assert "already" in refused(write_nearest_upscaler(tmp_path / "m.safetensors"))


def test_a_pickle_that_holds_itself_ends(tmp_path: Path) -> None:
    endless: dict[str, Any] = {"x": torch.zeros(1)}
    endless["params"] = endless
    refused(saved(tmp_path / "x.pth", endless))


def test_arrays_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(1 << 40)
    assert "not a plain array" in refused(saved(tmp_path / "x.pth", {"a": huge}))
    sparse = torch.eye(3).to_sparse()
    assert "not a plain array" in refused(saved(tmp_path / "x.pth", {"a": sparse}))
    assert "not a plain array" in refused(saved(tmp_path / "x.pth", {"a": torch.zeros(1, dtype=torch.complex64)}))
    assert "not finite" in refused(saved(tmp_path / "x.pth", {"a": torch.tensor([1.0, float("nan")])}))
