r"""The decoder that most others are: regression along an affine Gaussian path.

A network learns to tell, from ``x_t = a x_0 + b ε``, any one of the four predictions; a solver
turns it into samples. *Preconditioning* gives it the easy part in closed form. Along each of the
path's axes (:mod:`tsdiff.decoders.axes`) let data be ``x_0 = s ξ`` with a spread ``s``; then, with
``r² = a² s² + b²``, the pair

.. math:: u = \frac{x_t}{r} = \frac{a s ξ + b ε}{r}, \qquad F = \frac{a s ε - b ξ}{r}

is a rotation of ``(ξ, ε)``. Were the data Gaussian, ``F`` would be unpredictable from ``u``, so
the network predicts ``F`` from ``u`` (both of unit variance) and zero is the exact answer for
``N(0, s²)``; all four predictions follow by rotating back, with no division by ``a`` or ``b`` but
for the score. This is the ``v``-prediction of Salimans & Ho (2022) with the scaling of Karras et
al. (2022, sec. 5) for any affine path. Untrained, the decoder samples a Gaussian with the data's
means and spreads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tsdiff.decoders import likelihood
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.decoder import Decoder
from tsdiff.networks import Network
from tsdiff.networks.base import Kept, keeping
from tsdiff.processes import AffinePath, Coefficients, FixedBasisSDE
from tsdiff.processes.affine import check_prediction, decompose, express
from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers import Field, Grid, Solver, as_grid, as_solver, integrate

Weighting = Callable[[Coefficients], Tensor]
"""Loss weight as a function of the path's coefficients, shaped like ``t`` or ``[B, 1, D]``."""
Evaluate = Callable[[Tensor, Tensor], Tensor]

PathMaker = Callable[..., AffinePath]
"""A kind of path, which takes its parameters."""

SOURCES = ("matched", "noise")
"""Laws that sampling may start from: see :class:`AffineDecoder`."""


class AffineDecoder(Decoder):
    """Regression of one prediction along an affine path, sampled by any solver.

    Parameters
    ----------
    network
        Predicts for events of ``target_dim`` dimensions.
    path
        How data and noise are joined: an affine path, or a linear diffusion that acts on every
        axis by itself (``FixedBasisSDE`` with the structure ``"diagonal"``).
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
    axes
        Where the path runs: an :class:`~tsdiff.decoders.axes.Axes`, or the name of one; None is
        ``"own"`` if preconditioned and ``"raw"`` otherwise.
    source
        Where sampling starts: ``"matched"``, the Gaussian with the moments of ``x_1``, or
        ``"noise"``, ``N(0, b(1)² I)``, as original methods have it.
    """

    source_mean: Tensor
    source_factor: Tensor

    def __init__(
        self,
        network: Network,
        path: AffinePath | FixedBasisSDE,
        target_dim: int,
        *,
        prediction: str,
        solver: str | Solver,
        num_steps: int,
        grid: str | Grid = "uniform",
        preconditioned: bool = True,
        weighting: Weighting | None = None,
        axes: str | Axes | None = None,
        source: str = "matched",
    ):
        super().__init__()
        if source not in SOURCES:
            raise ValueError(f"unknown source {source!r}: expected one of {', '.join(SOURCES)}")
        self.network, self.path = network, path
        self.prediction = check_prediction(prediction)
        self.solver, self.num_steps, self.grid = as_solver(solver), num_steps, as_grid(grid)
        self.preconditioned, self.weighting, self.source = preconditioned, weighting, source
        axes = axes or ("own" if preconditioned else "raw")
        self.axes = Axes(axes, target_dim) if isinstance(axes, str) else axes
        self._kept: Kept | None = None
        self.register_buffer("source_mean", torch.zeros(target_dim))
        self.register_buffer("source_factor", torch.eye(target_dim))
        self.set_data_moments(self.source_mean, self.source_factor)

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        """Set the data's mean ``[D]`` and covariance ``[D, D]``.

        They fix the axes and their units, and the moment-matched source
        ``N(a(1) E x_0, a(1)² Cov x_0 + b(1)² I)``, from which sampling starts.

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
        # What rounding may take from a covariance whose dimensions depend on one another.
        correlation = covariance / torch.outer(std, std) + 1e-6 * identity
        if int(torch.linalg.cholesky_ex(correlation).info):
            raise ValueError("the data's covariance is not positive semi-definite")
        self.axes.fit(mean, covariance)
        self.path.adapt(self.axes.covariance)
        self._place_source()

    def _place_source(self) -> None:
        """Set the source from the data's moments and the path's present coefficients."""
        mean, covariance = self.axes.moments()
        dim = len(mean)
        k = self.path.coefficients(torch.ones(1, 1, dtype=torch.float64, device=mean.device))
        a, b = k.a.expand(1, dim)[0], k.b.expand(1, dim)[0]
        if self.source == "noise":
            a = torch.zeros_like(a)
        # Moments are kept in single precision.
        slack = 1e-6 * covariance.diagonal().max() * torch.eye(dim).to(covariance)
        spread = torch.outer(a, a) * (covariance + slack) + torch.diag(b * b)
        self.source_mean.copy_(a * mean)
        self.source_factor.copy_(torch.linalg.cholesky(spread))

    def complete(self, x0: Tensor, known: Tensor) -> Tensor:
        return self.axes.complete(x0, known)

    def coefficients(self, t: Tensor) -> Coefficients:
        """Those of the path, for data of unit spread where the decoder is preconditioned."""
        k, spread = self.path.coefficients(t), self._spread
        return k if spread is None else k._replace(a=k.a * spread, da=k.da * spread)

    @property
    def gaussian(self) -> bool:
        """Whether the path joins data with Gaussian noise that is independent of them."""
        return True

    @property
    def _spread(self) -> Tensor | None:
        """What ``ξ`` is multiplied by to be data on the path; None for 1."""
        unit = self.axes.kind == "own" and self.axes.rescale
        return self.axes.spread if self.preconditioned and not unit else None

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Training times, uniform over the path's range, ``[rows, 1, 1]``."""
        u = torch.rand((rows, 1, 1), dtype=like.dtype, device=like.device, generator=generator)
        return self.path.clip(u)

    def loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._loss(self.network.bind(context), x0, context, generator)

    def untrained_loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._loss(lambda x, t: torch.zeros_like(x), x0, context, generator)

    def corrupt(
        self,
        data: Tensor,
        t: Tensor,
        k: Coefficients,
        context: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """``x_t`` and what is to be predicted there, for data ``ξ [B, T, D]`` of a batch."""
        return self.between(data, standard_normal(data, generator), k)

    def standardised(self, x0: Tensor) -> Tensor:
        """``ξ`` of data ``x_0 = s ξ`` as the path sees them, ``[B, T, D]``."""
        return x0 if self._spread is None else x0 / self._spread

    def between(self, data: Tensor, noise: Tensor, k: Coefficients) -> tuple[Tensor, Tensor]:
        """``x_t`` on the path from data to noise, and what is to be predicted there."""
        return k.a * data + k.b * noise, express(self.prediction, data, noise, k)

    def _loss(
        self, network: Evaluate, x0: Tensor, context: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        data = self.standardised(self.axes.enter(x0))
        t = self.draw_times(x0.shape[0], x0, generator)
        k = self.coefficients(t)
        x, target = self.corrupt(data, t, k, context, generator)
        error = express(self.prediction, *self._denoise(network, x, t, k), k) - target
        if self.weighting is not None:
            error = self.weighting(k).sqrt() * error
        return self.axes.across(error).square()

    def field(self, context: Tensor, *, condition_weight: float = 1.0) -> Field:
        """The process that the network has learned, for one ``context [B, T, H]``.

        It is a process of events as the path sees them: see :attr:`axes`.

        Parameters
        ----------
        condition_weight
            ``w`` of classifier-free guidance (Ho & Salimans 2022, eq. 6): predictions are
            ``(1 - w)`` times those without a context plus ``w`` times those with it. The network
            must have been trained with contexts that were dropped, set to zero, now and then.
        """
        network = bound(self.network, context, condition_weight)
        coefficients = self._keeping(self.coefficients)
        of_path = self._keeping(self.path.coefficients)
        last: tuple[Tensor, Tensor, Coefficients, Tensor, Tensor] | None = None

        def ask(wanted: str) -> Evaluate:
            def answer(x: Tensor, t: Tensor) -> Tensor:
                nonlocal last
                if last is None or last[0] is not x or last[1] is not t:
                    inside = self.path.clip(t)
                    k = coefficients(inside)
                    last = (x, t, k, *self._denoise(network, x, inside, k))
                _, _, k, data, noise = last
                if wanted == "data":
                    return data if self._spread is None else data * self._spread
                return express(wanted, data, noise, k)

            return answer

        def signal_noise(t: Tensor) -> tuple[Tensor, Tensor]:
            k = of_path(t)
            return k.a, k.b

        def data_variance(t: Tensor) -> Tensor:
            (a, b), variance = signal_noise(t), self.axes.variance
            return variance * b * b / (a * a * variance + b * b)

        return Field(
            velocity=ask("velocity"),
            score=ask("score"),
            data=ask("data"),
            noise=ask("noise"),
            diffusion=lambda t: self.path.diffusion(self.path.clip(t)),
            volatility=getattr(self.path, "volatility", None),
            signal_noise=signal_noise,
            data_variance=data_variance,
            spread=self.axes.spread,
            name=f"{type(self).__name__} on {type(self.path).__name__}",
        )

    @contextmanager
    def drawing(self) -> Iterator[None]:
        # All steps of a forecast are drawn along the same few times.
        with keeping(self) as self._kept:
            try:
                yield
            finally:
                self._kept = None

    def _keeping(self, coefficients: Callable[[Tensor], Coefficients]) -> Callable[..., Any]:
        """``coefficients(t)``, computed once for each single time while drawing."""
        return coefficients if self._kept is None else partial(self._kept.recall, coefficients)

    def followed(self, solver: Solver, context: Tensor, *, condition_weight: float = 1.0) -> Field:
        """The process as that solver sees it; for most decoders all see the same."""
        return self.field(context, condition_weight=condition_weight)

    def check_solver(self, solver: str | Solver, context: Tensor) -> None:
        solver = as_solver(solver)
        solver.check(self.followed(solver, context))

    def draw_source(self, field: Field, like: Tensor, generator: Randomness = None) -> Tensor:
        """Where sampling starts, as the path sees it; of the shape of ``like [B, T, D]``."""
        return self.source_mean + standard_normal(like, generator) @ self.source_factor.T

    def sample(
        self,
        context: Tensor,
        *,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
        generator: Randomness = None,
        watch: Callable[[Tensor, Tensor], None] | None = None,
        condition_weight: float = 1.0,
    ) -> Tensor:
        """One event ``[B, T, D]`` for each row of ``context [B, T, H]``.

        Parameters
        ----------
        watch
            Is shown every ``(x, t)`` on the way, ends included, as
            :func:`tsdiff.solvers.integrate` shows them; see :meth:`restore`.
        condition_weight
            See :meth:`field`.
        """
        chosen = self.solver if solver is None else as_solver(solver)
        field = self.followed(chosen, context, condition_weight=condition_weight)
        like = context.new_empty((*context.shape[:2], len(self.source_mean)))
        x = self.draw_source(field, like, generator)
        sampler = {"solver": solver, "num_steps": num_steps, "grid": grid}
        return self.axes.leave(self.transport(field, x, generator, watch, **sampler))

    def transport(
        self,
        field: Field,
        x: Tensor,
        generator: Randomness = None,
        watch: Callable[[Tensor, Tensor], None] | None = None,
        *,
        solver: str | Solver | None = None,
        num_steps: int | None = None,
        grid: str | Grid | None = None,
    ) -> Tensor:
        """Carry ``x [B, T, D]``, as the path sees it, from the source to ``t = 0``."""
        solver = self.solver if solver is None else as_solver(solver)
        grid = self.grid if grid is None else as_grid(grid)
        times = grid(
            self.num_steps if num_steps is None else num_steps,
            lambda t: field.signal_noise(t.to(x.device)),  # type: ignore[misc]
        )
        return integrate(field, solver, x, times, generator=generator, watch=watch)

    def log_prob(
        self,
        x0: Tensor,
        context: Tensor,
        *,
        num_steps: int = 48,
        trace: str = "auto",
        num_probes: int = 16,
        source_draws: int = 256,
        generator: Randomness = None,
    ) -> Tensor:
        """Log-density of events under the probability-flow ODE: see the module ``likelihood``.

        Parameters
        ----------
        x0
            Events in the data's units, ``[B, T, D]``.
        context
            ``[B, T, H]``.
        num_steps
            Steps of the classical Runge-Kutta method, four evaluations each, from data to source.
            Of trained networks the default errs by less than 1e-3 nats per value on average, and by
            2e-3 in the worst event of a hundred (exploding processes, which are the hardest).
        trace
            How the divergence is taken. ``"exact"``: one vector-Jacobian product for each of an
            event's ``T D`` values. ``"hutchinson"``: the mean over ``num_probes`` random signs,
            which stay the same along a trajectory (Hutchinson 1989; Grathwohl et al. 2019). It has
            no bias in the log-density. ``"auto"``: exact up to 64 values.
        source_draws
            Draws of the source where its density is a mixture over them (VSDM's, given the
            context): their mean has no bias, and its logarithm is low by about half its relative
            variance.
        generator
            Of probes and draws.

        Returns
        -------
        Tensor
            Nats, joint over steps and dimensions, ``[B]``, without gradients; NaN where a value of
            the event isn't finite, and ``-inf`` where a source of bounded support can't have led.

        Raises
        ------
        ValueError
            If shapes don't fit, an option is unknown, or the source has point masses (Kac).
        """
        return likelihood.log_prob(
            self,
            x0,
            context,
            num_steps=num_steps,
            trace=trace,
            num_probes=num_probes,
            source_draws=source_draws,
            generator=generator,
        )

    def elbo(
        self,
        x0: Tensor,
        context: Tensor,
        *,
        num_draws: int = 64,
        source_draws: int = 256,
        generator: Randomness = None,
    ) -> Tensor:
        """Evidence lower bound of events under the reverse-time SDE with the native diffusion.

        It is unbiased: single values may exceed the log-density, means don't. With the exact score
        it *is* the log-density, in expectation.

        Parameters
        ----------
        x0, context
            As in :meth:`log_prob`.
        num_draws
            Times and noises per event, an evaluation each.
        source_draws
            As in :meth:`log_prob`.
        generator
            Of all draws.

        Returns
        -------
        Tensor
            Nats, ``[B]``; NaN where a value of the event isn't finite.

        Raises
        ------
        ValueError
            If shapes don't fit, or the process has no score: its noise is coupled with data, or
            isn't Gaussian.
        """
        return likelihood.elbo(
            self,
            x0,
            context,
            num_draws=num_draws,
            source_draws=source_draws,
            generator=generator,
        )

    def source_log_prob(
        self, field: Field, x1: Tensor, *, draws: int = 256, generator: Randomness = None
    ) -> Tensor:
        """Log-density ``[B]`` of what :meth:`draw_source` draws, at ``x1 [B, T, D]``."""
        return likelihood.gaussian_log_prob(x1, self.source_mean, self.source_factor)

    def source_divergence(
        self,
        field: Field,
        mean: Tensor,
        std: Tensor,
        *,
        draws: int = 256,
        generator: Randomness = None,
    ) -> Tensor:
        """``KL(N(mean, std²) ‖ source)``, ``[B]``, of ``mean [B, T, D]`` and ``std [1, 1, D]``."""
        return likelihood.gaussian_divergence(mean, std, self.source_mean, self.source_factor)

    def rotation(self, context: Tensor) -> Evaluate:
        """``F(u, t)``, the slope ``du/dθ`` of the flow, for one ``context [B, T, H]``.

        It has no singularity at either end of the path, as velocities and scores have.
        """
        return partial(self.rotated, self.network.bind(context))

    def rotated(self, network: Evaluate, u: Tensor, t: Tensor) -> Tensor:
        """``F``, as a bound network has it, at ``u [B, T, D]`` along the axes."""
        inside = self.path.clip(t)
        k = self.coefficients(inside)
        r = k.radius
        data, noise = self._denoise(network, r * u, inside, k)
        return (k.a * noise - k.b * data) / r

    def restore(self, x: Tensor, t: Tensor) -> Tensor:
        """The process at ``t`` in the data's units and coordinates, from what solvers carry."""
        return self.axes.leave(x)

    def _denoise(
        self, network: Evaluate, x: Tensor, t: Tensor, k: Coefficients
    ) -> tuple[Tensor, Tensor]:
        """The pair ``(ξ, ε)`` that the network, which knows events' own dimensions, sees in x."""
        if not self.preconditioned:
            value = self.axes.along(network(self.axes.across(x), t))
            return decompose(self.prediction, value, x, k)
        r = k.radius
        signal, level, u = k.a / r, k.b / r, x / r
        rotated = self.axes.along(network(self.axes.across(u), t))
        return signal * u - level * rotated, level * u + signal * rotated


def bound(network: Network, context: Tensor, condition_weight: float) -> Evaluate:
    """A network under a context, guided by itself without one: see :meth:`AffineDecoder.field`."""
    given = network.bind_to_sample(context)
    if condition_weight == 1.0:
        return given
    free = network.bind_to_sample(torch.zeros_like(context))
    return lambda x, t: torch.lerp(free(x, t), given(x, t), condition_weight)


def path_maker(name: str, known: dict[str, PathMaker], what: str) -> PathMaker:
    """What makes the path of that name, or a ValueError that says which there are."""
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}: expected one of {', '.join(known)}")
    return known[name]
