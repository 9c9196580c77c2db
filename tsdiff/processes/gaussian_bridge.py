r"""The Schrödinger bridge from a Gaussian to the standard normal, in closed form.

Reference ``dx = -½ β x dt + \sqrt{β} dw``, data ``N(μ, S)`` at ``t = 0``, ``N(0, I)`` at ``t = 1``.
With ``s = ∫₀ᵗβ`` and ``B = ∫₀¹β``,

.. math:: k_0 = \frac{\sinh ½(B-s)}{\sinh ½B}, \quad k_1 = \frac{\sinh ½s}{\sinh ½B}, \quad
   κ = 2\sinh ½B, \quad X = ½\bigl((4S + κ^2 I)^{½} - κ I\bigr),

the marginals of the bridge are ``N(k_0 μ, C_t)``,

.. math:: C_t = k_0^2 S + k_1^2 I + 2 k_0 k_1 X + 2 k_0 \sinh(½s)\, I,

where ``X`` is the covariance of the two ends; it is the entropic optimal transport plan between
Gaussians (Bunne et al. 2023, *The Schrödinger Bridge between Gaussian Measures Has a Closed Form*,
thm. 3). The forward drift is linear, ``-½ β x + β (A_t x + u_t)``. It is what VSDM with ``ζ = 1``
and a drift that is free in time must find.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tsdiff.processes.linear_sde import Schedule, symmetric


class GaussianBridge:
    """The closed form above, float64.

    Parameters
    ----------
    mean, covariance
        ``μ [D]`` and ``S [D, D]``, positive definite.
    schedule
        ``β``.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, schedule: Schedule):
        self.data_mean = mean.double()
        self.data_covariance = symmetric(covariance.double(), "the covariance")
        self.schedule = schedule
        values, self._basis = torch.linalg.eigh(self.data_covariance)
        if not bool((values > 0.0).all()):
            raise ValueError("the covariance must be positive definite")
        self._values = values
        self._reach = schedule.integrated_rate(torch.ones((), dtype=torch.float64))

    def mean(self, t: Tensor) -> Tensor:
        """``E x_t``, ``[B, D]`` for times ``[B]``."""
        return self._weights(t)[0].unsqueeze(-1) * self.data_mean

    def covariance(self, t: Tensor) -> Tensor:
        """``Cov x_t``, ``[B, D, D]``."""
        return self._matrix(self._spectrum(t)[0])

    @property
    def coupling(self) -> Tensor:
        """``X = Cov(x_0, x_1)``, ``[D, D]``: what the two ends know of each other."""
        return self._matrix(self._joint)

    def drift(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``A_t [B, D, D]`` and ``u_t [B, D]``."""
        spectrum, slope = self._spectrum(t)
        rate = 0.5 * slope / spectrum + 0.5 * (1.0 - 1.0 / spectrum)
        s = self._elapsed(t)
        falling = -0.5 * torch.cosh(0.5 * (self._reach - s)) / torch.sinh(0.5 * self._reach)
        matrix, identity = self._matrix(rate), torch.eye(len(self.data_mean)).double()
        pulled = (matrix - 0.5 * identity) @ self.mean(t).unsqueeze(-1)
        return matrix, falling.unsqueeze(-1) * self.data_mean - pulled.squeeze(-1)

    def trajectory(self, x0: Tensor, t: Tensor) -> Tensor:
        """Where the probability-flow ODE takes data ``[N, D]`` at times ``[B]``: ``[B, N, D]``."""
        stretch = (self._spectrum(t)[0] / self._values).sqrt()
        moved = (x0.double() - self.data_mean) @ self._basis * stretch.unsqueeze(-2)
        return self.mean(t).unsqueeze(-2) + moved @ self._basis.mT

    def _elapsed(self, t: Tensor) -> Tensor:
        return self.schedule.integrated_rate(t.double())

    def _weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        s, whole = self._elapsed(t), torch.sinh(0.5 * self._reach)
        return torch.sinh(0.5 * (self._reach - s)) / whole, torch.sinh(0.5 * s) / whole

    @property
    def _joint(self) -> Tensor:
        """Eigenvalues of ``X``, ``[D]``."""
        kappa = 2.0 * torch.sinh(0.5 * self._reach)
        return 0.5 * ((4.0 * self._values + kappa**2).sqrt() - kappa)

    def _spectrum(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Eigenvalues of ``C_t`` and their derivatives in ``s``, ``[B, D]`` each."""
        s, half, joint = self._elapsed(t), 0.5 * self._reach, self._joint
        k0, k1 = (weight.unsqueeze(-1) for weight in self._weights(t))
        s = s.unsqueeze(-1)
        dk0 = -0.5 * torch.cosh(half - 0.5 * s) / torch.sinh(half)
        dk1 = 0.5 * torch.cosh(0.5 * s) / torch.sinh(half)
        spectrum = k0**2 * self._values + k1**2 + 2.0 * k0 * k1 * joint
        spectrum = spectrum + 2.0 * k0 * torch.sinh(0.5 * s)
        slope = 2.0 * (k0 * dk0 * self._values + k1 * dk1 + (dk0 * k1 + k0 * dk1) * joint)
        slope = slope + 2.0 * dk0 * torch.sinh(0.5 * s) + k0 * torch.cosh(0.5 * s)
        return spectrum, slope

    def _matrix(self, values: Tensor) -> Tensor:
        return self._basis * values.unsqueeze(-2) @ self._basis.mT
