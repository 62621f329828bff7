"""A device is waited for before the clock is read."""

from __future__ import annotations

import time

import pytest
import torch

from i2i.core.device_clock import now


@pytest.mark.parametrize("kind", ["cuda", "mps", "cpu"])
def test_work_that_is_under_way_is_waited_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, events = torch.device(kind), list[object]()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append(device))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: events.append(device))
    monkeypatch.setattr(time, "perf_counter", lambda: events.append("read") or 7.0)
    assert now(device) == 7.0
    assert events == ([device, "read"] if kind != "cpu" else ["read"])
