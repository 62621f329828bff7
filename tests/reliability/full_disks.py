"""Disks that are full, small or read-only at every write of a training and of what makes files from its model.

A refused training keeps the checkpoints that it had; everything ends as the undisturbed work did once there is room.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from i2i.evaluation.passports.figures import FigureSheet
from tests.reliability.cases import NOT_POSSIBLE_HERE, Case, Outcome, Scenario, prepared_of
from tests.reliability.models_spoiled import foreign_checkpoint
from tests.reliability.small_disk import Disk, small_disk
from tests.reliability.undisturbed import (
    LONGEST_SECONDS,
    TRAININGS,
    HungError,
    arguments_of,
    cache_in,
    dealt,
    differences,
    go_on,
    lost_checkpoints,
    make_undisturbed,
    noted_step,
    notes_in,
    noting,
    unreadable,
    went_back,
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
_SMALL_TILES = ("--tile", "16", "--tile-statistics", "exact")
"""Bands of a picture whose tensors lie on the disk in between."""
WORKS: dict[str, Command] = {
    **{f"train {name}": _training(name) for name in TRAININGS},
    "train with TensorBoard": _training("unconditional", "--set", "tracking={wandb: disabled, tensorboard: true}"),
    "train with W&B": _training("unconditional", "--set", "tracking={wandb: offline}"),
    "translate": lambda prepared, out: [
        "translate", "--model", _model(prepared, "cyclegan"), prepared / "in", "-o", out / "out", "--runner", "torch",
        "--quiet",
    ],
    "translate in bands": lambda prepared, out: [
        "translate", "--model", _model(prepared, "cyclegan"), prepared / "in", "-o", out / "out", "--runner", "torch",
        "--quiet", *_SMALL_TILES,
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
    "export to ONNX": lambda prepared, out: [
        "export", "--model", _model(prepared, "unconditional"), "--to", "onnx", "-o", out / "model.onnx"
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
_OF_PICTURES = ("translate", "translate in bands", "enlarge")
"""Works that go on with the next picture, and say so with an exit code of their own."""
_NEEDED: Mapping[str, Sequence[str]] = {
    "train with TensorBoard": ("tensorboard",),
    "train with W&B": ("wandb",),
    "export to ONNX": ("onnx", "onnxscript", "onnxruntime"),
}
"""Libraries of some works, without which they are not possible here."""
_TRACKED = {"train with TensorBoard": "tensorboard", "train with W&B": "wandb"}
"""Trainings that differ from the undisturbed one in their recipe and this folder."""
_AT_EVENTS = ("full at a write", "refused once", "read-only from a write on")
_TROUBLES = (*_AT_EVENTS, "limited file size", "small disk", "read-only disk")
_LONG_WORKS = [work for work in WORKS if work.startswith("train")]
_TOO_SHORT = ("generate", "limited file size")
_KINDS = [
    # What is generated is shorter than any limit that what is said keeps to.
    *(f"{work}, {trouble}" for trouble in _TROUBLES for work in WORKS if (work, trouble) != _TOO_SHORT),
    # They write a hundred times as often as the others.
    *(f"{work}, {trouble}" for trouble in 2 * _AT_EVENTS for work in _LONG_WORKS),
]
_MISSED = "never hit"
"""Drawn anew: there was room enough after all, or the event did not come this time."""
_MOST_TRIES = 6
_FROM_THE_START = 3
"""Files are limited from the start in one of so many cases, and else from a random event on."""
_NEED_ROOM = ("open ", "write ", "os.mkdir ", "os.fsync ", "os.link ", "os.rename ")
_HELP = (" - ", "see above")
"""A clear line says what to do, or what was said of each picture before."""
_SAID_BYTES = {"train": 4096, "translate": 2048, "enlarge": 2048}
"""Room for what a work says, by its first word: that goes into a file, too, which no limit must cut off."""
_SAID_BYTES_ELSE = 512
_UNDISTURBED = "done all the same"
_REFUSED = "refused"
"""File of a case: what was refused first."""
_UNCLEARED = ("read-only from a write on",)
"""Where what was half written cannot be removed."""
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


def _make_whole(work: str, prepared: Path) -> None:
    """Do it undisturbed, unless that was done: WORK-whole and WORK.events."""
    out, events = prepared / f"{work}-whole", prepared / f"{work}.events"
    if events.exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    _set_out(work, prepared, out)
    seen = Hook(module="tests.reliability.file_events", name="record",
                arguments={"folder": str(out), "result": str(events)})  # fmt: skip
    done = _do(work, prepared, out, hook=seen)
    assert done.exit_code == 0, f"{work}: {done.stderr}"


def _set_out(work: str, prepared: Path, out: Path) -> None:
    """What must be there before."""
    out.mkdir(exist_ok=True)
    if work in _OF_A_RUN:
        shutil.copytree(prepared / "cyclegan" / "run", out / "run")
        for name in ("report.html", "card.md"):
            (out / "run" / name).unlink()


def _possible(work: str) -> bool:
    return all(importlib.util.find_spec(library) is not None for library in _NEEDED.get(work, ()))


def _do(work: str, prepared: Path, out: Path, hook: Hook | None = None) -> Running:
    environment = {**cache_in(out), "TMPDIR": str(out)}
    return warm_program().run(
        WORKS[work](prepared, out), prepared, LONGEST_SECONDS, environment=environment, hook=hook
    )  # fmt: skip


def _run(case: Case, folder: Path) -> Outcome:
    rng = case.rng
    work = case.kind.split(", ")[0]
    if not _possible(work):
        return Outcome(False, NOT_POSSIBLE_HERE, f"needs {' and '.join(_NEEDED[work])}")
    _make_whole(work, prepared_of(folder))
    outcome = Outcome(False, _MISSED)
    for attempt in range(_MOST_TRIES):
        if attempt:
            shutil.rmtree(folder)
            folder.mkdir()
        outcome = _refuse_and_repeat(case, folder, rng, attempt)
        if outcome.what != _MISSED:
            break
    return outcome


def _refuse_and_repeat(case: Case, folder: Path, rng: np.random.Generator, attempt: int) -> Outcome:
    """One try, of which this is number `attempt`, from 0."""
    prepared = prepared_of(folder)
    work, trouble = case.kind.split(", ")
    with contextlib.ExitStack() as stack:
        disk: Disk | None = Disk(folder)
        if trouble in ("small disk", "read-only disk"):
            disk = stack.enter_context(small_disk(folder / "disk"))
        if disk is None:
            return Outcome(False, NOT_POSSIBLE_HERE, "this user may not mount a file system")
        _set_out(work, prepared, disk.folder)
        hook = _begin(case, prepared, disk, folder, rng, attempt)
        done = _do(work, prepared, disk.folder, hook)
        figures = _figures_of(case, prepared, folder)
        wrong = _what_is_wrong(done, disk.folder, prepared / f"{work}-whole", work, cleared=trouble not in _UNCLEARED)
        if wrong:
            return Outcome(False, "failed wrongly", wrong, figures)
        lost = lost_checkpoints(disk.folder / "run", noted_step(folder)) if work.startswith("train") else ""
        if lost:
            return Outcome(False, "lost", lost, figures)
        disk.enlarge()
        what, detail = _repeat(work, prepared, disk.folder, done)
        if not detail and not _was_hit(trouble, folder, done):
            return Outcome(False, _MISSED, f"try {attempt + 1}: nothing was refused", figures)
        return Outcome(not detail, what, detail, figures)


def _was_hit(trouble: str, folder: Path, done: Running) -> bool:
    """Whether there was any trouble; what does without what it was refused may end with 0 nevertheless."""
    return first_refused(folder) != "" if trouble in _AT_EVENTS else done.exit_code != 0


def first_refused(folder: Path) -> str:
    """The path of what a work below the `folder` of a case was refused first; empty if nothing was."""
    proof = folder / _REFUSED
    return proof.read_text() if proof.exists() else ""


def _repeat(work: str, prepared: Path, out: Path, done: Running) -> tuple[str, str]:
    """What became of it once there is room, and what is wrong with that."""
    try:
        last = _again(work, prepared, out) if done.exit_code else done
    except HungError as error:
        return "hung", str(error)
    if last.exit_code != 0:
        return "unusable", f"exit code {last.exit_code}: {last.stderr[-500:]}"
    if went_back(last):
        return "lost", f"went back: {last.stderr[-500:]}"
    others = _other_results(work, prepared, out, prepared / f"{work}-whole")
    if others:
        return "differs", "; ".join(others[:5])
    return (f"refused with exit code {done.exit_code}, then equal" if done.exit_code else _UNDISTURBED), ""


def _figures_of(case: Case, prepared: Path, folder: Path) -> dict[str, float]:
    work, trouble = case.kind.split(", ")
    figures: dict[str, float] = {"step kept": noted_step(folder)} if work.startswith("train") else {}
    if trouble in _AT_EVENTS:
        # Of so many events each case of a kind takes another one.
        figures["events of the work"] = len(_events_of(work, prepared))
    return figures


def _begin(case: Case, prepared: Path, disk: Disk, folder: Path, rng: np.random.Generator, attempt: int) -> Hook | None:
    """Let the trouble begin, or give what lets it begin in the process itself."""
    work, trouble = case.kind.split(", ")
    numbers, files = _events_of(work, prepared), _written(work, prepared)
    trains = work.startswith("train")
    if trouble in ("small disk", "read-only disk"):
        if trouble == "small disk":
            # Such a disk is filled by the page.
            pages = sum(-(-size // resource.getpagesize()) for size in files)
            disk.leave_room_for(resource.getpagesize() * int(rng.integers(0, pages)))
        else:
            disk.refuse()
        return noting(folder) if trains else None
    arguments: dict[str, str | int | bool] = {
        "folder": str(disk.folder),
        "notes": str(notes_in(folder)) if trains else "",
    }
    if trouble == "limited file size":
        begins_late = attempt < _MOST_TRIES - 1 and case.seed % _FROM_THE_START != 0
        arguments["number"] = int(rng.choice(numbers)) if begins_late else 1
        least = _SAID_BYTES.get(work.split()[0], _SAID_BYTES_ELSE)
        longer = [size for size in files if size > least]
        arguments["size_bytes"] = int(rng.integers(least, rng.choice(longer)))
        return Hook(module="tests.reliability.file_events", name="limit_from", arguments=arguments)
    mixed = np.random.default_rng(_AT_EVENTS.index(trouble)).permutation(numbers)
    # A work whose threads write does not have the same events each time, and so may not come to the one chosen.
    arguments["number"] = int(rng.choice(numbers) if attempt else mixed[case.seed % len(mixed)])
    arguments["refused"] = str(folder / _REFUSED)
    arguments["lasting"] = trouble != "refused once"
    reasons = {"full at a write": errno.ENOSPC, "read-only from a write on": errno.EROFS}
    arguments["reason"] = reasons.get(trouble) or int(rng.choice(_REASONS))
    return Hook(module="tests.reliability.file_events", name="refuse_from", arguments=arguments)


def _events_of(work: str, prepared: Path) -> list[int]:
    return _moments((prepared / f"{work}.events").read_text().splitlines())


def _written(work: str, prepared: Path) -> list[int]:
    """Sizes of the files that the undisturbed work has left; those that have several names count once."""
    whole = prepared / f"{work}-whole"
    names = ("run/report.html", "run/card.md") if work in _OF_A_RUN else ("**/*",)
    states = [path.stat() for name in names for path in whole.glob(name) if path.is_file()]
    return sorted({state.st_ino: state.st_size for state in states}.values())


def _moments(events: Sequence[str]) -> list[int]:
    """Numbers of the events that need room, without those that repeat the one before."""
    return [
        number
        for number, event in enumerate(events, start=1)
        if event.startswith(_NEED_ROOM) and (number == 1 or event != events[number - 2])
    ]


def _what_is_wrong(done: Running, out: Path, whole: Path, work: str, *, cleared: bool) -> str:
    """What a refusal should not be like; empty if it is right.

    Args:
        cleared: it was possible to remove what was half written.
    """
    said = done.stderr
    if done.exit_code == 0:
        return f"done, but for a traceback: {said[-500:]}" if "Traceback" in said else ""
    complaints = [line for line in said.splitlines() if line.startswith("i2i: error:")]
    if done.exit_code not in ((1, 7) if work in _OF_PICTURES else (1,)):
        return f"exit code {done.exit_code}: {said[-500:]}"
    if (
        len(complaints) != 1
        or not any(way in complaints[0] for way in _HELP)
        or "internal error" in said
        or "Traceback" in said
    ):
        return f"not one clear line: {said[-500:]}"
    left = [str(path.relative_to(out)) for path in out.rglob("*") if path.name.startswith((".writing-", ".replaced-"))]
    if left and cleared:
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
    if work.startswith("train") and work not in _TRACKED:
        return go_on(prepared, work.removeprefix("train "), out)
    if work.startswith("train") and any((out / "run" / "checkpoints").glob("step_*")):
        return warm_program().run(["train", "--resume", out / "run"], out, environment=cache_in(out))
    if not work.startswith("train") and work not in _OF_A_RUN:
        for name in ("out", "prepared"):
            shutil.rmtree(out / name, ignore_errors=True)
    return _do(work, prepared, out)


def _other_results(work: str, prepared: Path, out: Path, whole: Path) -> list[str]:
    if work.startswith("train"):
        name = "unconditional" if work in _TRACKED else work.removeprefix("train ")
        own = (f"{_TRACKED[work]}/", "recipe") if work in _TRACKED else ()
        return [line for line in differences(out / "run", prepared / name / "run") if not line.startswith(own)]
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
    wanted = (".png", ".ts", ".onnx", ".safetensors")
    found = (path for path in out.rglob("*") if path.suffix in wanted and path.is_file())
    return {path.relative_to(out) for path in found if not path.name.startswith(".")}


def _figures(out: Path) -> list[tuple[str, float]]:
    return [(figure.name, figure.value) for figure in FigureSheet.read(out / _SCORES).figures]


FULL_DISKS = Scenario(
    name="full_disks",
    title="Full, small and read-only disks, each case at another write",
    long_count=650,
    cases=lambda count: dealt("full_disks", _KINDS, count),
    run=_run,
    prepare=_prepare,
)
SCENARIOS = (FULL_DISKS,)
