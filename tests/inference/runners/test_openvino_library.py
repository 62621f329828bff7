"""OpenVINO is imported without the package that reports to its makers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[3] / "i2i"


def _run(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    path = f"import sys; sys.path[:0] = {[str(folder) for folder in (*folders, _PACKAGE.parent)]}\n"
    return subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=False)


def test_its_telemetry_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('reported')\n")
    (tmp_path / "openvino.py").write_text(
        "try:\n    import openvino_telemetry\n    sends = True\nexcept ImportError:\n    sends = False\n"
    )
    code = (
        "from i2i.inference.runners.openvino_library import load_openvino\n"
        "assert load_openvino().sends is False and load_openvino() is sys.modules['openvino']\n"
    )
    done = _run(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # Or it is not the function that keeps it out.
    assert _run("import openvino", tmp_path).stderr.strip() == "reported"


def test_where_it_is_missing_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('no such library')\n")
    code = (
        "from i2i.errors import UsageError\n"
        "from i2i.inference.runners.openvino_library import load_openvino\n"
        "try:\n    load_openvino()\nexcept UsageError as error:\n    print(error)\n"
    )
    assert "pip install 'i2i[openvino]'" in _run(code, tmp_path).stdout


def test_nothing_else_imports_it() -> None:
    found = []
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [path.name for name in names if name.partition(".")[0] == "openvino"]
    assert found == []
