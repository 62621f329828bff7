"""Training steps of CycleGAN equal the reference implementation's: eight losses a step, and the final weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i.core.discriminators import PatchDiscriminatorSettings
from i2i.core.generators import ResNetGeneratorSettings
from i2i.export.layouts import junyanz_patch, junyanz_resnet, rename
from i2i.pipelines import CycleGAN, CycleGANSettings
from i2i.training.acceleration import accelerate
from i2i.training.engine import Engine
from i2i.training.precision import Precision
from i2i.training.settings import TrainingSettings
from tests.parity.cases import SPEEDS, Case, Tricks, digest, folders

CASES = folders("02a_cyclegan_b1", "02b_cyclegan_b2", "02c_cyclegan_pool0", "02d_cyclegan_float64")
NETWORKS = {
    "G_A": "generator_ab",
    "G_B": "generator_ba",
    "D_A": "discriminator_b",
    "D_B": "discriminator_a",
}
GENERATOR_LOSSES = {
    "G_A": "adversarial_ab",
    "G_B": "adversarial_ba",
    "cycle_A": "cycle_a",
    "cycle_B": "cycle_b",
    "idt_A": "identity_b",
    "idt_B": "identity_a",
}
DISCRIMINATOR_LOSSES = {"D_A": "b", "D_B": "a"}


class Replay:
    """One of the cases, trained by our engine."""

    def __init__(self, folder: Path, precision: str, *, tricks: Tricks) -> None:
        self.case = Case(folder)
        options = self.case.about["hyper_parameters"]["options"]
        self.settings = CycleGANSettings(
            generator=ResNetGeneratorSettings(
                base_channels=options["ngf"], blocks=9 if options["netG"] == "resnet_9blocks" else 6
            ),
            discriminator=PatchDiscriminatorSettings(base_channels=options["ndf"], layers=options["n_layers_D"]),
            identity_weight=options["lambda_identity"],
            cycle_weight=options["lambda_A"],
            pool_size=options["pool_size"],
        )
        self.keys = {"G": junyanz_resnet(self.settings.generator), "D": junyanz_patch(self.settings.discriminator)}  # type: ignore[arg-type]
        pipeline = CycleGAN(self.settings)
        for theirs, ours in NETWORKS.items():
            pipeline.networks[ours].load_state_dict(rename(self.case.group(f"init/{theirs}"), self.keys[theirs[0]]))
        self.engine = Engine(
            pipeline,
            TrainingSettings(batch_size=self.case.tensors["in/A"].shape[1]),
            Precision(precision, torch.device("cpu")),  # type: ignore[arg-type]
            images_per_epoch=1000,
            seed=0,
        )
        accelerate(self.engine, tricks, pytest.fail)

    def losses(self) -> dict[str, Tensor]:
        """Train all steps; values by the reference's names, one a step."""
        dtype = self.engine.precision.weights_dtype
        rows = []
        for a, b in zip(self.case.tensors["in/A"], self.case.tensors["in/B"], strict=True):
            reports = self.engine.take_step(lambda streams, counters, a=a, b=b: [{"a": a.to(dtype), "b": b.to(dtype)}])
            generator = reports["generator"].losses[0].terms
            discriminator = reports["discriminator"].losses[0].terms
            row = {name: generator[ours].value * generator[ours].weight for name, ours in GENERATOR_LOSSES.items()}
            for name, domain in DISCRIMINATOR_LOSSES.items():
                sides = (discriminator[f"real_{domain}"], discriminator[f"fake_{domain}"])
                row[name] = sum((side.value * side.weight for side in sides), start=torch.zeros(()))
            rows.append(row)
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("tricks", SPEEDS.values(), ids=SPEEDS)
def test_float64_run_equals_reference(folder: Path, tricks: Tricks) -> None:
    replay = Replay(folder, "fp64", tricks=tricks)
    in_float64 = "loss64/G_A" not in replay.case.tensors
    tolerances = replay.case.about["tolerances"]
    tolerances = tolerances if in_float64 else tolerances["float64_run"]
    losses = replay.losses()
    expected = replay.case.group("loss" if in_float64 else "loss64")
    assert set(expected) == {*GENERATOR_LOSSES, *DISCRIMINATOR_LOSSES}
    for name, values in expected.items():
        torch.testing.assert_close(losses[name], values, rtol=tolerances["loss_rtol"], atol=tolerances["loss_atol"])
    for theirs, ours in NETWORKS.items():
        state = replay.engine.pipeline.networks[ours].state_dict()
        keys = replay.keys[theirs[0]]
        if in_float64:
            final = rename(replay.case.group(f"final/{theirs}"), keys)
            for key, tensor in final.items():
                torch.testing.assert_close(state[key], tensor, rtol=0, atol=tolerances["final_weights_atol"])
        else:
            # One row an entry of their state dict; the biases that ours leaves out have rows too.
            rows = dict(zip(replay.case.group(f"init/{theirs}"), order(replay, theirs), strict=True))
            ours_digest = digest([state[key] for key in keys])
            theirs_digest = torch.stack([rows[key] for key in keys.values()])
            torch.testing.assert_close(
                ours_digest,
                theirs_digest,
                rtol=tolerances["final_digest_rtol"],
                atol=tolerances["final_digest_atol"],
            )


def order(replay: Replay, network: str) -> Tensor:
    """Digest rows in the order in which the state dict's keys come back from the file."""
    rows = replay.case.tensors[f"final64_digest/{network}"]
    names = replay.case.about["parameter_order"][network]
    position = {name: index for index, name in enumerate(names)}
    return torch.stack([rows[position[name]] for name in replay.case.group(f"init/{network}")])


@pytest.mark.parametrize(
    "folder", [folder for folder in CASES if "float64" not in folder.name], ids=lambda folder: folder.name
)
@pytest.mark.parametrize("tricks", SPEEDS.values(), ids=SPEEDS)
def test_float32_run_stays_within_the_reference_spread(folder: Path, tricks: Tricks) -> None:
    replay = Replay(folder, "fp32", tricks=tricks)
    tolerances = replay.case.about["tolerances"]
    losses = replay.losses()
    for name, values in replay.case.group("loss").items():
        for step, (ours, theirs, rtol) in enumerate(
            zip(losses[name], values, tolerances["loss_rtol_per_step"], strict=True)
        ):
            assert abs(ours - theirs) <= tolerances["loss_atol"] + rtol * abs(theirs), (name, step)
    for theirs, ours in NETWORKS.items():
        final = replay.case.group(f"final/{theirs}")
        if not final:
            continue
        state = replay.engine.pipeline.networks[ours].state_dict()
        gaps = torch.cat(
            [(state[key] - tensor).abs().flatten() for key, tensor in rename(final, replay.keys[theirs[0]]).items()]
        )
        allowed = tolerances["final_weights"]
        assert gaps.median() <= allowed["median_abs"]
        assert gaps.quantile(0.99) <= allowed["p99_abs"]
        assert gaps.max() <= allowed["max_abs"]
