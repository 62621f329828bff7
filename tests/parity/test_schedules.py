"""Learning rates of every epoch equal the reference implementation's."""

from __future__ import annotations

import pytest
import torch

from i2i.core.step import Progress
from i2i.training.schedule import CosineSchedule, LinearSchedule, ScheduleSettings, StepSchedule
from tests.parity.cases import Case, folders

(FOLDER,) = folders("03_lr_policies")
CASE = Case(FOLDER)


def schedule(about: dict[str, int | str]) -> ScheduleSettings:
    constant, decay = int(about["n_epochs"]), int(about["n_epochs_decay"])
    match about["lr_policy"]:
        case "linear":
            return LinearSchedule(constant=constant, decay=decay)
        case "step":
            return StepSchedule(every=int(about["lr_decay_iters"]), multiplier=0.1)
        case "cosine":
            return CosineSchedule(total=constant)
    raise AssertionError(about)


@pytest.mark.parametrize("name", sorted(CASE.group("out")))
def test_rate_of_every_epoch(name: str) -> None:
    about = CASE.about["hyper_parameters"][name]
    expected = CASE.tensors[f"out/{name}"]
    images_per_epoch = 7
    first = int(about["epoch_count"]) - 1
    rates = []
    for epoch in range(first, first + len(expected)):
        # In the middle of an epoch the rate is that of its beginning.
        images = epoch * images_per_epoch + 3
        rates.append(about["lr"] * schedule(about).factor(Progress(images, images, images / images_per_epoch)))
    torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), expected, rtol=1e-12, atol=1e-18)
