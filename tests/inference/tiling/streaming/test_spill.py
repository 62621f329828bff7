from __future__ import annotations

from pathlib import Path

import pytest
import torch

from i2i.errors import StorageError
from i2i.inference.tiling.streaming.operations import Shape, Span
from i2i.inference.tiling.streaming.spill import SpillFile, WriteBehind, spill_folder

SHAPE = Shape(3, 10, 4)
CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_come_back_bit_by_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    whole = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    whole = whole.contiguous(memory_format=torch.channels_last)
    file = SpillFile(tmp_path)
    for span in (Span(0, 3), Span(3, 9), Span(9, 10)):
        file.write(span.first, whole[:, :, span.first : span.end])
    for span in (Span(0, 10), Span(2, 5), Span(9, 10)):
        rows = file.read(span, SHAPE, CPU)
        assert rows.dtype == dtype and rows.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(rows, whole[:, :, span.first : span.end])
    file.close()
    assert file.bytes_written == whole.numel() * whole.element_size()
    assert list(tmp_path.iterdir()) == []


def test_writes_behind_are_there_when_finished_and_fail_aloud(tmp_path: Path) -> None:
    writer, file = WriteBehind(), SpillFile(tmp_path)
    rows = torch.arange(120.0).reshape(1, *SHAPE).contiguous(memory_format=torch.channels_last)
    for first in range(10):
        writer.submit(file, first, rows[:, :, first : first + 1])
    writer.finish()
    assert torch.equal(file.read(Span(0, 10), SHAPE, CPU), rows)
    file.close()
    writer.submit(file, 0, rows)
    with pytest.raises(ValueError, match="closed"):
        writer.finish()
    writer.close()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot hold what does not fit into memory.*TMPDIR"):
        SpillFile(tmp_path / "missing")
    assert spill_folder(tmp_path) == tmp_path
    assert spill_folder(tmp_path / "missing") != tmp_path / "missing"
