r"""Variational Schrödinger Diffusion Models (Deng et al. 2024).

Score matching along a forward process that adapts to the data: along each axis ``i``

.. math:: dx_i = \bigl[-½ β_t λ_i x_i + β_t u_i\bigr]\,dt + \sqrt{β_t}\,dw_i,
   \qquad λ_i = δ - 2 A_{ii},

so that long axes are mixed faster and short ones are left alone. Training alternates (the paper's
algorithm 1): the backward score learns along the present process, in closed form as for any affine
path; every ``stage`` updates, trajectories are simulated backward and the variational score
``A x + u`` moves towards the minimiser of :mod:`tsdiff.processes.variational`. After
``num_stages`` it rests at its average, and the backward score is trained to the end along that.

Two laws are called prior in the paper, and are kept apart here. The *loss prior* is where
simulated trajectories start, and drives ``A``. The *sampling prior*, where samples start, is meant
to be the law of ``x_1``, which depends on the context: where ``A`` mixes little, ``x_1`` remembers
more of the data than one law for all contexts can tell, in its shape as in its moments. It is
``a(1) (\hat x_0 + r) + b(1) ε``, with the network's own estimate of the data where ``x_1`` tells
nothing, and a residual ``r`` by the law that this estimate leaves to training data.

An offset moves the process as a whole: the decoder runs on ``x_t - m_t``, which is an affine path,
and ``u`` is felt through ``A`` alone.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from tsdiff.decoders.axes import Axes
from tsdiff.decoders.base import AffineDecoder, Weighting
from tsdiff.decoders.decoder import Phase
from tsdiff.decoders.likelihood import gaussian_divergence, gaussian_log_prob
from tsdiff.decoders.residual_law import ResidualLaw
from tsdiff.decoders.vsdm_options import check_options, resolve_structure
from tsdiff.networks import Network
from tsdiff.processes import FixedBasisSDE, VariancePreserving
from tsdiff.processes.linear_sde import Schedule
from tsdiff.processes.variational import (
    Step,
    StepSizes,
    TrajectoryMoments,
    exact_step,
    gradient_step,
    walk,
)
from tsdiff.random import Matched, Randomness, standard_normal
from tsdiff.solvers import Field, Grid, Solver, as_solver, integrate

# Points of x_1 at which a source given the context is compared.
_DIVERGENCE_DRAWS = 8


class VSDMWarning(UserWarning):
    """The variational score was held back."""


class VSDM(AffineDecoder):
    """Noise prediction along a linear diffusion that adapts to the data.

    Parameters
    ----------
    network, target_dim, solver, num_steps, grid, preconditioned, weighting
        As in :class:`AffineDecoder`.
    source
        Where sampling starts: ``"conditional"``, the law of ``x_1`` given the context; or as in
        :class:`AffineDecoder`, for the same in all contexts.
    schedule
        ``β``; None is ``VariancePreserving()``.
    structure
        What ``A`` looks like. ``"principal"``: diagonal along the data's principal axes, where
        the optimum of Gaussian data lies. ``"low_rank"``: free along the first ``rank`` of them,
        one number for the rest, at a cost of O(D rank). ``"diagonal"``: diagonal along the
        dimensions. ``"full"``: any symmetric matrix, constant in time; the axes turn with it.
        ``"auto"``: principal up to 128 dimensions, low rank beyond.
    rank
        For ``"low_rank"``.
    cells
        Cells of [0, 1] on which ``A`` is constant: 1, or more with ``zeta = 1``.
    decay
        ``δ``: 1 adapts the variance-preserving process, 0 the exploding one.
    offset
        Whether the forward drift has the offset ``u``. Centred data don't need it.
    about
        What the process without ``A`` falls back to, and the loss prior lies around: the data's
        ``"mean"``, or the ``"origin"`` of their own coordinates.
    method
        ``"exact"``: the minimiser in closed form; ``"gradient"``: descent along the paper's
        parametrisation.
    zeta
        ``ζ``: 1 is the bridge within linear drifts, less keeps closer to the score-based process.
    loss_prior
        Where simulated trajectories start: ``"standard"``, ``N(0, I)``; or ``"conditional"``,
        ``N(m_1, Σ_{1|0})``.
    stage, num_stages
        Updates between two moves of ``A``, and how many moves there are.
    step_size, step_decay, step_delay
        ``η_k``: see :class:`~tsdiff.processes.variational.StepSizes`.
    averaging, ema_decay
        What ``A`` rests at in the end: its last value, the mean of the second half of the stages
        (Polyak & Juditsky 1992), or an exponential average.
    num_paths, path_steps
        Simulated trajectories, and steps of each (split over the cells).
    path_solver
        What simulates them; "analytic" is exact at any number of steps where data are Gaussian.
    iterations
        Of the gradient method.
    eigenvalue_range
        Where eigenvalues of ``D`` are held.
    axes
        Where the process runs; None follows from the structure. Must be principal axes, in one
        unit, for ``"full"``.
    """

    path: FixedBasisSDE
    stages: Tensor
    average: Tensor
    average_shift: Tensor

    def __init__(
        self,
        network: Network,
        target_dim: int,
        *,
        schedule: Schedule | None = None,
        structure: str = "auto",
        rank: int | None = None,
        cells: int = 1,
        decay: float = 1.0,
        offset: bool = False,
        about: str = "mean",
        method: str = "exact",
        zeta: float = 0.75,
        loss_prior: str = "standard",
        stage: int = 100,
        num_stages: int = 10,
        step_size: float = 0.5,
        step_decay: float = 0.0,
        step_delay: float = 0.0,
        averaging: str = "polyak",
        ema_decay: float = 0.8,
        num_paths: int = 512,
        path_steps: int = 16,
        path_solver: str | Solver = "analytic",
        iterations: int = 300,
        eigenvalue_range: tuple[float, float] = (0.02, 50.0),
        solver: str | Solver = "heun",
        num_steps: int = 8,
        grid: str | Grid = "quadratic",
        preconditioned: bool = True,
        weighting: Weighting | None = None,
        axes: str | Axes | None = None,
        source: str = "conditional",
    ):
        structure, rank = resolve_structure(structure, rank, target_dim)
        check_options(cells, zeta, loss_prior, method, averaging, structure, about)
        for name, count in (("stage", stage), ("num_paths", num_paths), ("path_steps", path_steps)):
            if count < 1:
                raise ValueError(f"{name} must be a positive integer, got {count}")
        if num_stages < 0:
            raise ValueError(f"num_stages must not be negative, got {num_stages}")
        schedule = schedule or VariancePreserving()
        path = FixedBasisSDE(
            target_dim,
            schedule,
            cells=cells,
            decay=decay,
            eigenvalue_range=eigenvalue_range,
            structure="diagonal",
        )
        kind = {"low_rank": "leading", "diagonal": "common"}.get(structure, "principal")
        self.structure, self.rank = structure, rank
        self.zeta, self.loss_prior, self.method = zeta, loss_prior, method
        self.offset, self.about = offset, about
        self.stage, self.num_stages = stage, num_stages
        self.averaging, self.ema_decay = averaging, ema_decay
        self.step_sizes = StepSizes(step_size, step_decay, step_delay)
        self.num_paths, self.path_steps = num_paths, path_steps
        self.path_solver, self.iterations = as_solver(path_solver), iterations
        axes = axes or Axes(kind, target_dim, rank=rank, common_spread=structure == "full")
        if isinstance(axes, str):
            axes = Axes(axes, target_dim, rank=rank)
        if about == "mean" and axes.kind == "raw":
            raise ValueError(
                "raw axes are not centred, and about='mean' needs them to be: take axes with "
                "rescale=False, or about='origin'"
            )
        if structure == "full":
            if axes.kind != "principal":
                raise ValueError(
                    f"structure='full' turns its axes and needs principal axes, got {axes.kind!r}"
                )
            axes = Axes("principal", target_dim, rescale=axes.rescale, common_spread=True)
        super().__init__(
            network,
            path,
            target_dim,
            prediction="noise",
            solver=solver,
            num_steps=num_steps,
            grid=grid,
            preconditioned=preconditioned,
            weighting=weighting,
            axes=axes,
            source="matched" if source == "conditional" else source,
        )
        self.conditional = source == "conditional"
        self.residuals = ResidualLaw(target_dim)
        dims = (cells, target_dim, target_dim) if structure == "full" else (cells, target_dim)
        self.register_buffer("stages", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(dims, dtype=torch.float64))
        self.register_buffer("average_shift", torch.zeros(cells, target_dim, dtype=torch.float64))

    def set_data_moments(self, mean: Tensor, covariance: Tensor) -> None:
        super().set_data_moments(mean, covariance)
        self._set(torch.zeros_like(self.path.eigenvalues), torch.zeros_like(self.path.shift))
        self._place_source()
        if "average" in self._buffers:  # not yet while the base is being made
            self.residuals.reset(self.axes.variance)
            for state in (self.stages, self.average, self.average_shift):
                state.zero_()

    def phases(self) -> tuple[Phase, ...]:
        if self.num_stages == 0 and not self.conditional:
            return ()
        return (Phase("variational score", self.stage, self.refresh),)

    @property
    def scaled_eigenvalues(self) -> Tensor:
        """Eigenvalues of ``D`` times ``β_max``, ``[N, D]``: the speed at which axes are mixed."""
        one = torch.ones((), dtype=torch.float64, device=self.path.eigenvalues.device)
        return self.path.eigenvalues * self.path.schedule.rate(one)

    @torch.no_grad()
    def refresh(
        self, x0: Tensor, context: Tensor, generator: torch.Generator | None = None
    ) -> None:
        """Move the variational score by one stage, unless it rests; then attune the source.

        Parameters
        ----------
        x0, context
            Events ``[B, T, D]`` of training windows and their contexts ``[B, T, H]``: trajectories
            are simulated under as many of these as there are paths, and moments are pooled.
        """
        stage = int(self.stages) + 1
        if stage <= self.num_stages:
            moments = self.simulate(context, generator)
            self._move(self._step(moments), self.step_sizes(stage))
            self.stages.fill_(stage)
            self._average(stage)
            self._place_source()
        if self.conditional:
            self._attune_source(x0, context)

    def draw_source(self, field: Field, like: Tensor, generator: Randomness = None) -> Tensor:
        if not self.conditional:
            return super().draw_source(field, like, generator)
        a, b = self._end(like)
        left = self.residuals.draw(standard_normal(like, generator))
        data = self._estimate(field, self.source_mean.expand_as(like)) + left
        return a * data + b * standard_normal(like, generator)

    def source_log_prob(
        self, field: Field, x1: Tensor, *, draws: int = 256, generator: Randomness = None
    ) -> Tensor:
        """As in :class:`AffineDecoder`; given the context, it is estimated.

        The density is ``E N(x_1; a(1) (x̂_0 + r), b(1)²)`` over the residual ``r``, here the mean
        of ``draws`` of them, step by step of an event.
        """
        if not self.conditional:
            return super().source_log_prob(field, x1)
        a, b = self._end(x1.double())
        guess = self._estimate(field, self.source_mean.expand_as(x1))
        rows, noise = [], torch.zeros_like(x1)
        for number in range(draws):
            noise = -noise if number % 2 else standard_normal(x1, generator)
            unit = (x1 - a * (guess + self.residuals.draw(noise))) / b
            rows.append(-0.5 * (unit.square() + math.log(2.0 * math.pi)).sum(-1))
        steps = torch.logsumexp(torch.stack(rows), 0) - math.log(draws) - b.log().sum()
        return steps.sum(-1)

    def source_divergence(
        self,
        field: Field,
        mean: Tensor,
        std: Tensor,
        *,
        draws: int = 256,
        generator: Randomness = None,
    ) -> Tensor:
        """As in :class:`AffineDecoder`; given the context, it is estimated, rather too great.

        The divergence from the Gaussian of the source's variances is known; what the logarithm of
        the source is above that one's is a mean over draws of ``N(mean, std²)``. By Jensen's
        inequality a source that is estimated as in :meth:`source_log_prob` is low on average.
        """
        if not self.conditional:
            return super().source_divergence(field, mean, std)
        a, b = self._end(mean.double())
        centre = a * self._estimate(field, self.source_mean.expand_as(mean))
        width = (a * a * self.residuals.variance + b * b).sqrt().flatten()
        off, origin = mean - centre, torch.zeros_like(width)
        total = mean.new_zeros(len(mean), dtype=torch.float64)
        for _ in range(_DIVERGENCE_DRAWS):
            x1 = mean + std * standard_normal(mean, generator)
            known = gaussian_log_prob(x1 - centre, origin, torch.diag(width))
            total += known - self.source_log_prob(field, x1, draws=draws, generator=generator)
        whole = gaussian_divergence(off, std, origin, torch.diag(width))
        return whole + total / _DIVERGENCE_DRAWS

    def _attune_source(self, x0: Tensor, context: Tensor) -> None:
        """Follow what contexts leave open of the data, along each axis."""
        whole = x0.isfinite().all(-1).all(-1)
        if not bool(whole.any()):
            return
        data = self.axes.enter(x0[whole])
        guess = self._estimate(self.field(context[whole]), self.source_mean.expand_as(data))
        self.residuals.follow(data - guess, self.axes.variance)

    def _end(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """``a(1), b(1)``, ``[1, 1, D]``."""
        k = self.path.coefficients(torch.ones(1, 1, 1, dtype=like.dtype, device=like.device))
        return k.a.expand(1, 1, self.path.dim), k.b.expand(1, 1, self.path.dim)

    def _estimate(self, field: Field, x: Tensor) -> Tensor:
        """The data prediction at ``t = 1``."""
        one = torch.ones(1, 1, 1, dtype=x.dtype, device=x.device)
        return field.data(x, one)  # type: ignore[misc]

    def _some(self, context: Tensor, generator: torch.Generator | None) -> Tensor:
        """Contexts of as many rows as there are paths, drawn with repetition."""
        count, device = (self.num_paths,), context.device
        return context[torch.randint(len(context), count, generator=generator, device=device)]

    @torch.no_grad()
    def simulate(
        self, context: Tensor, generator: torch.Generator | None = None
    ) -> TrajectoryMoments:
        """Moments of trajectories from the loss prior, along the axes.

        Their noise is matched in moments: a stage then errs by what scores are not linear, and
        where ``zeta = 1`` nothing would pull the noise of a stage back.
        """
        dim, device = self.path.dim, context.device
        context = self._some(context, generator)
        times, weights, cells = walk(self.path, self.path_steps)
        noise = Matched(generator)
        x = noise.draw(context.new_empty(*context.shape[:2], dim))
        origin = self._origin().to(x.dtype)
        if self.loss_prior == "conditional":
            x = self._end(x)[1] * x
        else:
            x = origin + x - self._centre(torch.ones(1, 1, 1, dtype=x.dtype, device=device))
        moments, field = TrajectoryMoments(self.path.cells, dim, device), self.field(context)
        visited = 0

        def watch(x: Tensor, t: Tensor) -> None:
            nonlocal visited
            node, visited = visited, visited + 1
            if node == len(weights):
                return
            score = field.score(x, t).flatten(0, 1)  # type: ignore[misc]
            state = (x + self._centre(t) - origin).flatten(0, 1)
            # Half of each neighbouring step; the last step has no evaluation at its end.
            share = 1.0 if node + 1 == len(weights) else 0.5
            moments.add(cells[node], share * weights[node], state, score)
            if node > 0:
                moments.add(cells[node - 1], 0.5 * weights[node - 1], state, score)

        integrate(field, self.path_solver, x, times, generator=noise, watch=watch)
        return moments

    def restore(self, x: Tensor, t: Tensor) -> Tensor:
        return self.axes.leave(x + self._centre(t))

    def _centre(self, t: Tensor) -> Tensor:
        """``m_t``, which what solvers carry lacks, ``[B, 1, D]`` along the axes."""
        offset = self.path.offset(t)
        return t.new_zeros(1, 1, self.path.dim) if offset is None else offset

    def _origin(self) -> Tensor:
        """The point that ``A x + u`` counts from, ``[D]`` along the axes."""
        if self.about == "mean":
            return torch.zeros_like(self.axes.mean)
        return self.axes.along(-self.axes.mean / self.axes.unit)

    def _step(self, moments: TrajectoryMoments) -> Step:
        groups = self._groups()
        if self.method == "exact":
            return exact_step(moments, self.zeta, offset=self.offset, groups=groups)
        return gradient_step(
            moments,
            self.zeta,
            drift=torch.diag_embed(self._drift()),
            offset=self.offset,
            groups=groups,
            iterations=self.iterations,
        )

    def _groups(self) -> Tensor | None:
        """Which axes share an entry of ``A``, ``[D]``; None if ``A`` is any matrix."""
        if self.structure == "full":
            return None
        labels = torch.arange(self.path.dim, device=self.path.eigenvalues.device)
        return labels.clamp_max(self.rank) if self.structure == "low_rank" else labels

    def _drift(self) -> Tensor:
        """Diagonal of ``A`` along the axes, ``[N, D]``."""
        return 0.5 * (self.path.decay - self.path.eigenvalues)

    def _move(self, step: Step, size: float) -> None:
        """Take a share of a step, hold eigenvalues in their range, and say so where that binds."""
        shift = self._shift() + size * step.offset
        if self.structure == "full":
            values = torch.diag_embed(self._drift()) + size * step.matrix
            moved = self._turn(values[0], shift)
        else:
            values = self._drift() + size * step.matrix.diagonal(dim1=-2, dim2=-1)
            moved = self._set(values, shift)
        if moved:
            low, high = self.path.eigenvalue_range
            warnings.warn(
                f"{moved} of {self.path.eigenvalues.numel()} eigenvalues of D were held in "
                f"[{low:g}, {high:g}]: simulated scores are off, or β_max does not fit the data. "
                "Usual mends: more paths or path_steps, a smaller step_size, a larger stage",
                VSDMWarning,
                stacklevel=2,
            )

    def _shift(self) -> Tensor:
        """``u``, counted from the origin, ``[N, D]``; the path's own is counted from the mean."""
        return self.path.shift - 0.5 * self.path.eigenvalues * self._origin()

    def _set(self, drift: Tensor, shift: Tensor) -> int:
        values = (self.path.decay - 2.0 * drift).clamp(*self.path.eigenvalue_range)
        shift = shift + 0.5 * values * self._origin()
        return self.path.set_spectrum(self.path.decay - 2.0 * drift, offset=shift)

    def _turn(self, matrix: Tensor, shift: Tensor) -> int:
        """Let the axes be eigenvectors of ``A [D, D]``, which is given along the present ones."""
        values, rotation = torch.linalg.eigh(matrix)
        self.axes.turn(self.axes.basis.double() @ rotation)
        self.residuals.turn(rotation)
        return self._set(values.expand(self.path.cells, -1), shift @ rotation)

    def _average(self, stage: int) -> None:
        """Keep the average of the drift, and rest at it after the last stage."""
        drift, shift = self._drift(), self._shift()
        full = self.structure == "full"
        if full:
            basis = self.axes.basis.double()
            drift, shift = basis @ torch.diag_embed(drift) @ basis.mT, shift @ basis.mT
        first = self.num_stages // 2 + 1
        share = {
            "none": 1.0,
            "polyak": 1.0 / max(1, stage - first + 1),
            "ema": 1.0 if stage == 1 else 1.0 - self.ema_decay,
        }[self.averaging]
        self.average.lerp_(drift, share)
        self.average_shift.lerp_(shift, share)
        if stage < self.num_stages or self.averaging == "none":
            return
        if full:
            basis = self.axes.basis.double()
            self._turn(basis.mT @ self.average[0] @ basis, self.average_shift @ basis)
        else:
            self._set(self.average, self.average_shift)
