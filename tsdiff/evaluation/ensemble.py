"""Samples and what happened, checked once: the common ground of all metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Ensemble:
    """Joint samples ``[W, N, T, D]`` beside their target ``[W, T, D]``, both float64."""

    samples: np.ndarray
    target: np.ndarray

    @classmethod
    def check(cls, samples: ArrayLike, target: ArrayLike) -> Ensemble:
        """Build one from user input.

        Raises
        ------
        ValueError
            Shapes that do not fit each other, an empty axis, samples that are not finite, or an
            infinite target.
        """
        samples = np.asarray(samples, dtype=np.float64)
        target = np.asarray(target, dtype=np.float64)
        if samples.ndim != 4 or target.ndim != 3:
            raise ValueError(
                "expected samples [windows, samples, steps, dimensions] and target [windows, "
                f"steps, dimensions], got shapes {samples.shape} and {target.shape}; a univariate "
                "series has a last axis of length 1"
            )
        if samples.shape[:1] + samples.shape[2:] != target.shape:
            raise ValueError(
                f"samples {samples.shape} and target {target.shape} do not fit: leaving out axis 1 "
                "of the samples must give the target's shape"
            )
        if samples.size == 0:
            raise ValueError(f"nothing to score: samples have shape {samples.shape}")
        bad = np.count_nonzero(~np.isfinite(samples))
        if bad:
            raise ValueError(
                f"{bad} of {samples.size} sample values are NaN or infinite: the forecast is "
                "broken and has no score"
            )
        if np.isinf(target).any():
            raise ValueError("the target is infinite somewhere; mark missing values by NaN")
        return cls(samples, target)

    @property
    def num_samples(self) -> int:
        return self.samples.shape[1]

    @cached_property
    def sorted(self) -> np.ndarray:
        """Samples in ascending order along axis 1, each step and dimension on its own."""
        return np.sort(self.samples, axis=1)

    @cached_property
    def summed(self) -> Ensemble:
        """The ensemble of the sum over dimensions, as a single dimension."""
        return Ensemble(
            self.samples.sum(axis=-1, keepdims=True), self.target.sum(axis=-1, keepdims=True)
        )

    @cached_property
    def ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """How many samples lie below the target, and how many equal it, ``[W, T, D]`` each."""
        target = self.target[:, None]
        below = np.count_nonzero(self.samples < target, axis=1)
        return below, np.count_nonzero(self.samples == target, axis=1)

    def quantile(self, q: float) -> np.ndarray:
        """Sample quantile ``[W, T, D]`` by GluonTS' rule: the sample of rank round((N - 1) q)."""
        return self.sorted[:, int(np.round((self.num_samples - 1) * q))]

    def interpolated_quantile(self, q: float) -> np.ndarray:
        """Sample quantile ``[W, T, D]`` at rank q (N + 1), between the extremes."""
        rank = np.clip(q * (self.num_samples + 1) - 1, 0, self.num_samples - 1)
        below = int(np.floor(rank))
        above = min(below + 1, self.num_samples - 1)
        low, high = self.sorted[:, below], self.sorted[:, above]
        return low + (rank - below) * (high - low)

    def resampled(self, generator: np.random.Generator) -> Ensemble:
        """A bootstrap ensemble: joint samples drawn with replacement, windows independently."""
        windows, count = self.samples.shape[:2]
        picked = generator.integers(count, size=(windows, count))
        return Ensemble(self.samples[np.arange(windows)[:, None], picked], self.target)
