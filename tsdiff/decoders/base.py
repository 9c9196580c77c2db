r"""The decoder that most others are: regression along an affine Gaussian path.

A network learns to tell, from ``x_t = a x_0 + b ε``, any one of the four predictions; a solver
turns it into samples. *Preconditioning* gives it the easy part in closed form. Events are first
standardised by the data's mean and standard deviation per dimension; then, with
``r² = a² + b²``, the pair

.. math:: u = \frac{x_t}{r} = \frac{a x_0 + b ε}{r}, \qquad F = \frac{a ε - b x_0}{r}

is a rotation of ``(x_0, ε)``. Were the data Gaussian, ``F`` would be unpredictable from ``u``, so
the network predicts ``F`` from ``u`` (both of unit variance) and zero is the exact answer for
``N(0, 1)``; all four predictions follow by rotating back, with no division by ``a`` or ``b`` but
for the score. This is the ``v``-prediction of Salimans & Ho (2022) with the scaling of Karras et
al. (2022, sec. 5) for any affine path. Untrained, the decoder samples a Gaussian with the data's
means and standard deviations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsdiff.networks import Network
from tsdiff.processes import AffinePath, Coefficients
from tsdiff.processes.affine import check_prediction, decompose, express
from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers import Field, Grid, Solver, as_grid, as_solver, integrate

Weighting = Callable[[Coefficients], Tensor]
"""Loss weight as a function of the path's coefficients, shaped like ``t``."""


class Decoder(nn.Module):
    """A conditional law of events ``[T, D]`` given a context ``[T, H]``."""

    def loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Elementwise training loss ``[B, T, D]``; masks are applied outside, once."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def sample(
        self,
        context: Tensor,
        *,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        generator: Randomness = None,
    ) -> Tensor:
        """One event ``[B, T, D]`` for each row of ``context [B, T, H]``."""
        raise NotImplementedError(f"{type(self).__name__} defines no sample")

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        """Tell the mean ``[D]`` and covariance ``[D, D]`` of the data; called before training."""


class AffineDecoder(Decoder):
    """Regression of one prediction along an affine path, sampled by any solver.

    Parameters
    ----------
    network
        Predicts for events of ``target_dim`` dimensions.
    path
        How data and noise are joined.
    target_dim
        D.
    prediction
        The prediction whose squared error is the loss, one of
        :data:`tsdiff.processes.PREDICTIONS`.
    solver, num_steps, grid
        How samples are drawn where the caller doesn't say.
    preconditioned
        Whether the network predicts ``F`` (see the module) or ``prediction`` itself.
    weighting
        Factor of the loss, a function of the path's coefficients; None is 1.
    """

    data_mean: Tensor
    data_std: Tensor
    source_mean: Tensor
    source_factor: Tensor

    def __init__(
        self,
        network: Network,
        path: AffinePath,
        target_dim: int,
        *,
        prediction: str,
        solver: str | Solver,
        num_steps: int,
        grid: str | Grid = "uniform",
        preconditioned: bool = True,
        weighting: Weighting | None = None,
    ):
        super().__init__()
        self.network, self.path = network, path
        self.prediction = check_prediction(prediction)
        self.solver, self.num_steps, self.grid = as_solver(solver), num_steps, as_grid(grid)
        self.preconditioned, self.weighting = preconditioned, weighting
        self.register_buffer("data_mean", torch.zeros(target_dim))
        self.register_buffer("data_std", torch.ones(target_dim))
        self.register_buffer("source_mean", torch.zeros(target_dim))
        self.register_buffer("source_factor", torch.eye(target_dim))
        self.set_data_moments(self.data_mean, torch.eye(target_dim))

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        """Set the data's mean ``[D]`` and covariance ``[D, D]``.

        They fix the standardisation, where the decoder is preconditioned, and the
        moment-matched source ``N(a(1) E x_0, a(1)² Cov x_0 + b(1)² I)``, from which sampling
        starts.

        Raises
        ------
        ValueError
            If a moment isn't finite or the covariance isn't positive semi-definite.
        """
        mean, covariance = mean.to(torch.float64), covariance.to(torch.float64)
        if not bool(mean.isfinite().all() and covariance.isfinite().all()):
            raise ValueError("the data's moments must be finite")
        std = covariance.diagonal().clamp_min(0.0).sqrt()
        std = std.clamp_min(1e-6 * float(std.max())).clamp_min(1e-12)
        identity = torch.eye(len(mean), dtype=torch.float64, device=covariance.device)
        correlation = covariance / torch.outer(std, std)
        # What rounding may take from a covariance whose dimensions depend on one another.
        _, indefinite = torch.linalg.cholesky_ex(correlation + 1e-6 * identity)
        if self.preconditioned:
            centre, spread = torch.zeros_like(mean), correlation
        else:
            centre, spread = mean, covariance
        a, b = self._source_coefficients()
        slack = 1e-9 * spread.diagonal().max()
        factor, failure = torch.linalg.cholesky_ex(
            a * a * (spread + slack * identity) + b * b * identity
        )
        if indefinite or failure:
            raise ValueError("the data's covariance is not positive semi-definite")
        self.data_mean.copy_(mean)
        self.data_std.copy_(std)
        self.source_mean.copy_(a * centre)
        self.source_factor.copy_(factor)

    def standardize(self, x0: Tensor) -> Tensor:
        """Events in the units that the path runs in, ``[B, T, D]``."""
        return (x0 - self.data_mean) / self.data_std if self.preconditioned else x0

    def restore(self, x0: Tensor) -> Tensor:
        """The inverse of :meth:`standardize`."""
        return self.data_mean + self.data_std * x0 if self.preconditioned else x0

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Training times, uniform over the path's range, ``[rows, 1, 1]``."""
        u = torch.rand((rows, 1, 1), dtype=like.dtype, device=like.device, generator=generator)
        return self.path.clip(u)

    def loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        x0 = self.standardize(x0)
        t = self.draw_times(x0.shape[0], x0, generator)
        drawn = self.path.sample(x0, t, generator=generator)
        k = self.path.coefficients(t)
        data, noise = self._denoise(self.network.bind(context), drawn.x, t, k)
        error = express(self.prediction, data, noise, k) - express(
            self.prediction, x0, drawn.noise, k
        )
        loss = error.square()
        return loss if self.weighting is None else self.weighting(k) * loss

    def field(self, context: Tensor) -> Field:
        """The process that the network has learned, for one ``context [B, T, H]``.

        It is a process of standardised events: see :meth:`standardize`.
        """
        network = self.network.bind(context)
        last: tuple[Tensor, Tensor, Coefficients, Tensor, Tensor] | None = None

        def ask(wanted: str) -> Callable[[Tensor, Tensor], Tensor]:
            def answer(x: Tensor, t: Tensor) -> Tensor:
                nonlocal last
                if last is None or last[0] is not x or last[1] is not t:
                    inside = self.path.clip(t)
                    k = self.path.coefficients(inside)
                    last = (x, t, k, *self._denoise(network, x, inside, k))
                _, _, k, data, noise = last
                return express(wanted, data, noise, k)

            return answer

        def signal_noise(t: Tensor) -> tuple[Tensor, Tensor]:
            k = self.path.coefficients(t)
            return k.a, k.b

        return Field(
            velocity=ask("velocity"),
            score=ask("score"),
            data=ask("data"),
            diffusion=lambda t: self.path.diffusion(self.path.clip(t)),
            signal_noise=signal_noise,
            name=f"{type(self).__name__} on {type(self.path).__name__}",
        )

    def sample(
        self,
        context: Tensor,
        *,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        generator: Randomness = None,
    ) -> Tensor:
        solver = self.solver if solver is None else as_solver(solver)
        grid = self.grid if grid is None else as_grid(grid)
        times = grid(self.num_steps if num_steps is None else num_steps)
        noise = standard_normal(
            context.new_empty(*context.shape[:2], len(self.data_mean)), generator
        )
        x = self.source_mean + noise @ self.source_factor.T
        field = self.field(context)
        return self.restore(integrate(field, solver, x, times, generator=generator))

    def _denoise(
        self,
        network: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        t: Tensor,
        k: Coefficients,
    ) -> tuple[Tensor, Tensor]:
        """The pair ``(x_0, ε)`` that the network sees in ``x``."""
        if not self.preconditioned:
            return decompose(self.prediction, network(x, t), x, k)
        r = torch.sqrt(k.a * k.a + k.b * k.b)
        signal, level, u = k.a / r, k.b / r, x / r
        rotated = network(u, t)
        return signal * u - level * rotated, level * u + signal * rotated

    def _source_coefficients(self) -> tuple[float, float]:
        one = torch.ones(1, dtype=torch.float64, device=self.data_mean.device)
        k = self.path.coefficients(one)
        return float(k.a), float(k.b)
