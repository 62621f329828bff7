"""Every command on something tiny, in one process that is told on as soon as anything in it looks for the network.

    python network.py FOLDER      writes FOLDER/said.json: exit code and messages of each command

The processes that it starts write what they look for into FOLDER/attempts, by a `sitecustomize` that Python loads by
itself. What is no Python (engines, the service of Weights & Biases) is seen by the system's own count of packets that
it could send nowhere. Started without a network, everything must go all the same.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ATTEMPTS = "attempts"
SAID = "said.json"
SITECUSTOMIZE = '''"""Notes and refuses whatever would leave the machine."""

import os
import socket
import sys

_NOTES = os.environ["I2I_NETWORK_ATTEMPTS"]
_LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)


def _watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = arguments[1]
        if arguments[0].family not in (socket.AF_INET, socket.AF_INET6) or place is None or place[0] in _LOCAL:
            return
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[0]
        if place in _LOCAL or place == socket.gethostname():
            return
    elif event != "urllib.Request":
        return
    else:
        place = arguments[0]
    with open(_NOTES, "a") as file:
        file.write(f"{event} {place} by {' '.join(sys.argv)[:200]}\\n")
    raise PermissionError(f"no network here, and this asks for {place}")


sys.addaudithook(_watch)
'''
"""Each Python process that inherits the environment loads it."""

_RECIPE = """\
extends: cyclegan_demo
name: tiny
precision: fp32
pipeline: {generator: {base_channels: 4, blocks: 1}, discriminator: {base_channels: 4}}
data: {pictures: 6, test_pictures: 4, size_pixels: 32}
training: {length: {minutes: null, steps: 2}, workers: 1}
"""


EXPORTS = {"onnx": ".onnx", "torchscript": ".torchscript", "pt2": ".pt2", "openvino": ".xml"}


def unrouted() -> int:
    """How many packets this network namespace could send nowhere since it was made."""
    count = 0
    for line in Path("/proc/self/net/snmp6").read_text().splitlines():
        name, number = line.split()
        count += int(number) if name == "Ip6OutNoRoutes" else 0
    names, numbers = [line for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    return count + int(dict(zip(names.split(), numbers.split(), strict=True))["OutNoRoutes"])


def commands(folder: Path) -> list[list[str | Path]]:
    """Calls in their order; each leaves what later ones need."""
    run, model, picture = folder / "run", folder / "run" / "model.safetensors", folder / "pictures" / "0.png"
    scores = folder / "scores.json"
    return [
        ["doctor", "--quick"],
        ["recipes"],
        ["train", folder / "tiny.yaml", "--out", run, "--device", "cpu"],
        ["train", folder / "tiny.yaml", "--dry-run", "--device", "cpu"],
        ["train", "--resume", run, "--set", "training.length.steps=3", "--device", "cpu"],
        ["report", run],
        ["card", run],
        ["data", "check", folder / "pictures"],
        ["data", "prepare", folder / "pictures", folder / "prepared", "--size", "16"],
        ["translate", "--model", run, picture, "-o", folder / "out", "--device", "cpu"],
        ["generate", "--model", folder / "latent.safetensors", "-n", "2", "-o", folder / "made", "--device", "cpu"],
        ["evaluate", "--model", folder / "upscaler.safetensors", "--hr", picture, "-o", scores, "--device", "cpu"],
        ["compare", scores, scores],
        ["convert", folder / "foreign.pth", "-o", folder / "converted.safetensors"],
        *(
            call
            for form, suffix in EXPORTS.items()
            for call in (
                ["export", "--model", model, "--to", form, "-o", folder / f"x{suffix}"],
                ["translate", "--model", folder / f"x{suffix}", picture, "-o", folder / form, "--device", "cpu"],
            )
        ),
        ["demo", "--minutes", "0.01", "--out", folder / "demo", "--device", "cpu", "--quiet"],
    ]


def make_inputs(folder: Path) -> None:
    """What the commands begin with."""
    import numpy as np
    import torch
    from PIL import Image

    from i2i.core.generators import CompactSettings
    from i2i.inference.model_files.model_file import write_model_file
    from i2i.pipelines.protocol import LatentEntryPoint, PictureEntryPoint
    from tests.inference.models import GREY, MLP, generator_network
    from tests.reliability.models_spoiled import foreign_checkpoint

    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / "pictures" / f"{index}.png")
    (folder / "tiny.yaml").write_text(_RECIPE)
    torch.save(foreign_checkpoint(), folder / "foreign.pth")
    settings = CompactSettings(scale=2, base_channels=2, convs=0)
    upscaler = {"upscale": PictureEntryPoint("generator", settings, ("low", "high"), 2)}
    write_model_file(folder / "upscaler.safetensors", {"generator": settings.build()}, upscaler, {})
    latent = {"generate": LatentEntryPoint("generator", MLP, GREY)}
    write_model_file(folder / "latent.safetensors", {"generator": generator_network(MLP, GREY)}, latent, {})


def run_all(folder: Path) -> None:
    """Make every call and keep what became of it."""
    from i2i.cli import main
    from i2i.commands import demo

    make_inputs(folder)
    demo.RECIPE = str(folder / "tiny.yaml")  # its own draws 800 pictures first
    said: list[dict[str, object]] = []
    before = unrouted()
    for arguments in commands(folder):
        out, error = io.StringIO(), io.StringIO()
        words: Sequence[str] = [*map(str, arguments)]
        started = time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = main(words)
        seconds = round(time.monotonic() - started, 2)
        told = {"stdout": out.getvalue(), "stderr": error.getvalue(), "seconds": seconds}
        said.append({"command": " ".join(words), "code": code, **told})
    (folder / SAID).write_text(json.dumps({"calls": said, "unrouted": unrouted() - before}, indent=1))


if __name__ == "__main__":
    run_all(Path(sys.argv[1]))
