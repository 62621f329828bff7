"""Does what makes training faster cost quality? Trains built-in sets plainly and fast, for the same number of steps.

    tools/speed_check                                  all sets, three seeds each; hours on two CPU cores
    tools/speed_check dcgan --seeds 0 --steps 500      one set, once, shorter
    tools/speed_check dcgan --features lenet:FILE      generated digits are judged by KID too
    tools/speed_check --json FILE                      FILE keeps each training that ended; the same call goes on

"plain" is `speed: plain` in fp32, "fast" is `speed: auto` in `--precision` (bf16). Both see the same pictures in the
same order, begin with the same weights and take turns on the machine. Each figure is the mean over the seeds of what
the run measured at its end, with the range: `psnr` in dB against the true pictures (more is better), `ssim` up to 1,
`diversity` and `midtones` of generated pictures, which should be near those of plain training, `kid` (less is
better). "fast - plain" is the mean difference of the pairs with the same seed, with its standard error. "same" means
that fast is better, or lies within what the seeds of plain differ by (of one seed: within a twentieth of the figure).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, Literal

from bench import record

from i2i.files import write_atomically
from i2i.training.tracking import read_metrics

_WITHOUT_SPREAD = 0.05
"""Of a figure: what counts as the same where a single seed shows no spread."""


@dataclass(frozen=True)
class Training:
    """A built-in set, the recipe that learns it, and what tells how well."""

    recipe: str
    steps: int
    figures: dict[str, Literal["more", "less", "near"]]
    """Names in the run's metrics, and what of them is better; "near": to what plain training gives."""


TRAININGS = {
    "cyclegan": Training("cyclegan_demo", 1500, {"validation/psnr_AtoB": "more", "validation/psnr_BtoA": "more"}),
    "dcgan": Training("dcgan_demo", 3000, {"sample/diversity": "near", "sample/midtones": "near"}),
    "sr": Training("sr_demo", 1500, {"validation/psnr_y_upscale": "more", "evaluation/ssim": "more"}),
}
_KID = "evaluation/kid"


@dataclass(frozen=True)
class Ended:
    """A training that was made, by all that decides it, and what it came to."""

    training: str
    way: str
    precision: str
    steps: int
    seed: int
    features: str | None
    figures: dict[str, float]
    images_per_second: float

    def is_that(self, other: Mapping[str, object]) -> bool:
        """Whether the same was asked for."""
        return all(getattr(self, name) == value for name, value in other.items())


@dataclass(frozen=True)
class Row:
    """One figure of one set, learnt both ways; a value for each seed, in the same order."""

    training: str
    figure: str
    better: Literal["more", "less", "near"]
    plain: list[float]
    fast: list[float]

    @property
    def is_same(self) -> bool:
        """Whether fast is better, or not told apart from plain by what seeds make of it."""
        plain, fast = fmean(self.plain), fmean(self.fast)
        spread = max(self.plain) - min(self.plain) or _WITHOUT_SPREAD * abs(plain)
        worse = {"more": plain - fast, "less": fast - plain, "near": abs(fast - plain)}[self.better]
        return worse <= spread

    @property
    def difference(self) -> str:
        """Fast less plain, over pairs of the same seed: the mean and its standard error."""
        pairs = [fast - plain for plain, fast in zip(self.plain, self.fast, strict=True)]
        error = f" +- {stdev(pairs) / len(pairs) ** 0.5:.3f}" if len(pairs) > 1 else ""
        return f"{fmean(pairs):+.3f}{error}"


def train(training: Training, steps: int, seed: int, changes: Sequence[str], out: Path, device: str) -> Path:
    """Run `i2i train` in a process of its own, because some of what is switched on is for the whole process."""
    settings = [
        f"seed={seed}",
        f"training.length={{steps: {steps}, minutes: null, epochs: null}}",
        f"training.validation={{every_minutes: null, every_epochs: null, every_steps: {steps}}}",
        "training.samples={every_minutes: null, every_epochs: null}",
        "tracking.wandb=disabled",
        *changes,
    ]
    command = [sys.executable, "-m", "i2i", "train", training.recipe, "--out", str(out), "--device", device, "--quiet"]
    subprocess.run([*command, *(word for each in settings for word in ("--set", each))], check=True)
    return out


def measured(run: Path, figure: str) -> float:
    """The newest value of a figure that a run measured."""
    return [row["values"][figure] for row in read_metrics(run) if figure in row["values"]][-1]


class Kept:
    """The trainings that ended, kept in a file (if any) after each, so that a call that was cut off can go on."""

    def __init__(self, file: Path | None, device: str) -> None:
        self._file, self._device = file, device
        self.ended: list[Ended] = []
        if file is not None and file.exists():
            self.ended = [Ended(**each) for each in json.loads(file.read_text())["trainings"]]

    def find(self, wanted: Mapping[str, object]) -> Ended | None:
        return next((each for each in self.ended if each.is_that(wanted)), None)

    def add(self, ended: Ended) -> None:
        self.ended.append(ended)
        self.write([])

    def write(self, rows: Sequence[Row]) -> None:
        """Everything, with the rows that were made of it."""
        if self._file is None:
            return
        result = {
            "trainings": [asdict(each) for each in self.ended],
            "rows": [{**asdict(row), "is_same": row.is_same} for row in rows],
        }
        write_atomically(self._file, json.dumps(record("quality", self._device, result), indent=1) + "\n")


def compare(
    name: str,
    steps: int | None,
    seeds: Sequence[int],
    precision: str,
    features: str | None,
    device: str,
    kept: Kept,
) -> tuple[list[Row], float]:
    """The figures of one set learnt both ways, and how many times as fast the fast way was."""
    training = TRAININGS[name]
    figures = dict(training.figures)
    judged: list[str] = []
    if features is not None and name == "dcgan":
        figures[_KID] = "less"
        judged = [f"evaluate={{metrics: [kid], features: '{features}', samples: 2000}}"]
    # Which features there are matters only where they judge.
    features = features if judged else None
    ways = {"plain": ["speed=plain", "precision=fp32"], "fast": ["speed=auto", f"precision={precision}"]}
    found: dict[str, list[Ended]] = {way: [] for way in ways}
    for seed in seeds:
        for way, changes in ways.items():
            wanted: dict[str, Any] = {
                "training": name,
                "way": way,
                "precision": "fp32" if way == "plain" else precision,
                "steps": steps or training.steps,
                "seed": seed,
                "features": features,
            }
            ended = kept.find(wanted)
            if ended is None:
                print(f"{name}, seed {seed}, {way}: training", file=sys.stderr, flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    run = train(training, wanted["steps"], seed, [*changes, *judged], Path(folder) / "run", device)
                    values = {figure: measured(run, figure) for figure in figures}
                    read = [row["values"].get("speed/images_per_second") for row in read_metrics(run)]
                ended = Ended(**wanted, figures=values, images_per_second=median(rate for rate in read if rate))
                kept.add(ended)
            found[way].append(ended)
    values_of = {way: {figure: [each.figures[figure] for each in found[way]] for figure in figures} for way in ways}
    rows = [
        Row(name, figure, better, values_of["plain"][figure], values_of["fast"][figure])
        for figure, better in figures.items()
    ]
    rates = {way: fmean(each.images_per_second for each in found[way]) for way in ways}
    return rows, rates["fast"] / rates["plain"]


def with_range(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f}" + (f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/speed_check", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(TRAININGS)}; all without any")
    parser.add_argument("--steps", type=int, help="of every training, in place of each set's own number")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--features", help="who judges generated digits by KID, as `i2i evaluate --features`")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.sets} - {*TRAININGS}):
        parser.error(f"no set is called {unknown[0]}; there are {', '.join(TRAININGS)}")
    rows: list[Row] = []
    kept = Kept(arguments.json, arguments.device)
    fast = "fast " + arguments.precision
    print(f"{'set':<10}{'figure':<18}{'plain fp32':<28}{fast:<28}{'fast - plain':<20}{'':<9}times as fast")
    for name in arguments.sets or TRAININGS:
        found, gain = compare(
            name,
            arguments.steps,
            arguments.seeds,
            arguments.precision,
            arguments.features,
            arguments.device,
            kept,
        )
        for row in found:
            verdict = "same" if row.is_same else "DIFFERS"
            figure = row.figure.rpartition("/")[2]
            print(
                f"{name:<10}{figure:<18}{with_range(row.plain):<28}{with_range(row.fast):<28}{row.difference:<20}"
                f"{verdict:<9}{gain:.2f}",
                flush=True,
            )
        rows += found
        kept.write(rows)
    raise SystemExit(0 if all(row.is_same for row in rows) else 1)


if __name__ == "__main__":
    main()
