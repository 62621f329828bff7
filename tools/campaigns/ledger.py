"""The results of a campaign, case by case as they come, so that it can be stopped at any time and goes on there."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.reliability.cases import Case, Outcome

LEDGER_FILE = "ledger.jsonl"


@dataclass(frozen=True)
class Entry:
    """A case that is settled."""

    case: Case
    outcome: Outcome
    seconds: float
    commit: str
    """The last one that changed the program; with "+" behind it if its files had been changed since."""
    failed_before: int = 0
    """How often the same case of the same program has gone wrong before: one that went well at last still counts."""


class Ledger:
    """An append-only file: a line a case, in the file before the next case begins.

    Two campaigns may write to one ledger if their scenarios differ.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LEDGER_FILE
        _cut_last_line(self._path)

    def add(self, entry: Entry) -> None:
        """Write down one result."""
        line = json.dumps(
            {**asdict(entry.case), **asdict(entry.outcome), "seconds": round(entry.seconds, 2), "commit": entry.commit}
        )
        # One write: it is in the file whole, or the next campaign cuts it off.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)

    def entries(self, commit: str) -> list[Entry]:
        """All results of that program in the order they came; of a case that was tried again, the last."""
        found: dict[Case, Entry] = {}
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            values = json.loads(line)
            if values["commit"] != commit:
                continue
            case = Case(values["scenario"], values["kind"], values["seed"])
            outcome = Outcome(values["ok"], values["what"], values["detail"], values["figures"])
            before = found.pop(case, None)
            failed = 0 if before is None else before.failed_before + (not before.outcome.ok)
            found[case] = Entry(case, outcome, values["seconds"], commit, failed)
        return list(found.values())

    def missing(self, cases: Iterable[Case], commit: str) -> Iterator[Case]:
        """Of these cases, those that have not gone well yet with that program: what went wrong is tried again."""
        settled = {entry.case for entry in self.entries(commit) if entry.outcome.ok}
        return (case for case in cases if case not in settled)


def _cut_last_line(path: Path) -> None:
    """Remove what a campaign that was killed while it wrote has left of a line."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def table(entries: Sequence[Entry], titles: dict[str, str]) -> list[str]:
    """Lines of text: how many cases of each kind there were and what became of them, then those that went wrong.

    Args:
        titles: of the scenarios, by name.
    """
    kinds = {(entry.case.scenario, entry.case.kind): None for entry in entries}
    width = max([len(kind) for _, kind in kinds] + [4])
    lines = [f"  {'kind':<{width}} {'cases':>7} {'ok':>7} {'seconds':>9}  what became of them"]
    for scenario in dict.fromkeys(name for name, _ in kinds):
        lines.append(f"{scenario}: {titles.get(scenario, scenario)}")
        of_scenario = [entry for entry in entries if entry.case.scenario == scenario]
        for kind in [kind for name, kind in kinds if name == scenario]:
            lines.append(_row(kind, width, [entry for entry in of_scenario if entry.case.kind == kind]))
        lines.append(_row("all", width, of_scenario))
    wrong = [entry for entry in entries if not entry.outcome.ok]
    lines += [f"WRONG {e.case.scenario} {e.case}: {e.outcome.what} - {e.outcome.detail}" for e in wrong]
    return lines


def _row(kind: str, width: int, entries: Sequence[Entry]) -> str:
    ends = Counter(entry.outcome.what for entry in entries)
    said = ", ".join(f"{number:,} {what}" for what, number in ends.most_common()) + _failed_first(entries)
    seconds = sum(entry.seconds for entry in entries)
    well = sum(entry.outcome.ok for entry in entries)
    return f"  {kind:<{width}} {len(entries):>7,} {well:>7,} {seconds:>9,.0f}  {said}"


def _failed_first(entries: Sequence[Entry]) -> str:
    number = sum(entry.outcome.ok and entry.failed_before > 0 for entry in entries)
    return f" ({number:,} of these after going wrong first)" if number else ""


def summary(entries: Sequence[Entry], titles: dict[str, str]) -> dict[str, Any]:
    """The same as JSON values."""
    scenarios: dict[str, Any] = {}
    for name in dict.fromkeys(entry.case.scenario for entry in entries):
        of_scenario = [entry for entry in entries if entry.case.scenario == name]
        kinds = dict.fromkeys(entry.case.kind for entry in of_scenario)
        scenarios[name] = {
            "title": titles.get(name, name),
            "commits": list(dict.fromkeys(entry.commit for entry in of_scenario)),
            **_counts(of_scenario),
            "kinds": {kind: _counts([e for e in of_scenario if e.case.kind == kind]) for kind in kinds},
            "wrong": [
                {"kind": e.case.kind, "seed": e.case.seed, "what": e.outcome.what, "detail": e.outcome.detail}
                for e in of_scenario
                if not e.outcome.ok
            ],
        }
    return {"scenarios": scenarios}


def markdown(figures: Mapping[str, Any]) -> list[str]:
    """The table for people to read, from what `summary` gave."""
    rows = [
        f"| {values['title']} | {values['cases']:,} |"
        f" {values['cases'] - values['ok'] + values['ok_only_later']:,} |"
        f" {', '.join(f'{count:,} {what}' for what, count in values['what'].items())} | `tools/campaign {name}` |"
        for name, values in figures["scenarios"].items()
    ]
    return ["| what was done | cases | went wrong | what became of them | command |", "|---|---|---|---|---|", *rows]


def _counts(entries: Sequence[Entry]) -> dict[str, Any]:
    figures: dict[str, list[float]] = {}
    for entry in entries:
        for name, value in entry.outcome.figures.items():
            figures.setdefault(name, []).append(value)
    return {
        "cases": len(entries),
        "ok": sum(entry.outcome.ok for entry in entries),
        "ok_only_later": sum(entry.outcome.ok and entry.failed_before > 0 for entry in entries),
        "seconds": round(sum(entry.seconds for entry in entries), 1),
        "what": dict(Counter(entry.outcome.what for entry in entries).most_common()),
        "figures": {
            name: {"smallest": min(values), "largest": max(values), "mean": sum(values) / len(values)}
            for name, values in figures.items()
        },
    }
