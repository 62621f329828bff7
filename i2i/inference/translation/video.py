"""Videos through a model, frame by frame: ffmpeg decodes and encodes, and the frames pass through pipes.

The rule: frames are made upright and taken at the video's mean rate, each goes through the network by itself, sound and
what is said of the whole go along as they are, and the result is H.264 of high quality (what ffmpeg has of its kind,
if it was built without). Sides become even, for the encoder halves the resolution of colours.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from i2i.data.decoding import DEFAULT_MAX_PIXELS
from i2i.errors import DataError, I2IError, StorageError, UsageError
from i2i.files import atomic_path
from i2i.inference.image_model import ImageModel
from i2i.inference.tiling.tiles import TileSettings, needs_tiles
from i2i.inference.translation.failures import failed, stops_everything
from i2i.inference.translation.large_pictures import needs_layers, translate_in_bands
from i2i.inference.translation.ledger import Ledger
from i2i.inference.translation.planning import MADE_ANEW, UNKNOWN_MAKER, Outcome, VideoJob

_DEFAULT_RATE = "25"
# Even sides; colours as players expect them of what is not tagged otherwise, and tagged all the same.
_FILTER = "pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
_COLOURS = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
_X264 = ["-c:v", "libx264", "-preset", "medium", "-crf", "16"]
_QUIET = ["-hide_banner", "-loglevel", "error", "-nostdin"]


@dataclass(frozen=True)
class VideoFacts:
    """What ffprobe says of a video."""

    rate: str
    """Frames a second as a fraction, such as "30000/1001"."""
    frames: int | None
    """How many there are, if that is written anywhere."""
    pixels: int
    """Of one frame."""


def require_ffmpeg(source: Path) -> None:
    """Refuse videos where ffmpeg is missing.

    Raises:
        UsageError: it is.
    """
    for program in ("ffmpeg", "ffprobe"):
        if shutil.which(program) is None:
            raise UsageError(f"{source}: videos need {program}, which is not on the PATH - install ffmpeg")


def probe(source: Path) -> VideoFacts:
    """Ask ffprobe about the first video stream in `source`.

    Raises:
        DataError: there is none.
    """
    entries = "stream=width,height,avg_frame_rate,r_frame_rate,nb_frames"
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        entries,
        "-of",
        "json",
        _file(source),
    ]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    try:
        (stream,) = json.loads(done.stdout)["streams"]
        pixels = int(stream["width"]) * int(stream["height"])
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{source}: no video in it{_said(done.stderr)} - the file is damaged or of another kind"
        ) from error
    rates = [stream.get(name) for name in ("avg_frame_rate", "r_frame_rate")]
    count = str(stream.get("nb_frames", ""))
    return VideoFacts(
        next((rate for rate in rates if _is_rate(rate)), _DEFAULT_RATE),
        int(count) if count.isdecimal() else None,
        pixels,
    )


def settle_video(
    model: ImageModel,
    job: VideoJob,
    ledger: Ledger,
    *,
    skip_existing: bool = False,
    batch: int = 1,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tiles: TileSettings | None = None,
    large_model: Callable[[], ImageModel] | None = None,
    processes: int = 1,
    on_part: Callable[[float], None] | None = None,
) -> Outcome:
    """Translate one video of several: what it fails of is its own outcome.

    Args:
        ledger: where it is noted what made the result.
        skip_existing: leave a result alone that is there already, unless it is known to have been made otherwise.

    For the others see `translate_video`.

    Raises:
        StorageError: the disk is full or read-only; no further result could be written.
    """
    state = ledger.state(job) if skip_existing else "missing"
    if state in ("same", "unknown"):
        return Outcome(job.source, job.destination, "skipped", UNKNOWN_MAKER if state == "unknown" else "")
    ledger.note_source(job)
    try:
        outcome = translate_video(
            model, job, batch=batch, max_pixels=max_pixels, tiles=tiles, large_model=large_model, processes=processes,
            on_part=on_part,
        )  # fmt: skip
        anew = (MADE_ANEW[state],) if state in MADE_ANEW else ()
        return replace(outcome, notes=(*outcome.notes, *ledger.record(job), *anew))
    except I2IError as error:
        if stops_everything(error):
            raise
        return failed(job, error)


def translate_video(
    model: ImageModel,
    job: VideoJob,
    *,
    batch: int = 1,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tiles: TileSettings | None = None,
    large_model: Callable[[], ImageModel] | None = None,
    processes: int = 1,
    on_part: Callable[[float], None] | None = None,
) -> Outcome:
    """Translate one video; it is written whole or not at all.

    Args:
        batch: so many frames go through the network together.
        max_pixels: of a frame.
        large_model: gives the same model on an engine that shows its layers, for frames that have to go through in
            bands and cannot do so on this one.
        processes: that share the device's memory with this one, itself included.
        on_part: called in this thread with the share, 0 to 1, that is done, where the number of frames is known.

    Raises:
        UsageError: there is no ffmpeg.
        DataError: the video cannot be decoded.
        StorageError: the result cannot be written.
        ModelError, OutOfMemoryError: as of the model.
    """
    require_ffmpeg(job.source)
    facts = probe(job.source)
    if facts.pixels > max_pixels:
        raise DataError(
            f"{job.source}: frames of {facts.pixels:,} pixels, the limit is {max_pixels:,} - raise --max-pixels"
        )
    notes: list[str] = []

    def note(text: str) -> None:
        if text not in notes:
            notes.append(text)

    through = _Frames(model, tiles or TileSettings(side=None), large_model, processes, note)
    seen = pixels = 0
    with atomic_path(job.destination) as temporary, contextlib.ExitStack() as stack:
        frames = stack.enter_context(_decoded(job.source, facts.rate))
        encoder: _Encoder | None = None
        for group in _groups(_ahead(stack, frames, batch), batch):
            results = through(group)
            if encoder is None:
                encoder = stack.enter_context(_encoding(job, temporary, facts.rate, results.shape[2], results.shape[1]))
            encoder.write(results)
            seen += len(group)
            pixels += group[0].shape[0] * group[0].shape[1] * len(group)
            if on_part is not None and facts.frames:
                on_part(min(1.0, seen / facts.frames))
        if encoder is None:
            raise DataError(f"{job.source}: no frame in it can be decoded - the file is damaged or of another kind")
        encoder.finish()
    return Outcome(job.source, job.destination, "written", notes=(f"{seen} frames", *notes), pixels=pixels)


@dataclass(frozen=True)
class _Frames:
    """What frames go through; takes some of one size."""

    model: ImageModel
    tiles: TileSettings
    large_model: Callable[[], ImageModel] | None
    processes: int
    on_note: Callable[[str], None]

    def __call__(self, frames: list[np.ndarray]) -> np.ndarray:
        height, width = frames[0].shape[:2]
        if self._is_too_much(height, width, 1):
            bands = [translate_in_bands(self._model_for_large, frame, self.tiles, self.on_note) for frame in frames]
            return np.stack(bands)
        if self._is_too_much(height, width, len(frames)):
            return np.concatenate([self.model.translate_array(frame[None]) for frame in frames])
        return self.model.translate_array(np.stack(frames))

    def _is_too_much(self, height: int, width: int, together: int) -> bool:
        at_once = together * self.processes
        return self.tiles.side is not None and needs_tiles(self.model, height, width, self.tiles, at_once)

    @functools.cached_property
    def _model_for_large(self) -> ImageModel:
        return self.model if self.large_model is None or not needs_layers(self.model) else self.large_model()


def _groups(frames: Iterator[np.ndarray], batch: int) -> Iterator[list[np.ndarray]]:
    group: list[np.ndarray] = []
    for frame in frames:
        group.append(frame)
        if len(group) == batch:
            yield group
            group = []
    if group:
        yield group


def _ahead(stack: contextlib.ExitStack, frames: Iterator[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    """The same frames, decoded while the network is busy: so many ahead as go through it together, and one more."""
    pool = stack.enter_context(ThreadPoolExecutor(1))
    waiting: list[Future[np.ndarray | None]] = [pool.submit(next, frames, None) for _ in range(batch + 1)]
    while (frame := waiting.pop(0).result()) is not None:
        waiting.append(pool.submit(next, frames, None))
        yield frame


# Decoding


@contextlib.contextmanager
def _decoded(source: Path, rate: str) -> Iterator[Iterator[np.ndarray]]:
    # As PPM: each frame says its size, which is not what ffprobe said where the video is turned.
    command = ["ffmpeg", *_QUIET, "-i", _file(source), "-map", "0:v:0", "-an", "-sn", "-r", rate]
    command += ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            yield _frames(process, process.stdout, errors, source)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _frames(
    process: subprocess.Popen[bytes], pipe: IO[bytes], errors: BinaryIO | IO[bytes], source: Path
) -> Iterator[np.ndarray]:
    while (kind := pipe.readline().strip()) == b"P6":
        width, height = (int(number) for number in pipe.readline().split())
        pipe.readline()  # the largest value, 255
        content = pipe.read(width * height * 3)
        if len(content) < width * height * 3:
            break
        yield np.frombuffer(content, np.uint8).reshape(height, width, 3).copy()
    if kind or process.wait() != 0:
        raise DataError(f"{source}: cannot be decoded{_tail(errors)} - the file is damaged or incomplete")


# Encoding


class _Encoder:
    """Takes the frames of the result; they are handed over in a thread."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], job: VideoJob) -> None:
        self._process, self._errors, self._job = process, errors, job
        self._pool = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def write(self, frames: np.ndarray) -> None:
        self._wait()
        self._written = self._pool.submit(self._hand_over, frames)

    def finish(self) -> None:
        self._wait()
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError as error:
            raise self._failed() from error
        if self._process.wait() != 0:
            raise self._failed()

    def close(self) -> None:
        self._process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _wait(self) -> None:
        if self._written is not None:
            try:
                self._written.result()
            except OSError as error:  # the encoder is gone
                raise self._failed() from error

    def _hand_over(self, frames: np.ndarray) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(np.ascontiguousarray(frames).data)

    def _failed(self) -> StorageError:
        self._process.wait()
        return StorageError(
            f"{self._job.destination}: ffmpeg cannot write it{_tail(self._errors)}"
            " - free space or use another name with -o"
        )


@contextlib.contextmanager
def _encoding(job: VideoJob, path: Path, rate: str, width: int, height: int) -> Iterator[_Encoder]:
    frames = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0"]
    sound = ["-i", _file(job.source), "-map", "0:v:0", "-map", "1:a?", "-c:a", "copy", "-map_metadata", "1"]
    # The frames are upright already.
    upright = ["-metadata:s:v:0", "rotate=0"]
    codec = _X264 if _has_x264() else ["-q:v", "2"]
    quiet = [word for word in _QUIET if word != "-nostdin"]
    command = ["ffmpeg", *quiet, "-y", *frames, *sound, *upright, "-vf", _FILTER, *_COLOURS, *codec, _file(path)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        with contextlib.closing(_Encoder(process, errors, job)) as encoder:
            yield encoder


def _has_x264() -> bool:
    done = subprocess.run(
        ["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    return b"libx264" in done.stdout


def _file(path: Path) -> str:
    # Without this a name such as "a:b.mp4" or "-x.mp4" would be a protocol or an option.
    return f"file:{path}"


def _is_rate(rate: object) -> bool:
    try:
        above, _, below = str(rate).partition("/")
        return float(above) > 0 and float(below or 1) > 0
    except ValueError:
        return False


def _tail(errors: BinaryIO | IO[bytes]) -> str:
    errors.seek(0)
    return _said(errors.read())


def _said(output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
    return f" ({last[:150]})" if last else ""
