"""The audit of dependencies never says that all is well when it could not look."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def audit() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        yield importlib.import_module("audit")


def _package(name: str, *flaws: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": [{"id": flaw, "fix_versions": ["1.1"]} for flaw in flaws]}


SKIPPED = {"name": "ours", "skip_reason": "Dependency not found on PyPI"}


def test_a_known_vulnerability_is_named_and_fails(audit: Any) -> None:
    verdict = audit.judged({"dependencies": [_package("good"), _package("bad", "PYSEC-1", "PYSEC-2"), SKIPPED]})
    assert verdict.exit_code == 1
    assert verdict.lines[0] == "bad 1.0: PYSEC-1, mended in 1.1"
    assert verdict.lines[-1] == "2 packages looked up, 2 known vulnerabilities; 1 not in the index: ours"


def test_clean_packages_pass(audit: Any) -> None:
    verdict = audit.judged({"dependencies": [_package("good")]})
    assert (verdict.exit_code, verdict.lines) == (0, ["1 packages looked up, 0 known vulnerabilities"])


@pytest.mark.parametrize("packages", [[], [SKIPPED, SKIPPED]])
def test_an_index_that_knows_nothing_is_no_clean_bill(audit: Any, packages: list[Any]) -> None:
    verdict = audit.judged({"dependencies": packages})
    assert verdict.exit_code == 0 and verdict.lines[0].startswith("not done: the index cannot be reached")


def test_only_a_missing_way_to_the_index_is_forgiven(audit: Any) -> None:
    gone = audit.failed("requests.exceptions.ConnectionError: Max retries exceeded (Failed to resolve 'pypi.org')")
    assert (gone.exit_code, gone.lines) == (0, ["not done: the index cannot be reached"])
    broken = audit.failed("TypeError: something else")
    assert broken.exit_code == 2 and "something else" in broken.lines[0]
    assert audit.failed("").exit_code == 2
