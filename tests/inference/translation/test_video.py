"""Videos through programs that stand in for ffmpeg: they check what they are asked for and handle raw frames."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from i2i.errors import DataError, StorageError, UsageError
from i2i.inference import load_model
from i2i.inference.image_model import ImageModel
from i2i.inference.tiling.tiles import TileSettings
from i2i.inference.translation import video as module
from i2i.inference.translation.ledger import Ledger, Maker
from i2i.inference.translation.planning import VideoJob
from i2i.inference.translation.video import probe, require_ffmpeg, settle_video, translate_video
from tests.inference.models import write_constant_model, write_nearest_upscaler

MAKER = Maker(model_sha256="", direction="upscale", precision="fp32")
LEDGER = Ledger(MAKER, {})

# A "video" is a line of JSON and raw RGB frames.
_FFMPEG = """
import json, sys
words = sys.argv[1:]
if "-encoders" in words:
    print(" V..... libx264 " if {x264} else " V..... mpeg4")
    sys.exit()
names = [words[place + 1].removeprefix("file:") for place, word in enumerate(words) if word == "-i"]
if "image2pipe" in words:
    with open(names[0], "rb") as file:
        head = json.loads(file.readline())
        width, height = head["shown"]
        for number in range(head["frames"]):
            if number == head.get("damaged_at"):
                sys.exit("frame " + str(number) + " is damaged")
            sys.stdout.buffer.write(b"P6\\n%d %d\\n255\\n" % (width, height) + file.read(width * height * 3))
else:
    frames = b"" if {refuses} else sys.stdin.buffer.read()
    if {refuses}:
        sys.exit("Unknown encoder")
    with open(names[1], "rb") as file:
        sound = json.loads(file.readline())["sound"]
    value = lambda option: words[words.index(option) + 1]
    head = {{"size": value("-s"), "rate": value("-r"), "sound": sound, "words": words}}
    with open(words[-1].removeprefix("file:"), "wb") as file:
        file.write(json.dumps(head).encode() + b"\\n" + frames)
"""
_FFPROBE = """
import json, sys
with open(sys.argv[-1].removeprefix("file:"), "rb") as file:
    head = json.loads(file.readline())
print(json.dumps({"streams": head["streams"]}))
"""


@pytest.fixture
def doubling(tmp_path: Path) -> ImageModel:
    return load_model(write_nearest_upscaler(tmp_path / "m.safetensors"), "cpu", runner="torch")


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, x264: bool = True, refuses: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in (("ffmpeg", _FFMPEG.format(x264=x264, refuses=refuses)), ("ffprobe", _FFPROBE)):
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def record(path: Path, frames: np.ndarray, **changes: Any) -> Path:
    height, width = frames.shape[1:3]
    stream = {"width": width, "height": height, "avg_frame_rate": "30000/1001", "r_frame_rate": "30/1"}
    stream |= {"nb_frames": str(len(frames))} | changes.pop("stream", {})
    head = {"shown": [width, height], "frames": len(frames), "sound": "la la", "streams": [stream], **changes}
    path.write_bytes(json.dumps(head).encode() + b"\n" + frames.tobytes())
    return path


def played(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    with path.open("rb") as file:
        head = json.loads(file.readline())
        width, height = map(int, head["size"].split("x"))
        return head, np.frombuffer(file.read(), np.uint8).reshape(-1, height, width, 3)


FRAMES = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
DOUBLED = FRAMES.repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_every_frame_goes_through_and_the_sound_goes_along(
    doubling: ImageModel, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch)
    shares: list[float] = []
    job = VideoJob(record(tmp_path / "a:b.mp4", FRAMES), tmp_path / "-out" / "b.mp4")
    outcome = translate_video(doubling, job, batch=batch, on_part=shares.append)
    assert (outcome.status, outcome.notes, outcome.pixels) == ("written", ("7 frames",), FRAMES.size // 3)
    head, frames = played(job.destination)
    assert np.array_equal(frames, DOUBLED)
    assert (head["size"], head["rate"], head["sound"]) == ("12x10", "30000/1001", "la la")
    words = head["words"]
    assert "libx264" in words and words[words.index("-c:a") + 1] == "copy" and "1:a?" in words
    assert shares[-1] == 1 and shares == sorted(shares)
    assert [path.name for path in (tmp_path / "-out").iterdir()] == ["b.mp4"]


def test_frames_that_are_turned_have_the_size_that_they_are_shown_in(
    doubling: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch, x264=False)
    source = record(tmp_path / "a.mp4", FRAMES, stream={"width": 5, "height": 6, "avg_frame_rate": "0/0"})
    translate_video(doubling, VideoJob(source, tmp_path / "b.mp4"))
    head, frames = played(tmp_path / "b.mp4")
    assert np.array_equal(frames, DOUBLED)
    assert head["rate"] == "30/1" and "libx264" not in head["words"]


def test_large_frames_go_in_bands(doubling: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "bin", monkeypatch)
    frames = np.random.default_rng(1).integers(0, 256, (2, 40, 36, 3), dtype=np.uint8)
    job = VideoJob(record(tmp_path / "a.mp4", frames), tmp_path / "b.mp4")
    translate_video(doubling, job, batch=2, tiles=TileSettings(side=16))
    assert np.array_equal(played(tmp_path / "b.mp4")[1], frames.repeat(2, axis=1).repeat(2, axis=2))


def test_frames_that_memory_does_not_hold_together_go_one_by_one(
    doubling: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch)
    sizes: list[int] = []
    whole = doubling.translate_array
    monkeypatch.setattr(doubling, "translate_array", lambda images: sizes.append(len(images)) or whole(images))
    monkeypatch.setattr(module, "needs_tiles", lambda *arguments: arguments[4] > 2)
    job = VideoJob(record(tmp_path / "a.mp4", FRAMES), tmp_path / "b.mp4")
    translate_video(doubling, job, batch=3, tiles=TileSettings())
    assert sizes == [1] * 7, "of three the memory holds two, and so it does of the last one"
    assert np.array_equal(played(tmp_path / "b.mp4")[1], DOUBLED)


def test_another_engine_takes_over_what_this_one_cannot_do_in_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch)
    path, asked = write_constant_model(tmp_path / "m.safetensors", {"AtoB": (200.0, 40.0, 40.0)}), 0
    model, plain = load_model(path, "cpu", runner="torch"), load_model(path, "cpu", runner="torch")
    plain.runner = SimpleNamespace(  # type: ignore[assignment]
        name="other", device=model.device, precision=model.precision, network=None
    )

    def torch_model() -> ImageModel:
        nonlocal asked
        asked += 1
        return model

    frames = np.zeros((2, 40, 36, 3), np.uint8)
    job = VideoJob(record(tmp_path / "a.mp4", frames), tmp_path / "b.mp4")
    translate_video(plain, job, tiles=TileSettings(side=16), large_model=torch_model)
    assert asked == 1 and np.all(played(tmp_path / "b.mp4")[1] == (200, 40, 40))


@pytest.mark.parametrize("kind", ["damaged", "no ffmpeg", "cannot be written"])
def test_a_video_that_fails_is_one_of_several(
    doubling: ImageModel, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch)
    job = VideoJob(record(tmp_path / "a.mp4", FRAMES, damaged_at=3 if kind == "damaged" else None), tmp_path / "b.mp4")
    if kind == "no ffmpeg":
        monkeypatch.setenv("PATH", str(tmp_path))
    if kind == "cannot be written":
        job.destination.mkdir()
    outcome = settle_video(doubling, job, LEDGER)
    expected = {
        "damaged": "frame 3 is damaged",
        "no ffmpeg": "videos need ffmpeg",
        "cannot be written": "b.mp4: cannot",
    }
    assert outcome.status == "failed" and expected[kind] in outcome.message


def test_a_full_disk_stops_everything(doubling: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("b.mp4: no space") from OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(module, "translate_video", full)
    with pytest.raises(StorageError, match="no space"):
        settle_video(doubling, VideoJob(tmp_path / "a.mp4", tmp_path / "b.mp4"), LEDGER)


def test_a_video_replaced_while_it_is_translated_is_not_taken_for_done(
    doubling: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch)
    job = VideoJob(record(tmp_path / "a.mp4", FRAMES), tmp_path / "b.mp4")
    assert settle_video(doubling, job, LEDGER).status == "written"
    assert settle_video(doubling, job, Ledger(MAKER, {}), skip_existing=True).status == "skipped"
    settle_video(doubling, job, LEDGER, on_part=lambda _: record(tmp_path / "a.mp4", FRAMES[:3]) and None)
    assert Ledger(MAKER, {}).state(job) == "other source"
    anew = settle_video(doubling, job, Ledger(MAKER, {}), skip_existing=True)
    assert anew.status == "written" and any("its source has changed since" in note for note in anew.notes)


def test_without_ffmpeg_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"x\.mp4: videos need ffmpeg, which is not on the PATH - install ffmpeg"):
        require_ffmpeg(Path("x.mp4"))


def test_what_is_no_video_or_too_large_is_a_data_error(
    doubling: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch)
    (tmp_path / "x.mp4").write_bytes(b'{"streams": []}\n')
    (tmp_path / "y.mp4").write_bytes(b"junk")
    for name in ("x.mp4", "y.mp4", "missing.mp4"):
        with pytest.raises(DataError, match=rf"{name}: no video in it") as caught:
            probe(tmp_path / name)
        assert "\n" not in str(caught.value)
    job = VideoJob(record(tmp_path / "a.mp4", FRAMES), tmp_path / "b.mp4")
    with pytest.raises(DataError, match="frames of 30 pixels, the limit is 29"):
        translate_video(doubling, job, max_pixels=29)


@pytest.mark.parametrize("damaged_at", [0, 4])
def test_a_damaged_video_leaves_no_result(
    doubling: ImageModel, tmp_path: Path, damaged_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch)
    job = VideoJob(record(tmp_path / "a.mp4", FRAMES, damaged_at=damaged_at), tmp_path / "out" / "b.mp4")
    with pytest.raises(DataError, match=rf"a\.mp4: cannot be decoded \(frame {damaged_at} is damaged\)"):
        translate_video(doubling, job)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_encoder_that_refuses_is_a_storage_error(
    doubling: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch, refuses=True)
    job = VideoJob(record(tmp_path / "a.mp4", FRAMES), tmp_path / "out" / "b.mp4")
    with pytest.raises(StorageError, match=r"b\.mp4: ffmpeg cannot write it \(Unknown encoder\)"):
        translate_video(doubling, job)
    assert list((tmp_path / "out").iterdir()) == []
