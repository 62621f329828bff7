"""What a run was trained with: versions, machine and git state, kept as `environment.json` in the run folder.

Nothing here imports a heavy library (versions come from the installed packages' metadata), and environment
variables are never recorded: they may hold keys.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

# Distribution names as installed; a name that is missing is left out of the result.
PACKAGES = (
    "i2i",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "pillow",
    "albumentations",
    "safetensors",
    "pydantic",
    "wandb",
    "tensorboard",
    "onnx",
    "onnxruntime",
    "openvino",
    "kornia",
)
# What decides the speed of bf16 and fp32 arithmetic; the names are those of /proc/cpuinfo.
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "bf16", "sve")
_SECRET_ARGUMENT = re.compile(r"(?i)([\w.-]*(?:key|token|secret|password)[\w.-]*=).+")
_SECRET_FLAG = re.compile(r"(?i)--?[\w.-]*(?:key|token|secret|password)[\w.-]*")
_URL_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]+@")


def describe_environment(device: str | None = None) -> dict[str, Any]:
    """Describe this process's software and machine as plain JSON-able values.

    Args:
        device: the device that training runs on, e.g. "cpu" or "cuda:0", if known.
    """
    description: dict[str, Any] = {
        "command": command_line(sys.argv),
        "python": platform.python_version(),
        "versions": _installed_versions(),
        "platform": platform.platform(),
        "cpu": _describe_cpu(),
        "memory_gib": _memory_gib(),
        "gpus": _describe_gpus(),
        "git": {
            "i2i": git_state(Path(__file__).resolve().parents[1]),
            "current_folder": git_state(Path.cwd()),
        },
    }
    if device is not None:
        description["device"] = device
    return description


def command_line(arguments: list[str]) -> str:
    """The command as one would type it; the values of arguments that look like secrets are masked."""
    program, *rest = arguments or ["i2i"]
    name = Path(program).name
    words = ["python", "-m", "i2i"] if name == "__main__.py" else [name]
    mask_next = False
    for word in rest:
        if mask_next:
            words.append("HIDDEN")
            mask_next = False
            continue
        mask_next = _SECRET_FLAG.fullmatch(word) is not None
        words.append(_URL_CREDENTIALS.sub(r"\1HIDDEN@", _SECRET_ARGUMENT.sub(r"\1HIDDEN", word)))
    return shlex.join(words)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and cleanliness of the repository that `folder` belongs to; None outside one or without git.

    A folder that its repository ignores (an installed package inside a project's `.venv`) does not belong to it.
    """
    commit = _output_of(["git", "-C", str(folder), "rev-parse", "HEAD"])
    if not commit or _output_of(["git", "-C", str(folder), "check-ignore", str(folder)]):
        return None
    changes = _output_of(["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _describe_cpu() -> dict[str, Any]:
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key == "model name":
                name = value
            elif key in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        if sys.platform == "darwin":
            name = _output_of(["sysctl", "-n", "machdep.cpu.brand_string"]) or name
    return {
        "name": name,
        "machine": platform.machine(),
        "features": [feature for feature in CPU_FEATURES if feature in flags],
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
    }


def _usable_cores() -> int | None:
    # Containers and job schedulers often give a process fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(total / 2**30, 1)


def _describe_gpus() -> list[dict[str, str]]:
    # nvidia-smi rather than torch: it neither imports torch nor opens a CUDA context.
    if shutil.which("nvidia-smi") is None:
        return []
    table = _output_of(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
    rows = [[cell.strip() for cell in line.split(",")] for line in (table or "").splitlines()]
    return [{"name": row[0], "driver": row[1], "memory": row[2]} for row in rows if len(row) == 3]


def _output_of(command: list[str]) -> str | None:
    """The command's output without surrounding white space; None if it is missing, fails or hangs."""
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            # A look at the state must not take the lock that the user's own git command needs.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return finished.stdout.strip()
