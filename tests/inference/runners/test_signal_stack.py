"""A signal finds its way after OpenVINO was there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from i2i.export.exporting import export_model
from tests.inference.models import write_upscaler

pytest.importorskip("openvino")

_TWO_MODELS_THEN_A_SIGNAL = """
import gc, signal, sys, threading
from i2i.inference import load_model

if sys.argv[2] == "faulthandler":
    import faulthandler
    faulthandler.enable()
caught = []
signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
first = load_model(sys.argv[1], "cpu", runner="openvino")
second = load_model(sys.argv[1], "cpu", runner="openvino")
assert first.runner.name == second.runner.name == "openvino"
signal.raise_signal(signal.SIGTERM)
# The first to come is the first to go, the second in another thread.
del first
gc.collect()
signal.raise_signal(signal.SIGTERM)
held = [second]
del second
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
signal.raise_signal(signal.SIGTERM)
print(len(caught))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is only loaded: to record one takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    export_model(write_upscaler(folder / "model.safetensors"), "openvino", folder / "model.xml", version="1")
    return folder / "model.xml"


@pytest.mark.skipif(sys.platform != "linux", reason="what is kept is kept on Linux alone")
@pytest.mark.parametrize("stack", ["none", "faulthandler"])
def test_a_signal_is_handled_whatever_became_of_the_models(exported: Path, stack: str) -> None:
    words = [sys.executable, "-c", _TWO_MODELS_THEN_A_SIGNAL, str(exported), stack]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (ended.returncode, ended.stdout.strip()) == (0, "3"), ended.stderr
