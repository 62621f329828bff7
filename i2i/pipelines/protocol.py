"""What an engine knows of a training method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from i2i.core.generators import LatentGeneratorSettings, PictureGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.core.losses.perceptual import PerceptualSettings
from i2i.core.step import Progress, Update


@dataclass(frozen=True)
class PictureEntryPoint:
    """What a trained model can do for its user: picture in [-1, 1] to picture in [-1, 1]."""

    network: str
    """Key of the network in `Pipeline.networks`."""
    generator: PictureGeneratorSettings
    """How to build it again."""
    domains: tuple[str, str] | None = None
    """Streams of which the input and the output look like pictures, if the method has such."""
    scale: int = 1
    """Output side over input side."""
    pixel_network: str | None = None
    """Network of the same make that was trained on pixels alone; a strength below 1 interpolates towards it."""
    judge: str | None = None
    """Key of the discriminator in `Pipeline.networks` that tells the results from real pictures, in training."""


@dataclass(frozen=True)
class LatentEntryPoint:
    """What a trained model can do for its user: a latent, and a label where there are classes, to a picture."""

    network: str
    """Key of the network in `Pipeline.networks`."""
    generator: LatentGeneratorSettings
    """How to build it again; it knows the width of the latent."""
    shape: ImageShape
    """Of the pictures it makes, in [-1, 1]."""
    classes: int = 0
    """Labels run from 0 to one less; 0 means that the network takes none."""
    judge: str | None = None
    """Key of the discriminator in `Pipeline.networks` that tells the results from real pictures, in training."""


EntryPoint = PictureEntryPoint | LatentEntryPoint


class Stateful(Protocol):
    """Something beside networks that a resumed training needs back, as tensors."""

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...

    def begin(self) -> None:
        """Remember how things stand, for `roll_back`; the last call counts."""
        ...

    def roll_back(self) -> None:
        """Be again what `begin` met."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """A network that nobody trains: what another one was at a certain point of the training.

    From there on training goes after what scores do not measure: the newest networks count as the best.
    """

    of: str
    """Key of the other network in `Pipeline.networks`; its running average is taken where there is one."""
    at_images: int
    """Until the training has seen so many, the model file has the other network as it is in its place."""


Sheet = Sequence[tuple[str, Tensor]]
"""Columns of a contact sheet: label and pictures (N, C, H, W) in [-1, 1]."""


@dataclass(frozen=True)
class Grid:
    """Pictures that a generator made from fixed latents, to be laid out row by row."""

    pictures: Tensor
    """(N, C, H, W) in [-1, 1]."""
    columns: int
    stream: str
    """The stream whose pictures they should look like."""


Consistency = Callable[[Mapping[str, nn.Module], Mapping[str, Tensor]], Tensor]
"""From networks and a batch of pictures by stream to a score that needs no ground truth: (N,), lower is better."""


class Pipeline(Protocol):
    """A relation between images: which networks play, and which updates train them.

    All networks exist from construction on, so optimizers, ranks and checkpoints never meet a newborn parameter. A
    pipeline calls neither ``backward`` nor an optimizer and opens no file.
    """

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Every network by name."""
        ...

    @property
    def players(self) -> Mapping[str, Sequence[str]]:
        """Player name to the networks that its one optimizer moves."""
        ...

    @property
    def averaged(self) -> Sequence[str]:
        """Networks of which a running average (EMA) is kept for inference."""
        ...

    @property
    def snapshots(self) -> Mapping[str, Snapshot]:
        """Networks that keep what others were, by their name in `networks`."""
        ...

    @property
    def pretrained(self) -> Mapping[str, PerceptualSettings]:
        """Networks whose weights come from a file and never change; no checkpoint holds them."""
        ...

    @property
    def streams(self) -> Sequence[str]:
        """Names of the data streams that the updates draw from."""
        ...

    @property
    def memories(self) -> Mapping[str, Stateful]:
        """State beside the networks that a checkpoint must hold."""
        ...

    @property
    def entry_points(self) -> Mapping[str, EntryPoint]:
        """What the trained model offers, by name."""
        ...

    def initialize(self, seed: int) -> None:
        """Give all networks their initial weights; equal seeds give equal weights."""
        ...

    def updates(self, progress: Progress) -> Sequence[Update]:
        """The updates of the next step, in order."""
        ...

    def phase_starts(self, batch_size: int) -> Sequence[int]:
        """The first step of each phase, from 0 on, where a step takes `batch_size` images.

        The steps of a phase consist of the same updates, but for those that are due only now and then.
        """
        ...

    def show(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet | Grid]:
        """What `networks` (live or averaged) make of fixed pictures of every stream, or of fixed latents."""
        ...

    @property
    def consistency(self) -> Consistency | None:
        """The fallback for validation without ground truth, where the method has one."""
        ...
