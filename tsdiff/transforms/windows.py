"""Windows of series as tensors, gathered by index: no transformation runs twice.

pytorch-ts and GluonTS re-transform a whole series for every training window, which takes two
thirds of their training step. Here the series are laid end to end once, and a batch is one
fancy index into them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tsdiff.datasets.entries import DataError
from tsdiff.transforms.series import Measure, Series


class Plain(NamedTuple):
    """Residuals before whitening and their mask, which follow from data and reference alone.

    ``[..., D]`` float64 each, of all steps but the first that a reference doesn't reach to.
    """

    residual: Tensor
    known: Tensor


class Window(NamedTuple):
    """A batch of windows.

    Attributes
    ----------
    target, observed
        ``[B, P + T, D]`` float64: P steps of past (context and what lags reach back to) and T
        of future; windows to forecast have T = 0.
    features
        ``[B, P + H, F]`` float32, H the horizon.
    static_real, static_cat
        ``[B, S]`` float32 and ``[B, C]`` int64.
    plain
        ``[B, P + T - reach, D]``, where they are known already. Who changes a target drops them.
    typical_scale
        Spread of residuals in the history before the window and in it, ``[B, 1, D]``, where that
        was longer; by default the training data's.
    """

    target: Tensor
    observed: Tensor
    features: Tensor
    static_real: Tensor
    static_cat: Tensor
    plain: Plain | None = None
    typical_scale: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Window:
        """The window whose tensors are changed alike, ``change(tensor)`` for each."""
        plain, typical = self.plain, self.typical_scale
        return Window(
            change(self.target),
            change(self.observed),
            change(self.features),
            change(self.static_real),
            change(self.static_cat),
            plain and Plain(change(plain.residual), change(plain.known)),
            None if typical is None else change(typical),
        )

    def take(self, rows: Tensor) -> Window:
        """Some of the windows, by number or by mask ``[B]``."""
        return self.each(lambda tensor: tensor[rows])

    def last(self, steps: int) -> Window:
        """The window with the last ``steps`` of its target alone."""
        skipped = self.target.shape[1] - steps
        return self._replace(
            target=self.target[:, skipped:],
            observed=self.observed[:, skipped:],
            features=self.features[:, skipped:],
            plain=None,
        )

    def to(self, device: torch.device | str) -> Window:
        return self.each(lambda tensor: tensor.to(device))


class WindowSampler:
    """Random training windows from all series, each position equally likely.

    Parameters
    ----------
    series
        What to draw from. A series that is long beside the past gives all windows that lie in
        it. Of a shorter one, of at least ``horizon + 1`` steps, the second half is forecast all
        the same, from what there is: windows are padded on the left with unobserved steps.
    past_length, horizon
        P and T.

    Raises
    ------
    DataError
        If no series is long enough.
    """

    def __init__(self, series: Sequence[Series], past_length: int, horizon: int):
        self.length, self._horizon = past_length + horizon, horizon
        usable = [s for s in series if len(s) > horizon]
        if not usable:
            longest = max((len(s) for s in series), default=0)
            raise DataError(
                f"no series is long enough to train on: the longest has {longest} steps, and a "
                f"horizon of {horizon} needs at least {horizon + 1}. Forecast fewer steps or "
                "give more data"
            )
        padded = [_pad_left(s, len(s) + self._padding(len(s), past_length)) for s in usable]
        lengths = np.array([len(s) for s in padded])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        counts = lengths - self.length + 1
        self._starts = torch.from_numpy(
            np.concatenate([np.arange(n) + o for n, o in zip(counts, offsets, strict=False)])
        )
        self._owners = torch.from_numpy(np.repeat(np.arange(len(padded)), counts))
        self._target = torch.from_numpy(np.concatenate([s.target for s in padded]))
        self._observed = torch.from_numpy(np.concatenate([s.observed for s in padded]))
        self._features = torch.from_numpy(np.concatenate([s.features[: len(s)] for s in padded]))
        self._static_real = torch.from_numpy(np.stack([s.static_real for s in padded]))
        self._static_cat = torch.from_numpy(np.stack([s.static_cat for s in padded]))
        self._measure = measures_of(padded)
        self._steps = torch.arange(self.length)
        self._lengths = lengths.tolist()
        self._plain: Plain | None = None
        self._reach = 0

    def _padding(self, length: int, past_length: int) -> int:
        """Steps before a series, so that there are windows of any that lies in its second half."""
        shortest = min(length // 2, length - self._horizon)
        return max(0, past_length - shortest)

    def keep(self, plain: Callable[[Tensor, Tensor, Tensor], Plain], reach: int) -> None:
        """From now on give windows their residuals, of all but their first ``reach`` steps.

        Parameters
        ----------
        plain
            ``(target [L, D], observed [L, D], features [L, F])`` of a series to its residuals from
            step ``reach`` on.
        """
        found = [
            plain(*parts)
            for parts in zip(
                self._target.split(self._lengths),
                self._observed.split(self._lengths),
                self._features.split(self._lengths),
                strict=True,
            )
        ]
        self._reach = reach
        residual, known = (
            torch.cat([functional.pad(part, (0, 0, reach, 0)) for part in parts])
            for parts in zip(*found, strict=True)
        )
        self._plain = Plain(residual, known)

    def __len__(self) -> int:
        """How many different windows there are."""
        return len(self._starts)

    def share_whole(self) -> float:
        """Share of the windows whose future lacks no value."""
        whole = functional.pad(self._observed.amin(1).cumsum(0), (1, 0))
        end = self._starts + self.length
        return float((whole[end] - whole[end - self._horizon] == self._horizon).double().mean())

    def draw(self, batch_size: int, generator: torch.Generator) -> Window:
        """``batch_size`` windows, drawn with replacement."""
        return self.take(self.numbers(batch_size, generator))

    def numbers(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Numbers of ``batch_size`` windows, drawn with replacement."""
        return torch.randint(len(self), (batch_size,), generator=generator)

    def measure(self, which: Tensor) -> Measure:
        """What values of the windows of the given numbers are measured in, ``[B, 1, D]``."""
        return Measure(*(part[self._owners[which]] for part in self._measure))

    def take(self, which: Tensor) -> Window:
        """The windows of the given numbers, ``[B]`` int64."""
        index = self._starts[which].unsqueeze(1) + self._steps
        owner, plain = self._owners[which], self._plain
        if plain is not None:
            later = index[:, self._reach :]
            plain = Plain(plain.residual[later], plain.known[later])
        return Window(
            self._target[index],
            self._observed[index],
            self._features[index],
            self._static_real[owner],
            self._static_cat[owner],
            plain,
        )


def measures_of(series: Sequence[Series]) -> Measure:
    """What the series are measured in, tensors ``[B, 1, D]``."""
    columns = zip(*(one.measure for one in series), strict=True)
    return Measure(*(torch.from_numpy(np.stack(column)).unsqueeze(1) for column in columns))


def forecast_windows(series: Sequence[Series], past_length: int, horizon: int) -> Window:
    """The last ``past_length`` steps of every series, with features for the horizon beyond."""
    padded = [_pad_left(s, past_length) for s in series]
    return Window(
        torch.from_numpy(np.stack([s.target[-past_length:] for s in padded])),
        torch.from_numpy(np.stack([s.observed[-past_length:] for s in padded])),
        torch.from_numpy(
            np.stack([s.features[len(s) - past_length : len(s) + horizon] for s in padded])
        ),
        torch.from_numpy(np.stack([s.static_real for s in padded])),
        torch.from_numpy(np.stack([s.static_cat for s in padded])),
    )


def _pad_left(series: Series, length: int) -> Series:
    """Unobserved steps before the first, up to ``length``; ``start`` stays the first real step."""
    missing = length - len(series)
    if missing <= 0:
        return series

    def repeat_first(array: np.ndarray) -> np.ndarray:
        return np.concatenate([np.repeat(array[:1], missing, axis=0), array])

    unobserved = np.zeros((missing, series.target.shape[1]))
    return replace(
        series,
        target=repeat_first(series.target),
        observed=np.concatenate([unobserved, series.observed]),
        features=repeat_first(series.features),
    )
