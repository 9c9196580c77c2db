"""Coordinates, encoder and decoder joined: loss of a training window, samples of the future."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsdiff.decoders import AffineDecoder, Decoder
from tsdiff.encoders import LSTMEncoder
from tsdiff.encoders.lstm import LSTMState, repeat_state
from tsdiff.guidance.sampler import Affine
from tsdiff.guidance.steering import Steering
from tsdiff.solvers import Solver
from tsdiff.transforms import (
    SCALINGS,
    Coordinates,
    Frame,
    InputLayer,
    LinearCorrection,
    Plain,
    Plan,
    Sizes,
    Window,
    WindowSampler,
)
from tsdiff.transforms.linear import Structure

# Contexts in which what a history says of its spread loses half its weight; how often it may.
_HALF_LIFE, _HALF_LIVES = 4, 3


@dataclass(frozen=True)
class DataFacts:
    """What an estimator has learned of its data before training; all widths follow from it.

    Attributes
    ----------
    target_dim, freq, prediction_length, context_length
        D, pandas frequency, T and C.
    lags, season
        In steps.
    scaling
        One of :data:`tsdiff.transforms.SCALINGS`.
    linear, penalty
        Structure and ridge penalty of the reference's linear correction, or None.
    num_features
        Calendar features and dynamic covariates together.
    num_dynamic_real, num_static_real
        Numbers of covariates.
    cardinalities
        Categories of each static categorical covariate.
    dimension_names
        Names of the D dimensions.
    plan
        How the whole horizon is forecast where it is drawn at once, or None.
    known_columns, categories
        Names of the dynamic covariates and of each static one's categories, empty where these came
        without.
    sizes
        Typical size of changes, where each series is measured in its own; all tensors of the model
        are in these units. None: values are as they are.
    """

    target_dim: int
    freq: str
    prediction_length: int
    context_length: int
    lags: tuple[int, ...]
    season: int
    scaling: str
    linear: Structure | None
    penalty: float
    num_features: int
    num_dynamic_real: int
    num_static_real: int
    cardinalities: tuple[int, ...]
    dimension_names: tuple[str, ...]
    plan: Plan | None = None
    sizes: Sizes | None = None
    known_columns: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()

    @property
    def decoding(self) -> str:
        """``"horizon"`` where it is drawn at once, else ``"autoregressive"``."""
        return "autoregressive" if self.plan is None else "horizon"


class _Past(NamedTuple):
    """What was read of windows: the last step's context ``[B, 1, H]``, and all that goes on.

    The LSTM's state, signals ``[B, W, num_signals · D]``, static inputs ``[B, 1, ·]``, coordinates.
    """

    context: Tensor
    state: LSTMState
    signals: Tensor
    static: Tensor
    frame: Frame


class ForecastModel(nn.Module):
    """An LSTM reads the past in whitened coordinates; a decoder draws the next step.

    Parameters
    ----------
    facts
        The data's facts.
    make_decoder
        ``(target_dim, context_dim) -> Decoder``.
    hidden_size, num_layers, dropout
        The LSTM's.
    embedding_dim
        Width of the embedding per dimension.
    condition_dropout
        Share of events that the decoder learns without a context.

    Attributes
    ----------
    calibration
        What the spread of forecasts is multiplied by, ``[]``; see
        :mod:`tsdiff.estimators.calibration`. Training takes no notice of it.
    """

    calibration: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    static_mean: Tensor
    static_std: Tensor

    def __init__(
        self,
        facts: DataFacts,
        make_decoder: Callable[[int, int], Decoder],
        *,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        embedding_dim: int,
        condition_dropout: float = 0.0,
    ):
        super().__init__()
        self.facts, self.condition_dropout = facts, condition_dropout
        dims = facts.target_dim
        linear = facts.linear and LinearCorrection(
            dims, facts.num_features, facts.lags, facts.linear
        )
        self.coordinates = Coordinates(*SCALINGS[facts.scaling], dims, facts.season, linear or None)
        self.inputs = InputLayer(
            self.coordinates.num_signals * dims,
            dims,
            facts.lags,
            facts.num_features,
            facts.num_static_real,
            facts.cardinalities,
            embedding_dim,
        )
        self.encoder = LSTMEncoder(self.inputs.output_dim, hidden_size, num_layers, dropout)
        self.decoder = make_decoder(self.event_dim, self.encoder.context_dim)
        self.register_buffer("calibration", torch.ones((), dtype=torch.float64))
        self.register_buffer("feature_mean", torch.zeros(facts.num_features))
        self.register_buffer("feature_std", torch.ones(facts.num_features))
        self.register_buffer("static_mean", torch.zeros(facts.num_static_real))
        self.register_buffer("static_std", torch.ones(facts.num_static_real))

    @property
    def event_dim(self) -> int:
        """Width of the decoder's events: D, one step at a time."""
        return self.facts.target_dim

    @property
    def past_length(self) -> int:
        """Steps of past that a window needs: the context, and what lags and reference reach."""
        return self.facts.context_length + max(self.facts.lags) + self.coordinates.reach

    @property
    def history_length(self) -> int:
        """Steps of past, as many or more, of which samples make use where they are there."""
        if not self.coordinates.spread_follows:
            return self.past_length
        longest = round(_HALF_LIVES * self._half_life) + self.coordinates.reach
        return max(self.past_length, longest)

    @property
    def _half_life(self) -> float:
        """Steps in which what a history says of its spread loses half its weight."""
        return _HALF_LIFE * self.facts.context_length

    def loss(self, window: Window, generator: torch.Generator) -> Tensor:
        """Mean decoder loss over the observed future values of training windows."""
        context, events, known = self._teacher_forced(window)
        if self.condition_dropout and self.training:
            kept = torch.rand((len(context), 1, 1), device=context.device, generator=generator)
            context = context * (kept >= self.condition_dropout)
        return _masked_mean(self.decoder.loss(events, context, generator=generator), known)

    def untrained_loss(self, window: Window, generator: torch.Generator) -> Tensor | None:
        """As :meth:`loss`, but :meth:`tsdiff.decoders.Decoder.untrained_loss`."""
        context, events, known = self._teacher_forced(window)
        loss = self.decoder.untrained_loss(events, context, generator=generator)
        return None if loss is None else _masked_mean(loss, known)

    def validation_loss(self, window: Window, generator: torch.Generator) -> Tensor:
        """As :meth:`loss`, but :meth:`tsdiff.decoders.Decoder.validation_loss`."""
        context, events, known = self._teacher_forced(window)
        loss = self.decoder.validation_loss(events, context, generator=generator)
        return _masked_mean(loss, known)

    def check_solver(self, solver: str | Solver) -> None:
        """Raise a MissingFieldError if the decoder's process can't be sampled by ``solver``."""
        context = self.static_mean.new_zeros(1, 1, self.encoder.context_dim)
        with torch.no_grad():
            self.decoder.check_solver(solver, context)

    @torch.no_grad()
    def events(self, window: Window) -> tuple[Tensor, Tensor]:
        """Events ``[R, T, D]``, NaN where missing, and their contexts ``[R, T, H]``.

        Step by step, each step of each window is one: ``R`` is ``B · T``, and ``T`` is 1.
        """
        context, events, known = self._teacher_forced(window)
        return events.masked_fill(known == 0.0, torch.nan), context

    def future_residuals(self, window: Window) -> tuple[Tensor, Tensor, Frame]:
        """Residuals to be modelled and their mask, ``[B · T, 1, D]`` each, and their frame."""
        z, known, frame = self._residuals(window, self._features(window))
        horizon = self.facts.prediction_length
        return _rows(z[:, -horizon:]), _rows(known[:, -horizon:]), frame

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
        """Draw futures, one generator per window.

        Parameters
        ----------
        window
            ``B`` windows without future, of ``past_length`` to ``history_length`` steps.
        num_samples
            N.
        generators
            B generators: a window's samples depend on its own alone.
        steps
            Steps to draw, for which the window has features; None is the horizon.
        steering
            What is known of the one window's future, and the particles that are tried.
        **sampler
            ``solver``, ``num_steps`` and ``grid`` of the decoder, and its ``condition_weight``.

        Returns
        -------
        Tensor
            ``[B, N, T, D]``, float64.
        """
        if steering is not None:
            num_samples = steering.num_particles
        window = self.informed(window)
        features = self._features(window)
        past = self._read(window, features)
        frame, past_signals = past.frame.widened(self.calibration), past.signals
        state = repeat_state(past.state, num_samples)
        static = past.static.repeat_interleave(num_samples, dim=0)

        values: list[Tensor] = []
        signals: list[Tensor] = []

        def at(step: int, drawn: list[Tensor], before: Tensor) -> Tensor:
            """Step of the future (0, 1, …) or, negative, of the past, ``[B · N, 1, ·]``."""
            if step >= 0:
                return drawn[step]
            column = before.shape[1] + step
            return before[:, column : column + 1].repeat_interleave(num_samples, dim=0)

        def signal_at(drawn: list[Tensor], step: int, lag: int) -> Tensor:
            return at(step - lag, drawn, past_signals)

        def value_at(drawn: list[Tensor], step: int, lag: int) -> Tensor:
            return at(step - lag, drawn, window.target)

        steps = self.facts.prediction_length if steps is None else steps
        for step in range(steps):
            here = at(step - steps, [], features)
            lagged = self.inputs.lagged(partial(signal_at, signals, step))
            beside = self.inputs.beside(here, static)
            context, state = self.encoder.step(lagged, state, beside)

            leave = partial(
                self.coordinates.inverse,
                frame=frame,
                value_at=partial(value_at, values, step),
                features=here,
            )
            if steering is None:
                z = self.decoder.sample(context, generator=generators, **sampler)
                value = leave(z)
            else:
                z, value = self._steered(steering, step, context, leave, frame, sampler)
            values.append(value)
            z = z * self.calibration  # as the past's residuals are measured
            signals.append(self.coordinates.signals(z, value, torch.ones_like(value), self._dtype))
            if steering is not None and (rows := steering.survivors()) is not None:
                state = state[0][:, rows], state[1][:, rows]
                values, signals = [v[rows] for v in values], [s[rows] for s in signals]
        drawn = torch.cat(values, dim=1)
        if steering is not None:
            return drawn[steering.chosen(drawn)].unsqueeze(0)
        return drawn.unflatten(0, (-1, num_samples))

    def _steered(
        self,
        steering: Steering,
        step: int,
        context: Tensor,
        leave: Callable[[Tensor], Tensor],
        frame: Frame,
        sampler: dict[str, Any],
    ) -> tuple[Tensor, Tensor]:
        """Residuals and values of a step, ``[P, 1, D]`` each, given what is known of it."""
        assert isinstance(self.decoder, AffineDecoder)
        origin = leave(context.new_zeros(len(context), 1, self.facts.target_dim)).squeeze(1)
        affine = Affine(origin, frame.matrix().squeeze(0))
        value = steering.draw(self.decoder, step, context, affine, **sampler)
        z = frame.whiten((value - origin).unsqueeze(0)).transpose(0, 1)
        return z.to(context.dtype), value.unsqueeze(1)

    @torch.no_grad()
    def log_prob(
        self,
        window: Window,
        generators: Sequence[torch.Generator],
        *,
        method: str = "ode",
        **options: Any,
    ) -> Tensor:
        """Log-density of every future step given all that was before it.

        Each is joint over dimensions, in the data's units: with ``z = L^{-1} (y - ŷ)`` as the
        event, ``log p(y | past) = log p(z | past) - log |det L|``. The sum over steps is the
        log-density of the whole future under the law that :meth:`sample` draws from, whose
        coordinates are fixed by the context likewise.

        Parameters
        ----------
        window
            ``B`` windows with their futures, and pasts as :meth:`sample` takes them.
        generators
            One per window: what is drawn for a window depends on its own alone.
        method
            ``"ode"``: :meth:`tsdiff.decoders.Decoder.log_prob`; ``"elbo"``: the lower bound
            :meth:`tsdiff.decoders.Decoder.elbo`.
        **options
            Those of either.

        Returns
        -------
        Tensor
            Nats, ``[B, T]``, float64; NaN for steps where a value, or what its reference is made
            of, is missing.
        """
        window = self.informed(window, future=self.facts.prediction_length)
        contexts, events, known = self._teacher_forced(window, limited=False)
        density = {"ode": self.decoder.log_prob, "elbo": self.decoder.elbo}[method]
        whole = (known > 0.0).all(-1, keepdim=True)
        events = torch.where(whole, events, torch.nan) / self.calibration
        steps = density(events, contexts, generator=generators, **options).double()
        frame = self.frame(window).widened(self.calibration)
        return steps.view(len(window.target), -1) - frame.log_volume.unsqueeze(1)

    def _teacher_forced(
        self, window: Window, *, limited: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Contexts, events and masks of all future steps, ``[B · T, 1, ·]`` each."""
        horizon = self.facts.prediction_length
        features = self._features(window)
        z, known, frame = self._residuals(window, features, self._dtype)
        values = window.target[:, self.coordinates.reach :]
        signals = self.coordinates.signals(z, values, known, self._dtype)
        inputs = self._unrolled(signals, features, self._static(window, frame))
        contexts, _ = self.encoder.encode(*inputs)
        dtype = contexts.dtype
        z = z[:, -horizon:]
        events = _rows((self.coordinates.limited(z) if limited else z).to(dtype))
        seen = _rows(known[:, -horizon:].to(dtype))
        return _rows(contexts[:, -horizon:]), self.decoder.complete(events, seen), seen

    def _read(self, window: Window, features: Tensor, dtype: torch.dtype = torch.float64) -> _Past:
        """What the encoder makes of windows without future; residuals are whitened in ``dtype``."""
        z, known, frame = self._residuals(window, features, dtype)
        values = window.target[:, self.coordinates.reach :]
        signals = self.coordinates.signals(z, values, known, self._dtype)
        static = self._static(window, frame)
        inputs = self._unrolled(signals, features[:, : window.target.shape[1]], static)
        recent = (part[:, -self.facts.context_length :] for part in inputs)
        contexts, state = self.encoder.encode(*recent)
        return _Past(contexts[:, -1:], state, signals, static, frame)

    @property
    def _dtype(self) -> torch.dtype:
        """What the networks compute in."""
        return self.inputs.dimension_embedding.dtype

    def _unrolled(self, signals: Tensor, features: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """Both parts of the encoder's inputs, of all steps whose lags are there.

        Each is ``[B, W - max(lags), ·]``: lagged signals, and what stands beside them.
        """
        furthest = max(self.facts.lags)
        length = signals.shape[1] - furthest
        lagged = self.inputs.lagged(
            lambda lag: signals[:, furthest - lag : furthest - lag + length]
        )
        return lagged, self.inputs.beside(features[:, -length:], static)

    def frame(self, window: Window) -> Frame:
        """The coordinates that the context of each window fixes."""
        return self._frame(window, self._features(window))

    def products(self, window: Window) -> Tensor:
        """See :meth:`Coordinates.products`, of the windows' contexts."""
        return self.coordinates.products(*self._contexts(window, self._features(window)))

    def _frame(self, window: Window, features: Tensor) -> Frame:
        plain = window.plain
        if plain is not None:
            first = self.past_length - self.facts.context_length - self.coordinates.reach
            last = self.past_length - self.coordinates.reach
            plain = Plain(*(tensor[:, first:last] for tensor in plain))
        contexts = self._contexts(window, features)
        return self.coordinates.frame(*contexts, plain, window.typical_scale)

    def informed(self, window: Window, future: int = 0) -> Window:
        """The steps of a window that are read, and the spread that all its past had of late."""
        past = window.target.shape[1] - future
        if past <= self.past_length:
            return window
        history = (window.target[:, :past], window.observed[:, :past])
        features = self._features(window)[:, :past]
        typical = self.coordinates.recent_scale(*history, features, self._half_life)
        return window.last(self.past_length + future)._replace(typical_scale=typical)

    def _contexts(self, window: Window, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self._context(window.target),
            self._context(window.observed),
            self._context(features),
        )

    def _residuals(
        self, window: Window, features: Tensor, dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, Tensor, Frame]:
        """Whitened residuals, their mask, and the frame that the context fixes."""
        features = features[:, : window.target.shape[1]]
        frame = self._frame(window, features)
        return *self.coordinates(
            window.target, window.observed, features, frame, window.plain, dtype
        ), frame

    def keep_residuals(self, sampler: WindowSampler) -> None:
        """Compute the residuals of all training data once, where they are the same in any window.

        Windows that ``sampler`` takes from then on come with theirs. The coordinates must be
        final.
        """
        if self.coordinates.reference != "level":
            sampler.keep(self.plain_residuals, self.coordinates.reach)

    @torch.no_grad()
    def plain_residuals(self, target: Tensor, observed: Tensor, features: Tensor) -> Plain:
        """Residuals of a whole series as they are before whitening, and their mask."""
        device = self.feature_mean.device
        values, seen = target.to(device).unsqueeze(0), observed.to(device).unsqueeze(0)
        standard = self.standardised(features.to(device))
        level = torch.zeros_like(values[:, :1])
        residual, known = self.coordinates.residuals(values, seen, standard.unsqueeze(0), level)
        return Plain(residual[0].cpu(), known[0].cpu())

    def _context(self, tensor: Tensor) -> Tensor:
        """The context of ``[B, P (+ T), ·]``, with what the reference reaches back to."""
        past = self.past_length
        return tensor[:, past - self.facts.context_length - self.coordinates.reach : past]

    def standardised(self, features: Tensor) -> Tensor:
        """Features ``[..., F]`` as the model sees them."""
        return (features - self.feature_mean) / self.feature_std

    def _features(self, window: Window) -> Tensor:
        return self.standardised(window.features)

    def _static(self, window: Window, frame: Frame) -> Tensor:
        return self.inputs.static(
            frame,
            self.coordinates.typical_scale,
            self._context(window.observed),
            (window.static_real - self.static_mean) / self.static_std,
            window.static_cat,
        )


def _masked_mean(loss: Tensor, known: Tensor) -> Tensor:
    return (loss * known).sum() / known.sum().clamp_min(1.0)


def _rows(steps: Tensor) -> Tensor:
    """``[B, T, ·] -> [B · T, 1, ·]``: each step an event of its own, series by series."""
    return steps.flatten(0, 1).unsqueeze(1)
