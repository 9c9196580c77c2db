r"""The Schrödinger bridge from data to noise, by iterative proportional fitting.

Of all processes with data at ``t = 0`` and ``N(0, I)`` at ``t = 1``, the one closest to the
reference ``dx = -½ β x dt + \sqrt{β} dw`` (Deng et al. 2024, eq. 3). It solves (eqs. 5a, 5b)

.. math:: dx = [-½ β x + β ∇\log ψ]\,dt + \sqrt{β}\,dw, \qquad
   dx = [-½ β x - β ∇\log φ]\,dt + \sqrt{β}\,d\bar w, \qquad ψ φ = ρ_t,

forward and backward in time. The reference itself, started at the data, has the right law at
``t = 0`` and a score-based model for its backward drift, but ``N(0, I)`` at ``t = 1`` only if ``β``
is large. *Iterative proportional fitting* mends one end at a time: it runs the backward drift from
``N(0, I)`` and learns the forward drift of that, runs this from the data and learns its backward
drift, and so on (De Bortoli et al. 2021, *Diffusion Schrödinger Bridge*).

Every iterate is a law of the ends joined by the reference's bridges
(:mod:`tsdiff.processes.bridge`), so that a half has only to predict the end it runs to:

.. math:: ∇\log φ = -\frac{x - a \hat x_0}{b^2}, \qquad
   ∇\log ψ = \frac{c\,(\hat x_1 - c x)}{d^2}.

Simulated ends and a draw from the bridge between them make a pair for that regression (Shi et al.
2023, *Diffusion Schrödinger Bridge Matching*, alg. 1, started at the reference), where De Bortoli
et al. regress on neighbouring states of the trajectory itself. Steps of the simulation are
Gaussian transitions, which few are enough of.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, Evaluate, bound
from tsdiff.decoders.decoder import Phase
from tsdiff.decoders.half_bridge import HalfBridge
from tsdiff.networks import Network
from tsdiff.processes import Coefficients, GaussianCoupling, OrnsteinUhlenbeck, VariancePreserving
from tsdiff.processes.bridge import fitted
from tsdiff.processes.linear_sde import Schedule
from tsdiff.random import Randomness, standard_normal
from tsdiff.solvers import DDIM, DPMSolverSDE, Field, Grid, Solver
from tsdiff.solvers.base import check_steps

METHODS = ("endpoints", "trajectories")
"""What a half is regressed on: see :class:`SchrodingerBridge`."""


class SchrodingerBridge(AffineDecoder):
    """Two networks, one for each direction, trained in turn on what the other simulates.

    Parameters
    ----------
    network
        Predicts for events of ``target_dim`` dimensions. It is the backward half's; the forward
        half has a copy of it.
    target_dim
        D.
    schedule
        ``β`` of the reference; None is ``VariancePreserving(0.1, 10.0)``. The smaller its
        integral, the shorter the ways that are found, and the more iterations it takes.
    method
        ``"endpoints"``: regression on the bridge between simulated ends. ``"trajectories"``: on
        neighbouring states of simulated trajectories, with the divergence of their transitions as
        loss: more noise for the same mean.
    warm_up
        Updates of the first half, the score-based model, which needs no simulation; rounded up to
        whole stages. None or 0 is one stage.
    stage
        Updates of each other half.
    num_stages
        Iterations: a forward half and a backward half each, of which the last is trained to the
        end. With none this is a score-based model that starts from ``N(0, I)``.
    path_steps
        Steps of simulated trajectories, one network evaluation each: what an update costs.
    solver, num_steps, grid
        How samples are drawn where the caller doesn't say. ``"analytic"``, ``"ancestral"`` and
        ``"dpm++sde"`` follow the backward half and need its network alone. Others follow both
        halves at once: the probability-flow ODE and the equations with its marginals. Solvers that
        rebuild those from the data prediction alone are refused: they would follow another process.
        The grid is that of simulations, too.
    preconditioned
        Whether the networks see ``x`` in units of its spread, and the backward one predicts what a
        Gaussian law leaves open.
    axes
        As in :class:`AffineDecoder`. ``N(0, I)`` is meant along these, in their units.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    MissingFieldError
        If the default solver can't follow a bridge.

    Notes
    -----
    Contexts are part of the problem: there is one bridge for each. Only backward halves teach what
    makes contexts. In evaluation mode :meth:`loss` and :meth:`untrained_loss` are those of the
    backward half, the one that samples, whatever is being trained: so they are comparable over
    stages.
    """

    path: OrnsteinUhlenbeck
    stages: Tensor

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        schedule: Schedule | None = None,
        method: str = "endpoints",
        warm_up: int | None = 1000,
        stage: int = 500,
        num_stages: int = 3,
        path_steps: int = 16,
        solver: str | Solver = "analytic",
        num_steps: int = 20,
        grid: str | Grid = "quadratic",
        preconditioned: bool = True,
        axes: str | Axes | None = None,
    ):
        if method not in METHODS:
            raise ValueError(f"unknown method {method!r}: expected one of {', '.join(METHODS)}")
        for name, count, least in (
            ("stage", stage, 1),
            ("path_steps", path_steps, 1),
            ("num_stages", num_stages, 0),
            ("warm_up", warm_up or 0, 0),
        ):
            if count < least:
                raise ValueError(f"{name} must be at least {least}, got {count}")
        super().__init__(
            network,
            OrnsteinUhlenbeck(schedule or VariancePreserving(0.1, 10.0)),
            target_dim,
            prediction="noise",
            solver=solver,
            num_steps=check_steps(num_steps),
            grid=grid,
            preconditioned=preconditioned,
            axes=axes,
            source="noise",
        )
        self.forward_network = deepcopy(network)
        self.method, self.stage, self.num_stages = method, stage, num_stages
        self.warm_up = stage * max(1, -(-(warm_up or 0) // stage))
        self.path_steps = path_steps
        if not _by_transitions(self.solver):
            self.solver.check(self._flow(_unasked, _unasked))
        self.register_buffer("stages", torch.zeros((), dtype=torch.int64))

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        super().set_data_moments(mean, covariance)
        if "stages" in self._buffers:  # not yet while the base is being made
            self.stages.zero_()

    def _place_source(self) -> None:
        """Nothing to do: the source is ``N(0, I)``, as the buffers are made."""

    def draw_source(self, field: Field, like: Tensor, generator: Randomness = None) -> Tensor:
        return standard_normal(like, generator)

    @property
    def gaussian(self) -> bool:
        """False: noise that the bridge joins with data depends on them."""
        return False

    @property
    def half_bridge(self) -> int:
        """Number of the half bridge in training: odd ones run forward, 0 is the reference's."""
        return max(0, int(self.stages) + 1 - self.warm_up // self.stage)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("half bridge", self.stage, self.advance),) if self.num_stages else ()

    def advance(
        self, x0: Tensor, context: Tensor, generator: torch.Generator | None = None
    ) -> None:
        """Go on to the next stage, unless the last half is in training."""
        if self.half_bridge < 2 * self.num_stages:
            self.stages.add_(1)

    def loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        if not self._trains_forward:
            return super().loss(x0, context, generator=generator)
        network = self.forward_network.bind(context.detach())
        return self._forward_loss(network, x0, context, generator)

    def untrained_loss(
        self, x0: Tensor, context: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        if not self._trains_forward:
            return super().untrained_loss(x0, context, generator=generator)
        return self._forward_loss(lambda x, t: torch.zeros_like(x), x0, context, generator)

    @property
    def _trains_forward(self) -> bool:
        return self.training and self.half_bridge % 2 == 1

    def _loss(
        self, network: Evaluate, x0: Tensor, context: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        if self.method == "endpoints" or self.half_bridge == 0:
            return super()._loss(network, x0, context, generator)
        forward, data = self._bound_forward(context), self.axes.enter(x0)
        later, earlier, u_later, u_earlier = forward.some_step(data, self._times(True), generator)
        error = self._backward(network).step_error(earlier, later, 1.0 - u_earlier, 1.0 - u_later)
        return self.axes.across(error).square()

    def corrupt(
        self,
        data: Tensor,
        t: Tensor,
        k: Coefficients,
        context: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        if self.half_bridge == 0:
            return super().corrupt(data, t, k, context, generator)
        x0 = data if self._spread is None else data * self._spread
        x1 = self._bound_forward(context).simulate(x0, self._times(True), generator)
        noise = self.path.noise_from_data(x0, x1, t, standard_normal(x0, generator))
        return self.between(data, noise, k)

    def _forward_loss(
        self, network: Evaluate, x0: Tensor, context: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        with torch.no_grad():  # it only simulates
            backward = self._backward(self.network.bind(context))
        x1, times = standard_normal(x0, generator), self._times(False)
        if self.method == "trajectories":
            later, earlier, t_later, t_earlier = backward.some_step(x1, times, generator)
            half = self._forward(network)
            error = half.step_error(earlier, later, 1.0 - t_earlier, 1.0 - t_later)
            return self.axes.across(error).square()
        x0 = backward.simulate(x1, times, generator)
        t = self.draw_times(x1.shape[0], x1, generator)
        c, d = self.path.to_end(t)
        noise = self.path.noise_from_end(x0, x1, t, standard_normal(x1, generator))
        control = self._control(network, c * x1 + d * noise, t)
        # The noise prediction's error, c times that of the angle: see _control.
        return self.axes.across(c * (d * control - (d * x1 - c * noise))).square()

    @torch.no_grad()
    def _bound_forward(self, context: Tensor) -> HalfBridge:
        """The forward half, to simulate."""
        return self._forward(self.forward_network.bind(context))

    def _times(self, forward: bool) -> Tensor:
        """Falling times of a simulation in the half's own clock; both visit the same ones."""
        device = self.source_mean.device
        times = self.grid(self.path_steps, lambda t: self.path.coefficients(t.to(device))[:2])
        return 1.0 - times.flip(0) if forward else times

    def _control(self, network: Evaluate, x: Tensor, t: Tensor) -> Tensor:
        r"""``h`` with ``x̂_1 = c x + d² h`` and ``∇\log ψ = c h``; zero is the reference.

        In the angle of ``(c, d)``, where the backward half's network stands, it is ``-F / d``: the
        control stays finite where ``d`` vanishes, and so does its error.
        """
        k = self.coefficients(t)
        u = x / k.radius if self.preconditioned else x
        return self.axes.along(network(self.axes.across(u), t))

    def _backward(self, network: Evaluate) -> HalfBridge:
        def end(x: Tensor, t: Tensor) -> Tensor:
            t = self.path.clip(t)
            data, _ = self._denoise(network, x, t, self.coefficients(t))
            return data if self._spread is None else data * self._spread

        # What simulates in a half was trained in the one before.
        coupling = self._coupling(self.half_bridge - self.half_bridge % 2)
        return HalfBridge(
            end,
            lambda t: self.path.coefficients(t)[:2],
            lambda t: coupling.open_data(self.path, t).to(t.dtype),
            f"the backward half of {type(self).__name__}",
        )

    def _forward(self, network: Evaluate) -> HalfBridge:
        def end(x: Tensor, u: Tensor) -> Tensor:
            t = self.path.clip(1.0 - u)
            c, d = self.path.to_end(t)
            return c * x + d * d * self._control(network, x, t)

        coupling = self._coupling(max(0, self.half_bridge - 1 + self.half_bridge % 2))
        return HalfBridge(
            end,
            lambda u: self.path.to_end(1.0 - u),
            lambda u: coupling.open_end(self.path, 1.0 - u).to(u.dtype),
            f"the forward half of {type(self).__name__}",
        )

    def _coupling(self, half: int) -> GaussianCoupling:
        """The ends' law after so many halves, as it would be of Gaussian data."""
        variance = self.axes.variance
        return fitted(self.path, torch.zeros_like(variance), variance, half)

    def field(self, context: Tensor, *, condition_weight: float = 1.0) -> Field:
        """The process with both halves; see :meth:`AffineDecoder.field`."""
        halves = self.network, self.forward_network
        return self._flow(*(bound(half, context, condition_weight) for half in halves))

    def _flow(self, backward: Evaluate, forward: Evaluate) -> Field:
        last: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        coefficients = self._keeping(self.coefficients)

        def drifts(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            """``∇log φ`` and ``∇log ψ``."""
            nonlocal last
            if last is None or last[0] is not x or last[1] is not t:
                inside = self.path.clip(t)
                k = coefficients(inside)
                _, noise = self._denoise(backward, x, inside, k)
                control = self.path.to_end(inside)[0] * self._control(forward, x, inside)
                last = (x, t, -noise / k.b, control)
            return last[2], last[3]

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            back, ahead = drifts(x, t)
            return 0.5 * self.path.rate(self.path.clip(t)) * (ahead - back - x)

        return Field(
            velocity=velocity,
            score=lambda x, t: sum(drifts(x, t)),  # type: ignore[return-value]
            diffusion=lambda t: self.path.diffusion(self.path.clip(t)),
            signal_noise=lambda t: self.path.coefficients(t)[:2],
            spread=self.axes.spread,
            name=f"the flow of a {type(self).__name__}",
        )

    def followed(self, solver: Solver, context: Tensor, *, condition_weight: float = 1.0) -> Field:
        if not _by_transitions(solver):
            return self.field(context, condition_weight=condition_weight)
        network = bound(self.network, context, condition_weight)
        return self._backward(network).field(self.axes.spread)

    def rotation(self, context: Tensor) -> Evaluate:
        velocity = self.field(context).velocity

        def slope(u: Tensor, t: Tensor) -> Tensor:
            """``du/dθ`` of ``u = x / r``, by ``dx/dt``."""
            inside = self.path.clip(t)
            k = self.coefficients(inside)
            r = k.radius
            growth, speed = (k.a * k.da + k.b * k.db) / r, k.wronskian / r
            return (velocity(r * u, inside) - growth * u) / speed  # type: ignore[misc]

        return slope


def _by_transitions(solver: Solver) -> bool:
    """Whether a solver follows the equation backward in time, given its data prediction alone."""
    return isinstance(solver, DPMSolverSDE) or (isinstance(solver, DDIM) and solver.eta == 1.0)


def _unasked(x: Tensor, t: Tensor) -> Tensor:
    raise NotImplementedError("a field that is only looked at was evaluated")
