"""Time grids: where between source and data the steps are taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsdiff.solvers.base import check_steps, times_from

SignalNoise = Callable[[Tensor], tuple[Tensor, Tensor]]
# Between these λ is looked up; grids end at exactly 0 and 1 all the same.
_FIRST, _LAST, _MESH = 1e-4, 1.0 - 1e-4, 4096


@dataclass(frozen=True)
class Grid:
    """``grid(num_steps)`` gives ``num_steps + 1`` falling times from 1 to 0, float64.

    A grid that is laid out in the noise level needs ``signal_noise``, ``t -> a(t), b(t)``.
    """

    def __call__(self, num_steps: int, signal_noise: SignalNoise | None = None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} defines no times")


@dataclass(frozen=True)
class UniformGrid(Grid):
    """Equal steps in ``t``."""

    def __call__(self, num_steps: int, signal_noise: SignalNoise | None = None) -> Tensor:
        return times_from(_even(num_steps))


@dataclass(frozen=True)
class PowerGrid(Grid):
    """``t = u^exponent`` for equally spaced ``u``: finer near the data for exponents above 1.

    Exponent 2 is DDIM's quadratic grid (Song et al. 2021, app. D.2).
    """

    exponent: float = 2.0

    def __post_init__(self) -> None:
        _check_exponent("exponent", self.exponent)

    def __call__(self, num_steps: int, signal_noise: SignalNoise | None = None) -> Tensor:
        return times_from(_even(num_steps) ** self.exponent)


@dataclass(frozen=True)
class NoiseLevelGrid(Grid):
    """Times at chosen levels of ``λ = log(a/b)``, all but the last, which is 0.

    ``λ`` is averaged over axes where they have schedules of their own. It is kept within what the
    process has between ``t = 1e-4`` and ``1 - 1e-4``.
    """

    def levels(self, num_steps: int, low: float, high: float) -> Tensor:
        """``num_steps`` rising values of ``λ`` between ``low`` and ``high``."""
        raise NotImplementedError(f"{type(self).__name__} defines no levels")

    def __call__(self, num_steps: int, signal_noise: SignalNoise | None = None) -> Tensor:
        check_steps(num_steps)
        if signal_noise is None:
            raise ValueError(
                f"{type(self).__name__} needs the signal and noise levels of a process, and this "
                "one has none: choose another time grid"
            )
        u = torch.linspace(0.0, torch.pi, _MESH, dtype=torch.float64)
        mesh = _FIRST + (_LAST - _FIRST) * 0.5 * (1.0 - u.cos())
        a, b = signal_noise(mesh.view(-1, 1, 1))
        level = (a.log() - b.log()).double().cpu().expand(_MESH, 1, -1).mean(-1).flatten()
        wanted = self.levels(num_steps, level[-1].item(), level[0].item())
        wanted = wanted.clamp(level[-1], level[0])
        # λ falls with t.
        right = torch.searchsorted(-level, -wanted).clamp(1, _MESH - 1)
        share = (wanted - level[right - 1]) / (level[right] - level[right - 1])
        inner = torch.lerp(mesh[right - 1], mesh[right], share)
        return times_from(torch.cat([inner, inner.new_zeros(1)]))


@dataclass(frozen=True)
class LogSNRGrid(NoiseLevelGrid):
    """Equal steps in ``λ``, DPM-Solver's own (Lu et al. 2022)."""

    def levels(self, num_steps: int, low: float, high: float) -> Tensor:
        # The last step, to λ = ∞, starts from the highest.
        return torch.linspace(low, high, num_steps, dtype=torch.float64)


@dataclass(frozen=True)
class KarrasGrid(NoiseLevelGrid):
    """Equal steps in ``(b/a)^(1/rho)`` (Karras et al. 2022, eq. 5).

    Parameters
    ----------
    rho
        7 as published; higher is finer near the data.
    sigma_min, sigma_max
        Least and greatest ``b/a``; 0.002 and 80 as published, for data of standard deviation 1/2.
    """

    rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _check_exponent("rho", self.rho)
        if not 0.0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"expected 0 < sigma_min < sigma_max, got sigma_min={self.sigma_min}, "
                f"sigma_max={self.sigma_max}"
            )

    def levels(self, num_steps: int, low: float, high: float) -> Tensor:
        least = max(self.sigma_min, math.exp(-high))
        most = min(self.sigma_max, math.exp(-low))
        ends = torch.tensor([most, least], dtype=torch.float64) ** (1.0 / self.rho)
        u = torch.linspace(0.0, 1.0, num_steps, dtype=torch.float64)
        return -self.rho * torch.lerp(ends[0], ends[1], u).log()


@dataclass(frozen=True)
class AngleGrid(NoiseLevelGrid):
    """Steps in the angle ``θ``, ``tan θ = b/a``: ``θ_k = θ_1 (1 - k/N)^exponent``.

    Parameters
    ----------
    exponent
        1 for equal steps; below 1 times lie nearer to the source.
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        _check_exponent("exponent", self.exponent)

    def levels(self, num_steps: int, low: float, high: float) -> Tensor:
        left = 1.0 - torch.arange(num_steps, dtype=torch.float64) / num_steps
        return -(math.atan(math.exp(-low)) * left**self.exponent).tan().log()


def _even(num_steps: int) -> Tensor:
    return torch.linspace(1.0, 0.0, check_steps(num_steps) + 1, dtype=torch.float64)


def _check_exponent(name: str, value: float) -> None:
    if not value > 0.0:
        raise ValueError(f"{name} must be positive, got {value}")


GRIDS: dict[str, Grid] = {
    "uniform": UniformGrid(),
    "quadratic": PowerGrid(2.0),
    "karras": KarrasGrid(),
    "log_snr": LogSNRGrid(),
}
"""Grids by the names that ``predict(grid=...)`` understands."""
