r"""A Gaussian whose mean, diagonal and low-rank factor follow the context: sampled at once.

.. math:: ξ | c \sim N\bigl(μ(c),\ \mathrm{diag}(σ(c)^2) + W(c) W(c)^T\bigr),
   \qquad W \in R^{D \times K},

of events in units of their own mean and standard deviations: Salinas, Bohlke-Schneider, Callot,
Medico & Gasthaus (2019), *High-dimensional multivariate forecasting with low-rank Gaussian copula
processes*, eq. 6, there called Vec-LSTM or DeepVAR, without the copula. With ``V = W/σ`` and the
capacitance ``C = I + Vᵀ V`` (Woodbury, and the lemma of the determinant),

.. math:: -2 \log p = |e|^2 - |C^{-1/2} V^T e|^2 + \log\det C + 2 \sum_i \log σ_i + D \log 2π,
   \qquad e = (ξ - μ)/σ,

at O(D K²). Before training it is the Gaussian of the data's moments: their variances, and their
correlation as far as K factors tell it (Tipping & Bishop 1999, *Probabilistic principal component
analysis*), none where events are white.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import bound
from tsdiff.decoders.decoder import Decoder
from tsdiff.networks import Network
from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers import Grid, MissingFieldError, Solver, as_solver

_LOG_TWO_PI = math.log(2.0 * math.pi)
# Logarithm of how far a scale may leave the data's own: to a twentieth and twenty times.
_WIDEST = 3.0
# Share of a variance that factors leave to the diagonal at the start.
_OWN_SHARE = 0.05
# The density is even in W: where W is 0 so is its gradient, and it would stay there for good.
# From this start, too small to be told from 0 by samples, it can leave.
_STIR = 1e-3


class LowRankGaussian(Decoder):
    """A conditional Gaussian, learned by maximum likelihood.

    Parameters
    ----------
    network
        Of ``target_dim * (2 + rank)`` outputs. It is asked once, at ``x = 0`` and ``t = 0``.
    target_dim
        D.
    rank
        K, columns of the factor.
    preconditioned
        Whether it starts from the data's moments, or else from ``N(0, I)`` in their units.

    Notes
    -----
    Scales stay within a twentieth and twenty times the data's own. A likelihood rewards a scale
    that shrinks around values that are fitted well by its logarithm, and punishes it by the square
    of the next error over it: without a floor, one extreme value meets a tiny scale, and its
    gradient carries everything off. Factors are bounded by twenty deviations, smoothly.

    Missing values (NaN) are left out: the loss is that of the marginal law of what is observed.
    """

    loss_in_nats: ClassVar[bool] = True

    stir: Tensor
    own: Tensor
    shared: Tensor

    def __init__(
        self, network: Network, target_dim: int, *, rank: int = 8, preconditioned: bool = True
    ):
        super().__init__()
        self.network, self.rank, self.preconditioned = network, rank, preconditioned
        self.axes = Axes("own", target_dim)
        # Columns of a cosine transform, no two alike.
        phase = (torch.arange(target_dim) + 0.5).unsqueeze(1) * torch.arange(rank) / target_dim
        self.register_buffer("stir", _STIR * (math.pi * phase).cos(), persistent=False)
        self.register_buffer("own", torch.ones(target_dim))
        self.register_buffer("shared", torch.zeros(target_dim, rank))

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        if not self.preconditioned:
            return
        self.axes.fit(mean, covariance)
        correlation = self.axes.covariance.double()
        dim = len(correlation)
        count = min(self.rank, dim - 1)
        shared = torch.zeros_like(self.shared, dtype=torch.float64)
        if count:
            values, vectors = torch.linalg.eigh(correlation)
            leading = values[-count:] - values[:-count].mean()
            shared[:, :count] = vectors[:, -count:] * leading.clamp_min(0.0).sqrt()
        told = shared.square().sum(1)
        most = (1.0 - _OWN_SHARE) * correlation.diagonal()
        shared = shared * (most / told.clamp_min(1e-12)).clamp(0.0, 1.0).sqrt().unsqueeze(1)
        left = correlation.diagonal() - shared.square().sum(1)
        self.shared.copy_(shared)
        # A constant dimension has a unit, and no variance in it.
        self.own.copy_(left.clamp_min(1e-6).sqrt())

    def law(
        self, context: Tensor, *, condition_weight: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and scale ``[B, T, D]`` and factor ``[B, T, D, K]``, in the data's deviations."""
        network = bound(self.network, context, condition_weight)
        x = context.new_zeros(*context.shape[:2], self.axes.dim * (2 + self.rank))
        asked = network(x, context.new_zeros(1, 1, 1)).unflatten(-1, (2 + self.rank, -1))
        still = self.shared.abs().amax(0) < _STIR
        start = torch.where(still, self.stir, self.shared)
        factor = start + _bounded(asked[..., 2:, :].mT, math.exp(_WIDEST))
        return asked[..., 0, :], self.own * _bounded(asked[..., 1, :], _WIDEST).exp(), factor

    def complete(self, x0: Tensor, known: Tensor) -> Tensor:
        """NaN for what is not known: the marginal law of the rest is at hand."""
        return torch.where(known > 0.0, x0, torch.nan)

    def loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Negative log-density of a step's observed values, in equal shares, ``[B, T, D]``.

        In deviations of the data, so that untrained it is about 1.42 whatever their units.
        """
        known = x0.isfinite()
        nats = self._log_density(x0, known, context)
        share = nats / known.sum(-1).clamp_min(1)
        return torch.where(known, -share.unsqueeze(-1), 0.0).to(x0.dtype)

    def sample(
        self,
        context: Tensor,
        *,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        generator: Randomness = None,
        condition_weight: float = 1.0,
    ) -> Tensor:
        """One event ``[B, T, D]`` per row, by one evaluation; ``num_steps`` and ``grid`` are idle.

        Raises
        ------
        MissingFieldError
            There is no process that a solver could run on.
        """
        if solver is not None:
            self.check_solver(solver, context)
        mean, scale, factor = self.law(context, condition_weight=condition_weight)
        like = mean.new_empty((*mean.shape[:2], self.axes.dim + self.rank))
        own, common = standard_normal(like, generator).split((self.axes.dim, self.rank), dim=-1)
        return self.axes.leave(mean + scale * own + (factor @ common.unsqueeze(-1)).squeeze(-1))

    def log_prob(self, x0: Tensor, context: Tensor, **options: object) -> Tensor:
        """Log-density of events ``x0 [B, T, D]`` in nats, ``[B]``: exact, without any options.

        NaN where a value isn't finite.
        """
        known = x0.isfinite()
        with torch.no_grad():
            nats = self._log_density(x0, known, context) - self.axes.unit.double().log().sum()
        whole = known.flatten(1).all(1)
        return torch.where(whole, nats.sum(1), torch.nan).to(x0.dtype)

    def elbo(self, x0: Tensor, context: Tensor, **options: object) -> Tensor:
        """The log-density itself, than which no bound is better."""
        return self.log_prob(x0, context)

    def check_solver(self, solver: str | Solver, context: Tensor) -> None:
        raise MissingFieldError(
            f"{type(as_solver(solver)).__name__} needs a process to follow, and LowRankGaussian is "
            "a law that is sampled at once: leave solver out"
        )

    def _log_density(self, x0: Tensor, known: Tensor, context: Tensor) -> Tensor:
        """Of each step's known values in deviations of the data, ``[B, T]``, float64."""
        # Factors may be twenty times, scales a twentieth: in float32 squares would cancel.
        mean, scale, factor = (part.double() for part in self.law(context))
        x = self.axes.enter(torch.where(known, x0, 0.0).double())
        error = torch.where(known, (x - mean) / scale, 0.0)
        relative = torch.where(known.unsqueeze(-1), factor / scale.unsqueeze(-1), 0.0)
        identity = torch.eye(self.rank, dtype=error.dtype, device=error.device)
        capacitance = torch.linalg.cholesky(identity + relative.mT @ relative)
        told = torch.linalg.solve_triangular(
            capacitance, relative.mT @ error.unsqueeze(-1), upper=False
        )
        distance = error.square().sum(-1) - told.square().sum((-2, -1))
        volume = capacitance.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        volume = volume + torch.where(known, scale.log(), 0.0).sum(-1)
        return -0.5 * (distance + known.sum(-1) * _LOG_TWO_PI) - volume


def _bounded(x: Tensor, limit: float) -> Tensor:
    """``x`` near 0, and never beyond the limit."""
    return limit * torch.tanh(x / limit)
