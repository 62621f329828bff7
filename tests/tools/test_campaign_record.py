"""What the README says of the campaign is what its record says, and that is whole and all well."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
RECORDS = REPOSITORY / "docs" / "reliability"

FEWEST_CASES = {"killing": 500, "signals": 100, "ranks": 50, "corruption": 500}
INPUTS = ("pictures", "recipes", "archives", "models", "checkpoints")
FEWEST_INPUTS = 20_000


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads((RECORDS / "campaign.json").read_text())


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(REPOSITORY / "tools" / "campaigns")
    return importlib.import_module("campaign")


def test_the_readme_shows_the_record(record: dict[str, Any], campaign: Any) -> None:
    assert "\n".join(campaign.markdown(record)) in (REPOSITORY / "README.md").read_text()


def test_each_scenario_was_tried_with_one_program_whose_files_were_as_committed(record: dict[str, Any]) -> None:
    for name, values in record["scenarios"].items():
        (commit,) = values["commits"]
        assert commit.isalnum(), name


def test_every_scenario_was_tried_often_enough(record: dict[str, Any], campaign: Any) -> None:
    cases = {name: values["cases"] for name, values in record["scenarios"].items()}
    assert cases.keys() == campaign.known_scenarios().keys()
    assert {name: cases[name] for name, fewest in FEWEST_CASES.items() if cases[name] < fewest} == {}
    assert sum(cases[name] for name in INPUTS) >= FEWEST_INPUTS


def test_nothing_went_wrong_at_first_or_at_last(record: dict[str, Any]) -> None:
    wrong = {name: values["wrong"] for name, values in record["scenarios"].items()}
    later = {name: values["ok_only_later"] for name, values in record["scenarios"].items()}
    assert not any(wrong.values()), wrong
    assert not any(later.values()), later


def test_two_hours_of_training_were_flat() -> None:
    soak = json.loads((RECORDS / "soak.json").read_text())
    assert soak["minutes"] >= 120
    assert soak["attempts"] == 1
    grown = {name: soak["growth"][name]["percent"] for name in ("megabytes", "training_megabytes", "handles")}
    assert max(grown.values()) < 2, grown
