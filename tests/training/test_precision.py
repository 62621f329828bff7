"""What computes in which format, and how the format is chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from i2i.core.layers import InstanceNorm
from i2i.training import precision as module
from i2i.training.precision import ChosenPrecision, Precision, choose_precision, measure_precisions

CPU = torch.device("cpu")
FORMATS: list[tuple[ChosenPrecision, torch.dtype, torch.dtype]] = [
    ("fp64", torch.float64, torch.float64),
    ("fp32", torch.float32, torch.float32),
    ("bf16", torch.float32, torch.bfloat16),
    ("fp16", torch.float32, torch.float16),
]


@pytest.mark.parametrize(("name", "weights", "computed"), FORMATS)
def test_networks_compute_in_the_format_and_keep_wide_weights(
    name: ChosenPrecision, weights: torch.dtype, computed: torch.dtype
) -> None:
    precision = Precision(name, CPU)
    assert precision.weights_dtype == weights
    network = nn.Sequential(nn.Conv2d(3, 2, 3), InstanceNorm()).to(precision.weights_dtype)
    images = torch.randn(1, 3, 5, 5, dtype=precision.weights_dtype).contiguous(memory_format=torch.channels_last)
    with precision.computing():
        result = network(images)
    assert result.dtype == computed
    result.float().square().mean().backward()
    assert network[0].weight.dtype == weights and network[0].weight.grad.dtype == weights  # type: ignore[union-attr]


def test_autocast_ends_also_after_an_error() -> None:
    with pytest.raises(KeyError), Precision("bf16", CPU).computing():
        assert torch.is_autocast_enabled("cpu")
        raise KeyError
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(("name", "scales"), [("fp64", False), ("fp32", False), ("bf16", False), ("fp16", True)])
def test_only_fp16_scales_losses(name: ChosenPrecision, scales: bool) -> None:
    precision = Precision(name, CPU)
    loss = torch.tensor(2.0)
    assert precision.new_scaler().is_enabled() == scales
    assert (precision.new_scaler().scale(loss) != loss) == scales
    assert precision.new_scaler() is not precision.new_scaler()


@pytest.mark.parametrize(
    ("bf16_seconds", "chosen"), [(0.5, "bf16"), (0.80, "bf16"), (0.9, "fp32"), (1.0, "fp32"), (3.0, "fp32")]
)
def test_bf16_is_chosen_where_it_is_clearly_faster(
    bf16_seconds: float, chosen: ChosenPrecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measure_precisions", lambda device: {"fp32": 1.0, "bf16": bf16_seconds})
    assert choose_precision(CPU) == chosen


@pytest.mark.parametrize(
    ("unit", "bf16", "measured"),
    [
        (1.0, [8.0, 0.5, 1.0, 1.5, 1.0, 6.0, 1.0], 1.0),
        (1.0, [8.0, 8.0, 9.0, 3.5, 1.0, 6.0, 5.0], 1.0),
        (1.0, [8.0, 0.5, 4.5, 4.25], 4.25),
        (2**-7, [8.0, 0.5, 4.5, 4.25, 1.0, 6.0, 5.0], 1.0),
    ],
    ids=["faster", "slow only at first", "hopeless", "so short that a hitch makes it slow"],
)
def test_the_fastest_repetition_is_the_measure(
    unit: float, bf16: list[float], measured: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else on the machine, or the first kernels, must not decide; times are made up here."""
    durations = [unit * seconds for seconds in (9.0, 9.0, 3.0, 2.0, 5.0, 4.0, 7.0, *bf16)]
    times: list[float] = [0.0]

    def clock(device: torch.device) -> float:
        assert device == CPU, "the device that is measured is waited for"
        # Called in pairs: before and after.
        if len(times) % 2 == 0:
            times.append(times[-1] + durations.pop(0))
        else:
            times.append(times[-1])
        return times[-1]

    monkeypatch.setattr(module, "now", clock)
    assert measure_precisions(CPU) == {"fp32": unit * 2.0, "bf16": unit * measured}
    assert not durations, "a repetition too few"
