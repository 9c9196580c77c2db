r"""Linear diffusions whose drift matrices share their eigenvectors: elementwise in the eigenbasis.

With ``D_t = U diag(λ_t) Uᵀ`` and ``U`` fixed, each coordinate of ``Uᵀ x`` is a scalar affine path,

.. math:: a = e^{-½∫βλ}, \qquad b^2 = \frac{1 - e^{-λ∫β}}{λ} \quad (λ \text{ constant}),

and by the recursion of :mod:`tsdiff.processes.linear_sde` where ``λ`` changes between cells. The
algebra of the four predictions is that of :mod:`tsdiff.processes.affine`, coordinate by
coordinate; ``L = U diag(b) Uᵀ`` is the symmetric root, which unlike ``U diag(b)`` changes little
when ``A`` changes little. An event costs O(D²) for the change of basis, O(D k) or O(D) for the
smaller structures, and no matrix is held per row. Where ``D_t = λ_t I`` there is no change of basis
and the coefficients are scalars: with ``A = 0`` they are those of the schedule's path, bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsdiff.processes.affine import Coefficients, PathSample, decompose, express
from tsdiff.processes.linear_sde import (
    LinearSDE,
    Moments,
    Schedule,
    check_orthonormal,
    relaxation,
    symmetric,
)
from tsdiff.random import Randomness, standard_normal

STRUCTURES = ("full", "diagonal", "low_rank")
"""Shapes of the drift matrix ``A`` that a fixed basis knows."""


class _Law(NamedTuple):
    """Coefficients, and the pair ``m, m'`` where there is an offset, in the basis' coordinates."""

    k: Coefficients
    offset: tuple[Tensor, Tensor] | None


class FixedBasisSDE(LinearSDE):
    """The linear diffusion for ``D_t`` with common eigenvectors; a constant ``D`` is one such.

    ``A = 0`` and ``u = 0`` until they are set.

    Parameters
    ----------
    dim, schedule, cells, decay, eigenvalue_range
        As for :class:`~tsdiff.processes.linear_sde.LinearSDE`.
    structure
        ``"full"``: any symmetric ``A``, up to some hundreds of dimensions. ``"diagonal"``. Or
        ``"low_rank"``: ``A = α I + V C Vᵀ`` with ``rank`` columns in ``V``. (Beside another
        diagonal than ``α I``, a low rank does not commute with it, and ``exp(-½ q D)`` is neither:
        that needs ``"full"``.)
    rank
        Columns of ``V``, below ``dim``; for ``"low_rank"`` only.

    Examples
    --------
    >>> import torch
    >>> sde = FixedBasisSDE(2)
    >>> sde.set_drift(torch.tensor([[-0.5, 0.2], [0.2, 0.1]]))
    0
    >>> x, noise, velocity = sde.sample(torch.ones(8, 1, 2), torch.rand(8, 1, 1))
    >>> x.shape
    torch.Size([8, 1, 2])
    """

    basis: Tensor
    eigenvalues: Tensor

    def __init__(
        self,
        dim: int,
        schedule: Schedule | None = None,
        *,
        cells: int | Tensor = 1,
        decay: float = 1.0,
        eigenvalue_range: tuple[float, float] | None = None,
        structure: str = "full",
        rank: int = 0,
    ):
        super().__init__(dim, schedule, cells=cells, decay=decay, eigenvalue_range=eigenvalue_range)
        if structure not in STRUCTURES:
            raise ValueError(
                f"unknown structure {structure!r}: expected one of {', '.join(STRUCTURES)}"
            )
        if (structure == "low_rank") != (0 < rank < dim) or rank < 0:
            raise ValueError(
                "rank must lie between 1 and dim - 1 for structure 'low_rank' and be 0 otherwise, "
                f"got rank={rank}, dim={dim}, structure={structure!r}"
            )
        self.structure, self.rank = structure, rank
        columns = {"full": dim, "diagonal": 0, "low_rank": rank}[structure]
        self._width = rank + 1 if structure == "low_rank" else dim
        self.register_buffer("basis", torch.eye(dim, columns, dtype=torch.float64))
        start = torch.full((self.cells, self._width), decay, dtype=torch.float64)
        self.register_buffer("eigenvalues", start)
        self.set_spectrum(start)

    def set_drift(self, matrix: Tensor, offset: Tensor | None = None) -> int:
        """Set ``A``, constant in ``t``, and ``u``; returns how many eigenvalues were moved.

        Parameters
        ----------
        matrix
            ``[D, D]``, symmetric; for the structure ``"diagonal"`` its diagonal, ``[D]`` or
            ``[N, D]``.
        offset
            ``u``, ``[D]`` or ``[N, D]``; None is 0.

        Raises
        ------
        ValueError
            If a shape does not fit, a value isn't finite, or ``A`` isn't symmetric.
        """
        if self.structure == "low_rank":
            raise ValueError("a drift of structure 'low_rank' is set by set_low_rank")
        if self.structure == "diagonal":
            diagonal = self._checked(matrix, "the diagonal of A", (self.dim,))
            return self.set_spectrum(self.decay - 2.0 * diagonal, offset=offset)
        if matrix.shape != (self.dim, self.dim):
            raise ValueError(
                f"A must be {[self.dim, self.dim]}, got {list(matrix.shape)}; one that varies in t "
                "is set by set_spectrum, or is for MatrixSDE if its eigenvectors vary"
            )
        matrix = symmetric(self._checked(matrix, "A", (self.dim, self.dim))[0], "A")
        eigenvalues, basis = torch.linalg.eigh(matrix)
        return self.set_spectrum(self.decay - 2.0 * eigenvalues, basis, offset)

    def set_low_rank(
        self, level: float, factor: Tensor, core: Tensor, offset: Tensor | None = None
    ) -> int:
        """Set ``A = α I + V C Vᵀ``; returns how many eigenvalues were moved.

        With ``V = Q R``, ``D`` has the eigenvalues of the small core
        ``(δ - 2α) I - 2 R C Rᵀ`` on the span of ``V``, and ``δ - 2α`` on all that is
        perpendicular to it: clamping these ``rank + 1`` numbers clamps ``D``, exactly.

        Parameters
        ----------
        level, factor, core
            ``α``, ``V [D, rank]``, and ``C [rank, rank]``, symmetric.
        offset
            As for :meth:`set_drift`.
        """
        if self.structure != "low_rank":
            raise ValueError(f"a drift of structure {self.structure!r} is set by set_drift")
        if factor.shape != (self.dim, self.rank) or core.shape != (self.rank, self.rank):
            raise ValueError(
                f"V and C must be {[self.dim, self.rank]} and {[self.rank, self.rank]}, got "
                f"{list(factor.shape)} and {list(core.shape)}"
            )
        if not bool(factor.isfinite().all() and core.isfinite().all()):
            raise ValueError("V and C must be finite")
        q, r = torch.linalg.qr(factor.detach().to(self.basis))
        core = symmetric(core.detach().to(self.basis), "C")
        inner, rotation = torch.linalg.eigh(r @ core @ r.mT)
        values = torch.cat([inner, inner.new_zeros(1)]) + level
        return self.set_spectrum(self.decay - 2.0 * values, q @ rotation, offset)

    def set_spectrum(
        self, eigenvalues: Tensor, basis: Tensor | None = None, offset: Tensor | None = None
    ) -> int:
        """Set ``D = U diag(λ) Uᵀ`` and ``u``; returns how many eigenvalues were moved.

        Parameters
        ----------
        eigenvalues
            ``λ``, ``[W]`` (constant in ``t``) or ``[N, W]``; ``W`` is D, or ``rank + 1`` for the
            structure ``"low_rank"``, the last being that of all that ``U`` does not span.
        basis
            ``U``, orthonormal columns, ``[D, D]`` or ``[D, rank]``; None keeps the present one.
        offset
            As for :meth:`set_drift`.
        """
        values = self._checked(eigenvalues, "eigenvalues", (self._width,))
        if basis is not None:
            self._check_basis(basis)
        self._set_shift(offset)
        if basis is not None:
            self.basis.copy_(basis.detach())
        values, moved = self._clamped(values)
        self.eigenvalues.copy_(values)
        self._rebuild()
        return moved

    def drift_matrix(self) -> Tensor:
        identity = torch.eye(self.dim, dtype=torch.float64, device=self.basis.device)
        spectrum = self._spectrum.unsqueeze(-2)
        product = self.from_basis(spectrum * self.to_basis(identity))
        return (0.5 * (self.decay * identity - product)).expand(self.cells, -1, -1)

    def to_basis(self, x: Tensor) -> Tensor:
        """Coordinates ``[..., K]`` of ``x [..., D]`` in which all coefficients are elementwise.

        ``K`` is D, or D + rank for a low rank: the components along ``U``, then what is left of
        ``x`` without them.
        """
        if self._isotropic or self.structure == "diagonal":
            return x
        basis = self.basis.to(x.dtype)
        inner = x @ basis
        return inner if self.rank == 0 else torch.cat([inner, x - inner @ basis.mT], dim=-1)

    def from_basis(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`to_basis`."""
        if self._isotropic or self.structure == "diagonal":
            return z
        basis = self.basis.to(z.dtype)
        if self.rank == 0:
            return z @ basis.mT
        return z[..., : self.rank] @ basis.mT + z[..., self.rank :]

    def coefficients(self, t: Tensor) -> Coefficients:
        """``a, b, a', b'`` of the coordinates of :meth:`to_basis`, ``[B, 1, K]``.

        ``[B, 1, 1]`` where ``D`` is a multiple of the identity.
        """
        return self._law(t).k

    def offset(self, t: Tensor) -> Tensor | None:
        """``m_t`` in the coordinates of :meth:`to_basis`, ``[B, 1, K]``; None where ``u = 0``."""
        offset = self._law(t).offset
        return None if offset is None else offset[0]

    def sample(self, x0: Tensor, t: Tensor, *, generator: Randomness = None) -> PathSample:
        noise = standard_normal(x0, generator)
        k, offset = self._law(t)
        data, inner_noise = self.to_basis(x0), self.to_basis(noise)
        x = k.a * data + k.b * inner_noise
        velocity = k.da * data + k.db * inner_noise
        if offset is not None:
            x, velocity = x + offset[0], velocity + offset[1]
        return PathSample(self.from_basis(x), noise, self.from_basis(velocity))

    def convert(self, value: Tensor, x: Tensor, t: Tensor, *, given: str, wanted: str) -> Tensor:
        k, offset = self._law(t)
        value, x = self.to_basis(value), self.to_basis(x)
        if offset is not None:
            x = x - offset[0]
            value = value - offset[1] if given == "velocity" else value
        answer = express(wanted, *decompose(given, value, x, k), k)
        if offset is not None and wanted == "velocity":
            answer = answer + offset[1]
        return self.from_basis(answer)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        cell = self._cell(t)
        spectrum, shift = self._at(self._spectrum, cell, t), self._at(self._shift, cell, t)
        inner = -0.5 * spectrum * self.to_basis(x) + shift
        return self.schedule.rate(t) * self.from_basis(inner)

    def moments(self, t: Tensor) -> Moments:
        k, offset = self._law(t)
        identity = self.to_basis(torch.eye(self.dim, dtype=t.dtype, device=t.device))
        mean = t.new_zeros(*t.shape[:-1], self.dim)
        return Moments(
            self.from_basis(k.a * identity),
            mean if offset is None else self.from_basis(offset[0]),
            self.from_basis(k.b * k.b * identity),
        )

    def _law(self, t: Tensor) -> _Law:
        cell, tiny = self._cell(t), torch.finfo(t.dtype).tiny
        spectrum = self._at(self._spectrum, cell, t)
        a0, v0 = self._at(self._a, cell, t), self._at(self._variance, cell, t)
        beta = self.schedule.rate(t)
        q = self.schedule.integrated_rate(t) - self._at(self._integral, cell, t)
        e = torch.exp(-0.5 * q * spectrum)
        # Below the floor, data are beyond recovery from x; above 0, noise and velocity aren't.
        a = (a0 * e).clamp_min(tiny / torch.finfo(t.dtype).eps)
        b = torch.sqrt(v0 * e * e + relaxation(q, spectrum))
        # 1 - λ b² without its cancellation; b' diverges at t = 0, where the floor keeps it finite.
        slope = 0.5 * beta * e * e / b.clamp_min(tiny**0.5) * (1.0 - spectrum * v0)
        k = Coefficients(a, b, -0.5 * beta * spectrum * a, slope)
        if not self._shifted:
            return _Law(k, None)
        shift = self._at(self._shift, cell, t)
        offset = e * self._at(self._offset, cell, t) + relaxation(q, 0.5 * spectrum) * shift
        return _Law(k, (offset, beta * (shift - 0.5 * spectrum * offset)))

    def _at(self, values: Tensor, cell: Tensor, t: Tensor) -> Tensor:
        """The rows ``[..., K]`` of a cached table ``[N, K]`` that belong to cells ``[..., 1]``."""
        values = values.to(t.dtype)
        return values[0] if len(values) == 1 else values[cell.squeeze(-1)]

    def _rebuild(self) -> None:
        values, shift = self.eigenvalues.double(), self.shift.double()
        self._isotropic = bool((values == values[:, :1]).all())
        self._shifted = bool((shift != 0.0).any())
        if self._isotropic:
            values = values[:, :1]
        elif self.rank:
            values = torch.cat([values[:, :-1], values[:, -1:].expand(-1, self.dim)], dim=-1)
        shift = self.to_basis(shift)
        if bool((values == values[:1]).all() and (shift == shift[:1]).all()):
            values, shift = values[:1], shift[:1]
        edges = self.edges.double() if len(values) > 1 else self.edges.double()[:1]
        integral = self.schedule.integrated_rate(edges).unsqueeze(-1)[: len(values)]
        self._spectrum, self._shift, self._integral = values, shift, integral
        a, variance, offset = [torch.ones_like(values[0])], [values[0] * 0.0], [shift[0] * 0.0]
        q = integral.diff(dim=0)
        e = torch.exp(-0.5 * q * values[:-1])
        gain, push = relaxation(q, values[:-1]), relaxation(q, 0.5 * values[:-1]) * shift[:-1]
        for n in range(len(q)):
            a.append(e[n] * a[n])
            variance.append(e[n] ** 2 * variance[n] + gain[n])
            offset.append(e[n] * offset[n] + push[n])
        self._a, self._variance = torch.stack(a), torch.stack(variance)
        self._offset = torch.stack(offset)

    def _check_basis(self, basis: Tensor) -> None:
        if basis.shape != self.basis.shape or self.structure == "diagonal":
            raise ValueError(
                f"basis must be {list(self.basis.shape)} for structure {self.structure!r} (none "
                f"for 'diagonal'), got {list(basis.shape)}"
            )
        check_orthonormal(basis)
