"""Spoiled files by the thousand through the real program: nothing may crash it, and nothing may pass in silence.

    tools/campaign pictures --count 5000               a table of what became of them; exit code 1 on any crash

Pictures: drawn in every format that is read, then truncated, with flipped bits, with headers that claim other sizes,
bombs of 24,000 pixels a side and so on (campaign_pictures.py). Each goes through the reading of `i2i translate` and
through `i2i translate` itself, in a process of its own a batch, so that a crash is counted and not fatal. Memory is
what that process peaks at, above what it had when it had translated one good picture.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from campaign_pictures import Mutated, drawn_pictures, mutated_files

_BATCH = 100
_SECONDS_A_FILE = 2.0
_LONGEST_START_SECONDS = 60.0


@dataclass
class Tally:
    """What became of the files."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind, outcome) to number; outcomes are "translated", "refused", "crashed", "hung" and "silent"."""
    problems: list[str] = field(default_factory=list)
    """A line for each crash, hang, silence or internal error."""
    peak_megabytes: float = 0.0
    """Highest memory above idle of any batch."""
    heaviest: str = ""
    """Files of that batch."""
    idle_megabytes: float = 0.0
    seconds: float = 0.0

    @property
    def files(self) -> int:
        """How many were settled."""
        return sum(self.outcomes.values())


def run_pictures(count: int, seed: int, folder: Path, batch: int = _BATCH) -> Tally:
    """Send `count` spoiled pictures through the program, `batch` at a time.

    Args:
        folder: where they are written; those that made trouble stay there.
    """
    # Before the processes part: they share what is loaded, and nothing has computed yet.
    import i2i.commands.translate
    import i2i.inference.translation.conveyor  # noqa: F401

    tally, started = Tally(), time.monotonic()
    model = _write_model(folder / "model.safetensors")
    good = folder / "good.png"
    good.write_bytes(drawn_pictures()["png"][1])
    waiting: list[tuple[Path, Mutated]] = []
    for index, spoiled in enumerate(mutated_files(count, seed)):
        path = folder / f"{index:05d}{spoiled.suffix}"
        path.write_bytes(spoiled.content)
        waiting.append((path, spoiled))
        if len(waiting) == batch or index == count - 1:
            _settle_batch(waiting, model, good, tally)
            waiting = []
    tally.seconds = time.monotonic() - started
    return tally


def _settle_batch(batch: Sequence[tuple[Path, Mutated]], model: Path, good: Path, tally: Tally) -> None:
    answer = _in_a_child([path for path, _ in batch], model, good)
    if "broken" in answer:
        raise SystemExit(answer["broken"])
    if "ended" in answer and len(batch) > 1:
        # Somebody in there is to blame: one at a time.
        for one in batch:
            _settle_batch([one], model, good, tally)
        return
    for path, spoiled in batch:
        outcome = str(answer["ended"]) if "ended" in answer else answer["outcomes"].get(path.name, "silent")
        problem = answer.get("problems", {}).get(path.name)
        tally.outcomes[spoiled.kind, outcome] += 1
        if problem or outcome not in ("translated", "refused"):
            tally.problems.append(f"{path} ({spoiled.kind}): {outcome}{f', {problem}' if problem else ''}")
        else:
            path.unlink()
    if answer.get("peak", 0.0) > tally.peak_megabytes:
        tally.peak_megabytes, tally.idle_megabytes = answer["peak"], answer["idle"]
        tally.heaviest = f"{batch[0][0].name} to {batch[-1][0].name}"


def _in_a_child(files: Sequence[Path], model: Path, good: Path) -> dict:
    """What a child process reports on `files`, or how it ended without a report."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_settle, args=(theirs, files, model, good))
    child.start()
    theirs.close()
    try:
        in_time = ours.poll(_LONGEST_START_SECONDS + _SECONDS_A_FILE * len(files))
        answer = ours.recv() if in_time else {"ended": "hung"}
    except EOFError:
        answer = {"ended": "crashed"}
    finally:
        ours.close()
        child.kill()
        child.join()
    return answer


# In the child


def _settle(report: Connection, files: Sequence[Path], model: Path, good: Path) -> None:
    from i2i.errors import I2IError
    from i2i.inference.pictures.image_files import read_picture

    out = Path(tempfile.mkdtemp(dir=good.parent, prefix="out-"))
    problems: dict[str, str] = {}
    try:
        try:
            _translate(model, [good], out / "warm")
        except Exception as error:  # then nothing that follows would mean anything
            report.send({"broken": f"a good picture fails already: {error}"})
            return
        idle = _memory("VmRSS")
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
        for path in files:
            try:
                read_picture(path)
            except I2IError as error:
                if not _is_help(str(error), path):
                    problems[path.name] = f"unclear message {str(error)!r}"
            except Exception as error:  # whatever it is, it is what we look for
                problems[path.name] = f"reading raised {type(error).__name__}: {error}"
        # Two in one process: one picture more must not become the fault of another.
        outcomes = _translate(model, files, out / "all")
        report.send(
            {"outcomes": outcomes, "problems": problems, "idle": idle, "peak": max(0.0, _memory("VmHWM") - idle)}
        )
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _translate(model: Path, files: Sequence[Path], out: Path) -> dict[str, str]:
    """The real command on `files`: what it says became of each, by name."""
    from i2i.cli import main

    said, heard = io.StringIO(), io.StringIO()
    arguments = ["translate", "--model", str(model), "-o", str(out), "--device", "cpu", "--format", "png", "--json"]
    arguments += ["--runner", "torch"]  # choosing one would be measured along
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(heard):
        code = main([*arguments, *map(str, files)])
    if code not in (0, 7):
        raise RuntimeError(f"exit code {code}: {heard.getvalue()[-500:]}")
    outcomes = {}
    for picture in json.loads(said.getvalue())["pictures"]:
        source = Path(picture["source"])
        written = picture["status"] == "written" and Path(picture["destination"]).is_file()
        refused = picture["status"] == "failed" and _is_help(picture["message"], source)
        heard_of = str(source) in heard.getvalue() or written
        outcomes[source.name] = "translated" if written else "refused" if refused and heard_of else "silent"
    return outcomes


def _is_help(message: str, path: Path) -> bool:
    """One line that names the file and says what to do."""
    return "\n" not in message and str(path) in message and " - " in message


def _memory(entry: str) -> float:
    """Of this process, in MB; VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"no {entry} in /proc/self/status")


def _write_model(path: Path) -> Path:
    import torch

    from i2i.core.generators import ResNetGeneratorSettings
    from i2i.inference.model_files.model_file import write_model_file
    from i2i.pipelines.protocol import PictureEntryPoint

    settings = ResNetGeneratorSettings(base_channels=2, blocks=1)
    torch.manual_seed(0)
    write_model_file(
        path, {"generator": settings.build()}, {"AtoB": PictureEntryPoint("generator", settings, ("a", "b"))}, {}
    )
    return path


# The table


def table(tally: Tally) -> list[str]:
    """The tally as lines of text."""
    columns = ("translated", "refused", "crashed", "hung", "silent")
    lines = [f"{'':<14}" + "".join(f"{name:>12}" for name in ("files", *columns))]
    kinds = sorted({kind for kind, _ in tally.outcomes})
    for kind in kinds:
        counts = [tally.outcomes[kind, column] for column in columns]
        lines.append(f"{kind:<14}" + "".join(f"{number:>12,}" for number in (sum(counts), *counts)))
    totals = [sum(tally.outcomes[kind, column] for kind in kinds) for column in columns]
    lines.append(f"{'all':<14}" + "".join(f"{number:>12,}" for number in (sum(totals), *totals)))
    lines.append(
        f"peak {tally.peak_megabytes:.0f} MB above the idle {tally.idle_megabytes:.0f} MB (batch {tally.heaviest}),"
        f" {tally.seconds:.0f} s"
    )
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="tools/campaign", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    campaigns = parser.add_subparsers(dest="campaign", required=True)
    pictures = campaigns.add_parser("pictures", help="spoiled picture files")
    pictures.add_argument("--count", type=int, default=5000)
    pictures.add_argument("--seed", type=int, default=0)
    pictures.add_argument("--batch", type=int, default=_BATCH, help="files a process (default 100)")
    pictures.add_argument("--folder", type=Path, help="where files that made trouble stay; by default a new one")
    pictures.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if not Path("/proc/self/status").exists():
        parser.error("needs Linux: processes are forked and their memory is read from /proc")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="i2i-campaign-"))
    folder.mkdir(parents=True, exist_ok=True)
    tally = run_pictures(arguments.count, arguments.seed, folder, arguments.batch)
    if arguments.json:
        outcomes = {f"{kind}: {outcome}": number for (kind, outcome), number in sorted(tally.outcomes.items())}
        facts = {"peak_megabytes": tally.peak_megabytes, "idle_megabytes": tally.idle_megabytes}
        print(json.dumps({"outcomes": outcomes, "problems": tally.problems, "seconds": tally.seconds, **facts}))
    else:
        print("\n".join([*table(tally), *tally.problems]))
    if arguments.folder is None and not tally.problems:
        shutil.rmtree(folder)

    sys.exit(1 if tally.problems else 0)


if __name__ == "__main__":
    main()
