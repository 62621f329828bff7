"""Disks that are full, small or read-only at every write of a training and of what makes files from its model."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from i2i.evaluation.passports.figures import FigureSheet
from tests.reliability.cases import NOT_POSSIBLE_HERE, Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.models_spoiled import foreign_checkpoint
from tests.reliability.undisturbed import (
    LONGEST_SECONDS,
    TRAININGS,
    arguments_of,
    cache_in,
    differences,
    go_on,
    make_undisturbed,
    unreadable,
)
from tests.warm import Hook, Running, warm_program

Words = list[str | Path]
Command = Callable[[Path, Path], Words]
"""Arguments of the command line, given the folder of what was prepared and the one to write to."""


def _training(name: str, *more: str) -> Command:
    return lambda prepared, out: [*arguments_of(prepared, name, out), *more]


def _model(prepared: Path, name: str) -> Path:
    return prepared / name / "run" / "model.safetensors"


_SCORES = "scores.json"
WORKS: dict[str, Command] = {
    **{f"train {name}": _training(name) for name in TRAININGS},
    "train with TensorBoard": _training("unconditional", "--set", "tracking={wandb: disabled, tensorboard: true}"),
    "translate": lambda prepared, out: [
        "translate", "--model", _model(prepared, "cyclegan"), prepared / "in", "-o", out / "out", "--runner", "torch",
        "--quiet",
    ],
    "enlarge": lambda prepared, out: [
        "translate", "--model", _model(prepared, "srgan"), prepared / "in", "-o", out / "out", "--runner", "torch",
        "--quiet",
    ],
    "generate": lambda prepared, out: [
        "generate", "--model", _model(prepared, "unconditional"), "-n", "3", "-o", out / "out", "--quiet"
    ],
    "export": lambda prepared, out: [
        "export", "--model", _model(prepared, "unconditional"), "--to", "torchscript", "-o", out / "model.ts"
    ],
    "convert": lambda prepared, out: [
        "convert", prepared / "foreign.pth", "-o", out / "converted.safetensors"
    ],
    "evaluate": lambda prepared, out: [
        "evaluate", "--model", prepared / "upscaler.safetensors", "--hr", prepared / "in", "-o", out / _SCORES,
        "--device", "cpu", "--quiet",
    ],
    "prepare": lambda prepared, out: ["data", "prepare", prepared / "in", out / "prepared", "--size", "16"],
    "report": lambda prepared, out: ["report", out / "run"],
    "card": lambda prepared, out: ["card", out / "run"],
}  # fmt: skip
_OF_A_RUN = ("report", "card")
"""Works that write into a run, which is there before."""
_TROUBLES = ("full at a write", "refused once", "limited file size", "small disk", "read-only disk")
_KINDS = [f"{work}, {trouble}" for trouble in _TROUBLES for work in WORKS]
_NEED_ROOM = ("open ", "write ", "os.mkdir ", "os.fsync ", "os.link ", "os.rename ")
_HELP = (" - ", "see above")
"""A clear line says what to do, or what was said of each picture before."""
_SMALLEST_LIMIT_BYTES = 2048
"""What is said goes into files too, and must fit."""
_REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def _prepare(folder: Path) -> None:
    make_undisturbed(folder)
    (folder / "in").mkdir()
    for index in range(2):
        picture = np.random.default_rng(index).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(picture).save(folder / "in" / f"{index}.png")
    torch.save(foreign_checkpoint(), folder / "foreign.pth")
    # Not in its run: scores of a run's model are kept there, too, and what is compared with must stay as it is.
    shutil.copy(_model(folder, "srgan"), folder / "upscaler.safetensors")
    for work in WORKS:
        out = folder / f"{work}-whole"
        _set_out(work, folder, out)
        seen = Hook(module="tests.reliability.file_events", name="record",
                    arguments={"folder": str(out), "result": str(folder / f"{work}.events")})  # fmt: skip
        done = _do(work, folder, out, hook=seen)
        assert done.exit_code == 0, f"{work}: {done.stderr}"


def _set_out(work: str, prepared: Path, out: Path) -> None:
    """What must be there before."""
    out.mkdir(exist_ok=True)
    if work in _OF_A_RUN:
        shutil.copytree(prepared / "cyclegan" / "run", out / "run")
        for name in ("report.html", "card.md"):
            (out / "run" / name).unlink()


def _do(work: str, prepared: Path, out: Path, hook: Hook | None = None, file_bytes: int | None = None) -> Running:
    limits = {} if file_bytes is None else {resource.RLIMIT_FSIZE: file_bytes}
    return warm_program().run(
        WORKS[work](prepared, out), prepared, LONGEST_SECONDS, environment=cache_in(out), limits=limits, hook=hook
    )


def _run(case: Case, folder: Path) -> Outcome:
    prepared, rng = prepared_of(folder), case.rng
    work, trouble = case.kind.split(", ")
    whole = prepared / f"{work}-whole"
    with contextlib.ExitStack() as stack:
        if trouble in ("small disk", "read-only disk"):
            disk = stack.enter_context(_disk(folder / "disk"))
            if disk is None:
                return Outcome(False, NOT_POSSIBLE_HERE, "this user may not mount a file system")
        else:
            disk = _Disk(folder)
        _set_out(work, prepared, disk.folder)
        done = _in_trouble(case, trouble, work, prepared, disk, whole, rng)
        problem = _what_is_wrong(done, disk.folder, whole, work)
        disk.enlarge()
        if problem:
            return Outcome(False, "failed wrongly", problem)
        last = _again(work, prepared, disk.folder) if done.exit_code else done
        if last.exit_code != 0:
            return Outcome(False, "unusable", f"exit code {last.exit_code}: {last.stderr[-500:]}")
        others = _other_results(work, prepared, disk.folder, whole)
        if others:
            return Outcome(False, "differs", "; ".join(others[:5]))
    return Outcome(
        True, f"refused with exit code {done.exit_code}, then equal" if done.exit_code else "done all the same"
    )


def _in_trouble(
    case: Case, trouble: str, work: str, prepared: Path, disk: _Disk, whole: Path, rng: np.random.Generator
) -> Running:
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    match trouble:
        case "limited file size":
            return _do(work, prepared, disk.folder, file_bytes=_SMALLEST_LIMIT_BYTES + int(rng.integers(0, largest)))
        case "small disk":
            disk.leave_room_for(int(rng.integers(0, size)))
        case "read-only disk":
            disk.refuse()
        case _:
            numbers = _moments((prepared / f"{work}.events").read_text().splitlines())
            number = int(np.random.default_rng(0).permutation(numbers)[case.seed % len(numbers)])
            refusing = Hook(
                module="tests.reliability.file_events", name="refuse_from",
                arguments={"folder": str(disk.folder), "number": number, "lasting": trouble == "full at a write",
                           "reason": int(rng.choice(_REASONS)) if trouble == "refused once" else errno.ENOSPC},
            )  # fmt: skip
            return _do(work, prepared, disk.folder, hook=refusing)
    return _do(work, prepared, disk.folder)


def _moments(events: Sequence[str]) -> list[int]:
    """Numbers of the events that need room, without those that repeat the one before."""
    return [
        number
        for number, event in enumerate(events, start=1)
        if event.startswith(_NEED_ROOM) and (number == 1 or event != events[number - 2])
    ]


def _what_is_wrong(done: Running, out: Path, whole: Path, work: str) -> str:
    """What a refusal should not be like; empty if it is right."""
    if done.exit_code == 0:
        return ""
    said = done.stderr
    complaints = [line for line in said.splitlines() if line.startswith("i2i: error:")]
    if done.exit_code not in ((1, 7) if work in ("translate", "enlarge") else (1,)):
        return f"exit code {done.exit_code}: {said[-500:]}"
    if (
        len(complaints) != 1
        or not any(way in complaints[0] for way in _HELP)
        or "internal error" in said
        or "Traceback" in said
    ):
        return f"not one clear line: {said[-500:]}"
    left = [str(path.relative_to(out)) for path in out.rglob("*") if path.name.startswith((".writing-", ".replaced-"))]
    if left:
        return f"left behind: {left[:3]} ({complaints[0][-200:]})"
    if not work.startswith("train"):
        # A file is as it should be, or not there.
        for path in _results(out):
            if (out / path).read_bytes() != (whole / path).read_bytes():
                return f"half written: {path}"
        if (out / _SCORES).exists() and _figures(out) != _figures(whole):
            return f"half written: {_SCORES}"
    return ""


def _again(work: str, prepared: Path, out: Path) -> Running:
    """What a person does once there is room."""
    if work.startswith("train") and work != "train with TensorBoard":
        return go_on(prepared, work.removeprefix("train "), out)
    if work.startswith("train") and any((out / "run" / "checkpoints").glob("step_*")):
        return warm_program().run(["train", "--resume", out / "run"], out, environment=cache_in(out))
    if not work.startswith("train") and work not in _OF_A_RUN:
        for name in ("out", "prepared"):
            shutil.rmtree(out / name, ignore_errors=True)
    return _do(work, prepared, out)


def _other_results(work: str, prepared: Path, out: Path, whole: Path) -> list[str]:
    if work.startswith("train"):
        name = "unconditional" if work == "train with TensorBoard" else work.removeprefix("train ")
        found = differences(out / "run", prepared / name / "run")
        return [
            line for line in found if work != "train with TensorBoard" or not line.startswith(("tensorboard", "recipe"))
        ]
    if work in _OF_A_RUN:
        return unreadable(out / "run", whole / "run", ("report.html",) if work == "report" else ("card.md",))
    if work == "evaluate":
        return [] if _figures(out) == _figures(whole) else [f"{_SCORES} has other figures"]
    ours, theirs = _results(out), _results(whole)
    return [str(path) for path in ours ^ theirs] + [
        f"{path} has other bytes" for path in ours & theirs if (out / path).read_bytes() != (whole / path).read_bytes()
    ]


def _results(out: Path) -> set[Path]:
    """Pictures and models; what tells of times and places is left out."""
    wanted = (".png", ".ts", ".safetensors")
    return {path.relative_to(out) for path in out.rglob("*") if path.suffix in wanted and path.is_file()}


def _figures(out: Path) -> list[tuple[str, float]]:
    return [(figure.name, figure.value) for figure in FigureSheet.read(out / _SCORES).figures]


class _Disk:
    """The folder that is written to, which may be a small file system of its own."""

    def __init__(self, folder: Path, mounted: bool = False) -> None:
        self.folder = folder
        self._mounted = mounted

    def leave_room_for(self, size_bytes: int) -> None:
        """Let no more than this be written in addition to what is there."""
        used = shutil.disk_usage(self.folder).used
        self._remount(f"size={used + size_bytes}")

    def refuse(self) -> None:
        """Make it read-only."""
        self._remount("ro")

    def enlarge(self) -> None:
        """Make it as large as anybody needs, and writable."""
        if self._mounted:
            self._remount("rw,size=64m")

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True, capture_output=True)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[_Disk | None]:
    """A file system in memory at `folder`; None where this user may not mount one."""
    folder.mkdir()
    if (
        not may_mount()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True).returncode
    ):
        yield None
        return
    try:
        yield _Disk(folder, mounted=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


def may_mount() -> bool:
    """Whether to try at all."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


FULL_DISKS = Scenario(
    name="full_disks",
    title="Full, small and read-only disks at every write",
    long_count=500,
    cases=lambda count: spread("full_disks", _KINDS, count),
    run=_run,
    prepare=_prepare,
)
SCENARIOS = (FULL_DISKS,)
