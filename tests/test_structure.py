"""The house plan holds: who may import whom, what is loaded when, and that public things are explained."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent
_PACKAGE = _REPOSITORY / "i2i"
_MODULES = sorted(path.relative_to(_REPOSITORY) for path in _PACKAGE.rglob("*.py"))

# Each takes a tenth of a second or more to import, and none is needed before a command is chosen.
_HEAVY = {"albumentations", "cv2", "kornia", "numpy", "onnx", "onnxruntime", "torch", "torchvision", "wandb"}


def _tree(module: Path) -> ast.Module:
    return ast.parse((_REPOSITORY / module).read_text(encoding="utf-8"), filename=str(module))


def _imported_names(tree: ast.Module) -> set[str]:
    """Full names of all modules that are imported anywhere in a file."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _public_definitions(tree: ast.Module) -> list[ast.ClassDef | ast.FunctionDef]:
    definitions = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [node for node in definitions if not node.name.startswith("_")]


def _modules_loaded_by(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=_REPOSITORY
    )
    return set(process.stdout.split())


def test_there_is_something_to_check() -> None:
    assert len(_MODULES) > 20
    assert Path("i2i/core/step.py") in _MODULES


@pytest.mark.parametrize("module", [path for path in _MODULES if path.parts[1] == "core"], ids=str)
def test_core_imports_torch_and_nothing_of_ours(module: Path) -> None:
    allowed = {"torch", "numpy", *sys.stdlib_module_names}
    foreign = {
        name
        for name in _imported_names(_tree(module))
        if name.partition(".")[0] not in allowed and name != "i2i.core" and not name.startswith("i2i.core.")
    }
    assert not foreign


def test_every_pipeline_is_in_the_contract_of_independence() -> None:
    settings = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}
    pipelines = {path.stem for path in (_PACKAGE / "pipelines").glob("*.py")} - {"__init__", "protocol"}
    assert pipelines
    assert {f"i2i.pipelines.{name}" for name in pipelines} == set(contracts["pipelines-are-independent"]["modules"])


@pytest.mark.parametrize("statement", ["import i2i", "import i2i.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    loaded = _modules_loaded_by(statement)
    assert "i2i" in loaded
    assert not loaded & _HEAVY


@pytest.mark.parametrize("module", _MODULES, ids=str)
def test_public_things_are_explained(module: Path) -> None:
    tree = _tree(module)
    missing = [node.name for node in _public_definitions(tree) if ast.get_docstring(node) is None]
    if module.name != "__init__.py" and ast.get_docstring(tree) is None:
        missing.insert(0, "the module itself")
    assert not missing


@pytest.mark.parametrize("module", _MODULES, ids=str)
def test_nothing_prints_and_nothing_swallows_arguments(module: Path) -> None:
    """Output goes through the command line's own means; a `**kwargs` of a public function swallows typos."""
    tree = _tree(module)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    swallowing = [node.name for node in functions if node.args.kwarg and not node.name.startswith("_")]
    assert not prints
    assert not swallowing


def test_the_package_states_its_version_once() -> None:
    import i2i

    settings = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert i2i.__version__ == settings["project"]["version"]


_TOOLS = [path for path in (_REPOSITORY / "tools").iterdir() if path.is_file() and not path.suffix]


@pytest.mark.parametrize("tool", [*_TOOLS, _REPOSITORY / ".ci" / "run"], ids=lambda path: path.name)
def test_tools_can_be_run(tool: Path) -> None:
    assert tool.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert tool.stat().st_mode & 0o111
