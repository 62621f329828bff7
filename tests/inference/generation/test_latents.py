from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from i2i.errors import DataError, UsageError
from i2i.inference.generation.latents import draw_latents, read_latents, save_latents, spherical, spherical_path


class TestDrawing:
    def test_a_latent_depends_on_its_number_alone(self) -> None:
        all_of_them = draw_latents(range(20), 64, seed=1)
        assert torch.equal(draw_latents([19, 3, 3], 64, seed=1), all_of_them[[19, 3, 3]])
        assert len({tuple(row) for row in all_of_them.tolist()}) == 20

    def test_another_seed_gives_others(self) -> None:
        assert not torch.equal(draw_latents([0], 64, seed=1), draw_latents([0], 64, seed=2))

    def test_they_are_standard_normal(self) -> None:
        numbers = draw_latents(range(400), 100, seed=0).flatten()
        assert abs(float(numbers.mean())) < 0.02
        assert abs(float(numbers.std()) - 1) < 0.02

    @pytest.mark.parametrize("limit", [0.01, 0.5, 1.0, 2.0, 50.0])
    def test_truncation_keeps_what_is_within_and_draws_the_rest_anew(self, limit: float) -> None:
        free, cut = draw_latents(range(400), 100, seed=0), draw_latents(range(400), 100, seed=0, truncation=limit)
        within = free.abs() <= limit
        assert torch.equal(cut[within], free[within])
        assert cut.abs().max() <= limit
        assert torch.equal(draw_latents([7], 100, 0, limit)[0], cut[7])
        # The variance of a normal distribution cut at the limit.
        density = math.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi)
        variance = 1 - 2 * limit * density / math.erf(limit / math.sqrt(2))
        assert float(cut.var()) == pytest.approx(variance, rel=0.03)
        if limit < 3:
            anew = cut[~within]
            assert len(anew) > 1000
            assert float(anew.var()) == pytest.approx(variance, rel=0.1)

    @pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
    def test_a_limit_that_leaves_nothing_is_refused(self, limit: float) -> None:
        with pytest.raises(UsageError, match="needs a number above 0"):
            draw_latents([0], 3, 0, limit)

    def test_none_are_none(self) -> None:
        assert draw_latents([], 7, 0).shape == (0, 7)


class TestPaths:
    def test_an_arc_keeps_the_length_and_turns_evenly(self) -> None:
        start, end = torch.nn.functional.normalize(torch.randn(2, 50, generator=torch.manual_seed(0)), dim=1)
        steps = torch.linspace(0, 1, 5)
        path = spherical(start, end, steps)
        torch.testing.assert_close(path[[0, -1]], torch.stack([start, end]))
        torch.testing.assert_close(path.norm(dim=1), torch.ones(5))
        angles = torch.acos((path[1:] * path[:-1]).sum(1))
        torch.testing.assert_close(angles, angles[:1].expand(4), rtol=1e-3, atol=0)

    def test_a_quarter_turn_is_known(self) -> None:
        path = spherical(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5]))
        torch.testing.assert_close(path, torch.full((1, 2), math.sqrt(2)))

    @pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, 0.0])
    def test_where_there_is_no_arc_the_way_is_straight(self, factor: float) -> None:
        start = torch.tensor([1.0, 2.0])
        path = spherical(start, factor * start, torch.tensor([0.0, 0.25, 1.0]))
        torch.testing.assert_close(path, torch.stack([start, start * (0.75 + 0.25 * factor), factor * start]))

    def test_a_path_visits_all_and_returns(self) -> None:
        stations = torch.randn(3, 20, generator=torch.manual_seed(0))
        path = spherical_path(stations, 4)
        assert path.shape == (12, 20)
        torch.testing.assert_close(path[::4], stations)
        torch.testing.assert_close(path[9:], spherical(stations[2], stations[0], torch.tensor([0.25, 0.5, 0.75])))


class TestFiles:
    def test_what_was_saved_is_read(self, tmp_path: Path) -> None:
        latents, labels = draw_latents(range(4), 6, 0), torch.tensor([3, 1, 0, 2])
        save_latents(tmp_path / "new" / "x.safetensors", latents, labels, {"seed": 0})
        saved = read_latents(tmp_path / "new" / "x.safetensors", 6)
        assert saved.labels is not None
        assert torch.equal(saved.latents, latents) and torch.equal(saved.labels, labels)
        with safe_open(tmp_path / "new" / "x.safetensors", "pt") as file:
            assert file.metadata() == {"i2i": '{"seed": 0}'}
        save_latents(tmp_path / "y.safetensors", latents, None, {})
        assert read_latents(tmp_path / "y.safetensors", 6).labels is None

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"latents": torch.zeros(4, 7)}, "latents of width 7, this model needs 6"),
            ({"other": torch.zeros(4, 6)}, "holds no latents"),
            ({"latents": torch.zeros(4)}, "holds no latents"),
            ({"latents": torch.zeros(0, 6)}, "holds no latents"),
            ({"latents": torch.zeros(4, 6, dtype=torch.int64)}, "holds no latents"),
            ({"latents": torch.full((4, 6), math.inf)}, "not all finite"),
            ({"latents": torch.zeros(4, 6), "labels": torch.zeros(3, dtype=torch.int64)}, "labels do not fit"),
            ({"latents": torch.zeros(4, 6), "labels": torch.zeros(4)}, "labels do not fit"),
        ],
    )
    def test_what_does_not_fit_is_a_data_error(
        self, tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
    ) -> None:
        save_file(tensors, tmp_path / "x.safetensors")
        with pytest.raises(DataError, match=message) as caught:
            read_latents(tmp_path / "x.safetensors", 6)
        assert str(tmp_path / "x.safetensors") in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("content", [None, b"", b"no latents at all" * 9])
    def test_missing_and_damaged_files_are_data_errors(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "x.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.safetensors"):
            read_latents(path, 6)
        with pytest.raises(DataError, match="cannot be read"):
            read_latents(tmp_path, 6)
