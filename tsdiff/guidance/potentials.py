r"""Likelihoods without a closed form: any energy, and given quantiles.

Quantiles ``q_k`` at levels ``τ_k`` of a weighted sum ``h·v`` fix the mass between neighbours. Of
all laws with these masses the one of least relative entropy to the model's is the model's own
within each interval, multiplied by the ratio of the masses there (entropy pooling; Meucci 2008).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tsdiff.guidance.errors import warn_user
from tsdiff.guidance.gaussian import log_interval
from tsdiff.guidance.particles import normalised


class QuantilePotential:
    """The ratio of masses, as a likelihood of one step.

    Parameters
    ----------
    levels, values
        ``[K]`` each, rising.
    weights
        ``h [D]``.
    """

    def __init__(self, levels: np.ndarray, values: np.ndarray, weights: np.ndarray):
        self.edges = torch.as_tensor(values)
        self.masses = torch.as_tensor(np.diff(levels, prepend=0.0, append=1.0))
        self.weights = torch.as_tensor(weights)
        self._ratios: Tensor | None = None

    def __call__(self, mean: Tensor, covariance: Tensor) -> Tensor:
        weights = self.weights.to(mean)
        total = mean @ weights
        spread = ((covariance @ weights) @ weights).clamp_min(0.0).sqrt().unsqueeze(-1)
        # Of samples themselves a narrow interval is the one that they lie in.
        spread = spread.clamp_min(1e-9 * (1e-300 + total.detach().abs().mean()))
        edges = torch.nn.functional.pad(self.edges, (1, 1), value=torch.inf).to(mean)
        edges[0] = -torch.inf
        standard = (edges - total.unsqueeze(-1)) / spread.unsqueeze(-1)
        inside = log_interval(standard[..., :-1], standard[..., 1:])
        if self._ratios is None:
            # What the model itself expects, before the first step.
            expected = inside.detach().exp().mean(0)
            self._ratios = self.masses.to(mean) / expected.clamp_min(1e-3 * self.masses.to(mean))
        return torch.logsumexp(inside + self._ratios.log(), dim=-1)

    def settle(self, values: Tensor, log_weights: Tensor, *, warn: bool = True) -> Tensor:
        """Log-weights ``[N]`` under which the masses are met, of values ``[N, D]``."""
        total = (values @ self.weights.to(values)).contiguous()
        cell = torch.bucketize(total, self.edges.to(values))
        now = torch.zeros(len(self.masses)).to(values)
        now = now.scatter_add(0, cell, normalised(log_weights))
        if warn and bool((now <= 1e-12).any()):
            warn_user(
                f"quantiles {self.edges.tolist()} are not met: of {len(values)} samples, from "
                f"{float(total.min()):g} to {float(total.max()):g}, none lies in some interval "
                "between them. Ask for less, or take more particles"
            )
        ratios = (self.masses.to(values) / now.clamp_min(1e-300)).log()
        return log_weights + ratios[cell]


class EnergyPotential:
    """``exp(-E)``, which steers by its slope, and decides by its value.

    Under ``N(m, V)`` the mean moves by ``V g``, ``g = -∇E``, if ``E`` is flat against ``V``, and by
    less if it bends: with the curvature ``c`` that it has along ``V g``, in units of ``V``, by
    ``V g / (1 + c)``, which is exact for a quadratic energy along one direction.

    Parameters
    ----------
    energy
        ``[R, D]`` to ``[R]``.
    """

    def __init__(self, energy: Callable[[Tensor], Tensor]):
        self._function = energy

    def __call__(self, mean: Tensor, covariance: Tensor) -> Tensor:
        value = -self._energy(mean)
        if bool(value.isnan().any()):
            raise ValueError("Energy: the function returned NaN")
        return value * self._damping(mean.detach(), covariance) if covariance.any() else value

    def _energy(self, values: Tensor) -> Tensor:
        energies = self._function(values)
        if not isinstance(energies, Tensor):
            raise TypeError(
                "Energy: the function must return a tensor, one energy per sample, got "
                f"{type(energies).__name__}"
            )
        energies = energies.to(values.dtype)
        if energies.shape != values.shape[:1]:
            raise ValueError(
                f"Energy: the function must return one energy per sample, [{len(values)}], got "
                f"{list(energies.shape)}"
            )
        return energies

    def _damping(self, mean: Tensor, covariance: Tensor) -> Tensor:
        slope = self._slope(mean)
        way = slope @ covariance
        size = (way * slope).sum(-1, keepdim=True).clamp_min(1e-300)
        # A tenth of a deviation along the way: the curvature where the mean is.
        short = 0.1 / size.sqrt()
        bend = ((slope - self._slope(mean + short * way)) * way).sum(-1, keepdim=True)
        curvature = torch.nan_to_num(bend / (short * size), 0.0, 0.0, 0.0).clamp_min(0.0)
        return (1.0 / (1.0 + curvature)).squeeze(-1)

    def _slope(self, mean: Tensor) -> Tensor:
        with torch.enable_grad():
            values = mean.clone().requires_grad_()
            return slope_of(-self._energy(values).sum(), values)


def slope_of(total: Tensor, values: Tensor) -> Tensor:
    """Its gradient; 0 where it has none, as of an indicator."""
    if not total.requires_grad:
        return torch.zeros_like(values)
    (slope,) = torch.autograd.grad(total, values, materialize_grads=True)
    return torch.nan_to_num(slope, 0.0, 0.0, 0.0)
