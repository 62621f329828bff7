from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from i2i.core.generators import LatentGeneratorSettings, ResNetGeneratorSettings, UNetGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.errors import ModelError, StorageError, UsageError
from i2i.files import TEMPORARY
from i2i.inference import (
    ImageModel,
    LatentModel,
    load_any_model,
    load_generator,
    load_model,
    resolve_model,
    tensor_files,
)
from i2i.inference.model_files import model_file as module
from i2i.inference.model_files.model_file import (
    FORMAT_VERSION,
    LatentRecord,
    PictureRecord,
    build_network,
    read_metadata,
    read_model_file,
    write_model_file,
)
from i2i.pipelines.protocol import LatentEntryPoint, PictureEntryPoint
from tests.inference.models import (
    COLOUR,
    DCGAN,
    GREY,
    MLP,
    R3GAN,
    SNGAN,
    generator_network,
    write_generator,
    write_upscaler,
)

RESNET = ResNetGeneratorSettings(base_channels=2, blocks=1)
UNET = UNetGeneratorSettings(base_channels=2, levels=5)


def rewrite(path: Path, change_metadata=None, change_tensors=None) -> None:
    """Alter a model file and give it a checksum that fits, as another program might."""
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["i2i"])["model"]
    tensors = load_file(path)
    if change_metadata is not None:
        change_metadata(metadata)
    if change_tensors is not None:
        change_tensors(tensors)
    text = json.dumps(metadata)
    save_file(tensors, path, metadata={"i2i": module._sealed(text, tensors)})


def assert_one_line_that_names_the_file(error: ModelError, path: Path) -> None:
    assert error.exit_code == 5
    assert "\n" not in str(error)
    assert str(path) in str(error)


def test_everything_that_was_saved_is_read_again(tmp_path: Path) -> None:
    resnet, unet = RESNET.build(), UNET.build()
    path = tmp_path / "new" / "model.safetensors"
    entry_points = {
        "AtoB": PictureEntryPoint("generator_ab", RESNET, ("a", "b")),
        "BtoA": PictureEntryPoint("generator_ba", UNET, ("b", "a")),
    }
    networks = {"generator_ab": resnet, "generator_ba": unet.state_dict(), "discriminator_a": torch.nn.Linear(1, 1)}
    write_model_file(path, networks, entry_points, {"recipe": "r", "images": 7, "nested": {"x": [1.5, None]}})
    metadata, tensors = read_model_file(path)
    assert list(metadata.entry_points) == ["AtoB", "BtoA"], "the first one is the default"
    assert metadata.format_version == FORMAT_VERSION
    assert metadata.provenance == {"recipe": "r", "images": 7, "nested": {"x": [1.5, None]}}
    forth, back = metadata.entry_points.values()
    assert isinstance(forth, PictureRecord) and isinstance(back, PictureRecord)
    assert (forth.generator, back.generator) == (RESNET, UNET)
    assert (forth.size_multiple, forth.minimum_pixels, forth.receptive_field) == (4, 8, RESNET.receptive_field)
    assert (back.size_multiple, back.receptive_field, back.normalization) == (32, UNET.receptive_field, "batch")
    expected = {f"generator_ab.{name}": value for name, value in resnet.state_dict().items()}
    expected |= {f"generator_ba.{name}": value for name, value in unet.state_dict().items()}
    assert tensors.keys() == expected.keys(), "networks that no entry point runs are left out"
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())


def test_saves_weights_that_share_memory_or_lie_channels_last(tmp_path: Path) -> None:
    network = RESNET.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = network.state_dict()
    flat = torch.cat([value.reshape(-1) for value in state.values()])
    parts = flat.split([value.numel() for value in state.values()])
    views = {name: part.view(value.shape) for (name, value), part in zip(state.items(), parts, strict=True)}
    write_model_file(tmp_path / "m.safetensors", {"net": views}, {"AtoB": PictureEntryPoint("net", RESNET)}, {})
    _, tensors = read_model_file(tmp_path / "m.safetensors")
    assert all(torch.equal(tensors[f"net.{name}"], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("settings", "shape", "classes"),
    [(MLP, GREY, 0), (MLP, COLOUR, 3), (DCGAN, GREY, 0), (DCGAN, GREY, 10), (SNGAN, COLOUR, 4), (R3GAN, COLOUR, 0)],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_generators_are_read_again(
    tmp_path: Path, settings: LatentGeneratorSettings, shape: ImageShape, classes: int
) -> None:
    path = write_generator(tmp_path / "m.safetensors", settings, shape, classes, {"class_names": ["a"]})
    metadata, tensors = read_model_file(path)
    (record,) = metadata.entry_points.values()
    assert isinstance(record, LatentRecord)
    assert (record.generator, record.shape, record.classes) == (settings, shape, classes)
    assert metadata.provenance == {"class_names": ["a"]}
    expected = generator_network(settings, shape, classes).state_dict()
    built = build_network(path, record, tensors).state_dict()
    assert built.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in built.items())


def test_what_a_generator_needs_can_be_read_without_our_code(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "m.safetensors", DCGAN, GREY, 10)
    with safe_open(path, "pt") as file:
        entry = json.loads(file.metadata()["i2i"])["model"]["entry_points"]["generate"]
    assert entry["kind"] == "latent"
    assert (entry["latent"], entry["classes"], entry["shape"]) == (12, 10, {"channels": 1, "pixels": 28})


def test_files_of_format_1_are_read_as_translation(two_way_model: Path) -> None:
    def as_format_1(metadata: dict) -> None:
        metadata["format_version"] = 1
        for entry in metadata["entry_points"].values():
            del entry["kind"]

    rewrite(two_way_model, change_metadata=as_format_1)
    metadata, _ = read_model_file(two_way_model)
    assert metadata.format_version == 1
    assert all(isinstance(record, PictureRecord) for record in metadata.entry_points.values())
    assert isinstance(load_model(two_way_model, "cpu"), ImageModel)


def test_files_of_format_2_have_no_second_network(two_way_model: Path) -> None:
    def as_format_2(metadata: dict) -> None:
        metadata["format_version"] = 2
        for entry in metadata["entry_points"].values():
            del entry["pixel_network"]

    rewrite(two_way_model, change_metadata=as_format_2)
    metadata, _ = read_model_file(two_way_model)
    for record in metadata.entry_points.values():
        assert isinstance(record, PictureRecord) and record.pixel_network is None
    assert isinstance(load_model(two_way_model, "cpu"), ImageModel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("generator_pixel.tail.bias"), r"network generator_pixel lacks tail\.bias"),
        (
            lambda tensors: tensors.update({"generator_pixel.tail.bias": torch.zeros(4)}),
            r"generator_pixel\.tail\.bias is",
        ),
    ],
)
def test_a_second_network_of_another_make_is_a_model_error(tmp_path: Path, change, message: str) -> None:
    path = write_upscaler(tmp_path / "m.safetensors")
    rewrite(path, change_tensors=change)
    load_model(path, "cpu")
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path, "cpu", strength=0.5)
    assert_one_line_that_names_the_file(caught.value, path)


def test_metadata_alone_are_read_without_the_tensors(two_way_model: Path, tmp_path: Path) -> None:
    content = bytearray(two_way_model.read_bytes())
    content[-1] ^= 1
    two_way_model.write_bytes(content)
    metadata = read_metadata(two_way_model)
    assert (metadata.translates, metadata.generates) == (True, False)
    assert metadata.description == "AtoB: resnet, picture to picture; BtoA: resnet, picture to picture"
    generator = read_metadata(write_generator(tmp_path / "g.safetensors", MLP, COLOUR))
    assert (generator.translates, generator.generates) == (False, True)
    assert generator.description == "generate: mlp, 32 x 32 pixels, colour, from latents of width 5"
    with pytest.raises(ModelError, match="cannot be read"):
        read_metadata(tmp_path / "none.safetensors")


def test_a_model_of_the_other_kind_says_what_it_is_and_which_command_fits(two_way_model: Path, tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "g.safetensors")
    with pytest.raises(ModelError, match=r"translates no pictures.*dcgan, 28 x 28.*use i2i generate --model") as caught:
        load_model(generator, "cpu")
    assert_one_line_that_names_the_file(caught.value, generator)
    with pytest.raises(ModelError, match=r"no generator.*AtoB: resnet.*use i2i translate --model") as caught:
        load_generator(two_way_model, "cpu")
    assert_one_line_that_names_the_file(caught.value, two_way_model)


def test_either_kind_can_be_loaded(two_way_model: Path, tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "g.safetensors")
    assert isinstance(load_any_model(generator, "cpu"), LatentModel)
    translator = load_any_model(two_way_model.parent, "cpu", "BtoA")
    assert isinstance(translator, ImageModel) and translator.name == "BtoA"
    with pytest.raises(UsageError, match="a generator has no direction 'AtoB'"):
        load_any_model(generator, "cpu", "AtoB")


def test_a_file_may_hold_both_kinds(tmp_path: Path) -> None:
    path = tmp_path / "both.safetensors"
    networks = {"g": generator_network(MLP, GREY), "t": RESNET.build()}
    entry_points = {"generate": LatentEntryPoint("g", MLP, GREY), "AtoB": PictureEntryPoint("t", RESNET)}
    write_model_file(path, networks, entry_points, {})
    assert load_generator(path, "cpu").name == "generate"
    assert load_model(path, "cpu").names == ("AtoB",)
    with pytest.raises(UsageError, match="no direction 'generate' - this model has AtoB"):
        load_model(path, "cpu", "generate")


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such modes")
def test_whoever_may_read_other_new_files_may_read_a_model(two_way_model: Path) -> None:
    other = two_way_model.with_name("other.txt")
    other.touch()
    assert two_way_model.stat().st_mode == other.stat().st_mode


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise module.SafetensorError("No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(StorageError, match="No space left"):
        write_model_file(path, {"net": RESNET.build()}, {"AtoB": PictureEntryPoint("net", RESNET)}, {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_flipped_bit_anywhere_is_found(two_way_model: Path) -> None:
    content = two_way_model.read_bytes()
    # From the header's text, through the tensors, to the last byte.
    positions = [9, 60, len(content) // 4, len(content) // 2, len(content) - 1]
    positions += list(range(100, len(content), len(content) // 40))
    for position in positions:
        for bit in (0, 6):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            two_way_model.write_bytes(damaged)
            with pytest.raises(ModelError) as caught:
                load_model(two_way_model, "cpu")
            assert_one_line_that_names_the_file(caught.value, two_way_model)
    two_way_model.write_bytes(content)
    load_model(two_way_model, "cpu")


def test_safetensors_alone_would_not_find_it(two_way_model: Path) -> None:
    content = bytearray(two_way_model.read_bytes())
    content[-1] ^= 64
    two_way_model.write_bytes(content)
    load_file(two_way_model)  # the reason for a checksum of our own
    with pytest.raises(ModelError, match="checksum"):
        load_model(two_way_model, "cpu")


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1, -500])
def test_truncated_files_are_model_errors(two_way_model: Path, length: int) -> None:
    two_way_model.write_bytes(two_way_model.read_bytes()[:length])
    with pytest.raises(ModelError) as caught:
        load_model(two_way_model, "cpu")
    assert_one_line_that_names_the_file(caught.value, two_way_model)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\xff" * 64, b"not a model at all, just text" * 9], ids=str)
def test_other_content_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(path, "cpu")
    assert_one_line_that_names_the_file(caught.value, path)


def test_a_safetensors_file_of_another_project_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="without i2i's metadata"):
        load_model(path, "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda metadata: metadata.update(format_version=FORMAT_VERSION + 1), "install a newer i2i"),
        (lambda metadata: metadata.pop("format_version"), "unreadable"),
        (lambda metadata: metadata.pop("entry_points"), "entry_points"),
        (lambda metadata: metadata.update(entry_points={}), "no entry point"),
        (lambda metadata: metadata["entry_points"]["AtoB"]["generator"].update(kind="mystery"), "mystery"),
        (lambda metadata: metadata["entry_points"]["AtoB"]["generator"].update(new_setting=1), "new_setting"),
        (lambda metadata: metadata["entry_points"]["AtoB"]["generator"].update(blocks="many"), "blocks"),
        (lambda metadata: metadata["entry_points"]["AtoB"].update(kind="riddle"), "riddle"),
        (lambda metadata: metadata["entry_points"]["AtoB"].update(kind="latent"), "AtoB"),
        (lambda metadata: metadata["entry_points"].update(AtoB=3), "AtoB"),
        (lambda metadata: metadata["entry_points"]["AtoB"].update(network="elsewhere"), "elsewhere lacks"),
        (lambda metadata: metadata["entry_points"]["AtoB"]["generator"].update(blocks=2), "lacks blocks"),
        (lambda metadata: metadata["entry_points"]["AtoB"]["generator"].update(base_channels=4), "the network needs"),
    ],
)
def test_metadata_that_do_not_fit_are_model_errors(two_way_model: Path, change, message: str) -> None:
    rewrite(two_way_model, change_metadata=change)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(two_way_model, "cpu")
    assert_one_line_that_names_the_file(caught.value, two_way_model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry["shape"].update(channels=2), r"shape.*channels is 2"),
        (lambda entry: entry["shape"].update(pixels=30), "cannot be built.*28 or 32"),
        (lambda entry: entry.update(classes=11), "the network needs"),
        (lambda entry: entry["generator"].update(latent=0), "latent is 0"),
        (lambda entry: entry["generator"].update(latent=13), "the network needs"),
    ],
)
def test_metadata_of_generators_that_do_not_fit_are_model_errors(tmp_path: Path, change, message: str) -> None:
    path = write_generator(tmp_path / "m.safetensors", DCGAN, GREY, 10)
    rewrite(path, change_metadata=lambda metadata: change(metadata["entry_points"]["generate"]))
    with pytest.raises(ModelError, match=message) as caught:
        load_generator(path, "cpu")
    assert_one_line_that_names_the_file(caught.value, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("net_AtoB.tail.1.bias"), r"lacks tail\.1\.bias \(1 missing, 0 unknown"),
        (lambda tensors: tensors.update({"net_AtoB.extra": torch.zeros(1)}), "unknown extra"),
        (
            lambda tensors: tensors.update({"net_AtoB.tail.1.bias": torch.zeros(4)}),
            r"is \(4,\), the network needs \(3,\)",
        ),
        (
            lambda tensors: tensors.update({"net_AtoB.tail.1.bias": torch.zeros(3, dtype=torch.complex64)}),
            r"is torch\.complex64, the network needs torch\.float32",
        ),
        (
            lambda tensors: tensors.update({"net_AtoB.tail.1.bias": torch.zeros(3, dtype=torch.int64)}),
            r"is torch\.int64, the network needs torch\.float32",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_model_errors(two_way_model: Path, change, message: str) -> None:
    rewrite(two_way_model, change_tensors=change)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(two_way_model, "cpu")
    assert_one_line_that_names_the_file(caught.value, two_way_model)


def test_the_helper_above_alone_changes_nothing(two_way_model: Path) -> None:
    rewrite(two_way_model)
    assert isinstance(load_model(two_way_model, "cpu"), ImageModel)


class _Planted:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "name", ["evil.pth", "evil.pt", "evil.ckpt", "evil.pt2", "evil.bin", "evil.safetensors", "evil"]
)
def test_a_pickle_is_never_executed(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "executed"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_Planted(mark)))
    pickle.loads(path.read_bytes())
    assert mark.exists(), "the trap must work"
    mark.unlink()
    with pytest.raises(ModelError) as caught:
        load_model(path, "cpu")
    assert_one_line_that_names_the_file(caught.value, path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("suffix", "help"),
    [
        (".pth", r"i2i convert .*model\.pth -o"),
        (".CKPT", r"i2i convert .*model\.CKPT -o"),
        (".pt2", r"damaged or not a model file"),
        (".txt", r"not a model file - give a run folder"),
    ],
)
def test_other_kinds_of_model_are_refused_with_what_to_do(tmp_path: Path, suffix: str, help: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.touch()
    with pytest.raises(ModelError, match=help):
        resolve_model(path)


def test_a_folder_stands_for_its_best_model_then_its_last(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no best\.safetensors"):
        resolve_model(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert resolve_model(tmp_path) == tmp_path / "model.safetensors"
    (tmp_path / "best.safetensors").touch()
    assert resolve_model(tmp_path) == tmp_path / "best.safetensors"
    with pytest.raises(ModelError, match="no such file"):
        resolve_model(tmp_path / "nothing")


def test_a_run_folder_can_be_loaded(two_way_model: Path) -> None:
    assert load_model(two_way_model.parent, "cpu").path == two_way_model


def test_what_a_killed_write_leaves_is_known_as_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that writes tensors begins under a name of its own, of which nobody could tell whose it is."""
    places: list[Path] = []

    def save(tensors: object, path: Path, metadata: object) -> None:
        places.append(path.parent)
        path.touch()

    monkeypatch.setattr(tensor_files, "save_file", save)
    tensor_files.write_tensors(tmp_path / "x.safetensors", {}, {})
    (place,) = places
    assert place.parent == tmp_path and place.name.startswith(TEMPORARY)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
