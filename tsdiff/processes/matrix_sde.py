r"""Linear diffusions with any symmetric drift matrix on each cell of a time grid.

The recursion of :mod:`tsdiff.processes.linear_sde`, with dense factors: ``L`` is the Cholesky
factor of ``Σ``. At the end of every cell ``Φ, m, L`` and ``L^{-1}`` are cached until the drift
changes; a time inside a cell takes a partial step from its beginning, and a factorisation, for
each row. For ``D_t`` with common eigenvectors, and so for any constant one,
:class:`~tsdiff.processes.FixedBasisSDE` is far cheaper.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsdiff.processes.affine import PathSample, check_prediction
from tsdiff.processes.linear_sde import LinearSDE, Moments, Schedule, relaxation, symmetric
from tsdiff.random import Randomness, standard_normal

# The least ∫β over a stretch: L and L⁻¹ stay finite in float32 down to t = 0.
_LEAST = torch.finfo(torch.float32).tiny


class _Factors(NamedTuple):
    """``Φ [B, D, D]``, ``m [B, 1, D]``, ``L`` and ``L^{-1}`` at a batch of times."""

    transition: Tensor
    offset: Tensor
    factor: Tensor
    inverse: Tensor

    def take(self, index: Tensor) -> _Factors:
        return _Factors(*(value[index] for value in self))

    def to(self, dtype: torch.dtype) -> _Factors:
        return _Factors(*(value.to(dtype) for value in self))


class MatrixSDE(LinearSDE):
    """The linear diffusion for any piecewise-constant ``D_t``; parameters as for its base.

    ``A = 0`` and ``u = 0`` until they are set. Factors are computed in double precision and
    returned in that of the times.

    Examples
    --------
    >>> import torch
    >>> sde = MatrixSDE(2, cells=2)
    >>> sde.set_drift(torch.tensor([[[-0.5, 0.2], [0.2, 0.1]], [[0.0, 0.3], [0.3, -1.0]]]))
    0
    >>> sde.moments(torch.tensor([[[0.3]], [[1.0]]])).covariance.shape
    torch.Size([2, 2, 2])
    """

    matrix: Tensor

    def __init__(
        self,
        dim: int,
        schedule: Schedule | None = None,
        *,
        cells: int | Tensor = 1,
        decay: float = 1.0,
        eigenvalue_range: tuple[float, float] | None = None,
    ):
        super().__init__(dim, schedule, cells=cells, decay=decay, eigenvalue_range=eigenvalue_range)
        start = torch.zeros(self.cells, dim, dim, dtype=torch.float64)
        self.register_buffer("matrix", start.clone())
        self.set_drift(start)

    def set_drift(self, matrix: Tensor, offset: Tensor | None = None) -> int:
        """Set ``A`` and ``u``; returns how many eigenvalues of ``D`` were moved into their range.

        Parameters
        ----------
        matrix
            ``A``, symmetric, ``[D, D]`` (constant in ``t``) or ``[N, D, D]``.
        offset
            ``u``, ``[D]`` or ``[N, D]``; None is 0.

        Raises
        ------
        ValueError
            If a shape does not fit, a value isn't finite, or ``A`` isn't symmetric.
        """
        matrix = symmetric(self._checked(matrix, "A", (self.dim, self.dim)), "A")
        self._set_shift(offset)
        eigenvalues, basis = torch.linalg.eigh(matrix)
        inside, moved = self._clamped(self.decay - 2.0 * eigenvalues)
        if moved:
            matrix = _function(0.5 * (self.decay - inside), basis)
        self.matrix.copy_(matrix)
        self._rebuild()
        return moved

    def drift_matrix(self) -> Tensor:
        return self.matrix.clone()

    def sample(self, x0: Tensor, t: Tensor, *, generator: Randomness = None) -> PathSample:
        noise = standard_normal(x0, generator)
        k = self._factors(t)
        x = x0 @ k.transition.mT + k.offset + noise @ k.factor.mT
        return PathSample(x, noise, self._express("velocity", noise, x, t, k))

    def convert(self, value: Tensor, x: Tensor, t: Tensor, *, given: str, wanted: str) -> Tensor:
        check_prediction(given)
        check_prediction(wanted)
        k = self._factors(t)
        return self._express(wanted, self._noise(given, value, x, t, k), x, t, k)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        cell = self._cell(t).flatten()
        matrix, shift = self.matrix[cell].to(x.dtype), self.shift[cell].unsqueeze(-2).to(x.dtype)
        return self.schedule.rate(t) * (x @ matrix - 0.5 * self.decay * x + shift)

    def moments(self, t: Tensor) -> Moments:
        k = self._factors(t)
        return Moments(k.transition, k.offset, k.factor @ k.factor.mT)

    def _noise(self, given: str, value: Tensor, x: Tensor, t: Tensor, k: _Factors) -> Tensor:
        """The noise that a prediction of kind ``given`` at ``x`` implies."""
        if given == "data":
            return (x - k.offset - value @ k.transition.mT) @ k.inverse.mT
        if given == "score":
            return -value @ k.factor
        if given == "velocity":
            return (value - self.drift(x, t)) @ k.factor * (2.0 / self.schedule.rate(t))
        return value

    def _express(self, wanted: str, noise: Tensor, x: Tensor, t: Tensor, k: _Factors) -> Tensor:
        """The prediction of kind ``wanted`` that ``noise`` at ``x`` amounts to."""
        if wanted == "data":
            # Φ may be worse conditioned than single precision can take.
            rest = (x - k.offset - noise @ k.factor.mT).double()
            return torch.linalg.solve(k.transition.double(), rest.mT).mT.to(x.dtype)
        if wanted == "score":
            return -noise @ k.inverse
        if wanted == "velocity":
            return self.drift(x, t) + 0.5 * self.schedule.rate(t) * (noise @ k.inverse)
        return noise

    def _factors(self, t: Tensor) -> _Factors:
        if t.ndim != 3 or t.shape[1:] != (1, 1):
            raise ValueError(f"times must be [B, 1, 1], got {list(t.shape)}")
        cell, at = self._cell(t).flatten(), t.flatten()
        slack = 4.0 * torch.finfo(t.dtype).eps
        if bool(((at - self.edges[cell + 1]).abs() <= slack).all()):
            return self._cached().take(cell + 1).to(t.dtype)
        return self._step(cell, at.double()).to(t.dtype)

    def _cached(self) -> _Factors:
        return _Factors(self._phi, self._mean, self._factor, self._inverse)

    def _step(self, cell: Tensor, t: Tensor) -> _Factors:
        """A partial step from the beginning of ``cell [B]`` to ``t [B]``."""
        q = self.schedule.integrated_rate(t) - self._integral[cell]
        q = q.clamp_min(_LEAST).unsqueeze(-1)
        spectrum, basis = self._spectrum[cell], self._basis[cell]
        e = _function(torch.exp(-0.5 * q * spectrum), basis)
        spread = e @ self._factor[cell]
        covariance = spread @ spread.mT + _function(relaxation(q, spectrum), basis)
        push = _function(relaxation(q, 0.5 * spectrum), basis)
        offset = self._mean[cell] @ e + self.shift.double()[cell].unsqueeze(-2) @ push
        return _factorised(e @ self._phi[cell], offset, covariance)

    def _rebuild(self) -> None:
        matrix = self.decay * torch.eye(self.dim, dtype=torch.float64, device=self.matrix.device)
        self._spectrum, self._basis = torch.linalg.eigh(matrix - 2.0 * self.matrix.double())
        self._spectrum = self._spectrum.clamp_min(0.0)
        self._integral = self.schedule.integrated_rate(self.edges.double())
        q = self._integral.diff().unsqueeze(-1)
        e = _function(torch.exp(-0.5 * q * self._spectrum), self._basis)
        gain = _function(relaxation(q, self._spectrum), self._basis)
        push = _function(relaxation(q, 0.5 * self._spectrum), self._basis)
        push = self.shift.double().unsqueeze(-2) @ push
        phi, mean, covariance = [torch.eye(self.dim).to(e)], [push[0] * 0.0], [gain[0] * 0.0]
        for n in range(self.cells):
            phi.append(e[n] @ phi[n])
            mean.append(mean[n] @ e[n] + push[n])
            covariance.append(e[n] @ covariance[n] @ e[n] + gain[n])
        ends = _factorised(*(torch.stack(each[1:]) for each in (phi, mean, covariance)))
        # At t = 0 the inverse does not exist: nobody looks it up there.
        start = (phi[0], mean[0], covariance[0], covariance[0])
        self._phi, self._mean, self._factor, self._inverse = (
            torch.cat([first.unsqueeze(0), rest]) for first, rest in zip(start, ends, strict=True)
        )


def _function(values: Tensor, basis: Tensor) -> Tensor:
    """``U diag(values) Uᵀ``, ``[..., D, D]``."""
    return basis * values.unsqueeze(-2) @ basis.mT


def _factorised(transition: Tensor, offset: Tensor, covariance: Tensor) -> _Factors:
    factor = torch.linalg.cholesky(0.5 * (covariance + covariance.mT))
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return _Factors(transition, offset, factor, inverse)
