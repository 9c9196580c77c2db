"""Time grids: from exactly 1 to exactly 0, in the right places between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiff.solvers import GRIDS, Grid, PowerGrid, UniformGrid, as_grid

every_grid = pytest.mark.parametrize(
    "grid", [*GRIDS.values(), PowerGrid(0.3), PowerGrid(7.0)], ids=repr
)


@every_grid
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 49, 100, 1000])
def test_falls_strictly_from_exactly_one_to_exactly_zero(grid: Grid, num_steps: int) -> None:
    times = grid(num_steps)
    assert times.dtype == torch.float64
    assert times.shape == (num_steps + 1,)
    assert times[0].item() == 1.0
    assert times[-1].item() == 0.0
    assert bool((times.diff() < 0).all())


def test_uniform_steps_are_equal() -> None:
    torch.testing.assert_close(
        UniformGrid()(8).diff(), torch.full((8,), -0.125, dtype=torch.float64)
    )


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
    with pytest.raises(ValueError, match=r"'karras'.*uniform, quadratic"):
        as_grid("karras")
    with pytest.raises(TypeError, match="grid must be"):
        as_grid(UniformGrid)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="Grid defines no times"):
        Grid()(3)
