"""The whole horizon drawn at once, around a forecast of all its steps.

Nothing is fed back: the LSTM reads the past once, the decoder draws the leading modes of the
horizon's errors in one event, and one evaluation of the network is one for all steps together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsdiff.decoders import Decoder
from tsdiff.estimators.model import DataFacts, ForecastModel
from tsdiff.guidance.steering import Steering
from tsdiff.random import standard_normal
from tsdiff.transforms import Plain, ProfileForecast, ProfileFrame, Series, Window, fit_profile

_LIMIT = 6.0


class HorizonModel(ForecastModel):
    """An LSTM reads the past; a decoder draws the modes of the horizon's errors.

    An event is ``[1, K]``, the leading K modes of :class:`tsdiff.transforms.ProfileForecast`.

    Parameters
    ----------
    facts
        The data's facts, a plan among them.
    make_decoder
        ``(K, context_dim) -> Decoder``.
    num_modes
        The most modes that are modelled; all if the horizon has fewer.
    **settings
        As for :class:`ForecastModel`.
    """

    def __init__(
        self,
        facts: DataFacts,
        make_decoder: Callable[[int, int], Decoder],
        *,
        num_modes: int,
        **settings: Any,
    ):
        assert facts.plan is not None
        self._num_modes = min(num_modes, facts.prediction_length * facts.target_dim)
        super().__init__(facts, make_decoder, **settings)
        self.profile = ProfileForecast(
            facts.plan, facts.prediction_length, facts.target_dim, facts.num_features
        )
        width = self.profile.regressor_mean.shape[1] + facts.num_features
        self.direct = nn.Linear(width, self.encoder.context_dim)

    @property
    def event_dim(self) -> int:
        return self._num_modes

    @property
    def past_length(self) -> int:
        return max(super().past_length, self.profile.plan.memory)

    def standardised_features(self, series: Series) -> Tensor:
        """Features of a series as the model sees them, ``[L, F]``."""
        features = torch.from_numpy(series.features[: len(series)])
        return (features - self.feature_mean) / self.feature_std

    def fit(self, series: Sequence[Series], *, again: bool = False) -> None:
        """Fit the closed form; ``again`` after training, to more data, and about the same axes."""
        features = [self.standardised_features(one) for one in series]
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

        Beyond one horizon the forecast goes on from its own samples.
        """
        assert steering is None, "a horizon that is drawn at once can't be steered step by step"
        horizon = self.facts.prediction_length
        steps = horizon if steps is None else steps
        windows = len(window.target)
        drawn = self._draw(window, num_samples, generators, sampler)
        parts = [drawn]
        for first in range(horizon, steps, horizon):
            parts.append(self._go_on(window, parts, first, generators, sampler))
        return torch.cat(parts, dim=1)[:, :steps].view(windows, num_samples, steps, -1)

    def _draw(
        self,
        window: Window,
        num_samples: int,
        generators: Sequence[torch.Generator],
        sampler: dict[str, Any],
    ) -> Tensor:
        """The next horizon ``[B · N, T, D]`` of each window."""
        frame, features = self._frame_of(window), self._features(window)
        context = self._context_of(window, features, frame)
        context = context.repeat_interleave(num_samples, dim=0)
        leading = self.decoder.sample(context, generator=generators, **sampler).squeeze(1).double()
        count = frame.deviation.shape[1] - self.event_dim
        rest = standard_normal(leading.new_empty(len(leading), count), generators)
        return self.profile.bounded(frame.unwhiten(torch.cat([leading, rest], dim=1)))

    def _go_on(
        self,
        window: Window,
        parts: list[Tensor],
        first: int,
        generators: Sequence[torch.Generator],
        sampler: dict[str, Any],
    ) -> Tensor:
        """The horizon after what was drawn, one future of each, ``[B · N, T, D]``."""
        drawn = torch.cat(parts, dim=1)
        copies = len(drawn) // len(window.target)
        past = self.past_length

        def extended(tensor: Tensor, new: Tensor) -> Tensor:
            tensor = tensor.repeat_interleave(copies, dim=0)
            return torch.cat([tensor, new.to(tensor.dtype)], dim=1)[:, -past:]

        features = window.features[:, first:]
        longer = Window(
            extended(window.target, drawn),
            extended(window.observed, torch.ones_like(drawn)),
            features.repeat_interleave(copies, dim=0),
            window.static_real.repeat_interleave(copies, dim=0),
            window.static_cat.repeat_interleave(copies, dim=0),
        )
        return self._draw(longer, 1, generators, sampler)

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
        modes, known, frame = self._modes(window)
        context = self._context_of(self._without_future(window), self._features(window), frame)
        density = {"ode": self.decoder.log_prob, "elbo": self.decoder.elbo}[method]
        event = torch.where(known > 0.0, modes, torch.nan).to(context.dtype)
        leading = density(event, context, generator=generators, **options).double()
        rest = self._all_modes(window, frame)[:, self.event_dim :]
        gaussian = -0.5 * (rest.square() + torch.log(torch.tensor(2.0 * torch.pi))).sum(1)
        total = leading + gaussian - frame.log_volume
        horizon = self.facts.prediction_length
        return (total / horizon).unsqueeze(1).repeat(1, horizon)

    def _teacher_forced(
        self, window: Window, *, limited: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Contexts, events and masks of whole horizons, ``[B, 1, ·]`` each."""
        modes, known, frame = self._modes(window, fitted=self.training)
        context = self._context_of(self._without_future(window), self._features(window), frame)
        if limited:
            modes = modes.clamp(-_LIMIT, _LIMIT)
        return context, modes.to(context.dtype), known.to(context.dtype)

    def _modes(
        self, window: Window, *, fitted: bool = False
    ) -> tuple[Tensor, Tensor, ProfileFrame]:
        """Leading modes and their mask, ``[B, 1, K]`` each, and the frame."""
        frame = self._frame_of(window, fitted=fitted)
        modes = self._all_modes(window, frame)[:, : self.event_dim].unsqueeze(1)
        whole = window.observed[:, self.past_length :].amin((1, 2)) > 0.0
        return modes, whole.view(-1, 1, 1).to(modes.dtype).expand_as(modes), frame

    def _all_modes(self, window: Window, frame: ProfileFrame) -> Tensor:
        return frame.whiten(window.target[:, self.past_length :])

    def _frame_of(self, window: Window, *, fitted: bool = False) -> ProfileFrame:
        past = window.target[:, : self.past_length]
        return self.profile(past, self._features(window), fitted=fitted)

    def _without_future(self, window: Window) -> Window:
        past, plain = self.past_length, window.plain
        if plain is not None:
            plain = Plain(*(part[:, : past - self.coordinates.reach] for part in plain))
        return window._replace(
            target=window.target[:, :past], observed=window.observed[:, :past], plain=plain
        )

    def _context_of(self, window: Window, features: Tensor, frame: ProfileFrame) -> Tensor:
        """What the decoder is told of a window without future, ``[B, 1, context_dim]``."""
        z, known, coordinates = self._residuals(window, features, self._dtype)
        values = window.target[:, self.coordinates.reach :]
        signals = self.coordinates.signals(z, values, known, self._dtype)
        static = self._static(window, coordinates)
        past = features[:, : window.target.shape[1]]
        inputs = self._unrolled(signals, past, static)
        recent = (part[:, -self.facts.context_length :] for part in inputs)
        context = self.encoder.encode(*recent)[0][:, -1:]
        start = features[:, window.target.shape[1]]
        seen = torch.cat([frame.regressors.to(start.dtype), start], dim=1)
        return context + self.direct(seen.clamp(-_LIMIT, _LIMIT)).unsqueeze(1)
