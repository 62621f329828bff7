"""What the short forms share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.cases import Scenario


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the `SCENARIO` of the test's module was made ready, once for all its cases."""
    scenario: Scenario = request.module.SCENARIO
    folder = tmp_path_factory.mktemp(scenario.name)
    scenario.make_ready(folder)
    return folder
