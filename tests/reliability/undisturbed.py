"""Trainings of half a second, one of each pipeline, as they end undisturbed; and in what others differ from them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from i2i.errors import ModelError
from i2i.training.checkpoint import checkpoint_steps, load_newest_checkpoint
from i2i.training.tracking import read_metrics
from tests.reliability.cases import Case
from tests.training.runs import GENERATION, RECIPE, UPSCALING, make_pictures
from tests.warm import Hook, Running, warm_program

STEPS = 4
LONGEST_SECONDS = 120.0
"""A training of this kind that takes longer hangs."""
TRAININGS: Mapping[str, str] = {"cyclegan": RECIPE, "unconditional": GENERATION, "srgan": UPSCALING}
"""Recipes by name."""
_OVERRIDES = (
    f"training.length.steps={STEPS}",
    "training.checkpoints.every_steps=1",
    "training.samples={every_epochs: null, every_steps: 2}",
    "training.validation={every_epochs: null, every_steps: 2}",
)
_ATTEMPT_FILES = frozenset({"metrics.jsonl", "report.html", "card.md", "environment.json"})
"""They tell of times and attempts, which differ."""
_NOTES = "in_place.txt"


class HungError(Exception):
    """A training that does not come to an end."""


def make_undisturbed(folder: Path, names: Sequence[str] = tuple(TRAININGS)) -> None:
    """Run these trainings whole below `folder`: NAME/run, NAME.seconds, NAME.events, the recipe NAME.yaml."""
    make_pictures(folder / "pictures")
    # Or the time that the imports take would count as that of the first training.
    warm_program().run(["--version"], folder, LONGEST_SECONDS)
    for name in names:
        (folder / f"{name}.yaml").write_text(TRAININGS[name].replace("ROOT", str(folder / "pictures")))
        seen = Hook(module="tests.reliability.file_events", name="record",
                    arguments={"folder": str(folder / name), "result": str(folder / f"{name}.events")})  # fmt: skip
        started = time.monotonic()
        whole = train(folder, name, folder / name, hook=seen)
        (folder / f"{name}.seconds").write_text(str(time.monotonic() - started))
        assert whole.exit_code == 0, whole.stderr


def arguments_of(prepared: Path, name: str, folder: Path) -> list[str | Path]:
    """The command line of the training `name`, into `folder`/run."""
    sets = [word for override in _OVERRIDES for word in ("--set", override)]
    return ["train", prepared / f"{name}.yaml", "--out", folder / "run", "--device", "cpu", "--quiet", *sets]


def cache_in(folder: Path) -> dict[str, str]:
    """An environment in which the data are cached below the folder of the case."""
    return {"I2I_CACHE": str(folder / "cache")}


def notes_in(folder: Path) -> Path:
    """Where a training below the `folder` of a case notes which checkpoint it has in place."""
    return folder / _NOTES


def noting(folder: Path) -> Hook:
    """A training that makes these notes, and has no other trouble."""
    return Hook(
        module="tests.reliability.file_events", name="note_checkpoints", arguments={"notes": str(notes_in(folder))}
    )


def train(
    prepared: Path, name: str, folder: Path, hook: Hook | None = None, kill_after: float | None = None
) -> Running:
    """The training `name` into `folder`/run, whole unless the hook has it otherwise, or so many seconds are over.

    Raises:
        HungError: it does not end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _ended(arguments_of(prepared, name, folder), folder, hook, kill_after)


def go_on(
    prepared: Path, name: str, folder: Path, hook: Hook | None = None, kill_after: float | None = None
) -> Running:
    """What a person does after a run has died: resume it, or start it again if it says that there is nothing yet.

    Raises:
        HungError: it does not end.
    """
    resumed = _ended(["train", "--resume", folder / "run", "--device", "cpu"], folder, hook, kill_after)
    nothing_yet = "no run to resume here" in resumed.stderr or "it has no checkpoint yet" in resumed.stderr
    if resumed.exit_code == 5 and nothing_yet:
        return train(prepared, name, folder, hook, kill_after)
    return resumed


def _ended(arguments: list[str | Path], folder: Path, hook: Hook | None, kill_after: float | None) -> Running:
    running = warm_program().start(arguments, folder, environment=cache_in(folder), hook=hook)
    if running.wait(LONGEST_SECONDS if kill_after is None else kill_after) is None:
        running.kill()
        # The same end as that of a kill, which is no hang, or of an event, which is none either.
        if kill_after is None:
            raise HungError(f"i2i {arguments[0]} {arguments[1]} still ran after {LONGEST_SECONDS:.0f} s")
    return running


def noted_step(folder: Path) -> int:
    """The newest step whose checkpoint was in place, as the trainings below `folder` have noted; 0 without any."""
    notes = notes_in(folder)
    return int(notes.read_text() or "0") if notes.exists() else 0


def lost_checkpoints(run: Path, least: int) -> str:
    """What is wrong with the checkpoints of a run that ended too early; empty if no more than a step is lost.

    Whoever resumes it must find a whole one of the step `least` or later, and none that is damaged after it.
    """
    steps = checkpoint_steps(run)
    if not least and not steps:
        return ""
    try:
        step, _ = load_newest_checkpoint(run)
    except ModelError as error:
        return f"the checkpoint of step {least} was in place, and now: {error}"
    if step < steps[-1]:
        return f"step {steps[-1]} has a checkpoint that is not whole"
    return f"the checkpoint of step {least} was in place, and the newest is of step {step}" if step < least else ""


def went_back(resumed: Running) -> bool:
    """Whether a training said that it passes over its newest checkpoint."""
    return "going back to the checkpoint before" in " ".join(resumed.stderr.split())


def dealt(scenario: str, kinds: Sequence[str], count: int) -> list[Case]:
    """`count` cases, dealt round to these kinds; one that is named twice gets twice as many."""
    seeds = dict.fromkeys(kinds, 0)
    cases: list[Case] = []
    for index in range(count):
        kind = kinds[index % len(kinds)]
        cases.append(Case(scenario, kind, seeds[kind]))
        seeds[kind] += 1
    return cases


def differences(run: Path, reference: Path) -> list[str]:
    """In what a run folder differs from that of the same training undisturbed; nothing where all is well.

    All files have the same names and bytes, but for those that tell of times: those can be read, and tell the same
    losses of every step.
    """
    return [*_other_files(run, reference), *_other_record(run, reference), *unreadable(run, reference)]


def _other_files(run: Path, reference: Path) -> Iterator[str]:
    ours, theirs = _files_in(run), _files_in(reference)
    yield from (f"{path} is missing" for path in sorted(theirs - ours))
    yield from (f"{path} is too much" for path in sorted(ours - theirs))
    for path in sorted(ours & theirs):
        if path.name not in _ATTEMPT_FILES and (run / path).read_bytes() != (reference / path).read_bytes():
            yield f"{path} has other bytes"


def _files_in(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def _other_record(run: Path, reference: Path) -> Iterator[str]:
    ours, theirs = (losses_of(folder) for folder in (run, reference))
    if ours != theirs:
        yield f"metrics.jsonl tells other losses: of steps {sorted(ours)} instead of {sorted(theirs)}"


def losses_of(run: Path) -> dict[int, dict[str, float]]:
    """What the record of a run says of the losses and scores of each step."""
    rows: dict[int, dict[str, float]] = {}
    for row in read_metrics(run):
        values = {name: value for name, value in row["values"].items() if name.startswith(("loss/", "validation/"))}
        rows[row["step"]] = rows.get(row["step"], {}) | values
    return rows


def unreadable(run: Path, reference: Path, names: Sequence[str] = tuple(_ATTEMPT_FILES)) -> list[str]:
    """Which of these files of a run cannot be read, or show other pictures than those of the reference."""
    return [f"{name}: {problem}" for name in names if (problem := _problem_of(run / name, reference / name))]


def _problem_of(path: Path, reference: Path) -> str:
    try:
        text = path.read_text(errors="replace")  # what is damaged in the record, its reader passes over
        if path.suffix == ".html" and _shown_in(text) != _shown_in(reference.read_text()):
            return "shows other pictures"
        if path.suffix == ".json":
            json.loads(text)
        return "" if text.strip() else "is empty"
    except Exception as error:  # whatever it is, it tells why it cannot be read
        return f"{type(error).__name__}: {error}"


def _shown_in(page: str) -> list[list[int]]:
    """The steps of the sheets in a report."""
    data = re.search(r'id="data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert data is not None, "no data"
    return [[frame["step"] for frame in sheet["frames"]] for sheet in json.loads(data[1])["sheets"]]
