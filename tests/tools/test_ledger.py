"""The campaign's results survive its end at any moment, and nothing that went wrong counts as well done."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.cases import Case, Outcome, Scenario, few, spread

TOOLS = Path(__file__).parents[2] / "tools" / "campaigns"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("campaign"), importlib.import_module("ledger")


def scenario(run: Any) -> Scenario:
    return Scenario(
        name="drawn", title="Drawn", long_count=6, cases=lambda count: spread("drawn", ["a", "b"], count), run=run
    )


def test_a_stopped_campaign_goes_on_where_it_was(tools: Any, tmp_path: Path) -> None:
    campaign, ledger = tools
    done: list[str] = []

    def run(case: Case, folder: Path) -> Outcome:
        assert (folder.parent / "prepared").is_dir()
        done.append(str(case))
        if len(done) == 3:
            raise KeyboardInterrupt
        return Outcome(True, "done", figures={"megabytes": float(len(done))})

    with pytest.raises(KeyboardInterrupt):
        campaign.run_scenario(scenario(run), 6, ledger.Ledger(tmp_path), tmp_path)
    with (tmp_path / ledger.LEDGER_FILE).open("a") as file:
        file.write('{"scenario": "dra')  # as a kill in the middle of a line would leave it
    campaign.run_scenario(scenario(run), 6, ledger.Ledger(tmp_path), tmp_path)
    assert done == ["a-0", "b-0", "a-1", "a-1", "b-1", "a-2", "b-2"]
    entries = ledger.Ledger(tmp_path).entries(campaign.commit_of_program())
    assert [str(entry.case) for entry in entries] == ["a-0", "b-0", "a-1", "b-1", "a-2", "b-2"]
    figures = ledger.summary(entries, {})["scenarios"]["drawn"]["figures"]["megabytes"]
    assert (figures["smallest"], figures["largest"]) == (1.0, 7.0)
    assert not [path for path in tmp_path.glob("drawn/*/*") if not path.name.startswith("prepared")]


def test_what_went_wrong_is_told_and_its_folder_stays(tools: Any, tmp_path: Path) -> None:
    campaign, ledger = tools

    def run(case: Case, folder: Path) -> Outcome:
        (folder / "trace").touch()
        if case.kind == "b":
            raise ValueError("a mistake of the campaign")
        return Outcome(case.seed == 0, "resumed equal" if case.seed == 0 else "differs", "one byte")

    campaign.run_scenario(scenario(run), 4, ledger.Ledger(tmp_path), tmp_path)
    entries = ledger.Ledger(tmp_path).entries(campaign.commit_of_program())
    assert [(str(entry.case), entry.outcome.ok) for entry in entries] == [
        ("a-0", True), ("b-0", False), ("a-1", False), ("b-1", False)
    ]  # fmt: skip
    assert {path.parent.name for path in tmp_path.glob("drawn/*/*/trace")} == {"a-1", "b-0", "b-1"}
    tried_again: list[Case] = []
    again = scenario(lambda case, folder: tried_again.append(case) or Outcome(True, "mended"))
    lines = ledger.table(entries, {"drawn": "Drawn"})
    assert "  all        4       1" in "\n".join(lines)
    assert "WRONG drawn a-1: differs - one byte" in lines
    values = json.loads(json.dumps(ledger.summary(entries, {"drawn": "Drawn"})))["scenarios"]["drawn"]
    assert (values["cases"], values["ok"], len(values["wrong"])) == (4, 1, 3)
    campaign.run_scenario(again, 4, ledger.Ledger(tmp_path), tmp_path)
    assert [str(case) for case in tried_again] == ["b-0", "a-1", "b-1"]
    entries = ledger.Ledger(tmp_path).entries(campaign.commit_of_program())
    assert all(entry.outcome.ok for entry in entries)
    # What went well only at the second time is not forgotten.
    figures = ledger.summary(entries, {"drawn": "Drawn"})
    assert figures["scenarios"]["drawn"]["ok_only_later"] == 3
    assert ledger.markdown(figures)[2].startswith("| Drawn | 4 | 3 |")


def test_results_of_another_program_do_not_count(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, ledger = tools
    tried: list[Case] = []
    drawn = scenario(lambda case, folder: tried.append(case) or Outcome(True, "done"))
    for commit in ("old", "old", "new"):
        monkeypatch.setattr(campaign, "commit_of_program", lambda commit=commit: commit)
        campaign.run_scenario(drawn, 2, ledger.Ledger(tmp_path), tmp_path)
    assert [str(case) for case in tried] == ["a-0", "b-0", "a-0", "b-0"]
    assert {entry.commit for entry in ledger.Ledger(tmp_path).entries("new")} == {"new"}


def test_randomness_follows_from_the_case_alone() -> None:
    cases = spread("drawn", ["a", "b", "c"], 9)
    first = {case: case.rng.integers(0, 2**62) for case in cases}
    assert len(set(first.values())) == 9
    assert {case: case.rng.integers(0, 2**62) for case in reversed(cases)} == first
    assert set(spread("drawn", ["a", "b", "c"], 4)) <= set(cases)


def test_a_few_cases_have_something_of_each_kind(tools: Any) -> None:
    campaign, _ = tools
    for known in campaign.known_scenarios().values():
        cases = known.cases(known.long_count)
        assert len(cases) == len(set(cases)) == known.long_count
        assert {case.kind for case in few(known)} == {case.kind for case in cases}


def test_the_table_of_a_record_is_printed_for_people(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign, ledger = tools
    entries = [
        ledger.Entry(case, Outcome(case.seed != 1, "resumed equal" if case.seed != 1 else "differs"), 1.0, "abc")
        for case in spread("drawn", ["a"], 3)
    ]
    record = tmp_path / "figures.json"
    record.write_text(json.dumps(ledger.summary(entries, {"drawn": "Drawn"})))
    monkeypatch.setattr(sys, "argv", ["campaign", "--markdown", str(record)])
    campaign.main()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| Drawn | 3 | 1 | 2 resumed equal, 1 differs | `tools/campaign drawn` |"
    ]
