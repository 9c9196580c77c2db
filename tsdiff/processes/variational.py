r"""The variational score of VSDM: the linear drift that carries data to the source most directly.

The forward drift ``-½ β x + β (A x + u)`` of :mod:`tsdiff.processes.linear_sde` is found by
stochastic approximation (Deng et al. 2024, *Variational Schrödinger Diffusion Models*, alg. 1).
Trajectories are simulated backward from the prior, under the score of the forward process with the
present ``A_k, u_k``, and

.. math:: \int E\bigl[½|\vec z|^2 + ⟨\vec z, \overleftarrow z⟩ + ζ\,∇·(\sqrt{β}\,\vec z)\bigr] dt,
   \qquad \vec z = \sqrt{β}\,(A x + u),
   \qquad \overleftarrow z = \sqrt{β}\,(\mathrm{score} - A_k x - u_k),

is minimised over them: the paper's eq. (10), but with ``ζ`` on the divergence, where it acts as
the paper's figures show. (Printed on the inner product, it could only ever raise ``D``.) It is
quadratic in ``A``. With ``N = Cov(score, x) + ζ I`` and ``C = Cov(x)`` over the simulated ``x``,
averaged over time with weights ``β``,

.. math:: ΔA\,C + C\,ΔA = -(N + N^⊤), \qquad Δu = -E[\mathrm{score}] - ΔA\,E[x]

for the symmetric ``ΔA = A - A_k`` and the offset, in which ``A_k`` has cancelled; without an
offset, second moments stand for the covariances. :func:`exact_step` solves this;
:func:`gradient_step` descends the same objective along the paper's parametrisation.

On the law of the forward process itself ``E[score xᵀ] = -I``: what teaches ``A`` is that the prior
is not that law's end. ``ζ = 1`` with a drift that is free in time is iterative proportional fitting
within linear drifts; ``ζ < 1`` moves less, and needs a drift that is constant in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tsdiff.processes.linear_sde import LinearSDE


class Step(NamedTuple):
    """By how much the drift should change: ``ΔA [N, D, D]`` and ``Δu [N, D]``, for N cells."""

    matrix: Tensor
    offset: Tensor


class TrajectoryMoments:
    """Moments of simulated states and scores on each cell of a time grid, gathered step by step.

    Parameters
    ----------
    cells, dim
        N and D.

    Attributes
    ----------
    weight
        What has been added to each cell, ``[N]``.
    x, score
        Weighted sums of the means, ``[N, D]``.
    xx, score_x
        Weighted sums of ``E[x xᵀ]`` and ``E[score xᵀ]``, ``[N, D, D]``.
    """

    def __init__(self, cells: int, dim: int, device: torch.device | str = "cpu"):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.weight = zeros(cells)
        self.x, self.score = zeros(cells, dim), zeros(cells, dim)
        self.xx, self.score_x = zeros(cells, dim, dim), zeros(cells, dim, dim)

    def add(self, cell: int, weight: float, x: Tensor, score: Tensor) -> None:
        """Add states and their scores, ``[P, D]`` each, with the ``∫β`` that they stand for."""
        share = weight / len(x)
        self.weight[cell] += weight
        self.x[cell] += share * x.double().sum(0)
        self.score[cell] += share * score.double().sum(0)
        # In the precision of the simulation: a double-precision product would be the dearest part.
        self.xx[cell] += share * (x.mT @ x).double()
        self.score_x[cell] += share * (score.mT @ x).double()

    def means(self) -> tuple[Tensor, Tensor]:
        """``E[x]`` and ``E[score]`` per cell, ``[N, D]`` each."""
        weight = self.weight.unsqueeze(-1)
        return self.x / weight, self.score / weight

    def second(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """``C`` and ``Cov(score, x)`` per cell, or second moments; ``[N, D, D]`` each."""
        weight = self.weight.view(-1, 1, 1)
        xx, score_x = self.xx / weight, self.score_x / weight
        if centred:
            x, score = self.means()
            xx = xx - x.unsqueeze(-1) * x.unsqueeze(-2)
            score_x = score_x - score.unsqueeze(-1) * x.unsqueeze(-2)
        return xx, score_x


def walk(sde: LinearSDE, steps: int) -> tuple[Tensor, list[float], list[int]]:
    """Where trajectories are seen: falling times, the ``∫β`` of each step, and its cell.

    Every cell is walked in steps of equal ``∫β``, by which moments are weighted; there are about
    ``steps`` in all.
    """
    edges, schedule, device = sde.edges.double(), sde.schedule, sde.edges.device
    each = max(1, math.ceil(steps / sde.cells))
    fine = torch.linspace(0.0, 1.0, 4096 * sde.cells + 1, dtype=torch.float64, device=device)
    marks = schedule.integrated_rate(edges)
    inside = torch.arange(each, dtype=torch.float64, device=device) / each
    goals = (marks[:-1, None] + marks.diff()[:, None] * inside).flatten()
    rising = torch.cat([interpolated(goals, schedule.integrated_rate(fine), fine), edges[-1:]])
    rising[::each] = edges
    weights = schedule.integrated_rate(rising).diff().flip(0)
    cells = torch.arange(sde.cells).repeat_interleave(each).flip(0)
    return rising.flip(0), weights.tolist(), cells.tolist()


def exact_step(
    moments: TrajectoryMoments, zeta: float, *, offset: bool, groups: Tensor | None = None
) -> Step:
    """The minimiser of the objective, minus the present drift.

    Parameters
    ----------
    zeta
        ``ζ``.
    offset
        Whether ``u`` is free; else ``Δu = 0``.
    groups
        Labels ``[D]``: ``A`` is diagonal, axes of one label sharing an entry. None: ``A`` is any
        symmetric matrix.
    """
    spread, score_x = moments.second(centred=offset)
    gap = score_x + zeta * torch.eye(spread.shape[-1]).to(spread)
    if groups is None:
        sizes, basis = torch.linalg.eigh(spread)
        inner = basis.mT @ (gap + gap.mT) @ basis
        inner = inner / (sizes.unsqueeze(-1) + sizes.unsqueeze(-2))
        matrix = -basis @ inner @ basis.mT
    else:
        both = _pooled(torch.stack([_diagonal(gap), _diagonal(spread)]), groups)
        matrix = torch.diag_embed(-both[0] / both[1])
    return Step(matrix, _offset_step(moments, matrix) if offset else matrix[..., 0] * 0.0)


def gradient_step(
    moments: TrajectoryMoments,
    zeta: float,
    *,
    drift: Tensor,
    offset: bool,
    groups: Tensor | None = None,
    iterations: int = 300,
    learning_rate: float = 0.05,
) -> Step:
    """Descend the objective along ``A_t = τ_t · sym(U diag(Λ) Vᵀ)`` by Adam.

    ``U`` and ``V`` are orthogonal, and ``τ`` is a factor per cell, kept positive with mean 1 (the
    paper's appendix D.1). Parameters as for :func:`exact_step`, and

    Parameters
    ----------
    drift
        The present ``A``, ``[N, D, D]``, from which it descends.
    iterations, learning_rate
        Of Adam, with a cosine decay. Gradients are exact: of a linear drift, moments are
        sufficient and the divergence is a trace.
    """
    spread, score_x = moments.second(centred=offset)
    weight = (moments.weight / moments.weight.sum()).view(-1, 1, 1)
    # In units in which C averages to one, so that one learning rate serves all data.
    unit = _diagonal((weight * spread).sum(0)).mean()
    goal = score_x - drift @ spread
    with torch.enable_grad():
        module = LinearScore(drift * unit, groups).to(spread.device)
        optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
        for _ in range(iterations):
            matrix = module() / unit
            quadratic = 0.5 * ((matrix @ spread) * matrix).sum((-2, -1))
            linear = (matrix * goal).sum((-2, -1)) + zeta * _diagonal(matrix).sum(-1)
            # Times the unit, so that Adam's smallest divisor is as small for all data.
            loss = unit * (weight[:, 0, 0] * (quadratic + linear)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
    matrix = module().detach() / unit - drift
    return Step(matrix, _offset_step(moments, matrix) if offset else matrix[..., 0] * 0.0)


class LinearScore(nn.Module):
    """``A_t = τ_t · sym(U diag(Λ) Vᵀ)``, float64, starting from symmetric ``[N, D, D]``.

    With ``groups`` as in :func:`exact_step`, ``U = V = I`` and ``Λ`` is shared within a group.
    """

    def __init__(self, start: Tensor, groups: Tensor | None = None):
        super().__init__()
        cells = len(start)
        self.groups = groups
        mean = start.mean(0)
        if groups is None:
            values, vectors = torch.linalg.eigh(mean)
            self.left, self.right = (_orthogonal(vectors) for _ in range(2))
        else:
            values = _pooled(_diagonal(mean), groups)
        self.scales = nn.Parameter(values.clone())
        self.log_time = nn.Parameter(start.new_zeros(cells), requires_grad=cells > 1)

    def forward(self) -> Tensor:
        """``A`` on every cell, ``[N, D, D]``."""
        if self.groups is None:
            matrix = (self.left.weight * self.scales) @ self.right.weight.mT
            matrix = 0.5 * (matrix + matrix.mT)
        else:
            matrix = torch.diag(_pooled(self.scales, self.groups))
        factor = torch.softmax(self.log_time, dim=0) * len(self.log_time)
        return factor.view(-1, 1, 1) * matrix


@dataclass(frozen=True)
class StepSizes:
    """``η_k = scale / (k^decay + delay)``, ``k = 1, 2, …``: constant for a decay of 0.

    Stochastic approximation converges for decays in (½, 1]; a constant step tracks, and wants
    averaging.
    """

    scale: float = 0.5
    decay: float = 0.0
    delay: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.scale <= 1.0:
            raise ValueError(f"the step size must lie in (0, 1], got {self.scale}")
        if not (0.0 <= self.decay <= 1.0 and self.delay >= 0.0):
            raise ValueError(
                f"the step's decay must lie in [0, 1] and its delay not be negative, got "
                f"{self.decay} and {self.delay}"
            )

    def __call__(self, k: int) -> float:
        return self.scale / (k**self.decay + self.delay)


def _offset_step(moments: TrajectoryMoments, matrix: Tensor) -> Tensor:
    x, score = moments.means()
    return -score - (matrix @ x.unsqueeze(-1)).squeeze(-1)


def interpolated(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise-linear interpolation of ``values`` at rising ``knots``, of which some may be equal.

    Beyond the ends it is constant.
    """
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    below, width = knots[right - 1], knots[right] - knots[right - 1]
    share = (x - below) / width.clamp_min(torch.finfo(width.dtype).tiny)
    return torch.lerp(values[right - 1], values[right], share.clamp(0.0, 1.0))


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)


def _pooled(values: Tensor, groups: Tensor) -> Tensor:
    """Each value ``[..., D]`` replaced by the mean over its group."""
    count = int(groups.max()) + 1
    shape = (*values.shape[:-1], count)
    total = values.new_zeros(shape).index_add(-1, groups, values)
    size = values.new_zeros(count).index_add(
        0, groups, torch.ones_like(values[(0,) * (values.ndim - 1)])
    )
    return (total / size)[..., groups]


def _orthogonal(start: Tensor) -> nn.Linear:
    """A linear map whose weight ``[D, D]`` stays orthogonal, float64."""
    size, device = len(start), start.device
    layer = nn.Linear(size, size, bias=False, dtype=torch.float64, device=device)
    parametrizations.orthogonal(layer, orthogonal_map="matrix_exp")
    with torch.no_grad():
        layer.weight = start
    return layer
