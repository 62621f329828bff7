"""OpenVINO and ONNX Runtime are imported so that they report nothing to their makers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_onnx_runtime_is_told_before_it_is_loaded_and_after(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text(
        "import os\ntold = [os.environ.get('ORT_DISABLE_TELEMETRY')]\n"
        "def disable_telemetry_events():\n    told.append('disabled')\n"
    )
    code = (
        "from i2i.inference.runners.onnxruntime_library import load_onnxruntime\n"
        "assert load_onnxruntime().told == ['1', 'disabled']\n"
    )
    done = _run(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_onnx_runtime_can_be_told() -> None:
    code = (
        "from i2i.inference.runners.onnxruntime_library import load_onnxruntime\n"
        "library = load_onnxruntime()\n"
        "from pathlib import Path\n"
        "files = Path(library.__file__).parent.glob('capi/*pybind11_state*')\n"
        "content = b''.join(file.read_bytes() for file in files)\n"
        "assert content and (b'ORT_DISABLE_TELEMETRY' in content or b'events.data' not in content)\n"
    )
    done = _run(code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("library", ["openvino", "onnxruntime"])
def test_nothing_else_imports_it(library: str) -> None:
    found = []
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # Names for the type checker alone import nothing.
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name}: {name}" for name in names if name.partition(".")[0] == library]
    assert found == []
