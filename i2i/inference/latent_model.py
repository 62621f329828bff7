"""A trained generator as everything that uses one sees it: latents in, pictures out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2i.errors import DataError, ModelError, UsageError
from i2i.inference.generation.latents import draw_latents
from i2i.inference.levels import levels_of
from i2i.inference.model_files.loading import RunnerSettings, open_model
from i2i.inference.model_files.model_file import LatentRecord, ModelMetadata, select_entry_point
from i2i.inference.runners import Runner, RunnerChoice
from i2i.inference.runtime import (
    Precision,
    engine_failure_as_help,
    not_finite_message,
    out_of_memory_as_help,
    resolve_device,
)
from i2i.pipelines.protocol import LatentEntryPoint

BLOCK = 16
"""Rows that go through the network together, always: the last bits of a result depend on the shape of the batch."""
DEFAULT_BATCH = 64


class LatentModel:
    """A trained network that maps latents to pictures: one entry point of a model file.

    Args:
        runner: computes the network, which maps (N, latent), and labels (N,) where there are classes, to (N, C, H, W),
            [-1, 1] being the range of pictures.
        entry_point: its settings say the width of the latent, the shape of the pictures and the number of classes.
        name: of the entry point, such as "generate".
        metadata: what the model file says about itself.
        path: of the model file.
        choice: how the runner was chosen, where there was a choice.
        sha256: of the model file, as 64 hexadecimal digits, when it was read.
    """

    def __init__(
        self,
        runner: Runner,
        entry_point: LatentEntryPoint,
        *,
        name: str = "generate",
        metadata: ModelMetadata | None = None,
        path: Path | None = None,
        choice: RunnerChoice | None = None,
        sha256: str | None = None,
    ) -> None:
        self.runner = runner
        self.entry_point = entry_point
        self.name = name
        self.metadata = metadata
        self.path = path
        self.choice = choice
        self.sha256 = sha256

    @property
    def device(self) -> torch.device:
        """Where the network is computed."""
        return self.runner.device

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network."""
        return self.runner.precision

    @property
    def latent_width(self) -> int:
        """Numbers in a latent."""
        return self.entry_point.generator.latent

    @property
    def classes(self) -> int:
        """Labels run from 0 to one less; 0: the model takes none."""
        return self.entry_point.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels, where the training knew any; else their numbers."""
        names = [] if self.metadata is None else self.metadata.provenance.get("class_names") or []
        if isinstance(names, list) and len(names) == self.classes:
            return tuple(str(name) for name in names)
        return tuple(str(label) for label in range(self.classes))

    def latents(self, indices: Sequence[int], seed: int = 0, truncation: float | None = None) -> Tensor:
        """The latents of the pictures `indices` of a seed, (N, latent); see `draw_latents`."""
        return draw_latents(indices, self.latent_width, seed, truncation)

    def __call__(
        self,
        latents: Tensor | np.ndarray,
        labels: Tensor | np.ndarray | Sequence[int] | None = None,
        *,
        batch: int = DEFAULT_BATCH,
    ) -> np.ndarray:
        """Make a picture of every latent, rounded to the nearest level.

        Rows run in blocks of 16, the last one filled up, and each block runs on one thread; so a picture depends on
        its own latent and on its place in the block (its row modulo 16), and in fp32 on nothing else: neither on
        `batch` nor on the number of threads.

        Args:
            latents: (N, latent) standard normal numbers.
            labels: (N,) class numbers; only for models with classes, which need them.
            batch: at most so many pictures (at least one block) are computed at the same time.

        Returns:
            (N, H, W, C) uint8, C 3 (RGB) or 1 (grey).

        Raises:
            DataError: latents of another width or shape, or not finite.
            UsageError: labels missing, or out of range, or given to a model without classes.
            OutOfMemoryError: the device cannot hold a block.
            ModelError: the network returned numbers that are not finite, or its engine failed.
        """
        rows = self._checked_latents(latents)
        numbers = self._checked_labels(labels, len(rows))
        blocks = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]

        def run(block: slice) -> np.ndarray:
            return self._run_block(rows[block], None if numbers is None else numbers[block])

        # On a GPU blocks follow each other; on the CPU they run side by side.
        workers = 1 if self.device.type != "cpu" else min(-(-batch // BLOCK), torch.get_num_threads(), len(blocks))
        with _one_thread_each(workers) as pool:
            pictures = list(pool.map(run, blocks))
        if not pictures:
            shape = self.entry_point.shape
            return np.empty((0, shape.pixels, shape.pixels, shape.channels), np.uint8)
        return np.concatenate(pictures)

    @torch.inference_mode()
    def _run_block(self, latents: Tensor, labels: Tensor | None) -> np.ndarray:
        """(n, latent), n at most 16, to (n, H, W, C)."""
        count, pixels = len(latents), self.entry_point.shape.pixels
        # A buffer of its own: where a tensor begins in memory decides which instructions some libraries take.
        filled = torch.zeros(BLOCK, self.latent_width)
        filled[:count] = latents
        numbers = None
        if labels is not None:
            numbers = torch.full((BLOCK,), int(labels[0]), dtype=torch.int64)
            numbers[:count] = labels
        with out_of_memory_as_help(BLOCK, pixels, pixels, "use a smaller --batch or --device cpu"):
            with engine_failure_as_help(self.path, self.runner.name):
                output = self.runner(filled, numbers)[:count]
            shape = self.entry_point.shape
            if output.shape[1:] != (shape.channels, shape.pixels, shape.pixels):
                raise ModelError(
                    f"{self.path or 'the model'}: gives pictures of {tuple(output.shape[1:])} and says that they are"
                    f" {shape} - the file does not fit its own settings, export it anew"
                )
            if not torch.isfinite(output).all():
                raise ModelError(not_finite_message(self.path, self.precision))
            return levels_of(output, np.uint8)

    def _checked_latents(self, latents: Tensor | np.ndarray) -> Tensor:
        rows = torch.as_tensor(latents)
        if rows.ndim != 2 or rows.shape[1] != self.latent_width:
            raise DataError(
                f"latents are {tuple(rows.shape)}; this model needs (N, {self.latent_width})"
                " - take latents that were saved for it"
            )
        rows = rows.detach().to("cpu", torch.float32)
        if not torch.isfinite(rows).all():
            raise DataError("latents are not all finite - draw or save them anew")
        return rows

    def _checked_labels(self, labels: Tensor | np.ndarray | Sequence[int] | None, count: int) -> Tensor | None:
        if labels is None:
            if self.classes:
                raise UsageError(
                    f"labels are missing: this model has {self.classes} classes - give one from 0 to {self.classes - 1}"
                    " for each picture (labels=[...], or --classes on the command line)"
                )
            return None
        if not self.classes:
            raise UsageError("this model was trained without classes and takes no labels - leave them out")
        numbers = torch.as_tensor(labels).to("cpu", torch.int64)
        if numbers.shape != (count,):
            raise UsageError(f"labels are {tuple(numbers.shape)}; {count} latents need ({count},)")
        wrong = numbers[(numbers < 0) | (numbers >= self.classes)]
        if len(wrong):
            raise UsageError(f"class {int(wrong[0])} is out of range - this model has 0 to {self.classes - 1}")
        return numbers

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str = "auto",
        precision: Precision = "fp32",
        *,
        runner: str = "auto",
        trust: bool = False,
        worthwhile: bool = False,
        expected_sha256: str | None = None,
    ) -> LatentModel:
        """Load the generator of the model at `path` (see `resolve_model`).

        Args:
            runner, trust, worthwhile, expected_sha256: see `ImageModel.load`.

        Raises:
            ModelError: no model, damaged, written by something else or by a newer version, no generator, not
                trusted, or not as expected.
            UsageError: the device or the runner is not there, or it cannot do what was asked.
        """
        target = resolve_device(device)
        source = open_model(path, trust=trust, expected_sha256=expected_sha256)
        name, record = select_entry_point(source.path, source.metadata, LatentRecord)
        settings = RunnerSettings(runner=runner, precision=precision, worthwhile=worthwhile)
        computed, choice, entry = source.runner(record, target, settings)
        assert isinstance(entry, LatentEntryPoint)
        return cls(
            computed,
            entry,
            name=name,
            metadata=source.metadata,
            path=source.path,
            choice=choice,
            sha256=source.sha256,
        )


@contextlib.contextmanager
def _one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of which each computes alone: how PyTorch splits a computation can change its last bits."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(max(workers, 1), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # The setting belongs to a thread, but the last one made is also the default of threads yet to come.
        torch.set_num_threads(before)
