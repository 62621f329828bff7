"""A trained model as everything that uses one sees it: pictures in, pictures out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2i.errors import ModelError, UsageError
from i2i.inference.consistency import back_project
from i2i.inference.levels import floats_of, levels_of
from i2i.inference.model_files.forms import Form
from i2i.inference.model_files.loading import RunnerSettings, open_model
from i2i.inference.model_files.model_file import ModelMetadata, PictureRecord, select_entry_point
from i2i.inference.model_files.strength import check_strength
from i2i.inference.runners import Runner, RunnerChoice
from i2i.inference.runtime import (
    Precision,
    engine_failure_as_help,
    not_finite_message,
    out_of_memory_as_help,
    resolve_device,
)
from i2i.pipelines.protocol import PictureEntryPoint

_REMEDY = "shrink the picture, use a smaller --batch or --device cpu"


class ImageModel:
    """A trained network that maps pictures to pictures: one entry point of a model file.

    Args:
        runner: computes the network, which maps (N, 3, H, W) in [-1, 1] to the same range.
        entry_point: its settings say what the network needs and sees.
        name: of the entry point, such as "AtoB".
        names: of all entry points in the file, the default one first.
        consistent: make the results of an upscaler shrink back to what they were made from, see
            `i2i.inference.consistency`.
        metadata: what the model file says about itself.
        path: of the model file.
        choice: how the runner was chosen, where there was a choice.
        sha256: of the model file, as 64 hexadecimal digits, when it was read.
        strength: of what an upscaler invents, 0 to 1: that of this network.
        eight_bits: whether the network rounds to 8 bits itself, as an exported graph can.
        form: of the model file.

    Raises:
        UsageError: `consistent` with a network that keeps the size.
    """

    def __init__(
        self,
        runner: Runner,
        entry_point: PictureEntryPoint,
        *,
        name: str,
        names: tuple[str, ...] = (),
        consistent: bool = False,
        metadata: ModelMetadata | None = None,
        path: Path | None = None,
        choice: RunnerChoice | None = None,
        sha256: str | None = None,
        strength: float = 1.0,
        eight_bits: bool = False,
        form: Form | None = None,
    ) -> None:
        if consistent and entry_point.scale == 1:
            where = path or "the model"
            raise UsageError(
                f"{where}: --consistent is for upscalers, and this model keeps the size - leave --consistent out"
            )
        self.runner = runner
        self.entry_point = entry_point
        self.name = name
        self.names = names or (name,)
        self.consistent = consistent
        self.metadata = metadata
        self.path = path
        self.choice = choice
        self.sha256 = sha256
        self.strength = strength
        self.eight_bits = eight_bits
        self.form: Form | None = form

    @property
    def device(self) -> torch.device:
        """Where tensors are taken and given."""
        return self.runner.device

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network."""
        return self.runner.precision

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Translate 8-bit pictures, rounding to the nearest grey level.

        Args:
            images: (N, H, W, 3) or one picture (H, W, 3), uint8, RGB, of any size.

        Returns:
            (N, H * scale, W * scale, 3) or (H * scale, W * scale, 3), uint8, RGB.

        Raises:
            OutOfMemoryError: the device cannot hold pictures of this size.
            ModelError: the network returned numbers that are not finite, or its engine failed.
            ValueError: `images` are something else.
        """
        if images.ndim not in (3, 4) or images.shape[-1] != 3 or images.size == 0 or images.dtype != np.uint8:
            raise ValueError(f"images are {images.shape} {images.dtype}; expected (N, H, W, 3) or (H, W, 3) uint8")
        return self.translate_array(images) if images.ndim == 4 else self.translate_array(images[None])[0]

    def translate_array(self, images: np.ndarray) -> np.ndarray:
        """Like a call of the model, for uint8 or uint16 pictures (N, H, W, 3); the type is kept."""
        with out_of_memory_as_help(*images.shape[:3], remedy=_REMEDY):
            return levels_of(self.translate_float(floats_of(images, self.device)), images.dtype)

    @torch.inference_mode()
    def translate_float(self, images: Tensor) -> Tensor:
        """Translate (N, 3, H, W) in [-1, 1], of any size, to float32 (N, 3, H * scale, W * scale) of about that range.

        Most upscalers overshoot it a little; only what is made consistent is clamped.

        Raises:
            OutOfMemoryError: the device cannot hold pictures of this size.
            ModelError: the network returned numbers that are not finite, pictures of another size than the model says,
                or its engine failed.
        """
        height, width = images.shape[-2:]
        with out_of_memory_as_help(len(images), height, width, _REMEDY):
            images = images.to(self.device, torch.float32)
            with engine_failure_as_help(self.path, self.runner.name):
                output = self.runner(images)
            scale = self.entry_point.scale
            if output.shape != (len(images), 3, height * scale, width * scale):
                raise ModelError(
                    f"{self.path or 'the model'}: gives {tuple(output.shape)} for {tuple(images.shape)} and says that"
                    f" it enlarges {scale} times - the file does not fit its own settings, export it anew"
                )
            if not torch.isfinite(output).all():
                raise ModelError(not_finite_message(self.path, self.precision))
        return self._corrected(output, images) if self.consistent else output

    def _corrected(self, output: Tensor, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        # In fp32 whatever the network's arithmetic: what bf16 rounds away would come back as noise.
        with out_of_memory_as_help(len(images), height, width, _REMEDY):
            return back_project(output, images, self.entry_point.scale)

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str = "auto",
        entry_point: str | None = None,
        precision: Precision = "fp32",
        *,
        strength: float = 1.0,
        consistent: bool = False,
        runner: str = "auto",
        trust: bool = False,
        worthwhile: bool = False,
        expected_sha256: str | None = None,
    ) -> ImageModel:
        """Load one entry point of the model at `path` (see `resolve_model`); without a name, the first.

        Args:
            strength: 0 to 1, of what an upscaler invents; see `i2i.inference.model_files.strength`.
            consistent: see the class.
            runner: name of an engine, or "auto"; see `i2i.inference.runners`.
            trust: open a file that may carry code; see `i2i.inference.model_files.trust`.
            worthwhile: whether "auto" may take seconds to find the fastest; else it takes the first that fits.
            expected_sha256: that of the model when it was first loaded, where it is loaded again.

        Raises:
            ModelError: no model, damaged, written by something else or by a newer version, no such kind of model, not
                trusted, or not as expected.
            UsageError: no such entry point, the device or the runner is not there, or the model or the runner cannot
                do what was asked.
        """
        check_strength(strength)
        target = resolve_device(device)
        source = open_model(path, trust=trust, expected_sha256=expected_sha256)
        name, record = select_entry_point(source.path, source.metadata, PictureRecord, entry_point)
        settings = RunnerSettings(runner=runner, precision=precision, strength=strength, worthwhile=worthwhile)
        computed, choice, entry = source.runner(record, target, settings)
        assert isinstance(entry, PictureEntryPoint)
        records = source.metadata.entry_points
        return cls(
            computed,
            entry,
            name=name,
            names=tuple(key for key, other in records.items() if isinstance(other, PictureRecord)),
            consistent=consistent,
            metadata=source.metadata,
            path=source.path,
            choice=choice,
            sha256=source.sha256,
            strength=source.strength_of(settings),
            eight_bits=source.eight_bits,
            form=source.form,
        )
