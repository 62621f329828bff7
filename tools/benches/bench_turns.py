"""Two ways of doing the same, timed in turns."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch


def alternate(
    first: Callable[[], None], second: Callable[[], None], counted: int, warmup: int, device: torch.device
) -> tuple[list[float], list[float]]:
    """Seconds of two actions that take turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(warmup + counted):
        for action, record in zip((first, second), seconds, strict=True):
            started = now(device)
            action()
            elapsed = now(device) - started
            if turn >= warmup:
                record.append(elapsed)
    return seconds


def timed(action: Callable[[], None], counted: int, warmup: int) -> list[float]:
    """Seconds of an action that has the machine to itself and waits for its device."""
    seconds = []
    for _ in range(warmup + counted):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds[warmup:]


def tried(title: str, act: Callable[[], Any], failed: list[str]) -> Any | None:
    """What `act` gives; None, and a line in `failed`, where it fails: other rows are still worth having."""
    try:
        return act()
    except Exception as error:  # a row may fail in any way
        failed.append(f"{title}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(f"left out: {failed[-1]}", file=sys.stderr, flush=True)
        return None


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextlib.contextmanager
def in_own_process(make: Callable[..., Callable[..., Any]], *arguments: Any) -> Iterator[Callable[..., Any]]:
    """The action that `make(*arguments)` gives, in a process that sleeps between its turns.

    What one side asks of the memory allocator then does nothing for the other. What the action is given and returns
    travels between the processes.

    Raises:
        RuntimeError: the action failed there.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
    process.start()
    theirs.close()

    def act(*given: Any) -> Any:
        try:
            ours.send(given)
            failure, result = ours.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError("the process that does it has ended; was memory short?") from error
        if failure is not None:
            raise RuntimeError(failure)
        return result

    try:
        yield act
    finally:
        ours.close()
        process.join(30)
        process.kill()


def _serve(connection: Connection, make: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    action = make(*arguments)
    with contextlib.suppress(EOFError):
        while True:
            given = connection.recv()
            failure = result = None
            try:
                result = action(*given)
            except Exception as error:  # it is the caller's
                failure = f"{type(error).__name__}: {error}"
            connection.send((failure, result))


def compare(name: str, plain: list[float], ours: list[float], precision: str) -> dict[str, Any]:
    """The row of a table: medians, the median of the ratios of the pairs, and their range."""
    ratios = [a / b for a, b in zip(plain, ours, strict=True)]
    return {
        "row": name,
        "plain_fp32_seconds": statistics.median(plain),
        "ours_seconds": statistics.median(ours),
        "ours_precision": precision,
        "times_faster": statistics.median(ratios),
        "times_faster_lowest": min(ratios),
        "times_faster_highest": max(ratios),
        "steps": len(ratios),
    }


def comparison_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of `compare` as lines of text, with a heading."""
    lines = [f"{'':<48}{'plain fp32':>12}{'ours':>10}{'':>7}{'times faster':>14}{'(range)':>16}"]
    for row in rows:
        spread = f"({row['times_faster_lowest']:.2f} - {row['times_faster_highest']:.2f})"
        lines.append(
            f"{row['row']:<48}{row['plain_fp32_seconds']:>10.3f} s{row['ours_seconds']:>8.3f} s"
            f"{row['ours_precision']:>7}{row['times_faster']:>14.2f}{spread:>16}"
        )
    return lines
