"""The whole horizon drawn at once, around a forecast of all its steps.

Nothing is fed back: the LSTM reads the past once, the decoder draws the horizon's errors, or their
leading modes, in one event, and one evaluation of the network is one for all steps together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsdiff.decoders import Decoder
from tsdiff.estimators.horizon_events import HorizonEvents
from tsdiff.estimators.model import DataFacts, ForecastModel
from tsdiff.guidance.steering import Steering
from tsdiff.random import standard_normal
from tsdiff.transforms import (
    Plain,
    ProfileForecast,
    ProfileFrame,
    Series,
    Window,
    filled_by_season,
    fit_profile,
    history_length,
    lately,
)

_LIMIT = 6.0


class HorizonModel(ForecastModel):
    """An LSTM reads the past; a decoder draws the errors of a forecast of the horizon.

    The forecast, and what is known of its errors, is :class:`tsdiff.transforms.ProfileForecast`.

    Parameters
    ----------
    facts
        The data's facts, a plan among them.
    make_decoder
        ``(events.dim, context_dim) -> Decoder``.
    events
        What of the errors is drawn, and how: see :mod:`tsdiff.estimators.horizon_events`.
    **settings
        As for :class:`ForecastModel`.
    """

    def __init__(
        self,
        facts: DataFacts,
        make_decoder: Callable[[int, int], Decoder],
        *,
        events: HorizonEvents,
        **settings: Any,
    ):
        assert facts.plan is not None
        self.kind_of_events = events
        super().__init__(facts, make_decoder, **settings)
        self.profile = ProfileForecast(
            facts.plan, facts.prediction_length, facts.target_dim, facts.num_features
        )
        width = self.profile.regressor_mean.shape[1] + facts.num_features
        self.direct = nn.Linear(width, self.encoder.context_dim)

    @property
    def event_dim(self) -> int:
        return self.kind_of_events.dim

    @property
    def past_length(self) -> int:
        return max(super().past_length, self.profile.plan.memory)

    @property
    def history_length(self) -> int:
        return max(self.past_length, history_length(self.profile.plan))

    def fit(self, series: Sequence[Series], *, again: bool = False) -> None:
        """Fit the closed form; ``again`` after training, to more data, and about the same axes."""
        features = [self.standardised(torch.from_numpy(one.features[: len(one)])) for one in series]
        fit_profile(self.profile, series, features, keep_axes=again)

    @torch.no_grad()
    def sample(
        self,
        window: Window,
        num_samples: int,
        generators: Sequence[torch.Generator],
        *,
        steps: int | None = None,
        steering: Steering | None = None,
        **sampler: Any,
    ) -> Tensor:
        """Draw futures, as :meth:`ForecastModel.sample` does.

        Windows may have any past from ``past_length`` to ``history_length`` steps. Beyond one
        horizon the forecast goes on from its own samples.
        """
        assert steering is None, "a horizon that is drawn at once can't be steered step by step"
        horizon = self.facts.prediction_length
        steps = horizon if steps is None else steps
        windows = len(window.target)
        drawn = self._draw(window, num_samples, generators, sampler)
        while drawn.shape[1] < steps:
            more = self._draw(self._continued(window, drawn), 1, generators, sampler)
            drawn = torch.cat([drawn, more], dim=1)
        return drawn[:, :steps].view(windows, num_samples, steps, -1)

    def _draw(
        self,
        window: Window,
        num_samples: int,
        generators: Sequence[torch.Generator],
        sampler: dict[str, Any],
    ) -> Tensor:
        """The next horizon ``[B · N, T, D]`` of each window."""
        past = self._filled(window.target, window.observed)
        frame = lately(self.profile, past, window.observed, self._features(window))
        window = window.last(self.past_length)
        context = self._context_of(window, self._features(window), frame)
        context = context.repeat_interleave(num_samples, dim=0)
        frame = frame.widened(self.calibration)
        event = self.decoder.sample(context, generator=generators, **sampler).double()
        left = event.new_empty(len(event), self.kind_of_events.num_left)
        modes = self.kind_of_events.join(frame, event, standard_normal(left, generators))
        return self.profile.bounded(frame.unwhiten(modes))

    def _continued(self, window: Window, drawn: Tensor) -> Window:
        """A window for every future that was drawn, ``[B · N, S, D]``, which is now its past."""
        copies, past = len(drawn) // len(window.target), self.past_length
        window = window.last(past).each(lambda tensor: tensor.repeat_interleave(copies, dim=0))
        return window._replace(
            target=torch.cat([window.target, drawn], dim=1)[:, -past:],
            observed=torch.cat([window.observed, torch.ones_like(drawn)], dim=1)[:, -past:],
            features=window.features[:, drawn.shape[1] :],
            plain=None,
        )

    @torch.no_grad()
    def log_prob(
        self,
        window: Window,
        generators: Sequence[torch.Generator],
        *,
        method: str = "ode",
        **options: Any,
    ) -> Tensor:
        """Log-density of the whole future, an equal share of it for every step, ``[B, T]``.

        A horizon that is drawn at once has no densities of single steps given those before. NaN
        where any value is missing.

        Raises
        ------
        ValueError
            If the data rest on a lowest value, which then has a probability and no density.
        """
        if self.profile.plan.bounded or bool(self.profile.lowest.isfinite().any()):
            raise ValueError(
                "these data rest on a lowest value, which forecasts take with a probability: a "
                "whole horizon has no density. Take decoding='autoregressive' for likelihoods"
            )
        frame = self._frame_of(window).widened(self.calibration)
        events, left, known = self._events(window, frame)
        context = self._context_of(self._without_future(window), self._features(window), frame)
        density = {"ode": self.decoder.log_prob, "elbo": self.decoder.elbo}[method]
        events = torch.where(known, events, torch.nan).to(context.dtype)
        nats = density(events, context, generator=generators, **options).double()
        gaussian = -0.5 * (left.square() + math.log(2.0 * math.pi)).sum(1)
        total = nats + gaussian - frame.log_volume
        horizon = self.facts.prediction_length
        return (total / horizon).unsqueeze(1).repeat(1, horizon)

    def _teacher_forced(
        self, window: Window, *, limited: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Contexts, events and masks of whole horizons, ``[B, length, ·]`` each."""
        frame = self._frame_of(window, fitted=self.training)
        events, _, known = self._events(window, frame)
        context = self._context_of(self._without_future(window), self._features(window), frame)
        if limited:
            events = events.clamp(-_LIMIT, _LIMIT)
        seen = known.expand_as(events).to(context.dtype)
        return context, events.to(context.dtype), seen

    def _events(self, window: Window, frame: ProfileFrame) -> tuple[Tensor, Tensor, Tensor]:
        """Events and what they leave, and whether they are known ``[B, 1, 1]``."""
        modes = frame.whiten(window.target[:, self.past_length :])
        events, left = self.kind_of_events.split(frame, modes)
        known = window.observed[:, self.past_length :].amin((1, 2)).view(-1, 1, 1) > 0
        return events, left, known

    def _frame_of(self, window: Window, *, fitted: bool = False) -> ProfileFrame:
        past = self._filled(*(part[:, : self.past_length] for part in window[:2]))
        return self.profile(past, self._features(window), fitted=fitted)

    def _filled(self, past: Tensor, observed: Tensor) -> Tensor:
        """A past ``[B, W, D]`` whose gaps, before its start too, repeat seasons next to them."""
        return filled_by_season(past, observed, self.profile.plan.season, backwards=True)

    def _without_future(self, window: Window) -> Window:
        past, plain = self.past_length, window.plain
        if plain is not None:
            plain = Plain(*(part[:, : past - self.coordinates.reach] for part in plain))
        return window._replace(
            target=window.target[:, :past], observed=window.observed[:, :past], plain=plain
        )

    def _context_of(self, window: Window, features: Tensor, frame: ProfileFrame) -> Tensor:
        """What the decoder is told of a window without future, ``[B, length, context_dim]``.

        Beside what is common to them, every step of an event has features of its own.
        """
        context = self._read(window, features, self._dtype).context
        length = self.kind_of_events.length
        ahead = features[:, window.target.shape[1] :][:, :length]
        if ahead.shape[1] < length:
            # Steps beyond what was asked for are drawn, and dropped. Nothing is known of them; a
            # network over steps sees what stands here in its place.
            last = ahead[:, -1:].expand(-1, length - ahead.shape[1], -1)
            ahead = torch.cat([ahead, last], dim=1)
        regressors = frame.regressors.to(ahead.dtype).unsqueeze(1).expand(-1, length, -1)
        seen = torch.cat([regressors, ahead], dim=2)
        return context + self.direct(seen.clamp(-_LIMIT, _LIMIT))
