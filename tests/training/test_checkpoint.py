"""Checkpoints come back bit for bit or not at all, and no accident takes the one before with it."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from i2i.errors import ModelError, StorageError
from i2i.training import checkpoint
from i2i.training.checkpoint import (
    TrainingState,
    checkpoint_folder,
    checkpoint_steps,
    finish_replacements,
    load_checkpoint,
    load_newest_checkpoint,
    misfit_as_help,
    remove_old_checkpoints,
    save_checkpoint,
)
from i2i.training.precision import ChosenPrecision
from i2i.training.settings import TrainingSettings
from tests.training.toys import Toy, assert_same_bits, both, copies, tiny_cyclegan, train


def state(value: float = 1.0) -> TrainingState:
    return TrainingState({"network/a/weight": torch.full((4, 3), value)}, {"step": int(value), "draws": {"a": 7}})


def value_in(found: TrainingState) -> float:
    return float(found.tensors["network/a/weight"][0, 0])


def entries(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


# --- round trip ------------------------------------------------------------------------------------------------------


def test_tensors_of_every_kind_and_all_counters_come_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "channels_last": torch.randn(2, 3, 4, 5, generator=generator).contiguous(memory_format=torch.channels_last),
        "float64": torch.randn(3, generator=generator, dtype=torch.float64),
        "bfloat16": torch.randn(3, generator=generator).bfloat16(),
        "int64 scalar": torch.tensor(2**40 + 1),
        "transposed": torch.randn(3, 4, generator=generator).T,
        "not numbers": torch.tensor([torch.nan, torch.inf, -0.0]).view(torch.int32),
        "empty": torch.empty(0, 3),
    }
    counters = {"step": 2**40, "draws": {"a": 1, "b": 2}, "scalers": {"g": {"scale": 65536.0}}, "best_score": None}
    folder = save_checkpoint(tmp_path, 12, TrainingState(tensors, counters))
    assert folder == checkpoint_folder(tmp_path, 12)
    found = load_checkpoint(folder)
    assert_same_bits(found.tensors, tensors)
    assert found.counters == counters


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_that_was_saved_and_loaded_goes_on_bit_for_bit(precision: ChosenPrecision, tmp_path: Path) -> None:
    settings = TrainingSettings(batch_size=2, ema_half_life_images=8.0)
    whole, pictures = train(tiny_cyclegan(dropout=0.5), settings, precision, pixels=16)
    for _ in range(3):
        whole.take_step(pictures)
    folder = save_checkpoint(tmp_path, whole.step, whole.state())
    halfway = copies(whole.state().tensors)
    resumed, its_pictures = train(tiny_cyclegan(dropout=0.5), settings, precision, pixels=16)
    resumed.take_step(its_pictures)  # a used engine, so that nothing is right by chance
    resumed.load_state(load_checkpoint(folder))
    assert_same_bits(resumed.state().tensors, halfway)
    for _ in range(3):
        whole.take_step(pictures)
        resumed.take_step(its_pictures)
    expected = whole.state()
    kinds = {name.split("/")[0] for name in expected.tensors}
    assert kinds == {"network", "average", "optimizer", "memory"}
    assert_same_bits(resumed.state().tensors, expected.tensors)
    assert resumed.state().counters == expected.counters
    weight = resumed.pipeline.networks["generator_ab"].get_parameter("down.0.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert not torch.equal(
        expected.tensors["network/generator_ab/tail.1.weight"], halfway["network/generator_ab/tail.1.weight"]
    )


def test_loss_scalers_come_back_each_to_its_player(tmp_path: Path) -> None:
    engine, pictures = train(Toy(both), TrainingSettings(), "fp16")
    engine.take_step(pictures)
    engine.players["judge"].scaler.update(1024.0)
    folder = save_checkpoint(tmp_path, 1, engine.state())
    resumed, _ = train(Toy(both), TrainingSettings(), "fp16")
    resumed.load_state(load_checkpoint(folder))
    for name, scale in (("painter", 65536.0), ("judge", 1024.0)):
        assert resumed.players[name].scaler.state_dict() == engine.players[name].scaler.state_dict()
        assert resumed.players[name].scaler.get_scale() == scale
    engine.take_step(pictures)
    resumed.take_step(pictures.__class__(pictures.settings, pictures.dtype))
    assert_same_bits(resumed.state().tensors, engine.state().tensors)


def test_counters_come_back(tmp_path: Path) -> None:
    engine, pictures = train(Toy(both), TrainingSettings(batch_size=2))
    pictures.poisoned = {("b", 4)}
    for _ in range(3):
        engine.take_step(pictures)
    resumed, _ = train(Toy(both), TrainingSettings(batch_size=2))
    resumed.load_state(load_checkpoint(save_checkpoint(tmp_path, 3, engine.state())))
    assert (resumed.step, resumed.images, resumed.draws) == (3, 6, {"a": 12, "b": 6})
    assert (resumed.skipped_updates, resumed.nonfinite_streak, resumed.rollbacks) == (1, 1, 0)


# --- damage ----------------------------------------------------------------------------------------------------------


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0b100
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def overwrite(content: bytes) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(content)

    return apply


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "one bit of a weight": ("state.safetensors", flip_one_bit),
    "one bit of a counter": ("state.json", flip_one_bit),
    "weights cut short": ("state.safetensors", truncate),
    "counters cut short": ("state.json", truncate),
    "no manifest": ("manifest.json", Path.unlink),
    "no weights": ("state.safetensors", Path.unlink),
    "no counters": ("state.json", Path.unlink),
    "empty manifest": ("manifest.json", overwrite(b"")),
    "manifest without entries": ("manifest.json", overwrite(b"{}")),
    "manifest of another shape": ("manifest.json", overwrite(b"[1, 2]")),
    "manifest of null": ("manifest.json", overwrite(b"null")),
    "manifest that is binary": ("manifest.json", overwrite(b"\xff\xfe\x00")),
    "files of another shape": ("manifest.json", overwrite(b'{"format_version": 1, "files": []}')),
    "version of another shape": ("manifest.json", overwrite(b'{"format_version": "one", "files": {}}')),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_reported_and_passed_over(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path, 9, state(9.0))
    newest = save_checkpoint(tmp_path, 10, state(10.0))
    assert load_newest_checkpoint(tmp_path)[0] == 10
    name, apply = DAMAGES[damage]
    apply(newest / name)
    with pytest.raises(ModelError) as caught:
        load_checkpoint(newest)
    assert "step_10" in str(caught.value) and "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        step, found = load_newest_checkpoint(tmp_path)
    assert (step, value_in(found)) == (9, 9.0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "step_10" in record.getMessage()


def test_all_damaged_is_an_error_that_says_so(tmp_path: Path) -> None:
    for step in (1, 2):
        truncate(save_checkpoint(tmp_path, step, state()) / "state.safetensors")
    with pytest.raises(ModelError, match="all its checkpoints are damaged") as caught:
        load_newest_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_without_checkpoints_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint yet"):
        load_newest_checkpoint(tmp_path)


def test_a_newer_format_asks_for_a_newer_version(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, 1, state())
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 2}))
    with pytest.raises(ModelError, match="install a newer i2i"):
        load_checkpoint(folder)


def test_newest_is_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 100, 2):
        save_checkpoint(tmp_path, step, state(step))
    (tmp_path / "checkpoints" / "step_1000_backup").mkdir()
    assert checkpoint_steps(tmp_path) == [2, 9, 10, 100]
    assert load_newest_checkpoint(tmp_path)[0] == 100


# --- which are kept --------------------------------------------------------------------------------------------------


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save_checkpoint(tmp_path, step, state(step))
    remove_old_checkpoints(tmp_path, 5, keep_last=2, keep_step=2)
    assert entries(tmp_path) == ["step_2", "step_4", "step_5"]
    remove_old_checkpoints(tmp_path, 5, keep_last=2)
    assert entries(tmp_path) == ["step_4", "step_5"]


def test_a_best_step_without_a_checkpoint_keeps_nothing_more(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, state(step))
    remove_old_checkpoints(tmp_path, 3, keep_last=1, keep_step=17)
    assert entries(tmp_path) == ["step_3"]


def test_leftovers_of_killed_writers_are_removed_and_never_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state())
    leftover = tmp_path / "checkpoints" / ".writing-2-4711"
    leftover.mkdir()
    (leftover / "state.safetensors").write_bytes(b"half")
    assert load_newest_checkpoint(tmp_path)[0] == 1
    remove_old_checkpoints(tmp_path, 1, keep_last=2)
    assert entries(tmp_path) == ["step_1"]


def test_damaged_checkpoints_beyond_the_present_step_push_no_good_one_out(tmp_path: Path) -> None:
    """Resumed at 10 because 20 was damaged, now at 15: 20 must not count as the newest."""
    for step in (10, 15, 20):
        save_checkpoint(tmp_path, step, state(step))
    remove_old_checkpoints(tmp_path, 15, keep_last=2)
    assert entries(tmp_path) == ["step_10", "step_15"]


def test_writing_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, state(1.0))
    (checkpoint_folder(tmp_path, 5) / "stray").write_text("from before")
    save_checkpoint(tmp_path, 5, state(2.0))
    assert value_in(load_newest_checkpoint(tmp_path)[1]) == 2.0
    assert entries(tmp_path) == ["step_5"]
    assert sorted(path.name for path in checkpoint_folder(tmp_path, 5).iterdir()) == [
        "manifest.json",
        "state.json",
        "state.safetensors",
    ]


# --- a disk that refuses ---------------------------------------------------------------------------------------------


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def half_written(tensors: object, path: Path) -> None:
    Path(path).write_bytes(b"half")
    full()


def half_written_by_safetensors(tensors: object, path: Path) -> None:
    Path(path).write_bytes(b"half")
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("same_step", [False, True], ids=["new step", "same step"])
@pytest.mark.parametrize("where", ["weights", "weights by safetensors", "counters", "flush", "rename"])
def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_part_of_the_new_one(
    where: str, same_step: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 1, state(1.0))
    with monkeypatch.context() as patch:
        if where == "weights":
            patch.setattr(checkpoint, "save_file", half_written)
        elif where == "weights by safetensors":
            patch.setattr(checkpoint, "save_file", half_written_by_safetensors)
        elif where == "counters":
            patch.setattr(Path, "write_text", full)
        elif where == "flush":
            patch.setattr(checkpoint, "flush_to_disk", full)
        else:
            refuse_new_names(patch)
        with pytest.raises(StorageError, match=r"cannot be written: .*No space left") as caught:
            save_checkpoint(tmp_path, 1 if same_step else 2, state(2.0))
    assert "\n" not in str(caught.value) and "free space" in str(caught.value)
    assert entries(tmp_path) == ["step_1"]
    assert value_in(load_newest_checkpoint(tmp_path)[1]) == 1.0


def refuse_new_names(patch: pytest.MonkeyPatch) -> None:
    """The last rename, which puts the new folder in place, fails."""
    rename = Path.rename

    def refusing(this: Path, target: Path) -> Path:
        if this.name.startswith(".writing-") and "replaced" not in this.name:
            full()
        return rename(this, target)

    patch.setattr(Path, "rename", refusing)


def test_a_place_that_cannot_be_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(StorageError):
        save_checkpoint(tmp_path, 1, state())


def test_a_writer_killed_between_the_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that is written again has stepped aside and the new one is not in place yet: both are whole."""

    class Killed(BaseException):
        pass

    rename = Path.rename

    def killed(this: Path, target: Path) -> Path:
        if this.name.startswith(".writing-") and "replaced" not in this.name:
            raise Killed
        return rename(this, target)

    save_checkpoint(tmp_path, 1, state(1.0))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", killed)
        patch.setattr(checkpoint, "finish_replacements", lambda run_folder: None)  # who is killed tidies nothing up
        save_checkpoint(tmp_path, 1, state(2.0))
    left = entries(tmp_path)
    assert ".replaced-step_1" in left
    step, found = load_newest_checkpoint(tmp_path)
    assert step == 1 and value_in(found) in (1.0, 2.0)
    # A run that somebody starts from, or that another process of the same training reads too, is left as it is.
    assert (checkpoint_steps(tmp_path), entries(tmp_path)) == ([1], left)
    finish_replacements(tmp_path)
    assert load_checkpoint(tmp_path / "checkpoints" / "step_1") and ".replaced-step_1" not in entries(tmp_path)


def test_a_whole_state_of_another_training_is_no_internal_error(tmp_path: Path) -> None:
    for wrong in (KeyError("draws"), TypeError("x"), RuntimeError("size of tensor a"), OverflowError("too large")):
        remedy = r"run: cannot be resumed, .* - start a new run, --set initialize_from="
        with pytest.raises(ModelError, match=remedy), misfit_as_help(tmp_path / "run"):
            raise wrong
    named = "run: cannot be resumed: network/a does not fit"
    with pytest.raises(ModelError, match=named), misfit_as_help(tmp_path / "run"):
        raise ModelError("network/a does not fit - the recipe must describe the same networks")
    with pytest.raises(ModelError, match="Casting complex"), misfit_as_help(tmp_path / "run"):
        torch.zeros(2).copy_(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(MemoryError), misfit_as_help(tmp_path / "run"):
        raise MemoryError
