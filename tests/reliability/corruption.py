"""Flipped bits and cut files in all that a run and its cache consist of: noticed, or without any effect."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.undisturbed import (
    TRAININGS,
    cache_in,
    differences,
    go_on,
    losses_of,
    make_undisturbed,
    train,
)
from tests.warm import Hook, Running, warm_program

_CUT_AT = 3
"""Step of the newest checkpoint of the run that is damaged."""
_NEWEST = f"run/checkpoints/step_{_CUT_AT}"
_TARGETS = {
    "checkpoint state": f"{_NEWEST}/state.safetensors",
    "checkpoint counters": f"{_NEWEST}/state.json",
    "checkpoint manifest": f"{_NEWEST}/manifest.json",
    "checkpoint model": f"{_NEWEST}/model.safetensors",
    "model": "run/model.safetensors",
    "model in use": "run/model.safetensors",
    "recipe": "run/recipe.yaml",
    "metrics": "run/metrics.jsonl",
    "sheet": "run/samples/*.*",
    "cached pictures": "cache/pictures/*.u8",
    "cached digests": "cache/digests/*.json",
}
"""Files by what they are, as patterns below the folder of a case."""
_DAMAGES = ("flipped", "cut")
_KINDS = [f"{target}, {damage}" for target in _TARGETS for damage in _DAMAGES]
_USES = {"cyclegan": "translate", "unconditional": "generate", "srgan": "translate"}
_CACHED = "cyclegan"
"""Has a cache; the others draw their pictures."""


def _prepare(folder: Path) -> None:
    make_undisturbed(folder)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(folder / "picture.png")
    for name in TRAININGS:
        last = f"os.rename run/checkpoints/.writing-{_CUT_AT + 1}-"
        events = (folder / f"{name}.events").read_text().splitlines()
        number = next(count for count, event in enumerate(events, start=1) if event.startswith(last))
        half = folder / f"{name}-half"
        kill = Hook(module="tests.reliability.file_events", name="kill_at",
                    arguments={"folder": str(half), "number": number})  # fmt: skip
        assert train(folder, name, half, kill).exit_code == -9
        used = _use(folder, name, half, folder / f"{name}-used")
        assert used.exit_code == 0, used.stderr


def _run(case: Case, folder: Path) -> Outcome:
    prepared = prepared_of(folder)
    target, damage = case.kind.split(", ")
    name = _CACHED if target.startswith("cached") else list(TRAININGS)[case.seed % len(TRAININGS)]
    shutil.copytree(prepared / f"{name}-half", folder, dirs_exist_ok=True)
    found = sorted(folder.glob(_TARGETS[target]))
    damaged = found[int(case.rng.integers(len(found)))]
    whole = damaged.read_bytes()
    _spoil(damaged, damage, case.rng)
    if target == "model in use":
        return _used(prepared, name, folder)
    last = go_on(prepared, name, folder)
    if last.exit_code is None or last.exit_code < 0:
        return Outcome(False, "hung or crashed", f"exit code {last.exit_code}: {last.stderr[-500:]}")
    if last.exit_code != 0:
        return _refused(last, {3} if target == "recipe" else set())
    others = differences(folder / "run", prepared / name / "run")
    if target == "sheet":
        # What nobody can bring back: a picture that was shown.
        excused = (damaged.name, "report.html: shows other pictures")
        others = [line for line in others if not any(word in line for word in excused)]
    if target == "metrics" and _is_part(losses_of(folder / "run"), losses_of(prepared / name / "run")):
        others = [line for line in others if not line.startswith("metrics.jsonl tells other losses")]
    if target == "cached pictures" and damaged.read_bytes() != whole:
        others.append("the damaged cache was not made anew")
    if others:
        return Outcome(False, "unnoticed", f"{damaged.name}: {'; '.join(others[:5])}")
    return _noticed(target, last)


def _noticed(target: str, last: Running) -> Outcome:
    """The outcome of a run that has ended as it should: by the way that it took there."""
    back = "going back to the checkpoint before it" in last.stderr
    if target in ("checkpoint state", "checkpoint counters") and not (
        back and f"resumed at step {_CUT_AT - 1}" in last.stderr
    ):
        return Outcome(False, "unnoticed", f"the damaged checkpoint was used: {last.stderr[-300:]}")
    if back:
        return Outcome(True, "previous checkpoint, equal end")
    return Outcome(True, "made anew, equal end" if "made anew" in last.stderr else "equal end")


def _is_part(ours: dict[int, dict[str, float]], theirs: dict[int, dict[str, float]]) -> bool:
    """Whether rows are missing at most: what a damaged row said is lost, but none may say something else."""
    return all(values.items() <= theirs.get(step, {}).items() for step, values in ours.items())


def _refused(last: Running, codes: set[int]) -> Outcome:
    said = last.stderr.strip()
    if last.exit_code in codes and "Traceback" not in said and "internal error" not in said and " - " in said:
        return Outcome(True, "refused")
    return Outcome(False, "wrongly refused", f"exit code {last.exit_code}: {said[-500:]}")


def _use(prepared: Path, name: str, folder: Path, out: Path) -> Running:
    """Make pictures with the model in a run folder."""
    words: list[str | Path] = [_USES[name], "--model", folder / "run" / "model.safetensors", "-o", out]
    words += ["--device", "cpu", "--quiet"]
    words += ["-n", "1"] if _USES[name] == "generate" else ["--runner", "torch", prepared / "picture.png"]
    return warm_program().run(words, prepared, environment=cache_in(folder))


def _used(prepared: Path, name: str, folder: Path) -> Outcome:
    last = _use(prepared, name, folder, folder / "out")
    if last.exit_code != 0:
        return _refused(last, {5})
    ours, theirs = _pictures(folder / "out"), _pictures(prepared / f"{name}-used")
    if not theirs or ours != theirs:
        return Outcome(False, "unnoticed", f"other pictures: {sorted(ours)} instead of {sorted(theirs)}")
    return Outcome(True, "equal pictures")


def _pictures(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.rglob("*.png")}


def _spoil(path: Path, damage: str, rng: np.random.Generator) -> None:
    """Flip one to three bits, or cut the file off. A file of its own: links to the old content are left alone."""
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: int(rng.integers(len(content)))]
    else:
        for place in rng.choice(len(content) * 8, int(rng.integers(1, 4)), replace=False):
            content[place // 8] ^= 1 << place % 8
    path.unlink()
    path.write_bytes(content)


CORRUPTION = Scenario(
    name="corruption",
    title="Flipped bits and cut files in a run and its cache",
    long_count=550,
    cases=lambda count: spread("corruption", _KINDS, count),
    run=_run,
    prepare=_prepare,
)
SCENARIOS = (CORRUPTION,)
