"""What is known of the dependencies' weaknesses: all that is installed, looked up by pip-audit.

    tools/audit          a table; exit code 1 if something known is installed

pip-audit gets an environment of its own in .venv/audit, so that it changes nothing of what it looks at. Where the
package index or the list of vulnerabilities cannot be reached, it says "not done: the index cannot be reached" and
ends with 0; with everything else that keeps it from its work, with 2. The tests do not call it: they need no network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_DONE = "not done: the index cannot be reached"
_VENV = Path(sys.prefix) / "audit"
_SECONDS = 600
# What pip and pip-audit say where there is no way to the index; anything else is a failure of its own.
_SIGNS = (
    "ConnectionError", "NewConnectionError", "NameResolutionError", "Failed to resolve", "Max retries exceeded",
    "ConnectTimeout", "ReadTimeout", "Network is unreachable", "Temporary failure in name resolution",
    "ProxyError", "timed out", "from versions: none",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What to print, and the exit code."""

    lines: Sequence[str]
    exit_code: int


def judged(report: Mapping[str, Any]) -> Verdict:
    """The verdict on what pip-audit reports as JSON."""
    found = [one for one in report["dependencies"] if "vulns" in one]
    skipped = [one for one in report["dependencies"] if "vulns" not in one]
    if not found:
        # An index that knows none of the packages is a mirror without that list: silence is no clean bill.
        return Verdict([f"{NOT_DONE} (it knows none of {len(skipped)} packages)"], 0)
    known = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in found
        for flaw in one["vulns"]
    ]
    unknown = f"; {len(skipped)} not in the index: {', '.join(one['name'] for one in skipped)}" if skipped else ""
    return Verdict(
        [*known, f"{len(found)} packages looked up, {len(known)} known vulnerabilities{unknown}"], bool(known)
    )


def failed(said: str) -> Verdict:
    """The verdict where pip or pip-audit came to no report."""
    if any(sign in said for sign in _SIGNS):
        return Verdict([NOT_DONE], 0)
    return Verdict([f"the audit failed: {said.strip()[-1000:] or 'without a word'}"], 2)


def audit() -> Verdict:
    """Install pip-audit if need be, and look everything up."""
    python = _VENV / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    made = _run([sys.executable, "-m", "venv", str(_VENV)]) if not python.exists() else None
    if made is not None and made.returncode:
        return failed(made.stderr)
    if _run([str(python), "-c", "import pip_audit"]).returncode:
        installed = _run([str(python), "-m", "pip", "install", "--quiet", "pip-audit"])
        if installed.returncode:
            return failed(installed.stderr)
    packages = sysconfig.get_path("purelib")
    looked = _run([str(python), "-m", "pip_audit", "--path", packages, "--format", "json", "--progress-spinner", "off"])
    try:
        return judged(json.loads(looked.stdout))
    except (ValueError, LookupError, TypeError):
        return failed(looked.stderr)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "timed out")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="tools/audit", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.parse_args()
    verdict = audit()
    print("\n".join(verdict.lines))
    sys.exit(verdict.exit_code)


if __name__ == "__main__":
    main()
