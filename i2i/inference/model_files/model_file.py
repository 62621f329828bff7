"""The one artifact of a training: a safetensors file that says itself how to be run.

Tensors are named ``<network>.<parameter>``. The metadata hold one entry, ``i2i``, a JSON text of two parts: ``model``
(format version, pipeline, entry points with the settings that build their generator, value range, provenance) and
``sha256``, the checksum over that part and all tensors: safetensors itself loads flipped bits without a word.

Format 1 knew entry points that translate pictures only; format 2 says of each entry point which ``kind`` it is; format
3 knows upscalers, and beside a network its twin that was trained on pixels alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from i2i.core.generators import LatentGeneratorSettings, PictureGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.errors import ModelError, UsageError, one_line
from i2i.inference.model_files.forms import SUPPORTED, form_of
from i2i.inference.model_files.model_bytes import read_model_bytes
from i2i.inference.tensor_files import write_tensors
from i2i.pipelines.protocol import EntryPoint, PictureEntryPoint

FORMAT_VERSION = 3

# One entry, for the library writes several in an order of its own mood: equal models must be equal files.
_METADATA_KEY = "i2i"


@dataclass(frozen=True)
class PictureRecord:
    """An entry point from picture to picture: what builds its network, and facts for readers without the code."""

    network: str
    generator: Annotated[PictureGeneratorSettings, Field(discriminator="kind")]
    domains: tuple[str, str] | None
    scale: int
    in_channels: int
    out_channels: int
    size_multiple: int
    minimum_pixels: int
    receptive_field: int | None
    normalization: str
    pixel_network: str | None = None
    """Network of the same make that was trained on pixels alone; a strength below 1 interpolates towards it."""
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True)
class LatentRecord:
    """An entry point from a latent to a picture: what builds its network, and facts for readers without the code."""

    network: str
    generator: Annotated[LatentGeneratorSettings, Field(discriminator="kind")]
    latent: int
    """Numbers in a latent, drawn from the standard normal distribution."""
    shape: ImageShape
    classes: int
    """Labels run from 0 to one less; 0: the network takes none."""
    kind: Literal["latent"] = "latent"


def _kind_of(record: object) -> str:
    """Files of format 1 say no kind: all they could hold was translation."""
    return str(record.get("kind", "picture") if isinstance(record, dict) else getattr(record, "kind", "picture"))


EntryPointRecord = PictureRecord | LatentRecord
_AnyRecord = Annotated[
    Annotated[PictureRecord, Tag("picture")] | Annotated[LatentRecord, Tag("latent")], Discriminator(_kind_of)
]
_Record = TypeVar("_Record", PictureRecord, LatentRecord)


@dataclass(frozen=True)
class ModelMetadata:
    """The JSON in a model file."""

    format_version: int
    entry_points: dict[str, _AnyRecord]
    pipeline: str | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def generates(self) -> bool:
        """Whether the model makes pictures out of latents."""
        return any(isinstance(record, LatentRecord) for record in self.entry_points.values())

    @property
    def translates(self) -> bool:
        """Whether the model makes pictures out of pictures."""
        return any(isinstance(record, PictureRecord) for record in self.entry_points.values())

    @property
    def description(self) -> str:
        """What the model is, in one phrase."""
        return "; ".join(f"{name}: {_described(record)}" for name, record in self.entry_points.items())


def _described(record: PictureRecord | LatentRecord) -> str:
    if isinstance(record, LatentRecord):
        return f"{record.generator.kind}, {record.shape}, from latents of width {record.latent}"
    what = "picture to picture" if record.scale == 1 else f"enlarges pictures {record.scale} times"
    return f"{record.generator.kind}, {what}{'' if record.pixel_network is None else ', strength 0 to 1'}"


# A setting unknown here would change the network; it must not be passed over.
_metadata_adapter: TypeAdapter[list[ModelMetadata]] = TypeAdapter(
    list[ModelMetadata], config=ConfigDict(extra="forbid", strict=False)
)


def write_model_file(
    path: Path,
    networks: Mapping[str, nn.Module | Mapping[str, Tensor]],
    entry_points: Mapping[str, EntryPoint],
    provenance: Mapping[str, Any],
    *,
    pipeline: str | None = None,
) -> None:
    """Write the networks that the entry points run to `path`, whole or not at all.

    Args:
        networks: modules or their state dicts by name; those that no entry point runs are left out.
        provenance: whatever says where the weights come from, as JSON can hold it.
        pipeline: name of the training method.

    Raises:
        StorageError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for network in sorted({name for entry in entry_points.values() for name in _networks_of(entry)}):
        source = networks[network]
        state = source.state_dict() if isinstance(source, nn.Module) else source
        for name, tensor in state.items():
            # Own contiguous memory: safetensors refuses tensors that share theirs, such as views of an EMA.
            tensors[f"{network}.{name}"] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu").copy_(
                tensor.detach()
            )
    metadata = ModelMetadata(
        format_version=FORMAT_VERSION,
        pipeline=pipeline,
        entry_points={name: _record(entry) for name, entry in entry_points.items()},
        provenance=dict(provenance),
    )
    text = json.dumps(_metadata_adapter.dump_python([metadata], mode="json")[0])
    write_tensors(Path(path), tensors, {_METADATA_KEY: _sealed(text, tensors)})


def resolve_model(path: Path) -> Path:
    """The model file that a user's ``--model`` means.

    A run folder stands for its ``best.safetensors`` if there, else its ``model.safetensors``; a checkpoint folder for
    the ``model.safetensors`` in it.

    Raises:
        ModelError: nothing there, or a kind of file that cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        for name in ("best.safetensors", "model.safetensors"):
            if (path / name).is_file():
                return path / name
        raise ModelError(f"{path}: no best.safetensors or model.safetensors in this folder - {SUPPORTED}")
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder - {SUPPORTED}")
    form_of(path)
    return path


def read_metadata(path: Path) -> ModelMetadata:
    """What the model file at `path` says about itself, without a look at its tensors or the checksum.

    Raises:
        ModelError: unreadable, written by something else or by a newer version.
    """
    with _damage_as_help(path), safe_open(path, "pt", device="cpu") as file:
        sealed = _entry_in(path, file.metadata())
    text, _ = _unsealed(path, sealed)
    return _parse_metadata(path, text)


def select_entry_point(
    path: Path, metadata: ModelMetadata, wanted: type[_Record], name: str | None = None
) -> tuple[str, _Record]:
    """The entry point of the kind `wanted` that is called `name`, or the first such.

    Raises:
        ModelError: the model is of another kind; the message says what it is and which command fits.
        UsageError: it has no entry point of this name.
    """
    found = {key: record for key, record in metadata.entry_points.items() if isinstance(record, wanted)}
    if not found and wanted is LatentRecord:
        raise ModelError(
            f"{path}: no generator, this model translates pictures ({metadata.description})"
            f" - use i2i translate --model {path} PICTURES"
        )
    if not found:
        raise ModelError(
            f"{path}: translates no pictures, this model makes them out of nothing ({metadata.description})"
            f" - use i2i generate --model {path}"
        )
    if name is None:
        return next(iter(found.items()))
    if name not in found:
        raise UsageError(f"{path}: no direction {name!r} - this model has {', '.join(found)}")
    return name, found[name]


def read_model_file(path: Path, content: bytes | None = None) -> tuple[ModelMetadata, dict[str, Tensor]]:
    """Read metadata and tensors of the model file at `path` after checking them against the checksum.

    Args:
        content: of the file, where it was read already.

    Raises:
        ModelError: unreadable, damaged, written by something else or by a newer version.
    """
    # At once, for the file may be replaced by a training that goes on: metadata and tensors must be of one.
    held = read_model_bytes(path).content if content is None else content
    with _damage_as_help(path):
        tensors = load(held)
        # The library gives no metadata of bytes; what they are it has checked by now.
        header = json.loads(held[8 : 8 + int.from_bytes(held[:8], "little")])
        sealed = _entry_in(path, header.get("__metadata__"))
    text, checksum = _unsealed(path, sealed)
    if checksum != _checksum(text, tensors):
        raise ModelError(f"{path}: damaged, the checksum does not match - copy it anew or take another checkpoint")
    return _parse_metadata(path, text), tensors


def build_network(
    path: Path, record: EntryPointRecord, tensors: Mapping[str, Tensor], network_name: str | None = None
) -> nn.Module:
    """The network of an entry point with its weights out of the `tensors` of the file at `path`.

    Args:
        network_name: of another network of the same make, such as the entry point's `pixel_network`.

    Raises:
        ModelError: settings and tensors do not fit each other.
    """
    name = network_name or record.network
    prefix = name + "."
    found = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    # Without memory for a start: the settings are the file's own words, and only what it holds is set aside for real.
    _check_fit(path, name, _network(path, name, record, "meta").state_dict(), found)
    network = _network(path, name, record, "cpu")
    network.load_state_dict(found)
    return network.float()


def _network(path: Path, name: str, record: EntryPointRecord, device: str) -> nn.Module:
    try:
        # Building draws initial weights; the caller's random numbers must not depend on that.
        with torch.random.fork_rng(devices=[]), torch.device(device):
            return _built(record)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise ModelError(
            f"{path}: network {name} cannot be built ({one_line(error)}) - the file does not fit this version of i2i"
        ) from error


def _check_fit(path: Path, name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing, surplus = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or surplus:
        what = f"lacks {missing[0]}" if missing else f"has an unknown {surplus[0]}"
        raise ModelError(
            f"{path}: network {name} {what} ({len(missing)} missing, {len(surplus)} unknown tensors)"
            " - the file does not fit this version of i2i"
        )
    for key, tensor in expected.items():
        if tensor.shape != found[key].shape:
            raise ModelError(
                f"{path}: {name}.{key} is {tuple(found[key].shape)}, the network needs {tuple(tensor.shape)}"
                " - the file does not fit its own settings"
            )
        # Floats of any width are taken; of complex numbers PyTorch would take half.
        if tensor.is_floating_point() != found[key].is_floating_point():
            raise ModelError(
                f"{path}: {name}.{key} is {found[key].dtype}, the network needs {tensor.dtype}"
                " - the file does not fit its own settings"
            )


def _networks_of(entry: EntryPoint) -> list[str]:
    twin = entry.pixel_network if isinstance(entry, PictureEntryPoint) else None
    return [entry.network] if twin is None else [entry.network, twin]


def _built(record: EntryPointRecord) -> nn.Module:
    if isinstance(record, LatentRecord):
        return record.generator.build(record.shape, record.classes)
    return record.generator.build(record.in_channels, record.out_channels)


def _record(entry: EntryPoint) -> EntryPointRecord:
    if not isinstance(entry, PictureEntryPoint):
        return LatentRecord(
            network=entry.network,
            generator=entry.generator,
            latent=entry.generator.latent,
            shape=entry.shape,
            classes=entry.classes,
        )
    generator = entry.generator
    return PictureRecord(
        network=entry.network,
        generator=generator,
        domains=entry.domains,
        scale=entry.scale,
        in_channels=3,
        out_channels=3,
        size_multiple=generator.size_multiple,
        minimum_pixels=generator.minimum_pixels,
        receptive_field=generator.receptive_field,
        normalization=generator.normalization,
        pixel_network=entry.pixel_network,
    )


def _entry_in(path: Path, metadata: Mapping[str, str] | None) -> str:
    if not metadata or _METADATA_KEY not in metadata:
        raise ModelError(f"{path}: a safetensors file without i2i's metadata - {SUPPORTED}, or try i2i convert")
    return metadata[_METADATA_KEY]


@contextlib.contextmanager
def _damage_as_help(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error} - check the file") from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path}: damaged or not a safetensors file ({one_line(error)}) - copy it anew") from error


def _check_format_version(path: Path, text: str) -> None:
    try:
        version = int(json.loads(text)["format_version"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path}: i2i's metadata are unreadable ({one_line(error)}) - copy the file anew") from error
    if version > FORMAT_VERSION:
        raise ModelError(f"{path}: model format {version}, this i2i reads up to {FORMAT_VERSION} - install a newer i2i")


def _parse_metadata(path: Path, text: str) -> ModelMetadata:
    try:
        metadata = _metadata_adapter.validate_json(f"[{text}]")[0]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise ModelError(
            f"{path}: metadata {where}: {one_line(first['msg'])} - the file does not fit this version of i2i"
        ) from error
    if not metadata.entry_points:
        raise ModelError(f"{path}: metadata name no entry point - the file does not fit this version of i2i")
    return metadata


def _sealed(text: str, tensors: Mapping[str, Tensor]) -> str:
    """The metadata and a checksum over them and the tensors, as one JSON text."""
    return json.dumps({"model": json.loads(text), "sha256": _checksum(text, tensors)})


def _unsealed(path: Path, sealed: str) -> tuple[str, str]:
    """The metadata's own JSON text and the recorded checksum, after a look at the format version."""
    try:
        content = json.loads(sealed)
        if isinstance(content, dict) and "model" not in content:
            raise ModelError(f"{path}: holds no model - of latents, i2i generate --latents makes pictures")
        text, checksum = json.dumps(content["model"]), str(content["sha256"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path}: i2i's metadata are unreadable ({one_line(error)}) - copy the file anew") from error
    _check_format_version(path, text)
    return text, checksum


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the metadata text and, in the order of their names, the tensors' names, types, shapes and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
