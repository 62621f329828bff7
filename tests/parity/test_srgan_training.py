"""The super-resolution pipeline and the engine reproduce reference trainings of SRGAN and ESRGAN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import VGGDiscriminatorSettings
from i2i.core.generators import MSRResNetSettings, RRDBSettings, UpscalerSettings
from i2i.core.image_shape import ImageShape
from i2i.export.layouts import basicsr_msrresnet, basicsr_rrdb, basicsr_vgg, rename
from i2i.pipelines import SRGAN, SRGANSettings
from i2i.training.acceleration import accelerate
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.settings import AdamSettings, TrainingSettings
from tests.parity.cases import SPEEDS, Case, Tricks, digest, folders

FOLDERS = folders("08a_srgan_steps", "08b_esrgan_steps")
NAMES = {
    "l_g_pix": ("generator", "pixel"),
    "l_g_gan": ("generator", "adversarial"),
    "l_d_real": ("discriminator", "real"),
    "l_d_fake": ("discriminator", "fake"),
}


def generator_settings(about: dict) -> UpscalerSettings:
    wanted = about["network_g"]
    shared = {"scale": about["scale"], "base_channels": wanted["num_feat"], "blocks": wanted["num_block"]}
    if wanted["type"] == "MSRResNet":
        return MSRResNetSettings(**shared)
    return RRDBSettings(**shared, growth_channels=wanted["num_grow_ch"])


def networks(pipeline: SRGAN) -> list[tuple[nn.Module, dict[str, str], str]]:
    """Each network with its layout and the reference's name for it."""
    generator, judge = pipeline.settings.generator, pipeline.settings.discriminator
    assert isinstance(judge, VGGDiscriminatorSettings)
    assert isinstance(generator, MSRResNetSettings | RRDBSettings)
    layout = basicsr_msrresnet(generator) if isinstance(generator, MSRResNetSettings) else basicsr_rrdb(generator)
    return [
        (pipeline.generator, layout, "net_g"),
        (pipeline.discriminator, basicsr_vgg(judge, ImageShape(3, 128)), "net_d"),
    ]


def trained(case: Case, precision: ChosenPrecision, *, tricks: Tricks) -> tuple[SRGAN, dict[str, list[Tensor]], dict]:
    about = case.about["hyper_parameters"]
    pipeline = SRGANSettings(
        generator=generator_settings(about),
        discriminator=VGGDiscriminatorSettings(base_channels=about["network_d"]["num_feat"]),
        pixel_weight=about["pixel_weight"],
        adversarial="nonsaturating" if about["model"] == "SRGANModel" else "relativistic_average_detached",
        adversarial_weight=about["gan_weight"],
    ).build(ImageShape(3, 128))
    for network, keys, theirs in networks(pipeline):
        network.load_state_dict(rename(case.group(f"init/{theirs}"), keys))
    adam = {
        player: AdamSettings(learning_rate=about[rate], betas=tuple(about["betas"]), epsilon=about["adam_eps"])
        for player, rate in (("generator", "lr_g"), ("discriminator", "lr_d"))
    }
    engine = Engine(
        pipeline,
        TrainingSettings(batch_size=case.about["batch"], optimizers=adam),
        Precision(precision, torch.device("cpu")),
        images_per_epoch=1000,
        seed=0,
    )
    accelerate(engine, tricks, pytest.fail)
    dtype = engine.precision.weights_dtype
    losses: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    watched: dict[str, list[Tensor]] = {"out_d_real": [], "out_d_fake": []}
    for low, high in zip(case.tensors["in/lq"], case.tensors["in/gt"], strict=True):
        # Theirs lie in [0, 1].
        batch = {"low": 2 * low.to(dtype) - 1, "high": 2 * high.to(dtype) - 1}
        reports = engine.take_step(lambda streams, counters, batch=batch: [batch])
        for name, (update, term) in NAMES.items():
            # As in the reference, the weights of its record are those of the loss itself.
            found = reports[update].losses[0].terms[term]
            losses[name].append(found.value * found.weight)
        for name, side in (("out_d_real", "real"), ("out_d_fake", "fake")):
            watched[name].append(reports["discriminator"].losses[0].watched[f"discriminator/{side}"])
    return pipeline, losses, watched


def weights_only(keys: dict[str, str]) -> dict[str, str]:
    """Without statistics: the reference passes some batches twice, which moves its running averages once more."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {ours: theirs for ours, theirs in keys.items() if not theirs.endswith(buffers)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("tricks", SPEEDS.values(), ids=SPEEDS)
def test_float64_run_equals_reference(folder: Path, tricks: Tricks) -> None:
    case = Case(folder)
    tolerances = case.about["tolerances"]["float64_run"]
    pipeline, losses, _ = trained(case, "fp64", tricks=tricks)
    for name, values in losses.items():
        torch.testing.assert_close(
            torch.stack(values),
            case.tensors[f"loss64/{name}"],
            rtol=tolerances["loss_rtol"],
            atol=tolerances["loss_atol"],
        )
    for network, keys, theirs in networks(pipeline):
        state = network.state_dict()
        order = list(case.group(f"final/{theirs}") or case.group(f"init/{theirs}"))
        assert len(order) == len(keys)
        # The tensors of a file come in the order of their names; the digest's rows in that of the reference's network.
        expected = case.tensors[f"final64_digest/{theirs}"]
        rows = {tuple(row.tolist()) for row in expected}
        for ours in weights_only(keys):
            (found,) = digest([state[ours]])
            nearest = min(rows, key=lambda row: float((torch.tensor(row) - found).abs().sum()))
            torch.testing.assert_close(
                found,
                torch.tensor(nearest, dtype=torch.float64),
                rtol=tolerances["final_digest_rtol"],
                atol=tolerances["final_digest_atol"],
            )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_float32_run_stays_within_the_tolerances(folder: Path) -> None:
    case = Case(folder)
    tolerances = case.about["tolerances"]
    _, losses, watched = trained(case, "fp32", tricks=SPEEDS["fast"])
    for name, values in losses.items():
        for step, value in enumerate(values):
            torch.testing.assert_close(
                value,
                case.tensors[f"loss/{name}"][step],
                rtol=tolerances["loss_rtol_per_step"][step],
                atol=tolerances["loss_atol"],
            )
    for name, values in watched.items():
        for step, value in enumerate(values):
            torch.testing.assert_close(
                value, case.tensors[f"stat/{name}"][step], rtol=0.0, atol=tolerances["stat_atol_per_step"][step]
            )
