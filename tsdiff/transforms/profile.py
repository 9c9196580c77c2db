r"""The whole horizon as one event: a simple forecast of all its steps at once, and its errors.

With a season of ``m`` steps, the ``T`` steps after an origin are first forecast by the mean of what
stood there in the last few seasons, and then, where that helps, by a ridge regression of everything
on everything that a day-ahead forecaster looks at (Weron 2014, sec. 3.8.1, the similar days):
profiles of the total one, two, three, seven and eight seasons ago, all dimensions' last season, the
day of the week, the time of the year, and what is known of the future. Starts at different hours of
the day are different regressions. Nothing is rolled out, so errors of one step don't feed the next.

The errors ``r [T, D]`` have a spread per start, step and dimension, larger or smaller by what is
known in advance (a restless week, a high forecast, winter, holidays), and a correlation over steps
and one over dimensions, ``R_T ⊗ R_D``. In the product's eigenvectors, the largest eigenvalue first,

.. math:: z_{ij} = \frac{v_i^⊤ (r / σ)\, u_j}{\sqrt{λ_i μ_j}}

are close to independent standard normal: noise *is* the simple forecast with its errors, joint over
the whole horizon. A few dozen leading *modes* hold what makes one day different from another as a
whole, and are what a decoder models; the many small ones behind them stay as Gaussian as they are.

Shapes: ``B`` windows, ``P`` kinds of origin, ``T`` steps, ``D`` dimensions, ``A`` axes of the
panel, ``F`` regressors, ``G`` regressors of the spread in each of ``S`` parts of the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tsdiff.transforms.calendar import WEEK_COLUMN, YEAR_COLUMN

# Seasons that are looked back at; those of a week ago are left out where a season isn't a day.
_LAGS, _WEEKLY_LAGS = (1, 2, 3), (7, 8)
# Points of a profile, and of the dimensions' last season, that a regression is given.
_POINTS, _COARSE_POINTS = 24, 12
_LARGEST_PANEL = 32
# Changes between so many seasons tell how restless a window is, and of so many steps at least.
_RECENT_SEASONS, _RECENT_STEPS = 7, 60
# Where errors grow with the plain forecast: their unit's share that doesn't.
_RELATIVE_FLOOR = 0.05
# Forecasts this close to the lowest value, in sizes, are that value: nights are dark.
_DUST = 1e-4
_CALMEST, _WILDEST = 0.05, 20.0
# Parts of the horizon whose spread is regressed, the most by which its logarithm is moved, and how
# far from their mean regressors count, in spreads.
_PARTS, _LARGEST_MOVE, _FARTHEST = 4, 1.0, 6.0


@dataclass(frozen=True)
class Plan:
    """How a horizon is forecast; everything that shapes follow from.

    Attributes
    ----------
    season
        m, in steps; 1 where there is none.
    depth
        Seasons whose mean is the plain forecast, step by step of the season.
    phases
        P, the kinds of origin that are told apart: m, or 1.
    weekly
        Whether seven seasons are a week.
    corrected
        Whether a ridge regression corrects the plain forecast.
    bounded
        Whether the data rest on a lowest value, as solar power does at night: then the plain
        forecast is the *most* of the last few seasons, errors are shares of that, and their
        distribution is whatever the training data's is.
    """

    season: int
    depth: int
    phases: int
    weekly: bool
    corrected: bool
    bounded: bool

    @property
    def spread_regressed(self) -> bool:
        """Whether errors are larger or smaller by what is known in advance."""
        return self.corrected and not self.bounded

    @property
    def lags(self) -> tuple[int, ...]:
        """Seasons back that the regression looks at."""
        return _LAGS + (_WEEKLY_LAGS if self.weekly else ())

    @property
    def memory(self) -> int:
        """Steps of past that are needed."""
        lags = max(self.lags) if self.corrected else 1
        return self.season * max(self.depth, lags, self.recent + 1)

    @property
    def recent(self) -> int:
        """Seasons whose changes tell how restless a window is."""
        return max(_RECENT_SEASONS, _RECENT_STEPS // self.season)


@dataclass(frozen=True)
class ProfileFrame:
    """The forecasts of a batch of windows, and how large their errors are.

    Attributes
    ----------
    mean, scale
        ``[B, T, D]`` each.
    time_axes, dimension_axes
        Eigenvectors in columns, ``[B, T, T]`` and ``[B, D, D]``.
    knots
        Quantiles of every standardised error, ``[B, T, D, Q]``, or None where they are Gaussian.
    deviation
        Spread of every mode, ``[B, T · D]``, as ``order`` has them.
    location
        Mean of every mode, likewise.
    order
        Modes by falling size, ``[B, T · D]`` int64.
    regressors
        Standardised, ``[B, F]``.
    """

    mean: Tensor
    scale: Tensor
    time_axes: Tensor
    dimension_axes: Tensor
    deviation: Tensor
    location: Tensor
    order: Tensor
    knots: Tensor | None
    regressors: Tensor

    def whiten(self, values: Tensor) -> Tensor:
        """All modes ``[B, T · D]`` of futures ``[B, T, D]``."""
        errors = self.standardise(values).unsqueeze(1)
        return (self.along(errors).squeeze(1) - self.location) / self.deviation

    def along(self, errors: Tensor) -> Tensor:
        """Standardised errors ``[B, K, T, D]`` along the ordered modes, ``[B, K, T · D]``."""
        modes = self.time_axes.unsqueeze(1).mT @ errors @ self.dimension_axes.unsqueeze(1)
        order = self.order.unsqueeze(1).expand(-1, errors.shape[1], -1)
        return modes.flatten(2).gather(2, order)

    def across(self, modes: Tensor) -> Tensor:
        """The inverse of :meth:`along`: ``[B, K, T · D] -> [B, K, T, D]``."""
        _, steps, dims = self.mean.shape
        order = self.order.unsqueeze(1).expand_as(modes)
        errors = torch.empty_like(modes).scatter_(2, order, modes).unflatten(2, (steps, dims))
        return self.time_axes.unsqueeze(1) @ errors @ self.dimension_axes.unsqueeze(1).mT

    def standardise(self, values: Tensor) -> Tensor:
        """Errors of values ``[B, T, D]`` in spreads, or their normal scores."""
        errors = (values - self.mean) / self.scale
        if self.knots is None:
            return errors
        return to_scores(errors.unsqueeze(-1), self.knots).squeeze(-1)

    def unwhiten(self, modes: Tensor) -> Tensor:
        """Futures ``[B · N, T, D]`` of modes ``[B · N, T · D]``, rows of a window adjacent."""
        windows, steps, dims = self.mean.shape
        rows = modes.view(windows, -1, steps * dims) * self.deviation.unsqueeze(1)
        errors = self.across(rows + self.location.unsqueeze(1))
        if self.knots is not None:
            errors = from_scores(errors.movedim(1, -1).contiguous(), self.knots).movedim(-1, 1)
        return (self.mean.unsqueeze(1) + self.scale.unsqueeze(1) * errors).flatten(0, 1)

    def widened(self, factor: Tensor) -> ProfileFrame:
        """The frame of modes whose spread is ``factor []`` times as large."""
        return replace(self, deviation=self.deviation * factor)

    @property
    def log_volume(self) -> Tensor:
        """``log |det|`` of :meth:`unwhiten`, ``[B]``."""
        return self.scale.log().sum((1, 2)) + self.deviation.log().sum(1)


# Normal scores at which quantiles are known.
LARGEST_SCORE = 2.4
SCORES = torch.linspace(-LARGEST_SCORE, LARGEST_SCORE, 25, dtype=torch.float64)


def to_scores(errors: Tensor, knots: Tensor) -> Tensor:
    """Normal scores of standardised errors ``[..., N]`` with quantiles ``[..., Q]`` at SCORES."""
    return _interpolate(errors, knots, SCORES.to(knots).expand_as(knots).contiguous())


def from_scores(scores: Tensor, knots: Tensor) -> Tensor:
    """Standardised errors of normal scores; the inverse of :func:`to_scores`."""
    return _interpolate(scores, SCORES.to(knots).expand_as(knots).contiguous(), knots)


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear, and beyond the ends with slope one."""
    left = (torch.searchsorted(xs, x) - 1).clamp(0, xs.shape[-1] - 2)
    x0, x1 = xs.gather(-1, left), xs.gather(-1, left + 1)
    y0, y1 = ys.gather(-1, left), ys.gather(-1, left + 1)
    inside = torch.maximum(torch.minimum(x, xs[..., -1:]), xs[..., :1])
    return y0 + (inside - x0) * (y1 - y0) / (x1 - x0) + (x - inside)


class ProfileForecast(nn.Module):
    """The forecast above, in closed form; :func:`tsdiff.transforms.fit_profile` fits it.

    Parameters
    ----------
    plan
        How to forecast.
    horizon, target_dim
        T and D.
    num_features
        Width of calendar features and dynamic covariates together.

    Attributes
    ----------
    centre, size
        Mean and standard deviation of the training data, ``[D]``.
    lowest
        What no forecast falls below, ``[D]``: the least value, where the training data rest on it
        for at least one step in a hundred, and minus infinity elsewhere.
    panel
        Axes that the dimensions are regressed along, orthonormal, ``[D, A]``.
    typical_change
        Mean square of the changes from season to season, in units of the plain forecast's, ``[D]``.
    prior
        Seasons' worth of typical changes that a window's own are weighed against, ``[]``.
    spread_weight
        Of the standardised regressors of the spread's logarithm, ``[P, S, G]``.
    drift, persistence
        Mean of every mode where the last season's is zero, and how much of the last season's stays,
        ``[P, T · D]``; zero of data without a bound, whose regression has both.
    """

    centre: Tensor
    size: Tensor
    lowest: Tensor
    panel: Tensor
    regressor_mean: Tensor
    regressor_std: Tensor
    intercept: Tensor
    weight: Tensor
    spread: Tensor
    spread_fitted: Tensor
    spread_centre: Tensor
    spread_size: Tensor
    spread_weight: Tensor
    time_axes: Tensor
    dimension_axes: Tensor
    deviation: Tensor
    drift: Tensor
    persistence: Tensor
    order: Tensor
    typical_change: Tensor
    prior: Tensor
    knots: Tensor | None
    part: Tensor

    def __init__(self, plan: Plan, horizon: int, target_dim: int, num_features: int):
        super().__init__()
        self.plan, self.horizon = plan, horizon
        axes = min(target_dim, _LARGEST_PANEL)
        phases, outputs = plan.phases, horizon * axes
        count = self.num_regressors(plan, axes, num_features)
        parts = torch.arange(horizon) * _PARTS // horizon
        self.register_buffer("part", parts.unique(return_inverse=True)[1], persistent=False)
        sizes = (phases, int(self.part.max()) + 1, self._num_spread_regressors(plan, num_features))
        shapes = {
            "centre": (target_dim,),
            "regressor_mean": (phases, count),
            "intercept": (phases, outputs),
            "weight": (phases, count, outputs),
            "spread_centre": sizes,
            "spread_weight": sizes,
            "drift": (phases, horizon * target_dim),
            "persistence": (phases, horizon * target_dim),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        ones = {
            "size": (target_dim,),
            "typical_change": (target_dim,),
            "prior": (),
            "regressor_std": (phases, count),
            "spread": (phases, horizon, target_dim),
            "spread_fitted": (phases, horizon, target_dim),
            "spread_size": sizes,
            "deviation": (phases, horizon * target_dim),
        }
        for name, shape in ones.items():
            self.register_buffer(name, torch.ones(shape, dtype=torch.float64))
        for name, size in (("time_axes", horizon), ("dimension_axes", target_dim)):
            eye = torch.eye(size, dtype=torch.float64).repeat(phases, 1, 1)
            self.register_buffer(name, eye)
        lowest = torch.full((target_dim,), -torch.inf, dtype=torch.float64)
        self.register_buffer("lowest", lowest)
        self.register_buffer("panel", torch.eye(target_dim, dtype=torch.float64)[:, :axes])
        quantiles = SCORES.repeat(phases, horizon, target_dim, 1) if plan.bounded else None
        self.register_buffer("knots", quantiles)
        self.register_buffer("order", torch.arange(horizon * target_dim).repeat(phases, 1))

    @staticmethod
    def num_regressors(plan: Plan, axes: int, num_features: int) -> int:
        """F."""
        if not plan.corrected:
            return 0
        points, coarse = min(plan.season, _POINTS), min(plan.season, _COARSE_POINTS)
        calendar = 7 + 2 + 4 * points if plan.weekly else 0
        return len(plan.lags) * points + (coarse + 2) * axes + 3 * num_features + calendar

    @classmethod
    def num_weights(cls, plan: Plan, horizon: int, target_dim: int, num_features: int) -> int:
        """How many weights the regressions of all kinds of origin have, ``P · F · T · A``."""
        axes = min(target_dim, _LARGEST_PANEL)
        count = cls.num_regressors(plan, axes, num_features)
        return plan.phases * count * horizon * axes

    @staticmethod
    def num_moments(plan: Plan, horizon: int, target_dim: int) -> int:
        """How many values the axes, and quantiles if any, of all kinds of origin's errors have."""
        quantiles = horizon * target_dim * len(SCORES) if plan.bounded else 0
        return plan.phases * (horizon**2 + target_dim**2 + quantiles)

    @staticmethod
    def _num_spread_regressors(plan: Plan, num_features: int) -> int:
        """G."""
        return 4 + num_features + 2 * plan.weekly if plan.spread_regressed else 0

    def phase_of(self, features: Tensor) -> Tensor:
        """Kind of origin ``[B]`` from the features of its first step, ``[B, F]``."""
        if self.plan.phases == 1:
            return torch.zeros(len(features), dtype=torch.int64, device=features.device)
        turn = torch.atan2(features[:, 0].double(), features[:, 1].double()) / (2.0 * torch.pi)
        return (turn * self.plan.phases + 1e-4).floor().long() % self.plan.phases

    def profile(self, past: Tensor) -> Tensor:
        """Mean or most of the last seasons, ``[B, m, D]``, of values ``[B, ≥ memory, D]``."""
        season, depth = self.plan.season, self.plan.depth
        recent = past[:, past.shape[1] - season * depth :].unflatten(1, (depth, season))
        return recent.amax(1) if self.plan.bounded else recent.mean(1)

    def ahead(self, profile: Tensor) -> Tensor:
        """A profile ``[B, m, D]`` repeated over the horizon, ``[B, T, D]``."""
        return profile[:, torch.arange(self.horizon, device=profile.device) % self.plan.season]

    def unit(self, profile: Tensor) -> Tensor:
        """What errors are measured in, of the shape of ``profile [B, m, D]``."""
        if self.plan.bounded:
            return profile - self.lowest.clamp_min(-1e300) + _RELATIVE_FLOOR * self.size
        return self.size.expand_as(profile)

    def change(self, past: Tensor, unit: Tensor) -> Tensor:
        """Mean square of a window's changes from season to season in its units, ``[B, D]``."""
        season, recent = self.plan.season, self.plan.recent
        values = past[:, past.shape[1] - season * (recent + 1) :].unflatten(1, (-1, season))
        return values.diff(dim=1).square().mean((1, 2)) / unit.square().mean(1)

    def restlessness(self, change: Tensor, prior: Tensor | float | None = None) -> Tensor:
        """Factor of the spread of errors, ``[B, D]``, from :meth:`change`."""
        prior = self.prior if prior is None else prior
        recent = self.plan.recent
        ratio = (recent * change / self.typical_change + prior) / (recent + prior)
        return ratio.clamp(_CALMEST, _WILDEST).sqrt()

    def plain(self, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The plain forecast and its unit, ``[B, T, D]`` each, and :meth:`restlessness`."""
        profile = self.profile(past)
        unit = self.unit(profile)
        restless = self.restlessness(self.change(past, unit))
        return self.ahead(profile), self.ahead(unit), restless

    def regressors(self, past: Tensor, features: Tensor) -> Tensor:
        """What the regression looks at, ``[B, F]``.

        Parameters
        ----------
        past
            Values ``[B, W, D]``.
        features
            ``[B, W + T, num_features]``.
        """
        plan = self.plan
        season, memory = plan.season, past.shape[1]
        origin, unit = self.centre, self.size
        if plan.bounded:
            origin = self.profile(past)
            unit = self.unit(origin)

        def season_ago(lag: int) -> Tensor:
            start = memory - lag * season
            return (past[:, start : start + season] - origin) / unit

        def coarser(profile: Tensor, points: int) -> Tensor:
            """``[B, m, ·] -> [B, points, ·]``."""
            if points == profile.shape[1]:
                return profile
            pooled = nn.functional.adaptive_avg_pool1d(profile.mT, points)
            return pooled.mT

        share = self.size / self.size.sum()
        points, coarse = min(season, _POINTS), min(season, _COARSE_POINTS)
        parts = [
            coarser(season_ago(lag) @ share.unsqueeze(1), points).flatten(1) for lag in plan.lags
        ]
        yesterday = season_ago(1) @ self.panel
        # Where dimensions stand, and how much higher than a season ago, tells the first steps.
        now, before = yesterday[:, -1], season_ago(2)[:, -1] @ self.panel
        parts += [coarser(yesterday, coarse), now, now - before]
        ahead = features[:, memory : memory + min(season, self.horizon)].double()
        parts += [ahead[:, :1], ahead.mean(1, keepdim=True)]
        parts.append(features[:, memory - season : memory].double().mean(1, keepdim=True))
        if plan.weekly:
            first = features[:, memory]
            parts.append(nn.functional.one_hot(self._weekday(first), 7).double())
            once, twice = self._year(first)
            parts.append(twice)
            # What yesterday tells of tomorrow differs between heating, cooling and neither.
            harmonics = torch.cat([once, twice], dim=1).split(1, dim=1)
            parts += [harmonic * parts[0] for harmonic in harmonics]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def spread_regressors(
        self, past: Tensor, features: Tensor, mean: Tensor, restless: Tensor
    ) -> Tensor:
        """What the size of errors is regressed on, ``[B, S, G]``.

        How high the forecast is and how far from the plain one, in each part of the horizon; how
        restless the window is; calendar and covariates.

        Parameters
        ----------
        past, features
            As for :meth:`forward`.
        mean
            Forecasts ``[B, T, D]``.
        restless
            :meth:`restlessness`, ``[B, D]``.
        """
        share, memory = self.size / self.size.sum(), past.shape[1]
        level = self._by_part(((mean - self.centre) / self.size) @ share)
        moved = (mean - self.ahead(self.profile(past))) / self.size
        moved = self._by_part(moved.square().mean(2)).clamp_min(1e-12).log()
        ahead = features[:, memory : memory + min(self.plan.season, self.horizon)].double().mean(1)
        shared = [restless.log().mean(1, keepdim=True), ahead]
        if self.plan.weekly:
            shared.append(self._year(features[:, memory])[1])
        each = torch.stack([level, level.square(), moved], dim=2)
        common = torch.cat(shared, dim=1).unsqueeze(1).expand(-1, each.shape[1], -1)
        return torch.cat([each, common], dim=2)

    def standard_spread_regressors(self, regressors: Tensor, phase: Tensor | int) -> Tensor:
        """:meth:`spread_regressors` standardised, and not far outside what was fitted to."""
        standard = (regressors - self.spread_centre[phase]) / self.spread_size[phase]
        return standard.clamp(-_FARTHEST, _FARTHEST)

    def spread_factor(self, regressors: Tensor, phase: Tensor | int) -> Tensor:
        """Factor of the spread ``[B, T, 1]`` from :meth:`spread_regressors`."""
        standard = self.standard_spread_regressors(regressors, phase)
        move = (standard * self.spread_weight[phase]).sum(2).clamp(-_LARGEST_MOVE, _LARGEST_MOVE)
        return move.exp()[:, self.part].unsqueeze(2)

    def _by_part(self, steps: Tensor) -> Tensor:
        """Means over the parts of the horizon ``[B, S]`` of ``[B, T]``."""
        member = nn.functional.one_hot(self.part).to(steps.dtype)
        return steps @ (member / member.sum(0))

    def last_season(self, past: Tensor) -> Tensor:
        """The future ``[B, T, D]`` if the last season repeated."""
        return self.ahead(past[:, past.shape[1] - self.plan.season :])

    def bounded(self, values: Tensor) -> Tensor:
        """Values ``[..., D]`` that don't fall below :attr:`lowest`, nor hover just above it."""
        near = values < self.lowest + _DUST * self.size
        return torch.where(near, self.lowest, values)

    @staticmethod
    def _year(features: Tensor) -> tuple[Tensor, Tensor]:
        """Two harmonics of the year, ``[B, 2]`` each, from the features of a step, ``[B, F]``."""
        sine, cosine = features[:, YEAR_COLUMN : YEAR_COLUMN + 2].double().split(1, dim=1)
        twice = [sine * cosine, cosine.square() - sine.square()]
        return torch.cat([sine, cosine], dim=1), torch.cat(twice, dim=1)

    @staticmethod
    def _weekday(features: Tensor) -> Tensor:
        """Day of the week ``[B]`` from the features of a step, ``[B, F]``."""
        sine, cosine = features[:, WEEK_COLUMN : WEEK_COLUMN + 2].double().unbind(1)
        turn = torch.atan2(sine, cosine) / (2.0 * torch.pi)
        return (7.0 * turn + 1e-4).floor().long() % 7

    def forward(self, past: Tensor, features: Tensor, *, fitted: bool = False) -> ProfileFrame:
        """The forecasts of windows and their errors.

        Parameters
        ----------
        past
            Values ``[B, W, D]``, gaps filled.
        features
            ``[B, ≥ W + min(m, T), num_features]``.
        fitted
            Whether the regression was fitted to these windows' own futures, which leaves errors
            smaller than those of a forecast.
        """
        phase = self.phase_of(features[:, past.shape[1]])
        plain, unit, restless = self.plain(past)
        mean, regressors = plain, past.new_zeros(len(past), 0)
        if self.plan.corrected:
            regressors = self.regressors(past, features) - self.regressor_mean[phase]
            regressors = regressors / self.regressor_std[phase]
            outputs = self.intercept[phase]
            # Weights are many: they are read in place, not gathered.
            for kind in phase.unique():
                rows = phase == kind
                outputs[rows] += regressors[rows] @ self.weight[kind]
            correction = outputs.unflatten(1, (self.horizon, -1)) @ self.panel.mT
            mean = plain + unit * correction
        spread = self.spread_fitted if fitted else self.spread
        scale = unit * spread[phase] * restless.unsqueeze(1)
        if self.plan.spread_regressed:
            told = self.spread_regressors(past, features, mean, restless)
            scale = scale * self.spread_factor(told, phase)
        frame = ProfileFrame(
            mean,
            scale,
            self.time_axes[phase],
            self.dimension_axes[phase],
            self.deviation[phase],
            self.drift[phase],
            self.order[phase],
            None if self.knots is None else self.knots[phase],
            regressors,
        )
        return replace(frame, location=self.location(frame, past, phase))

    def location(self, frame: ProfileFrame, past: Tensor, phase: Tensor) -> Tensor:
        """Mean of every mode, ``[B, T · D]``, of windows of the kinds ``phase [B]``."""
        if not self.plan.bounded:
            return self.drift[phase]
        scores = frame.standardise(self.last_season(past))
        return self.following(frame, scores.unsqueeze(1), phase).squeeze(1)

    def following(self, frame: ProfileFrame, scores: Tensor, phase: Tensor) -> Tensor:
        """Means of modes ``[B, K, T · D]`` after seasons with these scores, ``[B, K, T, D]``."""
        # Scores outside the known quantiles would carry a mode anywhere.
        modes = frame.along(scores.clamp(-LARGEST_SCORE, LARGEST_SCORE))
        return self.drift[phase].unsqueeze(1) + self.persistence[phase].unsqueeze(1) * modes
