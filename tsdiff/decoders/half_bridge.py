r"""One half of a bridge in a clock of its own: ``u = 0`` is the end that it runs to.

Backward that end is the data, and ``u = t``; forward it is the source, and ``u = 1 - t``. With
``p`` what is left of the end in ``x_u`` and ``q`` the noise (``a, b`` backward, ``c, d`` forward:
:mod:`tsdiff.processes.bridge`), a step from ``u`` to ``v < u`` is the Gaussian

.. math:: x_v \mid x_u \sim N\Bigl(g\,\hat y + \frac{p_u q_v^2}{p_v q_u^2} x_u,\
   q_v^2 \Bigl(1 - \frac{p_u^2 q_v^2}{p_v^2 q_u^2}\Bigr) + g^2\,\mathrm{Var}(y | x_u)\Bigr),
   \qquad g = p_v - \frac{p_u^2 q_v^2}{p_v q_u^2},

where ``\hat y = E[y | x_u]`` is the end as the half's network sees it. Solvers know this step as
:class:`tsdiff.solvers.Analytic`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsdiff.solvers import Analytic, Field, integrate

Evaluate = Callable[[Tensor, Tensor], Tensor]
Levels = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class HalfBridge:
    """A half bridge under one context.

    Attributes
    ----------
    end
        ``E[y | x_u]``, of ``(x [B, T, D], u [B, 1, 1] or [1, 1, 1])``.
    levels
        ``p, q``, shaped like ``u``.
    open_variance
        ``Var(y | x_u)``, about: ``[B, 1, D]``.
    name
        What error messages call the process.
    """

    end: Evaluate
    levels: Levels
    open_variance: Callable[[Tensor], Tensor]
    name: str = "half bridge"

    def field(self, spread: Tensor | None = None) -> Field:
        """Itself for solvers by transitions: it has neither velocity nor noise prediction."""
        return Field(
            data=self.end,
            signal_noise=self.levels,
            data_variance=self.open_variance,
            spread=spread,
            name=self.name,
        )

    @torch.no_grad()
    def simulate(
        self,
        x: Tensor,
        times: Tensor,
        generator: torch.Generator | None,
        watch: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Its end from ``x [B, T, D]`` at ``u = 1``, along falling ``times``, ``[B, T, D]``."""
        return integrate(self.field(), Analytic(), x, times, generator=generator, watch=watch)

    @torch.no_grad()
    def some_step(
        self, x: Tensor, times: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A step of a simulated trajectory, for every row one of its own.

        Returns
        -------
        x_early, x_late, u_early, u_late
            States ``[B, T, D]`` and times ``[B, 1, 1]``, ``u_late < u_early``.
        """
        states: list[Tensor] = []
        self.simulate(x, times, generator, lambda x, u: states.append(x))
        rows, device = x.shape[0], x.device
        step = torch.randint(len(times) - 1, (rows,), generator=generator, device=device)
        path, row = torch.stack(states), torch.arange(rows, device=device)
        u = times.to(x).view(-1, 1, 1)
        return path[step, row], path[step + 1, row], u[step], u[step + 1]

    def step_error(self, x: Tensor, x_next: Tensor, u: Tensor, u_next: Tensor) -> Tensor:
        """What a step's mean misses ``x_next`` by, in standard deviations, ``[B, T, D]``.

        Half its square is, but for a constant, the divergence between the true and the half's own
        transition (De Bortoli et al. 2021, *Diffusion Schrödinger Bridge*, prop. 3: mean matching).
        """
        (p, q), (p_next, q_next) = self.levels(u), self.levels(u_next)
        kept = (p * q_next) / (p_next * q)
        share = p_next * (1.0 - kept**2)
        variance = q_next**2 * (1.0 - kept**2) + share**2 * self.open_variance(u)
        mean = share * self.end(x, u) + kept * (q_next / q) * x
        return (mean - x_next) / variance.clamp_min(torch.finfo(x.dtype).tiny).sqrt()
