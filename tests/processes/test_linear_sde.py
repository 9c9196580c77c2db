"""Linear diffusions against the block exponential, an ODE solver, autograd and each other."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch import Tensor

from tsdiff.processes import (
    PREDICTIONS,
    DiscreteDDPM,
    FixedBasisSDE,
    Linear,
    LinearSDE,
    MatrixSDE,
    Moments,
    VariancePreserving,
)
from tsdiff.random import seeded

VP = VariancePreserving(0.1, 10.0, exponent=1.7)
EDGES = torch.tensor([0.0, 0.15, 0.4, 0.8, 1.0], dtype=torch.float64)
TIMES = torch.tensor([1e-3, 0.1, 0.15, 0.37, 0.8, 0.93, 1.0], dtype=torch.float64).view(-1, 1, 1)
CLASSES = pytest.mark.parametrize("kind", [FixedBasisSDE, MatrixSDE])
DIMENSIONS = pytest.mark.parametrize("dim", [2, 5, 20])


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=seeded(seed))


def rotation(dim: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=seed))[0]


def spectrum(*shape: int, seed: int, low: float = 0.2, high: float = 3.0) -> Tensor:
    u = torch.rand(*shape, dtype=torch.float64, generator=seeded(seed))
    return low * (high / low) ** u


def random_spd(dim: int, seed: int) -> Tensor:
    basis = rotation(dim, seed)
    return basis * spectrum(dim, seed=seed + 1) @ basis.mT


def drift_of(d: Tensor, decay: float = 1.0) -> Tensor:
    """``A`` of ``D``."""
    return 0.5 * (decay * torch.eye(d.shape[-1], dtype=d.dtype) - d)


def error(got: Tensor, expected: Tensor) -> float:
    """The largest relative error among matrices ``[B, ...]``, in Frobenius norm."""
    difference = (got - expected).flatten(1).norm(dim=1)
    return float((difference / expected.flatten(1).norm(dim=1)).max())


def block_exponentials(d: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """``Φ`` and ``Σ`` by eq. (13) and eq. (14), for D constant in t.

    SciPy's exponential: PyTorch's loses six digits for some matrices.
    """
    dim, identity = len(d), np.eye(len(d))
    drift = 0.5 * d.numpy()
    generator = np.block([[-drift, identity], [np.zeros((dim, dim)), drift.T]])
    phi, covariance = [], []
    for integral in VP.integrated_rate(times).flatten().tolist():
        pair = expm(integral * generator)[:, dim:]
        phi.append(expm(-integral * drift))
        covariance.append(pair[:dim] @ np.linalg.inv(pair[dim:]))
    return torch.tensor(np.stack(phi)), torch.tensor(np.stack(covariance))


def ode_moments(d: Tensor, shift: Tensor, times: Tensor, edges: Tensor = EDGES) -> Moments:
    """Eq. (12), with offset, by a high-order Runge-Kutta method from cell to cell.

    ``d`` ``[N, D, D]`` and ``shift`` ``[N, D]`` are constant on the cells.
    """
    dim = d.shape[-1]
    identity = np.eye(dim)

    def slope(matrix: np.ndarray, push: np.ndarray):
        def right_hand_side(t: float, flat: np.ndarray) -> np.ndarray:
            beta = float(VP.rate(torch.tensor(t, dtype=torch.float64)))
            phi, mean, covariance = np.split(flat, [dim * dim, dim * dim + dim])
            phi, covariance = phi.reshape(dim, dim), covariance.reshape(dim, dim)
            d_phi = -0.5 * beta * matrix @ phi
            d_mean = -0.5 * beta * matrix @ mean + beta * push
            half = matrix @ covariance
            d_covariance = -0.5 * beta * (half + half.T) + beta * identity
            return np.concatenate([d_phi.ravel(), d_mean, d_covariance.ravel()])

        return right_hand_side

    state = np.concatenate([identity.ravel(), np.zeros(dim), np.zeros(dim * dim)])
    found = {}
    for n, (left, right) in enumerate(itertools.pairwise(edges.tolist())):
        inside = [t for t in times.flatten().tolist() if left < t <= right]
        stops = sorted({*inside, right})
        done = solve_ivp(
            slope(d[n].numpy(), shift[n].numpy()),
            (left, right),
            state,
            method="DOP853",
            t_eval=stops,
            rtol=1e-11,
            atol=1e-14,
        )
        assert done.success
        found |= dict(zip(stops, done.y.T, strict=True))
        state = done.y[:, -1]
    flat = torch.tensor(np.stack([found[t] for t in times.flatten().tolist()]))
    phi, mean, covariance = flat.split([dim * dim, dim, dim * dim], dim=1)
    return Moments(phi.view(-1, dim, dim), mean.unsqueeze(1), covariance.view(-1, dim, dim))


def make(name: str, dim: int = 3) -> LinearSDE:
    """Processes of every kind, with eigenvalues that no single precision is lost on."""
    edges = EDGES if "varying" in name else 1
    offset = normal(len(EDGES) - 1, dim, seed=50)
    offset = (offset if "varying" in name else offset[0]) if "offset" in name else None
    decay = 0.0 if "exploding" in name else 1.0
    if name.startswith("matrix"):
        sde = MatrixSDE(dim, VP, cells=edges, decay=decay)
        d = torch.stack([random_spd(dim, seed=51 + n) for n in range(sde.cells)])
        sde.set_drift(drift_of(d, decay), offset)
        return sde
    structure = name.split()[0]
    rank = 2 if structure == "low_rank" else 0
    sde = FixedBasisSDE(dim, VP, cells=edges, decay=decay, structure=structure, rank=rank)
    basis = {"full": rotation(dim, 60), "low_rank": rotation(dim, 60)[:, :2]}.get(structure)
    width = rank + 1 if rank else dim
    sde.set_spectrum(spectrum(sde.cells, width, seed=61), basis, offset)
    return sde


NAMES = [
    "full",
    "full offset",
    "full varying offset",
    "full exploding",
    "diagonal varying offset",
    "low_rank varying offset",
    "matrix offset",
    "matrix varying offset",
    "matrix varying exploding",
]
every_process = pytest.mark.parametrize("sde", [make(name) for name in NAMES], ids=NAMES)


# -- the kernel ---------------------------------------------------------------------------------


@CLASSES
@DIMENSIONS
def test_constant_drift_is_the_block_exponential(kind: type, dim: int) -> None:
    d = random_spd(dim, seed=1)
    sde = kind(dim, VP)
    assert sde.set_drift(drift_of(d)) == 0
    got = sde.moments(TIMES)
    phi, covariance = block_exponentials(d, TIMES)
    assert error(got.transition, phi) < 1e-12
    assert error(got.covariance, covariance) < 1e-12
    assert not got.offset.any()


@DIMENSIONS
@pytest.mark.parametrize("with_offset", [False, True])
def test_commuting_drift_solves_the_moment_equations(dim: int, with_offset: bool) -> None:
    basis, values = rotation(dim, 2), spectrum(4, dim, seed=3)
    shift = normal(4, dim, seed=4) if with_offset else torch.zeros(4, dim).double()
    d = basis * values.unsqueeze(1) @ basis.mT
    fixed, matrix = FixedBasisSDE(dim, VP, cells=EDGES), MatrixSDE(dim, VP, cells=EDGES)
    fixed.set_spectrum(values, basis, shift)
    matrix.set_drift(drift_of(d), shift)
    expected = ode_moments(d, shift, TIMES)
    for sde in (fixed, matrix):
        got = sde.moments(TIMES)
        assert error(got.transition, expected.transition) < 1e-8
        assert error(got.covariance, expected.covariance) < 1e-8
        if with_offset:
            assert error(got.offset, expected.offset) < 1e-8
    for one, other in zip(fixed.moments(TIMES), matrix.moments(TIMES), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@DIMENSIONS
@pytest.mark.parametrize("with_offset", [False, True])
def test_non_commuting_drift_solves_the_moment_equations(dim: int, with_offset: bool) -> None:
    d = torch.stack([random_spd(dim, seed=5 + 2 * n) for n in range(4)])
    shift = normal(4, dim, seed=15) if with_offset else torch.zeros(4, dim).double()
    sde = MatrixSDE(dim, VP, cells=EDGES)
    sde.set_drift(drift_of(d), shift)
    got, expected = sde.moments(TIMES), ode_moments(d, shift, TIMES)
    assert error(got.transition, expected.transition) < 1e-8
    assert error(got.covariance, expected.covariance) < 1e-8
    if with_offset:
        assert error(got.offset, expected.offset) < 1e-8


def test_the_printed_mean_is_wrong_where_drifts_do_not_commute() -> None:
    """``exp(-½∫βD)``, eq. (13): the tests above would be blind if this came out the same."""
    d = torch.stack([random_spd(3, seed=5 + 2 * n) for n in range(4)])
    sde = MatrixSDE(3, VP, cells=EDGES)
    sde.set_drift(drift_of(d))
    weights = VP.integrated_rate(EDGES).diff().view(-1, 1, 1)
    printed = torch.linalg.matrix_exp(-0.5 * (weights * d).sum(0))
    assert error(sde.moments(TIMES[-1:]).transition, printed.unsqueeze(0)) > 1e-2


@CLASSES
def test_exploding_drift_solves_the_moment_equations(kind: type) -> None:
    d = random_spd(4, seed=20)
    sde = kind(4, VP, decay=0.0)
    sde.set_drift(-0.5 * d)
    got, (phi, covariance) = sde.moments(TIMES), block_exponentials(d, TIMES)
    assert error(got.transition, phi) < 1e-12
    assert error(got.covariance, covariance) < 1e-12


@CLASSES
def test_exploding_process_starts_as_brownian_motion(kind: type) -> None:
    got = kind(3, VP, decay=0.0).moments(TIMES)
    identity = torch.eye(3).double().expand(len(TIMES), 3, 3)
    torch.testing.assert_close(got.transition, identity, rtol=0, atol=1e-15)
    expected = VP.integrated_rate(TIMES) * identity
    torch.testing.assert_close(got.covariance, expected, rtol=1e-12, atol=0)


def test_a_smooth_drift_is_approached_at_second_order() -> None:
    """... by its values in the middle of the cells, whether they commute or not."""
    ends = [random_spd(3, seed=n) for n in (16, 18)]
    one = torch.ones(1, 1, 1).double()

    def end(cells: int) -> Tensor:
        middle = ((torch.arange(cells).double() + 0.5) / cells).view(-1, 1, 1)
        sde = MatrixSDE(3, VP, cells=cells)
        sde.set_drift(drift_of(ends[0] + middle.sin() * (ends[1] - ends[0])))
        phi, _, covariance = sde.moments(one)
        return torch.cat([phi, covariance])

    exact = end(640)
    order = np.log2(error(end(20), exact) / error(end(40), exact))
    assert order == pytest.approx(2.0, abs=0.1)


def test_a_look_up_at_an_edge_equals_the_step_to_it() -> None:
    """The same law on a finer grid, where times that were inside a cell are edges."""
    coarse = make("matrix varying offset")
    edges = torch.tensor([0.0, 0.1, 0.15, 0.3, 0.4, 0.55, 0.8, 0.9, 1.0], dtype=torch.float64)
    fine = MatrixSDE(3, VP, cells=edges)
    fine.set_drift(
        coarse.drift_matrix().repeat_interleave(2, 0), coarse.shift.repeat_interleave(2, 0)
    )
    for at in (edges[1:].view(-1, 1, 1), 0.5 * (edges[1:] + edges[:-1]).view(-1, 1, 1)):
        for one, other in zip(coarse.moments(at), fine.moments(at), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@CLASSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_edge_belongs_to_the_cell_before_it(kind: type, dtype: torch.dtype) -> None:
    """... in either precision, however ``n / N`` was rounded."""
    cells = 30
    sde = kind(3, VP, cells=cells)
    offset = torch.arange(cells, dtype=torch.float64).unsqueeze(-1).expand(cells, 3)
    sde.set_drift(torch.zeros(3, 3), offset)
    for t in (
        torch.arange(1, cells + 1, dtype=dtype) / cells,
        torch.linspace(1.0, 0.0, cells + 1, dtype=torch.float64).flip(0)[1:].to(dtype),
        torch.linspace(0.0, 1.0, cells + 1, dtype=dtype)[1:],
        1.0 - torch.arange(cells - 1, -1, -1, dtype=dtype) / cells,
        torch.arange(1, cells + 1, dtype=dtype) * (1.0 / cells),
    ):
        t = t.view(-1, 1, 1)
        drift = sde.drift(torch.zeros(cells, 1, 3, dtype=dtype), t)
        expected = torch.arange(cells, dtype=dtype).view(-1, 1, 1).expand(cells, 1, 3)
        torch.testing.assert_close(drift / VP.rate(t), expected, rtol=1e-6, atol=0)


# -- limits -------------------------------------------------------------------------------------


@CLASSES
def test_single_precision_holds_in_both_limits(kind: type) -> None:
    """``λ → 0`` and large ``σ² λ`` side by side, against the formula in double precision."""
    values = torch.tensor([0.0, 1e-40, 1e-20, 1e-8, 1e-3, 1.0, 50.0, 1000.0], dtype=torch.float64)
    sde = kind(8, VP, eigenvalue_range=(0.0, 1e3))
    offset = torch.ones(8).double()
    sde.set_drift(torch.diag(0.5 * (1.0 - values)), offset)
    # The eigenvalues as they come out of A, which forgets those below 1e-16.
    values = 1.0 - 2.0 * torch.diag(sde.drift_matrix()[0])
    t = sde.clip(torch.tensor([0.0, 1e-3, 0.3, 1.0])).view(-1, 1, 1)
    got = sde.moments(t)
    q = VP.integrated_rate(t.double())
    small = values < 1e-12
    divisor = torch.where(small, 1.0, values)
    variance = torch.where(small, q, -torch.expm1(-q * values) / divisor)
    mean = torch.where(small, q, -2.0 * torch.expm1(-0.5 * q * values) / divisor)
    diagonal = got.covariance.diagonal(dim1=-2, dim2=-1).unsqueeze(1).double()
    torch.testing.assert_close(diagonal, variance, rtol=3e-5, atol=0)
    torch.testing.assert_close(got.offset.double(), mean, rtol=3e-5, atol=0)
    transition = got.transition.diagonal(dim1=-2, dim2=-1).unsqueeze(1).double()
    torch.testing.assert_close(transition, torch.exp(-0.5 * q * values), rtol=3e-5, atol=1e-30)
    assert got.covariance.dtype == torch.float32


def test_tiny_eigenvalues_lose_no_digits() -> None:
    values = torch.tensor([0.0, 1e-42, 1e-30, 1e-18, 1e-9, 1e-4], dtype=torch.float64)
    sde = FixedBasisSDE(6, VP, eigenvalue_range=(0.0, 1.0), structure="diagonal")
    sde.set_spectrum(values)
    for dtype, digits in ((torch.float32, 3e-6), (torch.float64, 1e-13)):
        t = torch.tensor([1e-4, 0.5, 1.0], dtype=dtype).view(-1, 1, 1)
        q = VP.integrated_rate(t.double())
        z = q * values
        expected = q * (1.0 - z / 2.0 + z**2 / 6.0 - z**3 / 24.0)
        got = sde.coefficients(t).b.double() ** 2
        torch.testing.assert_close(got, expected, rtol=digits, atol=0)


@CLASSES
@pytest.mark.parametrize(
    ("given", "wanted"),
    [pair for pair in itertools.permutations(PREDICTIONS, 2) if pair[1] != "data"],
)
def test_predictions_stay_finite_where_data_are_forgotten(
    kind: type, given: str, wanted: str
) -> None:
    """``σ² λ`` of some thousands leaves ``a = 0`` in single precision.

    From there no data are recovered, but noise, score and velocity need none.
    """
    sde = kind(2, VP, cells=3)
    sde.set_drift(torch.diag(torch.tensor([-500.0, 0.0])))
    x0, t = normal(4, 1, 2, seed=21).float(), torch.tensor([0.2, 0.5, 0.9, 1.0]).view(-1, 1, 1)
    x, noise, velocity = sde.sample(x0, t, generator=seeded(22))
    truth = {"noise": noise, "data": x0, "velocity": velocity}
    truth["score"] = sde.convert(noise, x, t, given="noise", wanted="score")
    assert all(value.isfinite().all() for value in truth.values())
    got = sde.convert(truth[given], x, t, given=given, wanted=wanted)
    torch.testing.assert_close(got, truth[wanted], rtol=2e-3, atol=2e-3)


@every_process
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_finite_from_end_to_end(sde: LinearSDE, dtype: torch.dtype) -> None:
    t = torch.tensor([0.0, 1e-6, 1e-4, 0.5, 1.0], dtype=dtype).view(-1, 1, 1)
    drawn = sde.sample(torch.ones(5, 2, 3, dtype=dtype), t, generator=seeded(23))
    for value in (*drawn, sde.diffusion(t), sde.drift(drawn.x, t)):
        assert value.dtype == dtype
        assert value.isfinite().all()
    torch.testing.assert_close(drawn.x[0], torch.ones(2, 3, dtype=dtype))


# -- A = 0 is the scalar path -------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 4])
@pytest.mark.parametrize("structure", ["full", "diagonal", "low_rank"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", [VP, VariancePreserving(), DiscreteDDPM()])
def test_without_drift_it_is_the_schedules_path_bit_for_bit(
    path, dtype: torch.dtype, structure: str, cells: int
) -> None:
    rank = 2 if structure == "low_rank" else 0
    sde = FixedBasisSDE(5, path, cells=cells, structure=structure, rank=rank)
    # There and back: A = 0 must be recognised, not only left as it was.
    if structure == "full":
        sde.set_drift(drift_of(random_spd(5, seed=24)), torch.ones(5))
        sde.set_drift(torch.zeros(5, 5))
    x0 = normal(37, 3, 5, seed=25, dtype=dtype)
    t = path.clip(torch.linspace(0.0, 1.0, 37, dtype=dtype).view(-1, 1, 1))
    for one, other in zip(sde.coefficients(t)[:4], path.coefficients(t)[:4], strict=True):
        assert torch.equal(one, other)
    ours, scalar = sde.sample(x0, t, generator=seeded(26)), path.sample(x0, t, generator=seeded(26))
    for one, other in zip(ours, scalar, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(sde.diffusion(t), path.diffusion(t))
    for given, wanted in itertools.product(PREDICTIONS, PREDICTIONS):
        one = sde.convert(x0, ours.x, t, given=given, wanted=wanted)
        assert torch.equal(one, path.convert(x0, ours.x, t, given=given, wanted=wanted))


def test_without_drift_the_matrix_process_is_the_schedules_path() -> None:
    sde = MatrixSDE(4, VP, cells=5)
    x0 = normal(len(TIMES), 3, 4, seed=27)
    ours = sde.sample(x0, TIMES, generator=seeded(28))
    scalar = VP.sample(x0, TIMES, generator=seeded(28))
    for one, other in zip(ours, scalar, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


# -- draws --------------------------------------------------------------------------------------


@every_process
def test_moments_of_a_draw(sde: LinearSDE) -> None:
    mean, factor, count = normal(3, seed=30), normal(3, 3, seed=31), 60_000
    x0 = (mean + normal(count, 3, seed=32) @ factor.mT).unsqueeze(1)
    t = torch.tensor([0.3, 0.8]).double().repeat(count // 2).view(-1, 1, 1)
    x = sde.sample(x0, t, generator=seeded(33)).x.view(-1, 2, 3)
    expected_mean, expected = sde.marginal(mean, factor @ factor.mT, t[:2])
    for n in range(2):
        spread = expected[n].diagonal().sqrt()
        gap = (x[:, n].mean(0) - expected_mean[n, 0]).abs() / spread
        assert float(gap.max()) < 5 / (count / 2) ** 0.5
        deviation = (x[:, n].T.cov() - expected[n]) / torch.outer(spread, spread)
        assert float(deviation.abs().max()) < 5 * (4 / count) ** 0.5


@every_process
def test_a_draw_is_the_affine_map_of_data_and_noise(sde: LinearSDE) -> None:
    """``x = Φ x_0 + m + L ε`` with ``L Lᵀ = Σ``, row by row and step by step."""
    x0 = normal(len(TIMES), 4, 3, seed=34)
    x, noise, _ = sde.sample(x0, TIMES, generator=seeded(35))
    phi, offset, covariance = sde.moments(TIMES)
    rest = x - x0 @ phi.mT - offset
    whitened = (rest @ torch.linalg.inv(covariance) * rest).sum(-1)
    torch.testing.assert_close(whitened, noise.square().sum(-1), rtol=1e-9, atol=0)


@every_process
def test_rows_keep_their_times_under_permutation(sde: LinearSDE) -> None:
    x0, t = normal(len(TIMES), 2, 3, seed=36), TIMES
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    x, noise, velocity = sde.sample(x0, t, generator=seeded(37))
    moments, permuted = sde.moments(t), sde.moments(t[order])
    for one, other in zip(moments, permuted, strict=True):
        torch.testing.assert_close(one[order], other, rtol=1e-13, atol=1e-14)
    for given, wanted in itertools.product(PREDICTIONS, PREDICTIONS):
        all_rows = sde.convert(noise, x, t, given=given, wanted=wanted)
        permuted_rows = sde.convert(noise[order], x[order], t[order], given=given, wanted=wanted)
        torch.testing.assert_close(all_rows[order], permuted_rows, rtol=1e-9, atol=1e-9)
    # Each row by itself, with the noise that it was given.
    for row in range(len(t)):
        one = slice(row, row + 1)
        again = sde.convert(noise[one], x[one], t[one], given="noise", wanted="velocity")
        torch.testing.assert_close(again, velocity[one], rtol=1e-8, atol=1e-9)
        data = sde.convert(noise[one], x[one], t[one], given="noise", wanted="data")
        torch.testing.assert_close(data, x0[one], rtol=1e-8, atol=1e-8)


@every_process
def test_one_time_serves_all_rows(sde: LinearSDE) -> None:
    """A solver's ``t`` is ``[1, 1, 1]``."""
    x, value = normal(6, 2, 3, seed=38), normal(6, 2, 3, seed=39)
    one, each = TIMES[3:4], TIMES[3:4].expand(6, 1, 1)
    for given, wanted in itertools.permutations(PREDICTIONS, 2):
        torch.testing.assert_close(
            sde.convert(value, x, one, given=given, wanted=wanted),
            sde.convert(value, x, each, given=given, wanted=wanted),
        )
    torch.testing.assert_close(sde.drift(x, one), sde.drift(x, each))


# -- predictions --------------------------------------------------------------------------------


@every_process
@pytest.mark.parametrize(("given", "wanted"), list(itertools.product(PREDICTIONS, PREDICTIONS)))
def test_predictions_survive_the_round_trip(sde: LinearSDE, given: str, wanted: str) -> None:
    t = torch.linspace(1e-3, 1.0 - 1e-3, 41).double().view(-1, 1, 1)
    value, x = normal(41, 2, 3, seed=40), normal(41, 2, 3, seed=41)
    other = sde.convert(value, x, t, given=given, wanted=wanted)
    back = sde.convert(other, x, t, given=wanted, wanted=given)
    torch.testing.assert_close(back, value, rtol=1e-10, atol=1e-10)


@every_process
@pytest.mark.parametrize(("given", "wanted"), list(itertools.product(PREDICTIONS, PREDICTIONS)))
def test_conversions_agree_with_the_draw(sde: LinearSDE, given: str, wanted: str) -> None:
    """Score and velocity are computed here from the moments, by their definitions."""
    x0 = normal(len(TIMES), 2, 3, seed=42)
    x, noise, velocity = sde.sample(x0, TIMES, generator=seeded(43))
    phi, offset, covariance = sde.moments(TIMES)
    score = -torch.linalg.solve(covariance, (x - x0 @ phi.mT - offset).mT).mT
    expected_velocity = sde.drift(x, TIMES) - 0.5 * VP.rate(TIMES) * score
    torch.testing.assert_close(velocity, expected_velocity, rtol=1e-9, atol=1e-9)
    truth = {"noise": noise, "data": x0, "score": score, "velocity": velocity}
    got = sde.convert(truth[given], x, TIMES, given=given, wanted=wanted)
    torch.testing.assert_close(got, truth[wanted], rtol=1e-8, atol=1e-8)


@every_process
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_velocity_moves_the_marginals_as_they_move(sde: LinearSDE, spread: float) -> None:
    """Fokker-Planck for a Gaussian marginal: for ``v = M x + c``, mean' and cov' follow.

    ``spread`` 0 is the law of a single data point.
    """
    t = torch.tensor([0.05, 0.2, 0.5, 0.9]).double().view(-1, 1, 1)
    mean0, factor = normal(3, seed=44), spread * normal(3, 3, seed=45)
    covariance0 = factor @ factor.mT
    (mean, covariance), (d_mean, d_covariance) = torch.autograd.functional.jvp(
        lambda at: sde.marginal(mean0, covariance0, at), t, torch.ones_like(t)
    )

    def velocity(x: Tensor) -> Tensor:
        score = -torch.linalg.solve(covariance, (x - mean).mT).mT
        return sde.convert(score, x, t, given="score", wanted="velocity")

    origin = velocity(torch.zeros(4, 3, 3).double())
    slope = (velocity(torch.eye(3).double().expand(4, 3, 3)) - origin).mT
    torch.testing.assert_close(velocity(mean), d_mean, rtol=1e-9, atol=1e-9)
    implied = slope @ covariance + covariance @ slope.mT
    torch.testing.assert_close(implied, d_covariance, rtol=1e-8, atol=1e-8)


@every_process
def test_drift_is_what_was_set(sde: LinearSDE) -> None:
    x = normal(len(TIMES), 2, 3, seed=46)
    cell = torch.bucketize(TIMES.flatten(), sde.edges) - 1
    a, u = sde.drift_matrix()[cell], sde.shift[cell].unsqueeze(1)
    expected = VP.rate(TIMES) * (x @ a.mT + u - 0.5 * sde.decay * x)
    torch.testing.assert_close(sde.drift(x, TIMES), expected, rtol=1e-11, atol=1e-12)


@every_process
@pytest.mark.parametrize(("given", "wanted"), [("flow", "noise"), ("noise", "flow")])
def test_unknown_predictions_are_named(sde: LinearSDE, given: str, wanted: str) -> None:
    x = torch.ones(len(TIMES), 1, 3).double()
    with pytest.raises(ValueError, match=r"'flow'.*noise, data, score, velocity"):
        sde.convert(x, x, TIMES, given=given, wanted=wanted)


# -- structures and the clamp -------------------------------------------------------------------


def test_diagonal_and_low_rank_are_special_cases_of_full() -> None:
    diagonal = normal(5, seed=70).abs().neg()
    factor, core, level = normal(5, 2, seed=71), -torch.eye(2).double(), 0.2
    small = FixedBasisSDE(5, VP, structure="diagonal")
    thin = FixedBasisSDE(5, VP, structure="low_rank", rank=2)
    offset, x0 = normal(5, seed=72), normal(len(TIMES), 2, 5, seed=73)
    small.set_drift(diagonal, offset)
    thin.set_low_rank(level, factor, core, offset)
    thick = level * torch.eye(5).double() + factor @ core @ factor.mT
    for sde, matrix in ((small, torch.diag(diagonal)), (thin, thick)):
        full = FixedBasisSDE(5, VP)
        full.set_drift(matrix, offset)
        torch.testing.assert_close(sde.drift_matrix()[0], matrix, rtol=1e-12, atol=1e-13)
        drawn = zip(
            sde.sample(x0, TIMES, generator=seeded(74)),
            full.sample(x0, TIMES, generator=seeded(74)),
            strict=True,
        )
        for one, other in (*zip(sde.moments(TIMES), full.moments(TIMES), strict=True), *drawn):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("structure", ["diagonal", "low_rank"])
def test_small_structures_hold_no_matrix_per_row(structure: str) -> None:
    """Dense factors of this batch would take 20 GiB, and one D × D matrix 300 MiB."""
    dim, rows = 6_000, 64
    rank = 3 if structure == "low_rank" else 0
    sde = FixedBasisSDE(dim, VP, structure=structure, rank=rank)
    if rank:
        sde.set_low_rank(0.1, normal(dim, 3, seed=75) / dim**0.5, -torch.eye(3).double())
    else:
        sde.set_drift(-spectrum(dim, seed=75, low=0.01, high=0.5))
    assert sum(value.numel() for value in sde.buffers()) < 20 * dim
    x0, t = normal(rows, 1, dim, seed=76).float(), torch.rand(rows, 1, 1, generator=seeded(77))
    x, noise, _ = sde.sample(x0, t, generator=seeded(78))
    data = sde.convert(noise, x, t, given="noise", wanted="data")
    torch.testing.assert_close(data, x0, rtol=1e-2, atol=1e-2)


def test_small_changes_of_the_drift_change_a_draw_little() -> None:
    """The symmetric root: a network trained before an update still fits after it."""
    sde = FixedBasisSDE(3, VP)
    x0 = normal(len(TIMES), 1, 3, seed=79)
    before = sde.sample(x0, TIMES, generator=seeded(80)).x
    for seed in range(5):
        wiggle = normal(3, 3, seed=seed)
        sde.set_drift(1e-6 * (wiggle + wiggle.mT))
        after = sde.sample(x0, TIMES, generator=seeded(80)).x
        torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


@CLASSES
def test_eigenvalues_are_moved_into_their_range_and_counted(kind: type) -> None:
    basis = rotation(4, 81)
    wanted = torch.tensor([-0.5, 0.7, 2.0, 9.0], dtype=torch.float64)
    sde = kind(4, VP, eigenvalue_range=(0.1, 5.0))
    assert sde.set_drift(drift_of(basis * wanted @ basis.mT)) == 2
    clamped = basis * wanted.clamp(0.1, 5.0) @ basis.mT
    torch.testing.assert_close(sde.drift_matrix()[0], drift_of(clamped), rtol=0, atol=1e-13)
    # What was clamped lies on the bound, give or take rounding: nothing is left to move.
    assert sde.set_drift(sde.drift_matrix()[0]) == 0
    assert sde.moments(TIMES).covariance.isfinite().all()


def test_the_clamp_of_a_low_rank_is_that_of_the_matrix() -> None:
    factor, core = normal(5, 2, seed=82), torch.tensor([[1.0, 0.3], [0.3, -2.0]]).double()
    thin = FixedBasisSDE(5, VP, structure="low_rank", rank=2, eigenvalue_range=(0.1, 4.0))
    full = FixedBasisSDE(5, VP, eigenvalue_range=(0.1, 4.0))
    matrix = 0.3 * torch.eye(5).double() + factor @ core @ factor.mT
    assert thin.set_low_rank(0.3, factor, core) == full.set_drift(matrix) == 2
    torch.testing.assert_close(thin.drift_matrix(), full.drift_matrix(), rtol=0, atol=1e-12)


def test_the_clamp_counts_over_cells() -> None:
    sde = MatrixSDE(2, VP, cells=3, eigenvalue_range=(0.5, 2.0))
    assert sde.set_drift(torch.stack([torch.eye(2), torch.zeros(2, 2), -torch.eye(2)])) == 4
    fixed = FixedBasisSDE(2, VP, cells=3, eigenvalue_range=(0.5, 2.0))
    assert fixed.set_spectrum(torch.tensor([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])) == 2


# -- as a module --------------------------------------------------------------------------------


@every_process
def test_a_loaded_process_is_the_same_to_the_bit(sde: LinearSDE) -> None:
    x0 = normal(len(TIMES), 2, 3, seed=90)
    expected = sde.sample(x0, TIMES, generator=seeded(91))
    fresh = copy.deepcopy(sde)
    if isinstance(fresh, MatrixSDE):
        fresh.set_drift(torch.zeros(3, 3))
    else:
        assert isinstance(fresh, FixedBasisSDE)
        fresh.set_spectrum(torch.ones(fresh.eigenvalues.shape[-1]))
    assert not torch.equal(fresh.sample(x0, TIMES, generator=seeded(91)).x, expected.x)
    fresh.load_state_dict(sde.state_dict())
    for one, other in zip(fresh.sample(x0, TIMES, generator=seeded(91)), expected, strict=True):
        assert torch.equal(one, other)


@every_process
def test_the_state_holds_the_drift_and_no_cache(sde: LinearSDE) -> None:
    drift = {"matrix"} if isinstance(sde, MatrixSDE) else {"basis", "eigenvalues"}
    assert set(sde.state_dict()) == drift | {"shift", "edges"}


def ragged() -> Tensor:
    return torch.tensor([0.0, 0.5, 0.5, 1.0])


NAN = float("nan")


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda: MatrixSDE(0), "dim"),
        (lambda: MatrixSDE(2, cells=0), "at least 1 cell"),
        (lambda: MatrixSDE(2, cells=ragged()), "rise strictly"),
        (lambda: MatrixSDE(2, cells=torch.tensor([0.0, 0.9])), "from 0 to 1"),
        (lambda: MatrixSDE(2, decay=-1.0), "decay"),
        (lambda: MatrixSDE(2, eigenvalue_range=(2.0, 1.0)), "eigenvalue_range"),
        (lambda: MatrixSDE(2, eigenvalue_range=(-1.0, 1.0)), "eigenvalue_range"),
        (lambda: MatrixSDE(2).set_drift(torch.zeros(3, 3)), r"\[2, 2\].*got \[3, 3\]"),
        (lambda: MatrixSDE(2).set_drift(torch.tensor([[0.0, 1.0], [0.0, 0.0]])), "symmetric"),
        (lambda: MatrixSDE(2).set_drift(torch.full((2, 2), NAN)), "finite"),
        (lambda: MatrixSDE(2).set_drift(torch.zeros(2, 2), torch.zeros(3)), "offset"),
        (lambda: MatrixSDE(2).moments(torch.ones(3)), r"\[B, 1, 1\]"),
        (lambda: FixedBasisSDE(2, structure="banded"), "'banded'.*low_rank"),
        (lambda: FixedBasisSDE(2, structure="low_rank"), "rank"),
        (lambda: FixedBasisSDE(2, structure="low_rank", rank=2), "rank"),
        (lambda: FixedBasisSDE(2, rank=1), "rank"),
        (lambda: FixedBasisSDE(2).set_drift(torch.zeros(1, 2, 2)), "MatrixSDE"),
        (lambda: FixedBasisSDE(2).set_drift(torch.full((2, 2), NAN)), "finite"),
        (lambda: FixedBasisSDE(2).set_spectrum(torch.ones(3)), "eigenvalues"),
        (lambda: FixedBasisSDE(2).set_spectrum(torch.ones(2), torch.ones(2, 2)), "orthonormal"),
        (lambda: FixedBasisSDE(2).set_spectrum(torch.ones(2), torch.ones(2, 1)), "basis"),
        (lambda: FixedBasisSDE(2).set_low_rank(0.0, torch.ones(2, 1), torch.ones(1, 1)), "full"),
        (
            lambda: FixedBasisSDE(2, structure="low_rank", rank=1).set_drift(torch.zeros(2, 2)),
            "set_low_rank",
        ),
        (
            lambda: FixedBasisSDE(3, structure="low_rank", rank=1).set_low_rank(
                0.0, torch.ones(3, 2), torch.ones(2, 2)
            ),
            "V and C",
        ),
    ],
)
def test_what_cannot_be_is_refused(act, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        act()


def test_a_path_without_a_rate_is_no_schedule() -> None:
    with pytest.raises(TypeError, match=r"integrated_rate.*got Linear"):
        FixedBasisSDE(2, Linear())


def test_a_refused_drift_changes_nothing() -> None:
    sde = make("full offset")
    before = {name: value.clone() for name, value in sde.state_dict().items()}
    assert isinstance(sde, FixedBasisSDE)
    with pytest.raises(ValueError, match="offset"):
        sde.set_drift(torch.eye(3), torch.ones(2))
    with pytest.raises(ValueError, match="orthonormal"):
        sde.set_spectrum(torch.ones(3), torch.ones(3, 3))
    for name, value in sde.state_dict().items():
        assert torch.equal(value, before[name])
