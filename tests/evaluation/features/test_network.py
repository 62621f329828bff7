"""What all networks have in common: a picture's row is its own, to the last bit, and float32 means float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from i2i.errors import DataError, OutOfMemoryError
from i2i.evaluation.features import network as network_module
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.features.network import NetworkExtractor, as_colour, sha256_of_parameters
from i2i.evaluation.features.tensorflow_resize import tensorflow_resize
from i2i.inference.runtime import exact_float32

SIZES = ((5, 9), (8, 8), (16, 3))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.last = nn.Linear(64, 7)
        self.seen: list[torch.Size] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(images.shape)
        vectors = self.body(images)
        return vectors, self.last(vectors)


def extractor(network: Small, size_pixels: int | None = None) -> NetworkExtractor:
    def prepare(pictures: Tensor) -> Tensor:
        levels = pictures.float() if size_pixels is None else tensorflow_resize(pictures, size_pixels)
        return as_colour(levels / 255).permute(0, 3, 1, 2)

    return NetworkExtractor(
        name="small",
        weights_sha256="0" * 64,
        preprocessing="none",
        width=64,
        classes=7,
        device=torch.device("cpu"),
        prepare=prepare,
        compute=network,
    )


def pictures(sizes: Sequence[tuple[int, int]], channels: Sequence[int] = (3,)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (*size, channels[index % len(channels)]), dtype=np.uint8)
        for index, size in enumerate(sizes)
    ]


@settings(max_examples=15)
@given(
    chosen=st.lists(st.integers(0, 39), min_size=1, max_size=70),
    size_pixels=st.sampled_from([None, 12]),
)
def test_a_row_depends_on_its_picture_alone(chosen: list[int], size_pixels: int | None) -> None:
    """Whatever the companions, their number, their order and their sizes."""
    small = extractor(Small(), size_pixels)
    many = pictures([SIZES[index % 3] for index in range(40)], channels=(3, 1))
    alone = [small([picture]) for picture in many]
    together = small([many[index] for index in chosen])
    assert together.logits is not None and together.vectors.shape == (len(chosen), 64)
    for row, index in enumerate(chosen):
        assert together.vectors[row].tobytes() == alone[index].vectors[0].tobytes()
        assert alone[index].logits is not None
        assert together.logits[row].tobytes() == alone[index].logits[0].tobytes()  # type: ignore[index]


def test_the_network_always_sees_whole_blocks() -> None:
    network = Small()
    small = extractor(network, 8)
    small(pictures([SIZES[index % 3] for index in range(PICTURES_PER_BLOCK + 1)]))
    # Sizes that preparation makes equal share a block.
    assert network.seen == [(PICTURES_PER_BLOCK, 3, 8, 8)] * 2
    network.seen.clear()
    extractor(network)(pictures([(4, 4), (4, 6), (4, 4)]))
    assert network.seen == [(PICTURES_PER_BLOCK, 3, 4, 4), (PICTURES_PER_BLOCK, 3, 4, 6)]


@pytest.mark.parametrize(("bytes_at_once", "at_once"), [(16 * 16 * 3 * 5, [5, 5, 2]), (1, [1] * 12)])
def test_large_pictures_are_prepared_by_few_and_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, bytes_at_once: int, at_once: list[int]
) -> None:
    many = pictures([(16, 16)] * 12)
    expected = extractor(network := Small(), 12)(many)
    monkeypatch.setattr(network_module, "_PREPARED_BYTES", bytes_at_once)
    small, prepared = extractor(network, 12), []

    def watched(some: Tensor) -> Tensor:
        prepared.append(len(some))
        return small.prepare(some)

    network.seen.clear()
    found = replace(small, prepare=watched)(many)
    assert prepared == at_once and len(network.seen) == 1
    assert found.vectors.tobytes() == expected.vectors.tobytes()
    assert found.logits is not None and expected.logits is not None
    assert found.logits.tobytes() == expected.logits.tobytes()


def test_want_of_memory_names_the_pictures() -> None:
    def short(prepared: Tensor) -> tuple[Tensor, Tensor | None]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    with pytest.raises(OutOfMemoryError, match=r"for 2 pictures of 9x5 pixels - shrink them or run small on the CPU"):
        replace(extractor(Small()), compute=short)(pictures([(4, 4), (5, 9)]))


def test_no_pictures() -> None:
    found = extractor(Small())([])
    assert found.vectors.shape == (0, 64) and found.logits is not None and found.logits.shape == (0, 7)
    assert len(found) == 0


def test_grey_is_colour_of_equal_channels() -> None:
    small = extractor(Small(), 8)
    grey = pictures([(5, 6)], channels=(1,))[0]
    assert np.array_equal(small([grey]).vectors, small([grey.repeat(3, axis=2)]).vectors)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["floats", "flat", "alpha", "empty"],
)
def test_what_is_no_picture(wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match="picture 1 of a block"):
        extractor(Small())([np.zeros((4, 4, 3), np.uint8), wrong])


def test_float32_whatever_the_process_allows_itself() -> None:
    small, one = extractor(Small()), pictures([(8, 8)])
    expected = small(one).vectors
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            found = small(one).vectors
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
        with exact_float32(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
    assert found.tobytes() == expected.tobytes()


def test_random_state_and_gradients_are_left_alone() -> None:
    state = torch.get_rng_state()
    extractor(Small())
    torch.set_rng_state(state)
    small = extractor(network := Small())
    torch.set_rng_state(state)
    small(pictures([(8, 8)]))
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training and all(weight.requires_grad for weight in network.parameters())
    assert torch.is_grad_enabled()


def test_the_hash_of_parameters() -> None:
    network = Small()
    first = sha256_of_parameters(network)
    assert first == sha256_of_parameters(Small()) and len(first) == 64
    with torch.no_grad():
        network.last.bias[3] += 1
    assert sha256_of_parameters(network) != first
    # The hash of tensors of no dimension, such as batch norm counts, too.
    assert len(sha256_of_parameters(nn.BatchNorm2d(2))) == 64
