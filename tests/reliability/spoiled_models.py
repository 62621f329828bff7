"""Spoiled model files, given to every command that reads one; nothing in them may run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.reliability.cases import Case, Outcome, Scenario, prepared_of
from tests.reliability.models_graphs import (
    ONNX_FILES,
    OPENVINO_FILES,
    good_openvino,
    spoiled_program,
    write_programs,
)
from tests.reliability.models_spoiled import CHECKPOINTS, SAFETENSORS
from tests.reliability.spoiled_files import Bounds, Call, first_wrong, good_model, good_picture, judged, reused_program
from tests.reliability.spoiled_files import weighted as weighted_cases

_NAME = "models"
_PROGRAMS = {"torchscript": "torchscript.program", "pt2": "pt2.program"}
_PROGRAM_SUFFIXES = (".pt", ".pth", ".ts", ".pt2", ".zip", "", ".bin", ".ckpt")
_CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar")
_HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
_WEIGHTS = {
    **dict.fromkeys(SAFETENSORS, 8),
    **dict.fromkeys(CHECKPOINTS, 6),
    **dict.fromkeys(ONNX_FILES, 6),
    **(dict.fromkeys(OPENVINO_FILES, 3) if _HAS_OPENVINO else {}),
    **dict.fromkeys(_PROGRAMS, 5),
}


def _cases(count: int) -> Sequence[Case]:
    return weighted_cases(_NAME, _WEIGHTS, count)


def _run(case: Case, folder: Path) -> Outcome:
    outside, work = folder / "outside", folder / "work"
    outside.mkdir()
    work.mkdir()
    (outside / "decoy").write_bytes(bytes(3 * 3 * 3 * 3 * 4))
    path = _spoiled(case, work, prepared_of(folder))
    outcome = first_wrong(_outcomes(case, path, work, prepared_of(folder) / "good.png"))
    marks = [str(mark) for mark in (*folder.rglob("sprung"), *folder.rglob("mark"))]
    if marks or (prepared_of(folder) / "mark").exists():
        return Outcome(False, "executed", f"{marks}; {outcome.detail}", outcome.figures)
    return outcome


def _spoiled(case: Case, work: Path, prepared: Path) -> Path:
    rng, kind = case.rng, case.kind
    if kind in SAFETENSORS:
        path = work / "given.safetensors"
        path.write_bytes(SAFETENSORS[kind]((prepared / "good.safetensors").read_bytes(), rng))
    elif kind in CHECKPOINTS:
        path = work / f"given{_CHECKPOINT_SUFFIXES[int(rng.integers(len(_CHECKPOINT_SUFFIXES)))]}"
        path.write_bytes(CHECKPOINTS[kind](rng, work))
    elif kind in ONNX_FILES:
        path = work / "given.onnx"
        path.write_bytes(ONNX_FILES[kind](rng, work))
    elif kind in OPENVINO_FILES:
        path = work / "given.xml"
        good = (prepared / "good.xml").read_bytes(), (prepared / "good.bin").read_bytes()
        graph, weights = OPENVINO_FILES[kind](good, rng)
        path.write_bytes(graph)
        path.with_suffix(".bin").write_bytes(weights)
    else:
        path = work / f"given{_PROGRAM_SUFFIXES[int(rng.integers(len(_PROGRAM_SUFFIXES)))]}"
        path.write_bytes(spoiled_program((prepared / _PROGRAMS[kind]).read_bytes(), rng))
    return path


def _outcomes(case: Case, path: Path, work: Path, picture: Path) -> Iterator[Outcome]:
    """What every command makes of it that may read such a file."""
    plainly = ("--device", "cpu", "--quiet")
    translate = ["translate", "--model", path, picture, "-o", work / "out", *plainly]
    convert = ["convert", path, "-o", work / "converted.safetensors"]
    others: list[list[str | Path]] = [
        ["generate", "--model", path, "-n", "1", "-o", work / "out", *plainly],
        ["evaluate", "--model", path, "--hr", picture, "--device", "cpu"],
        ["export", "--model", path, "--to", "onnx", "-o", work / "exported.onnx"],
    ]
    calls: list[list[str | Path]] = [[*translate], [*convert]]
    if case.kind not in CHECKPOINTS:
        calls.append(others[case.seed % len(others)])
    for arguments in calls:
        answer = reused_program(exporting=True).run(Call(arguments=arguments, cwd=work))
        outcome = judged(answer, _bounds(case, path, answer.exit_code))
        if answer.exit_code == 0 and case.kind in _PROGRAMS:
            outcome = Outcome(False, "opened untrusted", f"{arguments}", outcome.figures)
        yield outcome


def _bounds(case: Case, path: Path, exit_code: int | None) -> Bounds:
    if case.kind in _PROGRAMS:
        return Bounds(exit_codes={5}, names={str(path)})
    if exit_code == 7:
        # Each picture has its line; that the model is to blame is said there.
        return Bounds(exit_codes={7}, names={"see above"}, notes=("failed: ",), remedy=False)
    # 2: a whole model, but not for this command; 6: settings that fit it and take more memory than there is.
    return Bounds(exit_codes={2, 5, 6}, names={str(path)}, notes=("1 pictures, ",))


def _prepare(folder: Path) -> None:
    good_model(folder)
    good_picture(folder)
    write_programs(folder)
    if _HAS_OPENVINO:
        graph, weights = good_openvino()
        (folder / "good.xml").write_bytes(graph)
        (folder / "good.bin").write_bytes(weights)


SCENARIOS = (
    Scenario(name=_NAME, title="Spoiled model files", long_count=3_500, cases=_cases, run=_run, prepare=_prepare),
)
