"""Pictures that do not fit into memory, through `i2i translate` itself: time, peak memory, and no seams.

    tools/bench large                                  12,000 x 9,000 pixels; an hour or more on two CPU cores
    tools/bench large --width 3000 --height 2000       a trial
    tools/bench large --only upscaler --precision bf16

Translator: the ResNet generator of CycleGAN, nine blocks, 64 channels, instance norm. Upscaler: SRResNet x4, 16
blocks, 64 channels, to a TIFF of 16 times the pixels. Both have untrained weights, which cost what trained ones do;
--translator and --upscaler take model files of your own. Memory is VmHWM of the process that runs the command, read at
its end.

Seams: windows of the upscaler's result are compared with those of a crop with all that they can see around it. The
translator's statistics are those of the whole picture, so a smaller picture (--seam-width x --seam-height) is
translated as a whole and in tiles.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench_models import drawn, write_translator, write_upscaler

from i2i.inference import ImageModel, load_model

_WINDOW = 96
_CHILD = """
import sys
from pathlib import Path
from i2i.cli import main
code = main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print("VmHWM", next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
sys.exit(code)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("--width", type=int, default=12_000)
    parser.add_argument("--height", type=int, default=9_000)
    parser.add_argument("--only", choices=("translator", "upscaler"))
    parser.add_argument("--runner", default="torch", help="default torch, which alone streams whole-picture statistics")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--tile", default="auto", help="as i2i translate takes it (default auto)")
    parser.add_argument("--translator", type=Path, help="a model file in place of the untrained one")
    parser.add_argument("--upscaler", type=Path, help="a model file in place of the untrained one")
    parser.add_argument("--seam-width", type=int, default=700)
    parser.add_argument("--seam-height", type=int, default=500)
    parser.add_argument("--windows", type=int, default=12, help="of the upscaled picture to compare (default 12)")
    parser.add_argument("--work", type=Path, help="folder where the pictures stay; by default a passing one")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for each network."""
    rows = []
    with tempfile.TemporaryDirectory() as passing:
        work = arguments.work or Path(passing)
        work.mkdir(parents=True, exist_ok=True)
        picture = work / "large.png"
        # Little compression: time to read it should not be time to unpack it.
        _write_picture(picture, drawn(arguments.width, arguments.height))
        if arguments.only != "upscaler":
            rows.append(_translator(picture, work, arguments))
        if arguments.only != "translator":
            rows.append(_upscaler(picture, work, arguments))
    return {
        "rows": rows, "width": arguments.width, "height": arguments.height, "precision": arguments.precision,
    }  # fmt: skip


def _write_picture(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise RuntimeError(f"{path} cannot be written")


def _read_picture(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path))
    if picture is None:
        raise RuntimeError(f"{path} cannot be read")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _translator(picture: Path, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    model = arguments.translator or write_translator(work / "translator.safetensors")
    row = _measured("ResNet-9 translator", model, picture, work / "translated.tiff", arguments)
    small = work / "small.png"
    _write_picture(small, drawn(arguments.seam_width, arguments.seam_height, seed=1))
    whole, tiled = (
        _translate(model, small, work / f"small_{tile}.png", arguments, tile=tile) for tile in ("off", "128")
    )
    first, second = (_read_picture(done["out"]).astype(int) for done in (whole, tiled))
    size = f"{arguments.seam_width} x {arguments.seam_height} pixels, whole against tiles of 128"
    return {**row, **_difference(np.abs(first - second)), "seams_in": size}


def _upscaler(picture: Path, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    model = arguments.upscaler or write_upscaler(work / "upscaler.safetensors")
    out = work / "upscaled.tiff"
    row = _measured("SRResNet x4", model, picture, out, arguments)
    loaded = load_model(model, "cpu", None, arguments.precision, runner=arguments.runner)
    differences = _window_differences(loaded, picture, TiffRows(out), arguments.windows)
    seen = f"{arguments.windows} windows of {_WINDOW} x {_WINDOW} input pixels against crops"
    return {**row, **_difference(differences), "seams_in": seen}


def _window_differences(model: ImageModel, picture: Path, result: TiffRows, count: int) -> np.ndarray:
    """How far random windows of a result are from those of a crop with all that they see around them, in levels."""
    whole = _read_picture(picture)
    scale, generator = model.entry_point.scale, model.entry_point.generator
    if (result.height, result.width) != (whole.shape[0] * scale, whole.shape[1] * scale):
        raise RuntimeError(f"the result is {result.width} x {result.height} pixels")
    # Whole cells of the network, so that the crop falls into the same places.
    step = generator.size_multiple
    context = -(-(generator.receptive_field or 256) // step) * step
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(count):
        # Some begin outside and are cut off at the border, where the network pads.
        corners = [max(0, int(rng.integers(-_WINDOW, side - _WINDOW // 2)) // step * step) for side in whole.shape[:2]]
        (top, bottom), (left, right) = (
            (start, min(side, start + _WINDOW)) for start, side in zip(corners, whole.shape[:2], strict=True)
        )
        y, x = max(0, top - context), max(0, left - context)
        crop = np.ascontiguousarray(whole[y : bottom + context, x : right + context])
        expected = model(crop)[(top - y) * scale : (bottom - y) * scale, (left - x) * scale : (right - x) * scale]
        got = result.rows(top * scale, bottom * scale)[:, left * scale : right * scale]
        differences.append(np.abs(got.astype(int) - expected.astype(int)).ravel())
    return np.concatenate(differences)


def _difference(levels: np.ndarray) -> dict[str, float]:
    return {"largest_difference": int(levels.max()), "share_that_differs": float((levels > 0).mean())}


def _measured(name: str, model: Path, picture: Path, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    done = _translate(model, picture, out, arguments, tile=arguments.tile)
    return {
        "row": name,
        "runner": f"{arguments.runner} {arguments.precision}",
        "seconds": done["seconds"],
        "megapixels_a_second": arguments.width * arguments.height / 1e6 / done["seconds"],
        "peak_gib": done["peak_gib"],
        "result_gb": out.stat().st_size / 1e9,
    }


def _translate(model: Path, picture: Path, out: Path, arguments: argparse.Namespace, *, tile: str) -> dict[str, Any]:
    """Run the command in a process of its own."""
    words = ["translate", "--model", model, picture, "-o", out, "--device", arguments.device, "--json", "--tile", tile]
    words += ["--runner", arguments.runner, "--precision", arguments.precision]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _CHILD, *map(str, words)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"i2i translate ended with {done.returncode}: {done.stderr[-800:]}")
    *said, peak = done.stdout.splitlines()
    (settled,) = json.loads("\n".join(said))["pictures"]
    return {
        "seconds": seconds,
        "peak_gib": int(peak.split()[1]) / 2**20,
        "out": out,
        "notes": settled["notes"],
    }


class TiffRows:
    """Rows of a TIFF of deflated strips with differences to the left, read without the rest of it.

    Programs that read pictures as a whole would need 16 bytes for each of the input's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            head = file.read(16)
            self._big = head[:4] == b"II\x2b\x00"
            if not self._big and head[:4] != b"II\x2a\x00":
                raise ValueError(f"{path}: no little-endian TIFF")
            file.seek(int.from_bytes(head[8:16] if self._big else head[4:8], "little"))
            count = int.from_bytes(file.read(8 if self._big else 2), "little")
            size = 20 if self._big else 12
            entries = file.read(size * count)
            tags = {}
            for start in range(0, size * count, size):
                tag, values = self._values(file, entries[start : start + size])
                tags[tag] = values
        self.width, self.height = tags[256][0], tags[257][0]
        self._channels, self._strip_rows = tags[277][0], tags[278][0]
        self._places = list(zip(tags[273], tags[279], strict=True))
        if tags[258][0] != 8 or tags[259] != (8,) or tags.get(317) != (2,):
            raise ValueError(f"{path}: not 8 bits, deflated, with differences")

    def _values(self, file: Any, entry: bytes) -> tuple[int, tuple[int, ...]]:
        tag, kind, count = struct.unpack("<HHQ" if self._big else "<HHI", entry[: 12 if self._big else 8])
        code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if code is None:
            return tag, ()
        room = entry[12 if self._big else 8 :]
        length = struct.calcsize(f"<{count}{code}")
        if length > len(room):
            file.seek(int.from_bytes(room, "little"))
            room = file.read(length)
        return tag, struct.unpack(f"<{count}{code}", room[:length])

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """(bottom - top, width, channels) uint8."""
        first, last = top // self._strip_rows, (bottom - 1) // self._strip_rows
        strips = []
        with self._path.open("rb") as file:
            for place, length in self._places[first : last + 1]:
                file.seek(place)
                strip = np.frombuffer(zlib.decompress(file.read(length)), np.uint8)
                strips.append(strip.reshape(-1, self.width, self._channels).cumsum(axis=1, dtype=np.uint8))
        start = top - first * self._strip_rows
        return np.concatenate(strips)[start : start + bottom - top]


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text."""
    lines = [f"one picture of {result['width']:,} x {result['height']:,} pixels"]
    for row in result["rows"]:
        lines += [
            f"  {row['row']:<20} {row['runner']:<14} {row['seconds']:>8.0f} s {row['megapixels_a_second']:>8.3f}"
            f" megapixels/s   VmHWM {row['peak_gib']:.2f} GiB   {row['result_gb']:.2f} GB written",
            f"    {row['seams_in']}: at most {row['largest_difference']} levels apart,"
            f" {100 * row['share_that_differs']:.3f} % of the values differ",
        ]
    if result["precision"] != "fp32":
        lines.append(f"  in {result['precision']} parts and wholes are rounded differently; one level holds in fp32")
    return lines
