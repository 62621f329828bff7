"""The first signal is remembered, a second Ctrl-C gives up, and the former handlers come back."""

from __future__ import annotations

import signal

import pytest

from i2i.training.signals import StopRequest, listening


def test_no_signal_is_zero() -> None:
    assert StopRequest().signal_number == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_request(number: signal.Signals) -> None:
    with listening() as stop:
        signal.raise_signal(number)
        assert stop.signal_number == number


def test_the_first_signal_is_the_one_that_counts() -> None:
    with listening() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.signal_number == signal.SIGTERM
    with listening() as stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.signal_number == signal.SIGINT


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_another_signal_gives_up_at_once(first: signal.Signals) -> None:
    with listening():
        signal.raise_signal(first)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("failing", [False, True], ids=["normal end", "error"])
def test_former_handlers_return(failing: bool) -> None:
    received: list[int] = []
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in former:
            signal.signal(number, lambda number, frame: received.append(number))
        try:
            with listening():
                signal.raise_signal(signal.SIGTERM)
                if failing:
                    raise KeyError
        except KeyError:
            assert failing
        assert received == []
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGTERM, signal.SIGINT]
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
