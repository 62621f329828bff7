"""The comparison of engines really runs them."""

from __future__ import annotations

import pytest
import torch

from i2i.inference.runners import RUNNERS
from i2i.inference.runners import trial as module


def test_every_engine_is_compared_in_every_precision_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTINGS", module.ResNetGeneratorSettings(base_channels=16, blocks=1))
    monkeypatch.setattr(module, "_PIXELS", 32)
    torch.manual_seed(3)
    drawn = torch.rand(2)
    torch.manual_seed(3)
    found = module.compare_runners(torch.device("cpu"))
    assert torch.equal(torch.rand(2), drawn)
    installed = {name for name, engine in RUNNERS.items() if engine.installed}
    assert set(found["fp32"].seconds) == installed
    assert {"torch"} <= set(found["bf16"].seconds) <= installed - {"onnxruntime"}
    assert not any(choice.failed for choice in found.values())
    assert all(choice.name in choice.seconds for choice in found.values())
