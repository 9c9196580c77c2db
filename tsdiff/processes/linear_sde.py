r"""Linear diffusions with a matrix drift: the forward process of VSDM.

.. math:: dx = \bigl[-½ β_t D_t x + β_t u_t\bigr]\,dt + \sqrt{β_t}\,dw, \qquad D_t = δ I - 2 A_t

(Deng et al. 2024, *Variational Schrödinger Diffusion Models*, eq. 11; the offset ``u`` is an
addition, without which no linear drift carries a mean to the source). ``A_t x + u_t`` is the
variational score; ``δ = 1`` adapts the variance-preserving process and ``δ = 0`` the exploding
one. ``D_t`` is symmetric positive definite and constant on each cell of a time grid. Then, with
``L Lᵀ = Σ``,

.. math:: x_t = Φ_t x_0 + m_t + L_t ε, \qquad ∇\log p(x_t | x_0) = -L_t^{-⊤} ε.

Over a stretch of one cell with ``q = ∫β`` and ``E = exp(-½ q D)``,

.. math:: Φ ← E Φ, \qquad Σ ← E Σ E + r(q, D), \qquad m ← E m + r(q, ½D)\,u,
   \qquad r(q, D) = D^{-1}(I - e^{-q D}),

which solves the moment equations (12) exactly. The printed eqs. (13, 14) are its special cases:
the mean where the ``D_t`` commute, the covariance where ``D`` is constant in ``t``. The factor
``σ_t`` that appendix A of the paper puts into ``L_t`` is a misprint; corollary 1 is right.

:class:`FixedBasisSDE` is for ``D_t`` that share their eigenvectors, and so for any constant ``D``:
arithmetic is elementwise in the eigenbasis. :class:`~tsdiff.processes.matrix_sde.MatrixSDE` takes
any ``D_t``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tsdiff.processes.affine import PathSample, VariancePreserving
from tsdiff.random import Randomness


@runtime_checkable
class Schedule(Protocol):
    """What is needed of ``β``; every variance-preserving path has it."""

    def rate(self, t: Tensor) -> Tensor:
        """``β(t)``."""
        ...

    def integrated_rate(self, t: Tensor) -> Tensor:
        """``∫₀ᵗ β``."""
        ...


class Moments(NamedTuple):
    """The law ``N(Φ x_0 + m, Σ)`` of ``x_t`` given ``x_0``, at a batch of times."""

    transition: Tensor
    """``Φ``, ``[B, D, D]``."""
    offset: Tensor
    """``m``, ``[B, 1, D]``."""
    covariance: Tensor
    """``Σ``, ``[B, D, D]``."""


class LinearSDE(nn.Module):
    """Base of the linear diffusions: schedule, time grid, offset and what follows from moments.

    Parameters
    ----------
    dim
        D.
    schedule
        Where ``β`` comes from; None is ``VariancePreserving()``.
    cells
        Number of equal cells of [0, 1] on which the drift is constant, or their edges
        ``[N + 1]``, rising from 0 to 1.
    decay
        ``δ``: 1 for variance preserving, 0 for variance exploding.
    eigenvalue_range
        Interval into which eigenvalues of ``D`` are moved; None is [1e-3, 1e3], or [0, 1e3]
        where ``decay`` is 0.

    Attributes
    ----------
    t_min, t_max
        Times are clipped to this interval, as for :class:`~tsdiff.processes.AffinePath`.
    edges
        Edges of the cells, ``[N + 1]``.
    shift
        The offset ``u``, ``[N, D]``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    TypeError
        If the schedule isn't one.
    """

    t_min: float = 1e-4
    t_max: float = 1.0

    edges: Tensor
    shift: Tensor

    def __init__(
        self,
        dim: int,
        schedule: Schedule | None = None,
        *,
        cells: int | Tensor = 1,
        decay: float = 1.0,
        eigenvalue_range: tuple[float, float] | None = None,
    ):
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        if not 0.0 <= decay < math.inf:
            raise ValueError(f"decay must not be negative, got {decay}")
        low, high = eigenvalue_range or (1e-3 if decay > 0.0 else 0.0, 1e3)
        if not 0.0 <= low <= high < math.inf:
            raise ValueError(f"expected 0 <= low <= high in eigenvalue_range, got ({low}, {high})")
        if not isinstance(schedule, Schedule | None):
            raise TypeError(
                "schedule must have rate(t) and integrated_rate(t), as VariancePreserving has, "
                f"got {type(schedule).__name__}"
            )
        self.dim, self.decay, self.eigenvalue_range = dim, decay, (low, high)
        self.schedule: Any = VariancePreserving() if schedule is None else schedule
        self.register_buffer("edges", _edges(cells))
        self.register_buffer("shift", torch.zeros(self.cells, dim, dtype=torch.float64))

    @property
    def cells(self) -> int:
        """N, the number of cells on which the drift is constant."""
        return len(self.edges) - 1

    def adapt(self, covariance: Tensor) -> None:
        """As for affine paths: nothing. What these adapt to is simulated."""

    def clip(self, t: Tensor) -> Tensor:
        """``t`` moved into ``[t_min, t_max]``: the only place where times are clipped."""
        return t.clamp(self.t_min, self.t_max)

    def diffusion(self, t: Tensor) -> Tensor:
        """Native diffusion coefficient ``g(t) = √β``, shaped like ``t``."""
        return self.schedule.rate(t).sqrt()

    def sample(self, x0: Tensor, t: Tensor, *, generator: Randomness = None) -> PathSample:
        """Draw ``x_t`` given data.

        The velocity is ``f x - ½ g² score``, eq. (18). With the Cholesky factor it differs from
        the derivative of ``Φ x_0 + m + L ε`` in ``t``, which has the same marginals.

        Parameters
        ----------
        x0
            Data, ``[B, T, D]``.
        t
            Times in [0, 1], ``[B, 1, 1]``; row ``i`` of ``t`` belongs to row ``i`` of ``x0``.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no sample(x0, t)")

    def convert(self, value: Tensor, x: Tensor, t: Tensor, *, given: str, wanted: str) -> Tensor:
        """Turn one prediction at ``(x, t)`` into another.

        Parameters
        ----------
        value, x
            The prediction and the point it was made at, ``[B, T, D]``.
        given, wanted
            Two of :data:`~tsdiff.processes.PREDICTIONS`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no convert")

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """Drift of the forward process, ``-½ β_t D_t x + β_t u_t``, ``[B, T, D]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no drift(x, t)")

    def moments(self, t: Tensor) -> Moments:
        """The law of ``x_t`` given ``x_0`` as dense matrices, at times ``[B, 1, 1]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no moments(t)")

    def drift_matrix(self) -> Tensor:
        """``A`` on every cell, ``[N, D, D]``, after the clamp of its eigenvalues."""
        raise NotImplementedError(f"{type(self).__name__} defines no drift_matrix()")

    def marginal(self, mean: Tensor, covariance: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``[B, 1, D]`` and covariance ``[B, D, D]`` of ``x_t``, times ``[B, 1, 1]``.

        At ``t = 1`` they are those of the moment-matched source.

        Parameters
        ----------
        mean, covariance
            Those of the data, ``[D]`` and ``[D, D]``.
        """
        phi, offset, spread = self.moments(t)
        return mean.unsqueeze(0) @ phi.mT + offset, phi @ covariance @ phi.mT + spread

    def _cell(self, t: Tensor) -> Tensor:
        """The cell that ``t`` lies in, shaped like ``t``; an edge belongs to the cell before it."""
        # n / N may round to just above an edge, where the next cell, with its own drift, begins.
        slack = 4.0 * torch.finfo(t.dtype).eps
        return torch.searchsorted(self.edges[1:-1].to(t.dtype) + slack, t.detach().contiguous())

    def _set_shift(self, offset: Tensor | None) -> None:
        if offset is None:
            self.shift.zero_()
        else:
            self.shift.copy_(self._checked(offset, "offset", (self.dim,)))

    def _checked(self, value: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        """``value`` in float64 as ``[N, *shape]``, or an error that says what was expected."""
        if value.shape not in {shape, (self.cells, *shape)}:
            raise ValueError(
                f"{name} must be {list(shape)} (constant in t) or {[self.cells, *shape]} (one for "
                f"each cell), got {list(value.shape)}"
            )
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} must be finite")
        value = value.detach().to(self.shift.device, torch.float64)
        return value.expand(self.cells, *shape)

    def _clamped(self, eigenvalues: Tensor) -> tuple[Tensor, int]:
        """Eigenvalues of ``D`` moved into their range, and how many had to be moved."""
        inside = eigenvalues.clamp(*self.eigenvalue_range)
        # What an eigendecomposition's rounding may take from a value that lies on a bound.
        slack = 1e-12 * eigenvalues.abs().max()
        return inside, int(((inside - eigenvalues).abs() > slack).sum())

    def _rebuild(self) -> None:
        """Recompute what is cached from the persistent buffers."""
        raise NotImplementedError(f"{type(self).__name__} defines no _rebuild()")

    # What is cached are plain tensors, not buffers: their shapes change with the drift, and who
    # averages or swaps a model's buffers must not meet them.
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._rebuild()

    def _apply(self, *args: Any, **kwargs: Any) -> LinearSDE:
        super()._apply(*args, **kwargs)
        self._rebuild()
        return self


def symmetric(matrix: Tensor, name: str) -> Tensor:
    """``matrix`` ``[..., D, D]`` freed from rounding's asymmetry; a ValueError if there is more."""
    excess = (matrix - matrix.mT).abs().max()
    if bool(excess > 1e-6 * matrix.abs().max()):
        raise ValueError(
            f"{name} must be symmetric, but differs from its transpose by {float(excess):.3g}: "
            "pass ½ (A + Aᵀ)"
        )
    return 0.5 * (matrix + matrix.mT)


def check_orthonormal(basis: Tensor) -> None:
    """Raise a ValueError unless the columns of ``basis`` ``[D, K]`` are orthonormal."""
    columns = basis.detach().double()
    identity = torch.eye(columns.shape[1], dtype=columns.dtype, device=columns.device)
    excess = (columns.mT @ columns - identity).abs().max()
    if not bool(excess <= 1e3 * torch.finfo(basis.dtype).eps):
        raise ValueError(
            f"the columns of basis must be orthonormal, and are so only to {float(excess):.3g}: "
            "take Q of its QR decomposition"
        )


def relaxation(q: Tensor, eigenvalues: Tensor) -> Tensor:
    """``r(q, λ) = (1 - exp(-q λ)) / λ``, which is ``q`` where ``λ → 0``."""
    small = eigenvalues < math.sqrt(torch.finfo(eigenvalues.dtype).tiny)
    divisor = torch.where(small, 1.0, eigenvalues)
    return torch.where(small, q, -torch.expm1(-q * eigenvalues) / divisor)


def _edges(cells: int | Tensor) -> Tensor:
    if isinstance(cells, Tensor):
        edges = cells.detach().to(torch.float64)
        rising = edges.ndim == 1 and len(edges) > 1 and bool((edges.diff() > 0).all())
        if not rising or edges[0] != 0.0 or edges[-1] != 1.0:
            raise ValueError(f"edges of cells must rise strictly from 0 to 1, got {cells.tolist()}")
        return edges
    if cells < 1:
        raise ValueError(f"there must be at least 1 cell, got {cells}")
    return torch.linspace(0.0, 1.0, cells + 1, dtype=torch.float64)
