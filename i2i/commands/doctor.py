"""`i2i doctor`: what this installation has, and what this machine can do."""

from __future__ import annotations

import dataclasses
import importlib.util
import json as json_module
import os
import shutil
from pathlib import Path
from typing import Any

import typer

from i2i import __version__
from i2i.errors import I2IError, one_line

# Import name: (what it is installed as, what it is for).
_OPTIONAL = {
    "wandb": ("wandb", "curves and pictures in Weights & Biases"),
    "tensorboard": ("tensorboard", "curves in TensorBoard (tracking.tensorboard: true)"),
    "onnxruntime": ("onnxruntime", "running ONNX models"),
    "openvino": ("openvino", "running and exporting OpenVINO models, often fastest on a CPU (i2i[openvino])"),
}
_NEEDED = {
    "torchvision": "torchvision",
    "kornia": "kornia",
    "albumentations": "albumentations",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
    "rich": "rich",
    "safetensors": "safetensors",
}
_GIB = 2**30


def run(quick: bool = False, json: bool = False) -> None:
    """Print the findings as text or as one JSON object; `quick` leaves out the timing trial.

    Raises:
        I2IError: something that training or translating needs does not work; everything else is printed before.
    """
    findings = examine(quick)
    typer.echo(json_module.dumps(findings, indent=2) if json else "\n".join(as_lines(findings)))
    if findings["problems"]:
        raise I2IError("; ".join(findings["problems"]))


def examine(quick: bool) -> dict[str, Any]:
    """All findings as JSON-able values; nothing here fails because a part is broken."""
    from i2i.training.environment import describe_environment

    environment = describe_environment()
    torch_state = _examine_torch()
    trial = None if quick or torch_state["problem"] else _time_number_formats()
    problems = [f"{name} is missing (pip install {name})" for name in _missing(_NEEDED)]
    if torch_state["problem"]:
        problems.insert(0, f"torch does not work: {torch_state['problem']} - see https://pytorch.org/get-started")
    return {
        "i2i": __version__,
        "python": environment["python"],
        "platform": environment["platform"],
        "cpu": environment["cpu"],
        "memory_gib": environment["memory_gib"],
        "gpus": environment["gpus"],
        "versions": environment["versions"],
        "torch": torch_state,
        "trial": trial,
        "speed": None if trial is None else _time_tricks(bf16_pays=trial.get("bf16_pays", False)),
        "runners": None if torch_state["problem"] else _examine_runners(quick),
        "wandb": _wandb_mode(),
        "cache": _examine_cache(),
        "free_disk_gib": _free_gib(Path.cwd()),
        "missing_optional": {
            name: purpose for module, (name, purpose) in _OPTIONAL.items() if not _is_installed(module)
        },
        "ffmpeg": shutil.which("ffmpeg"),
        "problems": problems,
    }


def as_lines(findings: dict[str, Any]) -> list[str]:
    """The findings for people."""
    cpu, torch_state, cache = findings["cpu"], findings["torch"], findings["cache"]
    features = " ".join(cpu["features"]) or "no known features"
    versions = ", ".join(f"{name} {version}" for name, version in findings["versions"].items() if name != "i2i")
    rows = [
        ("i2i", f"{findings['i2i']}, Python {findings['python']}, {findings['platform']}"),
        ("packages", versions),
        ("CPU", f"{cpu['name']}, {cpu['usable_cores']} of {cpu['cores']} cores, {features}"),
        ("memory", "unknown" if findings["memory_gib"] is None else f"{findings['memory_gib']} GiB"),
        *(("GPU", f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}") for gpu in findings["gpus"]),
        (
            "torch",
            torch_state["problem"]
            or f"{torch_state['version']} ({torch_state['build']}), {torch_state['threads']} threads",
        ),
        ("devices", ", ".join(torch_state["devices"]) or "none"),
        ("number formats", _trial_as_text(findings["trial"])),
        *(("speed", text) for text in _speed_as_texts(findings["speed"])),
        ("runners", _runners_as_text(findings["runners"])),
        ("wandb", findings["wandb"]),
        ("cache", f"{cache['folder']}: {cache['gib']:.2f} GiB, {_gib_as_text(cache['free_gib'])} free"),
        ("disk", f"{_gib_as_text(findings['free_disk_gib'])} free in this folder"),
        ("ffmpeg", findings["ffmpeg"] or "not found; only video needs it"),
        *(("not installed", f"{name}: {purpose}") for name, purpose in findings["missing_optional"].items()),
        *(("PROBLEM", problem) for problem in findings["problems"]),
    ]
    return [f"{title + ':':<16}{text}" for title, text in rows]


def _examine_torch() -> dict[str, Any]:
    state: dict[str, Any] = {"version": None, "build": None, "threads": None, "devices": [], "problem": None}
    try:
        import torch

        state["version"] = torch.__version__
        state["threads"] = torch.get_num_threads()
        state["build"] = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
        torch.ones(2).sum().item()
        state["devices"] = ["cpu", *_accelerators(torch)]
    except Exception as error:  # a broken installation fails in many ways, and saying how is the purpose here
        state["problem"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return state


def _accelerators(torch: Any) -> list[str]:
    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        found.append(
            f"cuda:{index} ({properties.name}, {properties.total_memory / _GIB:.0f} GiB, capability {capability})"
        )
    return [*found, *(["mps"] if torch.backends.mps.is_available() else [])]


def _time_number_formats() -> dict[str, Any]:
    """Seconds of one short piece of training in each format on the device that `--device auto` means."""
    try:
        from i2i.inference.runtime import resolve_device
        from i2i.training.precision import WORTHWHILE_SPEEDUP, measure_precisions

        device = resolve_device("auto")
        seconds = measure_precisions(device)
    except (ImportError, RuntimeError, I2IError) as error:
        return {"problem": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    speedup = seconds["fp32"] / seconds["bf16"]
    return {
        "device": str(device),
        "seconds": seconds,
        "bf16_speedup": round(speedup, 2),
        "bf16_pays": speedup > WORTHWHILE_SPEEDUP,
    }


def _trial_as_text(trial: dict[str, Any] | None) -> str:
    if trial is None:
        return "not timed"
    if "problem" in trial:
        return f"the trial failed: {trial['problem']}"
    times = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in trial["seconds"].items())
    gain = trial["bf16_speedup"]
    verdict = f"bf16 {'pays' if trial['bf16_pays'] else 'does not pay'}, {gain:.1f} times as fast as fp32"
    return f"on {trial['device']}: {times}: {verdict} (`precision: auto` measures this too)"


def _time_tricks(*, bf16_pays: bool) -> dict[str, Any]:
    """What each trick that makes steps faster does to a small training on the device that `--device auto` means."""
    try:
        from i2i.commands.speed_trial import examine_speed
        from i2i.inference.runtime import resolve_device

        found = examine_speed(resolve_device("auto"), "bf16" if bf16_pays else "fp32")
    except (ImportError, RuntimeError, I2IError) as error:
        return {"problem": f"{type(error).__name__}: {one_line(error)}"}
    return dataclasses.asdict(found)


def _speed_as_texts(speed: dict[str, Any] | None) -> list[str]:
    if speed is None:
        return ["not timed"]
    if "problem" in speed:
        return [f"the trial failed: {speed['problem']}"]
    plain = speed["plain_seconds"]
    where = f"{speed['training']}, on {speed['device']}"
    lines = [f"{where}: `speed: plain` takes {1000 * plain:.1f} ms; with one trick alone:"]
    for name, seconds in speed["seconds"].items():
        times = "does not work here" if seconds is None else f"{1000 * seconds:.1f} ms"
        reason = speed["tried"].get(name) or f"taken unmeasured: {speed['unmeasured'][name]}"
        lines.append(f"  {name}: {times}; {reason}")
    gain = plain / speed["auto_seconds"]
    what = ", ".join(speed["auto"]) or "nothing"
    return [
        *lines,
        f"`speed: auto` takes {what}: {1000 * speed['auto_seconds']:.1f} ms, {gain:.2f} times as fast; each run"
        " measures for its own networks what needs measuring",
    ]


def _examine_runners(quick: bool) -> dict[str, Any]:
    """Engines that are installed, and unless it should be `quick`, their times for one picture in each precision."""
    try:
        from i2i.inference.runners import RUNNERS
        from i2i.inference.runners.trial import compare_runners
        from i2i.inference.runtime import resolve_device

        found: dict[str, Any] = {"installed": [name for name, engine in RUNNERS.items() if engine.installed]}
        if not quick:
            device = resolve_device("auto")
            found["device"] = str(device)
            found["fastest"] = {
                precision: {"runner": choice.name, "seconds": choice.seconds, "failed": choice.failed}
                for precision, choice in compare_runners(device).items()
            }
    except Exception as error:  # engines are foreign code: whatever they raise, the rest of the report is of use
        return {"problem": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return found


def _runners_as_text(runners: dict[str, Any] | None) -> str:
    if runners is None:
        return "not tried"
    if "problem" in runners:
        return f"the trial failed: {runners['problem']}"
    text = ", ".join(runners["installed"])
    if "fastest" not in runners:
        return f"{text}; not timed"
    trials = []
    for precision, trial in runners["fastest"].items():
        times = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in trial["seconds"].items())
        failed = "".join(f", {name} failed" for name in trial["failed"])
        trials.append(f"{precision}: {times}{failed}: {trial['runner']} is fastest")
    return f"{text}; a small generator on {runners['device']}, {'; '.join(trials)} (`--runner auto` measures this too)"


def _wandb_mode() -> str:
    if not _is_installed("wandb"):
        return "not installed"
    try:
        from i2i.training.tracking import TrackingSettings, wandb_mode

        mode = wandb_mode(TrackingSettings(), os.environ)
    except ImportError as error:
        return f"unknown ({error})"
    return f"{mode} (no key; `wandb login` sets one)" if mode == "offline" and "WANDB_MODE" not in os.environ else mode


def _examine_cache() -> dict[str, Any]:
    from i2i.data.cache import default_cache_folder

    folder = default_cache_folder()
    total = 0
    for path in folder.rglob("*"):
        try:
            total += 0 if path.is_symlink() or path.is_dir() else path.stat().st_size
        except OSError:
            continue  # it went away while we looked
    return {"folder": str(folder), "gib": round(total / _GIB, 3), "free_gib": _free_gib(folder)}


def _free_gib(folder: Path) -> float | None:
    for candidate in (folder, *folder.absolute().parents):
        try:
            return round(shutil.disk_usage(candidate).free / _GIB, 1)
        except OSError:
            continue
    return None


def _gib_as_text(gib: float | None) -> str:
    return "unknown" if gib is None else f"{gib} GiB"


def _missing(packages: dict[str, str]) -> list[str]:
    return [name for module, name in packages.items() if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
