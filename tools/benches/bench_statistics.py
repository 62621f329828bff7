"""The mathematics of the metrics on many feature vectors, each row in a process of its own: time and peak memory.

    tools/bench statistics                             50,000 vectors of width 2048 a set: minutes on two CPU cores
    tools/bench statistics --vectors 5000 --rows fid,plain-fid
    tools/bench statistics --vectors 10000 --rows pr,dc

fid: both sets come in batches of 500, are summed up, and compared. plain-fid: the same with both sets in memory,
numpy's covariance and general eigenvalues, as reference programs do it. kid: 100 subsets of 1000. is: the Inception
Score of as many logits of 1008 classes. pr, dc: precision and recall, density and coverage; their time grows with the
square of the vectors (--neighbour-vectors of them are taken). kid, pr and dc read the vectors from a file on the disk.

Vectors are drawn: the network that would make them is no part of this. Memory is VmHWM, which counts what is read of
a mapped file; seconds leave out the drawing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i2i.evaluation.metrics.frechet import RunningStatistics, frechet_distance
from i2i.evaluation.metrics.inception_score import RunningInceptionScore
from i2i.evaluation.metrics.kernel_distance import kernel_distance
from i2i.evaluation.metrics.neighbours import density_coverage, precision_recall

_BATCH = 500
_DRAWN_BATCHES = 4
_CLASSES = 1008
# Set 2 against set 1: nearer to the origin and a little narrower, as features of made pictures are.
_SHIFT, _SCALE = 0.05, 0.9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    parser.add_argument("--vectors", type=int, default=50_000, help="in each set (default 50,000)")
    parser.add_argument("--width", type=int, default=2048, help="of a vector (default 2048)")
    parser.add_argument("--neighbour-vectors", type=int, default=10_000, help="of each set for pr and dc")
    parser.add_argument("--rows", default=",".join(_ROWS), help=f"which ones (default {','.join(_ROWS)})")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for each metric."""
    rows = []
    for name in arguments.rows.split(","):
        if name not in _ROWS:
            raise SystemExit(f"--rows {name}: unknown - use {', '.join(_ROWS)}")
        words = [name, arguments.vectors, arguments.width, arguments.neighbour_vectors]
        done = subprocess.run(
            [sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True
        )
        rows.append(json.loads(done.stdout))
    return {"rows": rows, "width": arguments.width}


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text."""
    return [f"feature vectors of width {result['width']:,}"] + [
        f"  {row['row']:<10} {row['vectors']:>9,} a set {row['seconds']:>9.1f} s   VmHWM {row['peak_gib']:.2f} GiB"
        f"   {row['value']:.9g}"
        for row in result["rows"]
    ]


def _batches(count: int, width: int, number: int) -> Iterator[np.ndarray]:
    """Float32 vectors of set `number`: a few drawn batches in turns, each time moved a little."""
    random = np.random.default_rng(number)
    drawn = [random.standard_normal((_BATCH, width), np.float32) for _ in range(_DRAWN_BATCHES)]
    if number == 2:
        drawn = [batch * np.float32(_SCALE) + np.float32(_SHIFT) for batch in drawn]
    for start in range(0, count, _BATCH):
        turn = start // _BATCH
        yield np.roll(drawn[turn % _DRAWN_BATCHES], turn, axis=1)[: count - start]


def _fid(count: int, width: int) -> tuple[float, float]:
    seconds = 0.0
    running = RunningStatistics(), RunningStatistics()
    for number, statistics in enumerate(running, start=1):
        for batch in _batches(count, width, number):
            seconds += _timed(lambda batch=batch, statistics=statistics: statistics.add(batch))[1]
    value, last = _timed(lambda: frechet_distance(running[0].result(), running[1].result()))
    return value, seconds + last


def _plain_fid(count: int, width: int) -> tuple[float, float]:
    sets = [np.concatenate(list(_batches(count, width, number))) for number in (1, 2)]

    def distance() -> float:
        means = [vectors.mean(axis=0) for vectors in sets]
        covariances = [np.cov(vectors, rowvar=False) for vectors in sets]
        eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1]).astype(np.complex128)
        shift = means[0] - means[1]
        traces = sum(float(np.trace(covariance)) for covariance in covariances)
        return float(shift @ shift + traces - 2 * np.real(np.sqrt(eigenvalues)).sum())

    return _timed(distance)


def _inception_score(count: int, _: int) -> tuple[float, float]:
    running, seconds = RunningInceptionScore(count), 0.0
    for turn, batch in enumerate(_batches(count, _CLASSES, 1)):
        seconds += _timed(lambda turn=turn, batch=batch: running.add(turn * _BATCH, batch))[1]
    result, last = _timed(running.result)
    return result.value, seconds + last


def _on_disk(measure: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[int, int], tuple[float, float]]:
    def row(count: int, width: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            sets = []
            for number in (1, 2):
                path = Path(folder) / f"{number}.npy"
                mapped = np.lib.format.open_memmap(path, "w+", np.float32, (count, width))
                for turn, batch in enumerate(_batches(count, width, number)):
                    mapped[turn * _BATCH : turn * _BATCH + len(batch)] = batch
                del mapped
                sets.append(np.load(path, mmap_mode="r"))
            return _timed(lambda: measure(*sets))

    return row


_ROWS: Mapping[str, Callable[[int, int], tuple[float, float]]] = {
    "fid": _fid,
    "plain-fid": _plain_fid,
    "kid": _on_disk(lambda real, fake: kernel_distance(real, fake).value),
    "is": _inception_score,
    "pr": _on_disk(lambda real, fake: precision_recall(real, fake).precision),
    "dc": _on_disk(lambda real, fake: density_coverage(real, fake).density),
}


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    value = action()
    return value, time.perf_counter() - started


def _main(name: str, vectors: int, width: int, neighbour_vectors: int) -> None:
    """What the process of a row does."""
    count = min(vectors, neighbour_vectors) if name in ("pr", "dc") else vectors
    value, seconds = _ROWS[name](count, width)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    print(json.dumps({
        "row": name, "vectors": count, "seconds": seconds, "peak_gib": peak / 2**20, "value": value,
    }))  # fmt: skip


if __name__ == "__main__":
    _main(sys.argv[1], *map(int, sys.argv[2:]))
