"""The verb through the real command line, with weights and outputs of the projects themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i.cli import main
from i2i.files import sha256_of_file
from i2i.inference import load_generator, load_model
from i2i.inference.model_files.model_file import read_metadata
from tests.export.reference_cut import CutGenerator
from tests.parity.cases import Case, folders
from tests.real import WEIGHTS

# Projects whose pictures are in [0, 1], and those whose pictures are in [-1, 1].
UPSCALERS = folders(
    "06a_msrresnet_x4", "06b_msrresnet_x2", "06c_rrdbnet_x4", "06d_rrdbnet_x2_unshuffle", "06g_srresnet_bn"
)
TRANSLATORS = folders("01a_resnet9_instance", "01c_resnet6_batch_eval", "01e_unet128_batch_eval")


def convert(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def checkpoint_of(case: Case, path: Path, content: Any = None) -> Path:
    (network,) = {"/".join(name.split("/")[:2]) for name in case.tensors if name.startswith("net/")}
    state = case.group(network)
    torch.save(state if content is None else {content: state}, path)
    return path


def test_there_are_cases() -> None:
    assert len(UPSCALERS) >= 3 and len(TRANSLATORS) >= 2


@pytest.mark.parametrize("folder", UPSCALERS, ids=lambda folder: folder.name)
def test_an_upscaler_gives_the_pictures_of_its_project(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(folder)
    checkpoint = checkpoint_of(case, tmp_path / "x.pth", "params_ema")
    assert convert(checkpoint, "-o", tmp_path / "m.safetensors", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    model = load_model(tmp_path / "m.safetensors", "cpu")
    assert (model.name, model.entry_point.scale) == ("upscale", said["scale"])
    compared = 0
    # Of bundled cases a grid of the outputs is there, every so many rows and columns.
    step = case.about.get("output_step", 1)
    for name, images in case.group("in").items():
        expected = case.tensors[f"out/{name.replace('x', 'y', 1)}"]
        got = ((model.translate_float(images * 2 - 1) + 1) / 2)[..., ::step, ::step]
        if case.about["hyper_parameters"]["network"] == "SRResNet":
            # That project clamps in the network.
            got = got.clamp(0, 1)
        torch.testing.assert_close(got, expected, atol=5e-5, rtol=1e-4)
        compared += 1
    assert compared
    provenance = read_metadata(tmp_path / "m.safetensors").provenance
    assert provenance["converted_from"] == "x.pth" and provenance["wrapper"] == "params_ema"
    assert provenance["sha256"] == said["sha256"] == sha256_of_file(checkpoint)


@pytest.mark.parametrize("folder", TRANSLATORS, ids=lambda folder: folder.name)
def test_a_translator_gives_the_pictures_of_its_project(folder: Path, tmp_path: Path) -> None:
    case = Case(folder)
    checkpoint = checkpoint_of(case, tmp_path / "latest_net_G_B.pth")
    assert convert(checkpoint, "-o", tmp_path / "m.safetensors", "--direction", "BtoA") == 0
    model = load_model(tmp_path / "m.safetensors", "cpu")
    assert (model.name, model.entry_point.domains) == ("BtoA", ("b", "a"))
    pairs = [(images, case.tensors[f"out/{name.replace('x', 'y', 1)}"]) for name, images in case.group("in").items()]
    # Of other sizes, theirs come back larger and ours in their own size.
    pairs = [(images, expected) for images, expected in pairs if images.shape == expected.shape]
    assert pairs
    for images, expected in pairs:
        torch.testing.assert_close(model.translate_float(images), expected, atol=5e-5, rtol=1e-4)


@pytest.fixture
def msrresnet(tmp_path: Path) -> Path:
    (folder,) = folders("06b_msrresnet_x2")
    return checkpoint_of(Case(folder), tmp_path / "net_g.pth", "params")


def test_it_says_what_the_model_is_and_how_to_use_it(
    msrresnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "m.safetensors"
    assert convert(msrresnet, "-o", out) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"{out}: upscale: msrresnet, enlarges pictures 2 times"
    assert second.startswith("from net_g.pth: layout basicsr_msrresnet, ") and second.endswith(" weights")
    assert third == f"use it: i2i translate --model {out} PICTURES"


def test_a_layout_may_be_demanded(msrresnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.safetensors"
    assert convert(msrresnet, "-o", out, "--layout", "basicsr_msrresnet") == 0
    capsys.readouterr()
    assert convert(msrresnet, "-o", out, "--layout", "basicsr_rrdb") == 5
    assert "not in the layout basicsr_rrdb, which lacks body.0.rdb1.conv1.weight" in capsys.readouterr().err
    assert convert(msrresnet, "-o", out, "--layout", "basicsr") == 2
    assert "leftthomas_srresnet" in capsys.readouterr().err


def test_an_unknown_layout_names_the_nearest_and_what_is_foreign(
    msrresnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(msrresnet, weights_only=True)["params"]
    odd = {"attention.key": torch.zeros(1), "attention.value": torch.zeros(1), "attention.query": torch.zeros(1)}
    torch.save(state | odd, tmp_path / "odd.pth")
    assert convert(tmp_path / "odd.pth", "-o", tmp_path / "m.safetensors") == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "odd.pth: unknown layout - nearest is basicsr_msrresnet, which does not know attention.key" in line
    del state["conv_hr.bias"]
    torch.save(state, tmp_path / "odd.pth")
    assert convert(tmp_path / "odd.pth", "-o", tmp_path / "m.safetensors") == 5
    assert "nearest is basicsr_msrresnet, which lacks conv_hr.bias" in capsys.readouterr().err
    torch.save({"features.0.kernel": torch.zeros(1)}, tmp_path / "odd.pth")
    assert convert(tmp_path / "odd.pth", "-o", tmp_path / "m.safetensors") == 5
    assert "are like none of leftthomas_srresnet" in capsys.readouterr().err
    assert not (tmp_path / "m.safetensors").exists()


def test_weights_that_make_no_picture_leave_no_file(
    msrresnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(msrresnet, weights_only=True)["params"]
    torch.save({name: weight * 1e30 for name, weight in state.items()}, tmp_path / "wild.pth")
    assert convert(tmp_path / "wild.pth", "-o", tmp_path / "m.safetensors") == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "wild.pth: the network returned numbers that are not finite" in line
    assert not (tmp_path / "m.safetensors").exists()


def test_wrong_arguments(msrresnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, reason in (
        ((msrresnet, "-o", tmp_path / "m.pth"), "ends in .safetensors"),
        (
            (msrresnet, "-o", tmp_path / "m.safetensors", "--direction", "AtoB"),
            "an upscaler (basicsr_msrresnet) has none",
        ),
    ):
        assert convert(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line
    assert convert(tmp_path / "none.pth", "-o", tmp_path / "m.safetensors") == 5
    assert "no such file" in capsys.readouterr().err


def test_a_checkpoint_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"anything")
    assert convert(path, "-o", path) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert path.read_bytes() == b"anything"


@torch.no_grad()
def test_an_antialiased_generator_gives_the_pictures_of_its_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = CutGenerator(width=4, blocks=2)
    torch.save(reference.state_dict(), tmp_path / "latest_net_G.pth")
    assert convert(tmp_path / "latest_net_G.pth", "-o", tmp_path / "m.safetensors", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["layout"], said["generator"]["sampling"]) == ("taesungp_resnet", "antialiased")
    assert {name for name in said["left_out"] if name.endswith("filt")} == {
        "model.7.filt", "model.11.filt", "model.14.filt", "model.18.filt",
    }  # fmt: skip
    model = load_model(tmp_path / "m.safetensors", "cpu")
    for height, width in ((16, 20), (32, 8)):
        images = torch.rand(2, 3, height, width) * 2 - 1
        torch.testing.assert_close(model.translate_float(images), reference(images), atol=2e-5, rtol=1e-4)


def test_files_of_old_versions_and_of_several_devices_are_the_same_network(tmp_path: Path) -> None:
    """Such as store statistics for instance norm and put a prefix before every name."""
    (folder,) = folders("01a_resnet9_instance")
    case = Case(folder)
    state = case.group("net/G")
    norms = [name.replace(".weight", "") for name in state if name.endswith(".weight")][:-1]
    stale = {}
    for name in norms:
        stem, _, place = name.rpartition(".")
        norm = f"{stem}.{int(place) + 1}"
        stale |= {f"{norm}.running_mean": torch.ones(1), f"{norm}.running_var": torch.ones(1)}
        stale[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    torch.save({f"module.{name}": value for name, value in (state | stale).items()}, tmp_path / "old.pth")
    torch.save(state, tmp_path / "new.pth", _use_new_zipfile_serialization=False)
    pictures = []
    for name in ("old", "new"):
        assert convert(tmp_path / f"{name}.pth", "-o", tmp_path / f"{name}.safetensors") == 0
        images = next(iter(case.group("in").values()))
        pictures.append(load_model(tmp_path / f"{name}.safetensors", "cpu").translate_float(images))
    assert torch.equal(*pictures)


@pytest.mark.parametrize("folder", folders("01j_checkpoint_layout"), ids=lambda folder: folder.name)
def test_the_files_of_the_reference_layout(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case(folder)
    files = sorted(folder.glob("*_net_G_A.pth"))
    if not files:
        pytest.skip("the bundled case has no files")
    assert len(files) == 2
    for file in files:
        assert convert(file, "-o", tmp_path / "m.safetensors") == 0
        model = load_model(tmp_path / "m.safetensors", "cpu")
        result = model.translate_float(case.tensors["in/x"])
        torch.testing.assert_close(result, case.tensors["out/G_A"], **case.about["tolerances"]["out"])
    capsys.readouterr()
    assert convert(folder / "latest_net_D_A.pth", "-o", tmp_path / "d.safetensors") == 5
    assert "no generator but a PatchGAN discriminator; its generators are in *_net_G*.pth" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["init", "final"])
def test_a_dcgan_gives_the_pictures_of_its_project(
    group: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = folders("04_dcgan")
    case = Case(folder)
    state = case.group(f"{group}/netG")
    if not state:
        pytest.skip("the bundled case has no final weights")
    torch.save(state, tmp_path / "netG_epoch_4.pth")
    assert convert(tmp_path / "netG_epoch_4.pth", "-o", tmp_path / "m.safetensors", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["layout"], said["entry_point"]) == ("pytorch_dcgan_generator", "generate")
    assert said["shape"] == {"channels": 3, "pixels": 64} and said["scale"] is None
    model = load_generator(tmp_path / "m.safetensors", "cpu")
    latents = case.tensors["in/fixed_noise"].flatten(1)
    if group == "final":
        expected = case.tensors["out/G_eval_final"]
        torch.testing.assert_close(model.runner(latents), expected, **case.about["tolerances"]["out"])
    pictures = model(latents)
    assert pictures.shape == (len(latents), 64, 64, 3) and pictures.std() > 0.1
    assert convert(tmp_path / "netG_epoch_4.pth", "-o", tmp_path / "n.safetensors", "--direction", "AtoB") == 2
    assert "a generator from latents (pytorch_dcgan_generator) has none" in capsys.readouterr().err


def test_fully_connected_generators_say_what_was_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 16), torch.nn.Tanh())
    torch.save(network.state_dict(), tmp_path / "G.ckpt")
    out = tmp_path / "m.safetensors"
    assert convert(tmp_path / "G.ckpt", "-o", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{out}: generate: mlp, 4 x 4 pixels, grey, from latents of width 5"
    assert lines[2:] == [
        "taken for granted, since the file does not say: ReLU behind each layer",
        f"use it: i2i generate --model {out}",
    ]
    latents = torch.randn(3, 5)
    with torch.no_grad():
        expected = network(latents).view(3, 1, 4, 4)
    torch.testing.assert_close(load_generator(out, "cpu").runner(latents), expected)


@pytest.mark.parametrize(
    ("file", "layout", "shape"),
    [
        ("srgan_leftthomas/netG_epoch_4_100.pth", "leftthomas_srresnet", 4),
        ("srgan_leftthomas/netG_epoch_2_100.pth", "leftthomas_srresnet", 2),
        ("fast_srgan/model.pt", "hasnainraz_srresnet", 4),
        ("realesrgan/realesr-animevideov3.pth", "basicsr_compact", 4),
        ("dcgan_csinva/mnist_gan_mlp_G--300.ckpt", "csinva_mlp", None),
        ("dcgan_csinva/mnist_dcgan_netD_epoch_99.pth", "no generator but the discriminator of a DCGAN", None),
        ("dcgan_csinva/lenet_epoch=12_test_acc=0.991.pth", "no generator but a LeNet classifier", None),
        *((f"lpips_lin/v0.{v}/{n}.pth", "LPIPS, a distance", None) for v in (0, 1) for n in ("alex", "squeeze", "vgg")),
    ],
)
def test_published_weights(
    file: str, layout: str, shape: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (WEIGHTS / file).exists():
        pytest.skip("no published weights beside this checkout")
    code = convert(WEIGHTS / file, "-o", tmp_path / "m.safetensors", "--json")
    said = capsys.readouterr()
    if " " in layout:
        assert code == 5 and layout in said.err and not (tmp_path / "m.safetensors").exists()
        return
    assert code == 0
    found = json.loads(said.out)
    assert (found["layout"], found["scale"], found["left_out"]) == (layout, shape, [])
    if shape is None:
        generator = load_generator(tmp_path / "m.safetensors", "cpu")
        digits = generator(generator.latents(range(32)))
        # White strokes on black: a wrong activation makes them grey.
        assert digits.shape == (32, 28, 28, 1) and 20 < digits.mean() < 45 and (digits < 8).mean() > 0.6
        return
    image = np.full((12, 14, 3), 120, np.uint8)
    enlarged = load_model(tmp_path / "m.safetensors", "cpu")(image)
    assert enlarged.shape == (12 * shape, 14 * shape, 3)
    assert np.abs(enlarged[8:-8, 8:-8].astype(int) - 120).mean() < 12, "grey stays about grey"


def test_every_published_file_is_tried() -> None:
    if not WEIGHTS.is_dir():
        pytest.skip("no published weights beside this checkout")
    (mark,) = (mark for mark in test_published_weights.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    tried = {file for file, *_ in mark.args[1]}
    there = {str(path.relative_to(WEIGHTS)) for path in WEIGHTS.rglob("*") if path.suffix in (".pth", ".pt", ".ckpt")}
    assert tried == there
