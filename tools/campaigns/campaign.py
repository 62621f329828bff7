"""Trouble by the thousand for the real program: kills, damage, full disks, spoiled files, wrong numbers.

    tools/campaign --list                                what there is, and how many cases
    tools/campaign                                       all of it
    tools/campaign killing --count 60                    60 cases of one scenario
    tools/campaign --resume campaign --json table.json   go on where that campaign was stopped
    tools/campaign soak --minutes 120                    one training, watched for hours (soak.py)

Each case and all that is random about it follows from its scenario, kind and seed; each result is a line of
FOLDER/ledger.jsonl as soon as it is there. Prints one table; exit code 1 if any case went wrong, and then that case's
folder stays below FOLDER. Short forms are part of the tests, but for cut_everywhere and cut_often.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import soak
from ledger import Entry, Ledger, markdown, summary, table

from tests.reliability.cases import Case, Outcome, Scenario

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = (
    "killing",
    "signals",
    "ranks",
    "corruption",
    "full_disks",
    "wrong_numbers",
    "workers",
    "memory",
    "exactness",
    "spoiled_pictures",
    "spoiled_recipes",
    "spoiled_archives",
    "spoiled_models",
    "spoiled_checkpoints",
)
"""Those of tests/reliability whose SCENARIOS belong to the campaign."""


def known_scenarios() -> dict[str, Scenario]:
    """All scenarios by name, in the order of the table."""
    modules = (importlib.import_module(f"tests.reliability.{name}") for name in MODULES)
    return {scenario.name: scenario for module in modules for scenario in module.SCENARIOS}


def run_scenario(scenario: Scenario, count: int, ledger: Ledger, folder: Path) -> None:
    """Settle the cases that the ledger lacks."""
    commit = commit_of_program()
    waiting = [*ledger.missing(scenario.cases(count), commit)]
    if not waiting:
        return
    # What cases are compared with is made by the program that is tried, not by an older one.
    below = folder / scenario.name / commit
    scenario.make_ready(below)
    for number, case in enumerate(waiting, start=1):
        started = time.monotonic()
        outcome = _settle(scenario, case, below)
        seconds = time.monotonic() - started
        ledger.add(Entry(case, outcome, seconds, commit))
        if not outcome.ok or sys.stderr.isatty():
            print(f"{scenario.name} {number}/{len(waiting)} {case}: {outcome.what} {outcome.detail}", file=sys.stderr)


def _settle(scenario: Scenario, case: Case, folder: Path) -> Outcome:
    try:
        return scenario.settle(case, folder)
    except Exception as error:  # a defect of the campaign itself must neither end it nor count as well done
        return Outcome(False, "campaign failed", "".join(traceback.format_exception(error))[-1500:])


def commit_of_program() -> str:
    """The last commit that changed the program; "+" behind it says that its files have been changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()

    return (git("log", "-1", "--format=%h", "--", "i2i") or "unknown") + (
        "+" if git("status", "--porcelain", "i2i") else ""
    )


def _isolate(folder: Path) -> None:
    """What the cases leave lies in the folder, and what a person has set for their own runs decides on nothing."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "I2I_CACHE", "I2I_CONFIG", "TORCH_HOME"):
        os.environ[name] = str(folder / "home" / name.lower())
    os.environ |= {"OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "offline", "NO_COLOR": "1"}
    os.environ["COLUMNS"] = "120"
    for name in ("WANDB_API_KEY", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)


def _list(scenarios: Sequence[Scenario]) -> None:
    for scenario in scenarios:
        kinds = dict.fromkeys(case.kind for case in scenario.cases(scenario.long_count))
        print(f"{scenario.name:<20} {scenario.long_count:>7,}  {scenario.title}: {', '.join(kinds)}")


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["soak"]:
        sys.exit(soak.main(sys.argv[2:]))
    parser = argparse.ArgumentParser(
        prog="tools/campaign", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", help="by default all")
    parser.add_argument("--count", type=int, help="cases of each scenario, instead of its long form")
    parser.add_argument(
        "--resume", type=Path, metavar="FOLDER", help="go on with the campaign there, or begin it there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print the table of a FILE that --json wrote")
    parser.add_argument("--list", action="store_true", help="say what there is and do nothing")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        parser.error("needs Linux: processes are forked from a warm one")
    known = known_scenarios()
    unknown = [name for name in arguments.scenario if name not in known]
    if unknown:
        parser.error(f"no scenario {unknown[0]} - there are {', '.join(known)}")
    chosen = [known[name] for name in arguments.scenario or known]
    if arguments.list:
        _list(chosen)
        return
    if arguments.markdown is not None:
        print("\n".join(markdown(json.loads(arguments.markdown.read_text()))))
        return
    # Asked to stop, it ends by an exception, and a case takes what it has started with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Started in the background of a script, it ignores Ctrl-C, and so would every program that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder: Path = (arguments.resume or Path(tempfile.mkdtemp(prefix="i2i-campaign-"))).resolve()
    ledger = Ledger(folder)
    print(f"results: {folder} (stopped, it goes on with --resume {folder})", file=sys.stderr)
    _isolate(folder)
    for scenario in chosen:
        run_scenario(scenario, arguments.count or scenario.long_count, ledger, folder)
    entries = ledger.entries(commit_of_program())
    titles = {scenario.name: scenario.title for scenario in known.values()}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(summary(entries, titles), indent=1) + "\n")
    print("\n".join(table(entries, titles)))
    wrong = any(not entry.outcome.ok for entry in entries)
    if not wrong and arguments.resume is None:
        shutil.rmtree(folder)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
