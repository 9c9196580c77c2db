"""Time grids: from exactly 1 to exactly 0, in the right places between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiff.processes import Linear, Trigonometric, VarianceExploding, VariancePreserving
from tsdiff.solvers import (
    GRIDS,
    AngleGrid,
    Grid,
    KarrasGrid,
    LogSNRGrid,
    PowerGrid,
    UniformGrid,
    as_grid,
)


def levels(path):
    return lambda t: tuple(path.coefficients(t)[:2])


every_grid = pytest.mark.parametrize(
    "grid", [*GRIDS.values(), PowerGrid(0.3), PowerGrid(7.0), AngleGrid(), AngleGrid(0.5)], ids=repr
)


@every_grid
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 49, 100, 1000])
def test_falls_strictly_from_exactly_one_to_exactly_zero(grid: Grid, num_steps: int) -> None:
    times = grid(num_steps, levels(Linear()))
    assert times.dtype == torch.float64
    assert times.shape == (num_steps + 1,)
    assert times[0].item() == 1.0
    assert times[-1].item() == 0.0
    assert bool((times.diff() < 0).all())


def test_uniform_steps_are_equal() -> None:
    torch.testing.assert_close(
        UniformGrid()(8).diff(), torch.full((8,), -0.125, dtype=torch.float64)
    )


def test_equal_angles() -> None:
    quarter = Trigonometric()
    torch.testing.assert_close(
        AngleGrid()(4, levels(quarter)), UniformGrid()(4), rtol=0.0, atol=2e-4
    )
    inner = AngleGrid(0.5)(2, levels(quarter))[1].item()
    assert inner == pytest.approx(0.5**0.5, abs=2e-4)
    a, b = levels(VariancePreserving())(AngleGrid()(2, levels(VariancePreserving()))[1:2])
    last = torch.atan2(*levels(VariancePreserving())(torch.ones(1))[::-1])
    assert torch.atan2(b, a).item() == pytest.approx(0.5 * last.item(), abs=1e-3)


def test_power_grid_is_finer_near_the_data() -> None:
    assert PowerGrid(2.0)(4).tolist() == pytest.approx([1.0, 0.5625, 0.25, 0.0625, 0.0])


@every_grid
@pytest.mark.parametrize("num_steps", [0, -1, 2.0, "3", True, None])
def test_numbers_of_steps_that_are_none(grid: Grid, num_steps: object) -> None:
    with pytest.raises(ValueError, match="num_steps must be a positive integer"):
        grid(num_steps)  # type: ignore[arg-type]


def test_numpy_integers_are_integers() -> None:
    assert torch.equal(UniformGrid()(np.int64(3)), UniformGrid()(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [0.0, -1.0, float("nan")])
def test_exponents_must_be_positive(exponent: float) -> None:
    with pytest.raises(ValueError, match="exponent"):
        PowerGrid(exponent)


def test_names_and_types() -> None:
    for name, grid in GRIDS.items():
        assert as_grid(name) is grid
        assert as_grid(grid) is grid
    with pytest.raises(ValueError, match=r"'cosine'.*uniform, quadratic"):
        as_grid("cosine")
    with pytest.raises(TypeError, match="grid must be"):
        as_grid(UniformGrid)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="Grid defines no times"):
        Grid()(3)


@pytest.mark.parametrize("path", [Linear(), VariancePreserving(), VarianceExploding()], ids=type)
def test_noise_levels_are_where_they_should_be(path) -> None:
    k = path.coefficients(LogSNRGrid()(12, levels(path))[1:-1].view(-1, 1, 1))
    steps = (k.a.log() - k.b.log()).flatten().diff()
    torch.testing.assert_close(steps[:-1], steps[:1].expand(len(steps) - 1), rtol=0.02, atol=0)

    grid = KarrasGrid(
        rho=5.0,
        sigma_min=0.05,
        sigma_max=0.9 if path.coefficients(torch.ones(1)).a.item() == 1.0 else 4.0,
    )
    k = path.coefficients(grid(12, levels(path))[1:-1].view(-1, 1, 1))
    steps = (k.b / k.a).flatten().pow(1 / 5.0).diff()
    torch.testing.assert_close(steps, steps[:1].expand(len(steps)), rtol=0.01, atol=0)


def test_levels_are_averaged_over_axes() -> None:
    path = Linear()

    def two(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        k = path.coefficients(t)
        return k.a, k.b * torch.tensor([0.5, 2.0], dtype=t.dtype)

    grid = LogSNRGrid()
    torch.testing.assert_close(grid(9, two), grid(9, levels(path)))


def test_grids_of_noise_levels_need_them() -> None:
    with pytest.raises(ValueError, match="LogSNRGrid needs the signal and noise levels"):
        LogSNRGrid()(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rho": 0.0}, "rho"), ({"sigma_min": 0.0}, "sigma_min"), ({"sigma_max": 1e-3}, "sigma_max")],
)
def test_karras_levels_must_make_sense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KarrasGrid(**options)
