r"""A source learned from the data: one monotone quantile function per dimension.

A flow that starts at a Gaussian has to make heavy tails and gaps between modes by itself. Here the
source adapts to the data,

.. math:: x_t = (1 - t)\,x_0 + t\,Q_φ(U), \qquad U^d \sim \mathcal U(0, 1)\ \text{independent},

and stays simple: independent dimensions, each with an increasing quantile function, learned along
with the velocity by the loss ``CFM + λ W_2²(law of x_0, law of Q_φ(U))`` (Chemseddine, Kornhardt,
Duong & Steidl 2025, *Adapting noise to data: generative flows from 1D processes*). With ``z =
Φ^{-1}(u)`` standard normal,

.. math:: Q(u) = \text{loc} + \text{scale} \cdot S\bigl(T_h(z)\bigr), \qquad
   T_h(z) = \operatorname{sign}(z) \sqrt{\frac{e^{h z^2} - 1}{h}} \ (h > 0), \qquad
   T_{-h} = T_h^{-1}.

*S*, for the body, is a monotone rational-quadratic spline (Durkan et al. 2019, *Neural spline
flows*, eq. 4) on ``[-bound, bound]``, linear outside with slopes of its own. *T*, for the tails,
has one ``h`` on either side. ``T_0`` is the identity; ``h > 0`` makes a power law, ``P(X > x) ~
x^{-1/h}`` up to logarithms, as of a Student-t with ``1/h`` degrees of freedom, and has variance
``((1 - 2h)^{-1/2} - 1)/h``, which is finite for ``h < 1/2``; ``h < 0`` makes tails lighter than
Gaussian. Both are inverted in closed form. With all parameters at zero ``Q`` is ``Φ^{-1}``: the
untrained source is the standard normal.

*Energy.* ``W_2²`` between two samples is measured by :func:`transport_energy`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tsdiff.processes.couplings import OptimalTransport
from tsdiff.random import Randomness, standard_normal

TRANSPORTS = ("joint", "marginal")
"""What :func:`transport_energy` moves: whole events, or every coordinate by itself."""

# Beyond this a standard normal has no mass in double precision, and T no overflow.
_FARTHEST = 38.0


class _Knots(NamedTuple):
    """Where the spline passes, and how steeply; ``[D, K + 1]`` each, or ``[D, N]`` of one side."""

    x: Tensor
    y: Tensor
    slope: Tensor


class QuantileLatent(nn.Module):
    """Independent dimensions, each with a learned quantile function; at first standard normal.

    Inputs may be of single or double precision, whatever that of the parameters; the result has
    theirs.

    Parameters
    ----------
    dim
        D.
    num_bins
        Cells of a spline, at least 2.
    bound
        The spline acts on ``[-bound, bound]``, in units of ``T_h(z)``; finite and positive.
    max_tail
        Bound of ``|h|``, less than 1/2, so that variances are finite.
    min_bin, min_slope
        Least width and height of a cell, as a share of the box, and least slope at a knot: how far
        Q is from being flat or vertical. ``0 < min_bin < 1 / num_bins`` and ``0 < min_slope < 1``.

    Examples
    --------
    >>> latent = QuantileLatent(2)
    >>> latent(torch.tensor([[[0.5, 0.975]]])).detach().round(decimals=3) + 0.0
    tensor([[[0.0000, 1.9600]]])
    """

    def __init__(
        self,
        dim: int,
        *,
        num_bins: int = 16,
        bound: float = 4.0,
        max_tail: float = 0.45,
        min_bin: float = 1e-3,
        min_slope: float = 1e-3,
    ):
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        if num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, got {num_bins}")
        if not 0.0 < bound < math.inf:
            raise ValueError(f"bound must be positive and finite, got {bound}")
        if not 0.0 < max_tail < 0.5:
            raise ValueError(
                f"max_tail must lie between 0 and 1/2, where variances end, got {max_tail}"
            )
        if not 0.0 < min_bin < 1.0 / num_bins:
            raise ValueError(
                f"min_bin must lie between 0 and 1 / num_bins = {1.0 / num_bins:g}, got {min_bin}"
            )
        if not 0.0 < min_slope < 1.0:
            raise ValueError(f"min_slope must lie between 0 and 1, got {min_slope}")
        self.dim, self.num_bins, self.bound = dim, num_bins, float(bound)
        self.max_tail, self.min_bin, self.min_slope = max_tail, min_bin, min_slope
        self.loc = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.tail = nn.Parameter(torch.zeros(dim, 2))
        self.width = nn.Parameter(torch.zeros(dim, num_bins))
        self.height = nn.Parameter(torch.zeros(dim, num_bins))
        self.slope = nn.Parameter(torch.zeros(dim, num_bins + 1))

    def extra_repr(self) -> str:
        return f"{self.dim}, num_bins={self.num_bins}, bound={self.bound:g}"

    def forward(self, u: Tensor) -> Tensor:
        """Quantiles ``Q(u)``.

        Parameters
        ----------
        u
            Probabilities, ``[B, T, D]``. They are moved into ``[ε, 1 - ε]``, with ``ε`` the
            spacing of numbers at 1 (1.2e-7 or 2.2e-16), so that ends have a finite quantile. In
            single precision the upper tail is coarse: see :meth:`from_normal`.

        Raises
        ------
        ValueError
            If the last axis isn't of size D.
        """
        eps = torch.finfo(u.dtype).eps
        return self.from_normal(torch.special.ndtri(u.clamp(eps, 1.0 - eps)))

    def from_normal(self, z: Tensor) -> Tensor:
        """``Q(Φ(z))`` of standard normal ``z [B, T, D]``, with no loss of digits in the tails."""
        columns = self._columns(z)
        x, _ = self._bend(_stretch(columns, self._exponent(columns)))
        return self._rows(self._column(self.loc, z) + self._scale(z) * x, z)

    def to_normal(self, x: Tensor) -> Tensor:
        """The ``z`` from which :meth:`from_normal` makes ``x [B, T, D]``, in closed form."""
        columns = (self._columns(x) - self._column(self.loc, x)) / self._scale(x)
        stretched = self._straighten(columns)
        return self._rows(_stretch(stretched, -self._exponent(stretched)), x)

    def cdf(self, x: Tensor) -> Tensor:
        """``P(X ≤ x)`` in each dimension, ``[B, T, D]``: the inverse of :meth:`forward`."""
        return torch.special.ndtr(self.to_normal(x))

    def log_slope(self, z: Tensor) -> Tensor:
        """``log dx/dz`` of :meth:`from_normal` at ``z [B, T, D]``."""
        columns = self._columns(z)
        h = self._exponent(columns)
        _, log_bend = self._bend(_stretch(columns, h))
        log_scale = self._column(self.log_scale, z)
        return self._rows(log_scale + log_bend + _log_stretch_slope(columns, h), z)

    def log_density(self, x: Tensor) -> Tensor:
        """Log density in each dimension, ``[B, T, D]``; an event's is the sum."""
        z = self.to_normal(x)
        return -0.5 * z * z - 0.5 * math.log(2.0 * math.pi) - self.log_slope(z)

    def draw(self, like: Tensor, generator: Randomness = None) -> Tensor:
        """A draw of the shape, dtype and device of ``like [B, T, D]``.

        Parameters
        ----------
        like, generator
            As in :func:`tsdiff.random.standard_normal`.
        """
        return self.from_normal(standard_normal(like, generator))

    def distance(
        self, data: Tensor, *, form: str, generator: torch.Generator | None = None
    ) -> Tensor:
        """Squared 2-Wasserstein distance of a batch of data to the latent, both ``[B, T, D]``.

        Elementwise: the mean over the batch of what an event adds up to is the distance. What a
        batch costs against another of its own law is no distance of the laws: half of that is
        taken off, without which transport within batches makes the latent too narrow.

        Parameters
        ----------
        form
            As in :func:`transport_energy`.
        """
        one, other = (self.draw(data, generator) for _ in range(2))
        own = transport_energy(other, one, form=form).cost
        return transport_energy(data, one, form=form).cost - 0.5 * own

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean ``[D]`` and variance ``[D]``, differentiable in the parameters.

        By Gauss-Legendre quadrature in ``z``, in double precision, between the knots, where the
        integrand is smooth: Gauss-Hermite's nodes would straddle them.
        """
        from scipy.special import roots_legendre

        with torch.no_grad():
            edges = self._breaks()
        nodes, weights = (torch.as_tensor(a).to(edges) for a in roots_legendre(16))
        half = 0.5 * edges.diff(dim=1)[..., None]
        z = (edges[:, :-1, None] + half + half * nodes).flatten(1)
        mass = (half * weights).flatten(1) * torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        x = self.from_normal(z.T).T
        mean = (mass * x).sum(1)
        variance = (mass * (x - mean[:, None]).square()).sum(1)
        return mean.to(self.loc.dtype), variance.to(self.loc.dtype)

    def _breaks(self) -> Tensor:
        """Points ``z`` between which Q is smooth, some way into the tails, ``[D, M]``, float64."""
        knots = self._knots(self.loc.double()).x
        z = _stretch(knots, -self._exponent(knots))
        steps = 2.0 ** torch.arange(6, dtype=z.dtype, device=z.device)
        # At zero the exponent changes.
        parts = [z, z[:, :1] - steps, z[:, -1:] + steps, torch.zeros_like(z[:, :1])]
        ends = torch.full_like(z[:, :1], _FARTHEST)
        inner = torch.cat(parts, dim=1).clamp(-_FARTHEST, _FARTHEST)
        return torch.cat([-ends, inner, ends], dim=1).sort(dim=1).values

    def _columns(self, x: Tensor) -> Tensor:
        """``[..., D]`` as ``[D, N]``: one row of numbers per quantile function."""
        if x.shape[-1:] != (self.dim,):
            raise ValueError(
                f"expected events of {self.dim} dimensions, [B, T, {self.dim}], "
                f"got a tensor of shape {list(x.shape)}"
            )
        return x.reshape(-1, self.dim).T.contiguous()

    def _rows(self, columns: Tensor, like: Tensor) -> Tensor:
        return columns.T.reshape(like.shape)

    def _column(self, parameter: Tensor, like: Tensor) -> Tensor:
        return parameter.to(like.dtype)[:, None]

    def _scale(self, like: Tensor) -> Tensor:
        return self._column(self.log_scale, like).exp()

    def _exponent(self, side: Tensor) -> Tensor:
        """``h`` on the side of zero where each of ``side [D, N]`` lies."""
        h = self.max_tail * torch.tanh(self.tail.to(side.dtype) / self.max_tail)
        return torch.where(side < 0.0, h[:, :1], h[:, 1:])

    def _knots(self, like: Tensor) -> _Knots:
        edges = []
        for share in (self.width, self.height):
            share = torch.softmax(share.to(like.dtype), dim=1)
            share = self.min_bin + (1.0 - self.num_bins * self.min_bin) * share
            inner = 2.0 * self.bound * share[:, :-1].cumsum(1) - self.bound
            end = torch.full_like(share[:, :1], self.bound)
            edges.append(torch.cat([-end, inner, end], dim=1))
        # So that a parameter of zero is a slope of one.
        shift = math.log(math.expm1(1.0 - self.min_slope))
        rise = nn.functional.softplus(self.slope.to(like.dtype) + shift)
        return _Knots(edges[0], edges[1], self.min_slope + rise)

    def _bend(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """``S(v)`` and ``log S'(v)``, ``v [D, N]`` (Durkan et al. 2019, eq. 4, its derivative)."""
        knots = self._knots(v)
        inside = v.clamp(-self.bound, self.bound)
        left, right = _cell(knots, knots.x, inside)
        width, height = right.x - left.x, right.y - left.y
        s = height / width
        xi = (inside - left.x) / width
        rest = xi * (1.0 - xi)
        below = s + (left.slope + right.slope - 2.0 * s) * rest
        y = left.y + height * (s * xi * xi + left.slope * rest) / below
        rise = right.slope * xi * xi + 2.0 * s * rest + left.slope * (1.0 - xi).square()
        # Of what lies outside, ``inside`` is an end of the box, and this the slope there.
        log_slope = 2.0 * s.log() + rise.log() - 2.0 * below.log()
        above, beneath = torch.relu(v - self.bound), torch.relu(-self.bound - v)
        return y + knots.slope[:, -1:] * above - knots.slope[:, :1] * beneath, log_slope

    def _straighten(self, y: Tensor) -> Tensor:
        """``S^{-1}(y)`` of ``y [D, N]``: in a cell, eq. 4 is quadratic in the place within it."""
        knots = self._knots(y)
        inside = y.clamp(-self.bound, self.bound)
        left, right = _cell(knots, knots.y, inside)
        width, height = right.x - left.x, right.y - left.y
        s = height / width
        climbed = inside - left.y
        excess = climbed * (left.slope + right.slope - 2.0 * s)
        a = height * (s - left.slope) + excess
        b = height * left.slope - excess
        c = -s * climbed
        # The root with b and the square root of one sign, which does not cancel.
        root = (b * b - 4.0 * a * c).clamp_min(0.0).sqrt()
        v = left.x + width * (2.0 * c / (-b - root))
        above, beneath = torch.relu(y - self.bound), torch.relu(-self.bound - y)
        return v + above / knots.slope[:, -1:] - beneath / knots.slope[:, :1]


def _cell(knots: _Knots, edges: Tensor, at: Tensor) -> tuple[_Knots, _Knots]:
    """The knots on either side of ``at [D, N]``, which lies within ``edges [D, K + 1]``."""
    index = torch.searchsorted(edges.detach(), at.detach(), right=True) - 1
    index = index.clamp(0, edges.shape[1] - 2)
    left = _Knots(*(column.gather(1, index) for column in knots))
    return left, _Knots(*(column.gather(1, index + 1) for column in knots))


def _stretch(z: Tensor, h: Tensor) -> Tensor:
    """``T_h(z) = z √φ(h z²)``; ``T_{-h}`` is its inverse."""
    return z * _growth(h * z * z).sqrt()


def _log_stretch_slope(z: Tensor, h: Tensor) -> Tensor:
    """``log T_h'(z)``, from ``2 y y'`` of ``y² = (e^{hz²} - 1)/h`` or ``log(1 + |h|z²)/|h|``."""
    s = h * z * z
    steep = torch.where(s > 0.0, s, -torch.log1p(s.abs()))
    return steep - 0.5 * _growth(s).log()


def _growth(s: Tensor) -> Tensor:
    """``φ(s) = (e^s - 1)/s`` where ``s > 0``, else ``log(1 + |s|)/|s|``; ``1 + s/2 + …`` near 0.

    The series, to ``s⁶``, is there for the derivative, which otherwise is 0/0 or cancels. (At
    first all h, and with them all s, are zero.)
    """
    near = s.abs() < 1e-2
    far = torch.where(near, torch.ones_like(s), s)
    # exp sees nothing of the negative side, log1p nothing of the positive.
    up = torch.expm1(far.clamp_min(1e-2)) / far.clamp_min(1e-2)
    down = torch.log1p((-far).clamp_min(1e-2)) / (-far).clamp_min(1e-2)
    rising, falling = torch.zeros_like(s), torch.zeros_like(s)
    small = torch.where(near, s, torch.zeros_like(s))
    for k in range(7, 0, -1):
        rising = rising * small + 1.0 / math.factorial(k)
        falling = falling * small + 1.0 / k
    series = torch.where(s > 0.0, rising, falling)
    return torch.where(near, series, torch.where(s > 0.0, up, down))


class Transport(NamedTuple):
    """An optimal pairing of latent values with data.

    Attributes
    ----------
    latent
        Latent values beside the data that they are paired with, ``[B, T, D]``; differentiable in
        the latent's parameters.
    cost
        Squared distances of the pairs, elementwise, ``[B, T, D]``.
    order
        Rows of the latent that ``latent`` is made of: a permutation ``[B]`` of events, or one of
        every coordinate by itself, ``[B, T, D]``.
    """

    latent: Tensor
    cost: Tensor
    order: Tensor

    @property
    def energy(self) -> Tensor:
        """``W_2²`` between the two empirical laws: the mean cost of an event; a scalar."""
        return self.cost.flatten(1).sum(1).mean()


def transport_energy(
    data: Tensor,
    latent: Tensor,
    *,
    form: str = "joint",
    coupling: OptimalTransport | None = None,
    context: Tensor | None = None,
) -> Transport:
    r"""Squared 2-Wasserstein distance between a batch of data and one of the latent.

    Gradients flow to the latent through the pairs, which are held fixed: by the envelope theorem
    these are gradients of the distance.

    *Bias.* Two batches of one law are apart as well, the more so the more coordinates ``T D`` an
    event has, and what lies far apart is paired almost as if by chance: the joint energy is then
    least for a latent that is *too narrow*. For standard normal data and 256 rows the best scale is
    0.97 at 2 coordinates, 0.77 at 8, 0.45 at 32 and 0.23 at 128. What a batch of the latent costs
    against another of its own law takes that away: ``energy(data, latent) - ½ energy(other,
    latent)`` is stationary where the laws agree (as are the Sinkhorn divergences of Genevay, Peyré
    & Cuturi 2018, for the same reason).

    Parameters
    ----------
    data, latent
        ``[B, T, D]`` each, in the same units.
    form
        ``"joint"``: whole events are moved (minibatch optimal transport), as the flow's own pairs
        must be. ``"marginal"``: every coordinate ``(t, d)`` is moved by itself, in sorted order,
        :math:`W_2^2 = \int_0^1 |Q_1 - Q_2|^2`: only sorting, and the bias of one coordinate alone
        (slight, but in the extremes of heavy tails). It is *another energy*, least at the
        marginals' own quantiles (averaged over the steps); the joint one has the same minimiser
        only if the coordinates are independent. Its pairs are no coupling of events either: put
        together, its latent values have the data's dependence between coordinates, which the
        latent that sampling draws has not. Don't train a velocity on them.
    coupling
        For ``"joint"``; None is plain transport, which is what ``W_2`` means, in blocks of 256
        rows.
    context
        What each row is conditioned by, ``[B, T, H]``, for a ``coupling`` that counts it. Rows of
        contexts that are all different are then paired as drawn, and the energy is least for a
        latent that is a *point*: there must be many rows of a context.

    Raises
    ------
    ValueError
        If shapes differ or there is no such form.
    """
    if data.ndim != 3 or data.shape != latent.shape:
        raise ValueError(
            "expected data and latent of one shape [B, T, D], "
            f"got {list(data.shape)} and {list(latent.shape)}"
        )
    if form == "joint":
        pairs = OptimalTransport(condition_weight=0.0) if coupling is None else coupling
        known = torch.zeros_like(data[:, :1, :1]) if context is None else context
        order = pairs(data, latent.detach(), known)
        paired = latent[order]
    elif form == "marginal":
        rank = data.argsort(dim=0, stable=True).argsort(dim=0)
        order = latent.detach().argsort(dim=0, stable=True).gather(0, rank)
        paired = latent.gather(0, order)
    else:
        raise ValueError(f"unknown form {form!r}: expected one of {', '.join(TRANSPORTS)}")
    return Transport(paired, (data - paired).square(), order)
