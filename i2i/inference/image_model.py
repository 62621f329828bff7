"""A trained model as everything that uses one sees it: pictures in, pictures out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from i2i.errors import I2IError, ModelError, OutOfMemoryError, UsageError
from i2i.inference.model_file import (
    ModelMetadata,
    build_network,
    read_model_file,
    resolve_model,
    write_model_file,
)
from i2i.pipelines.protocol import EntryPoint

Precision = Literal["fp32", "bf16", "fp16"]
_AUTOCAST_TYPES: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ImageModel:
    """A trained network that maps pictures to pictures: one entry point of a model file.

    Args:
        network: maps (N, 3, H, W) in [-1, 1] to the same range; put into evaluation mode and moved to `device`.
        entry_point: its settings say what sizes the network needs.
        name: of the entry point, such as "AtoB".
        names: of all entry points in the file, the default one first.
        precision: fp32 is exact; bf16 and fp16 compute with fewer digits, which pays on some hardware.
        metadata: what the model file says about itself.
        path: of the model file.
    """

    def __init__(
        self,
        network: nn.Module,
        entry_point: EntryPoint,
        *,
        name: str,
        names: tuple[str, ...] = (),
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        metadata: ModelMetadata | None = None,
        path: Path | None = None,
    ) -> None:
        self.device = resolve_device(device) if isinstance(device, str) else device
        # Channels last: the order in which convolutions and norms of this size run fastest on CPU and GPU alike.
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.entry_point = entry_point
        self.name = name
        self.names = names or (name,)
        self.precision: Precision = precision
        self.metadata = metadata
        self.path = path

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Translate 8-bit pictures, rounding to the nearest grey level.

        Args:
            images: (N, H, W, 3) or one picture (H, W, 3), uint8, RGB, of any size.

        Returns:
            (N, H * scale, W * scale, 3) or (H * scale, W * scale, 3), uint8, RGB.

        Raises:
            OutOfMemoryError: the device cannot hold pictures of this size.
            ModelError: the network returned numbers that are not finite.
            ValueError: `images` are something else.
        """
        if images.ndim not in (3, 4) or images.shape[-1] != 3 or images.size == 0 or images.dtype != np.uint8:
            raise ValueError(f"images are {images.shape} {images.dtype}; expected (N, H, W, 3) or (H, W, 3) uint8")
        return self.translate_array(images) if images.ndim == 4 else self.translate_array(images[None])[0]

    def translate_array(self, images: np.ndarray) -> np.ndarray:
        """Like a call of the model, for uint8 or uint16 pictures (N, H, W, 3); the type is kept."""
        levels = 255 if images.dtype == np.uint8 else 65535
        with _out_of_memory_as_help(images.shape):
            values = torch.from_numpy(images.astype(np.int32 if levels > 255 else np.uint8)).to(self.device)
            floats = values.permute(0, 3, 1, 2).float().mul_(2.0 / levels).sub_(1.0)
            translated = self.translate_float(floats)
            # Rounded, not truncated: truncation darkens every picture by half a level.
            levelled = translated.add(1.0).mul_(levels / 2.0).round_().clamp_(0, levels)
            integers = levelled.to(torch.int32 if levels > 255 else torch.uint8)
            return integers.permute(0, 2, 3, 1).contiguous().cpu().numpy().astype(images.dtype, copy=False)

    @torch.inference_mode()
    def translate_float(self, images: Tensor) -> Tensor:
        """Translate (N, 3, H, W) in [-1, 1], of any size, to float32 (N, 3, H * scale, W * scale) in [-1, 1].

        Sides are padded at the right and at the bottom to what the network needs, by reflection, or by symmetric
        repetition where a picture is too small for that, and cut back afterwards.

        Raises:
            OutOfMemoryError: the device cannot hold pictures of this size.
            ModelError: the network returned numbers that are not finite.
        """
        height, width = images.shape[-2:]
        generator, scale = self.entry_point.generator, self.entry_point.scale
        with _out_of_memory_as_help((len(images), height, width)), self._numerics():
            images = images.to(self.device, torch.float32)
            padded_height = padded_side(height, generator.size_multiple, generator.minimum_pixels)
            padded_width = padded_side(width, generator.size_multiple, generator.minimum_pixels)
            padded = pad_mirrored(images, padded_height, padded_width)
            output = self.network(padded.contiguous(memory_format=torch.channels_last))
            output = output[..., : height * scale, : width * scale].float()
            if not torch.isfinite(output).all():
                raise ModelError(self._not_finite_message())
        return output

    @contextlib.contextmanager
    def _numerics(self) -> Iterator[None]:
        """The arithmetic of this model's precision on its device."""
        with contextlib.ExitStack() as stack:
            if self.precision != "fp32":
                stack.enter_context(torch.autocast(self.device.type, _AUTOCAST_TYPES[self.precision]))
            elif self.device.type == "cuda":
                # Convolutions would otherwise drop to TF32's ten bits in silence.
                cudnn = torch.backends.cudnn
                stack.enter_context(
                    cudnn.flags(
                        enabled=True, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
                    )
                )
            yield

    def _not_finite_message(self) -> str:
        where = self.path or "the model"
        if self.precision == "fp32":
            return f"{where}: the network returned numbers that are not finite - its weights are unusable, take another"
        return f"{where}: the network returned numbers that are not finite in {self.precision} - use --precision fp32"

    @staticmethod
    def save(
        path: Path,
        networks: Mapping[str, nn.Module | Mapping[str, Tensor]],
        entry_points: Mapping[str, EntryPoint],
        provenance: Mapping[str, Any],
        *,
        pipeline: str | None = None,
    ) -> None:
        """Write the networks that the entry points run to one model file; see `write_model_file`."""
        write_model_file(path, networks, entry_points, provenance, pipeline=pipeline)

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str = "auto",
        entry_point: str | None = None,
        precision: Precision = "fp32",
    ) -> ImageModel:
        """Load one entry point of the model at `path` (see `resolve_model`); without a name, the first.

        Raises:
            ModelError: no model, damaged, written by something else or by a newer version.
            UsageError: no such entry point, or the device is not there.
        """
        target = resolve_device(device)
        file = resolve_model(Path(path))
        metadata, tensors = read_model_file(file)
        names = tuple(metadata.entry_points)
        name = names[0] if entry_point is None else entry_point
        if name not in metadata.entry_points:
            raise UsageError(f"{file}: no direction {name!r} - this model has {', '.join(names)}")
        record = metadata.entry_points[name]
        return cls(
            build_network(file, record, tensors),
            EntryPoint(record.network, record.generator, record.domains, record.scale),
            name=name,
            names=names,
            device=target,
            precision=precision,
            metadata=metadata,
            path=file,
        )


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:n`` or ``mps`` means on this machine.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: unknown - use auto, cpu, cuda, cuda:n or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: not supported - use auto, cpu, cuda, cuda:n or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: {torch.cuda.device_count()} CUDA devices here - use --device auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: not available here - use --device auto or cpu")
    return device


def padded_side(pixels: int, multiple: int, minimum: int) -> int:
    """The smallest multiple of `multiple` that is at least `pixels` and `minimum`."""
    return -(-max(pixels, minimum) // multiple) * multiple


def pad_mirrored(images: Tensor, height: int, width: int) -> Tensor:
    """Extend (N, C, H, W) at the bottom and at the right to `height` and `width` by mirroring."""
    for axis, side in ((-2, height), (-1, width)):
        if side > images.shape[axis]:
            images = images.index_select(axis, _mirrored_indices(images.shape[axis], side, images.device))
    return images


def _mirrored_indices(have: int, want: int, device: torch.device) -> Tensor:
    position = torch.arange(want, device=device)
    if want - have < have:
        return torch.minimum(position, 2 * have - 2 - position)  # 0 1 2 1 0: reflection
    # 0 1 2 2 1 0 0 1 2 ...: symmetric, defined for any size, one pixel included, where reflection is not.
    position %= 2 * have
    return torch.minimum(position, 2 * have - 1 - position)


@contextlib.contextmanager
def _out_of_memory_as_help(shape: tuple[int, ...]) -> Iterator[None]:
    """Turn running out of memory, on CPU or GPU, into an error that names the size (N, H, W, ...)."""
    try:
        yield
    except I2IError:
        raise
    except (MemoryError, RuntimeError) as error:
        # PyTorch's CPU allocator raises a plain RuntimeError.
        text = str(error).lower()
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError) and "alloc" not in text:
            raise
        count, height, width = shape[:3]
        raise OutOfMemoryError(
            f"too little memory for {count} picture{'s' if count > 1 else ''} of {width}x{height} pixels"
            " - shrink the picture, use a smaller --batch or --device cpu"
        ) from error
