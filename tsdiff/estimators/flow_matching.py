"""Flow matching conditioned by an LSTM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsdiff.decoders import FlowMatching, RectifiedFlow
from tsdiff.decoders.base import path_maker
from tsdiff.decoders.flow_matching import FLOWS
from tsdiff.decoders.rectified import check_straight
from tsdiff.estimators.base import GenerativeEstimator, History, TrainingRun
from tsdiff.estimators.model import ForecastModel
from tsdiff.networks import Network
from tsdiff.processes.couplings import Coupling, Rectified


@dataclass(kw_only=True, eq=False)
class FlowMatchingEstimator(GenerativeEstimator):
    """Autoregressive flow matching (Lipman et al. 2023; Liu et al. 2023).

    Twelve network evaluations per step by default; two of a rectified flow.

    Parameters
    ----------
    path
        ``"linear"``, straight lines; ``"cosine"``; ``"vp"``; ``"lipschitz"``, whose velocity is
        least steep for the spectrum of the data. With noise that isn't Gaussian: ``"kac"``, the
        telegraph process, and ``"uniform"``.
    path_kwargs
        Parameters of the path, such as ``rate`` and ``speed`` of ``"kac"``; events have unit
        variance.
    prediction
        What the loss is the error of: ``"velocity"``, ``"noise"`` or ``"data"``. (The score's,
        ``-ε/b``, has no finite mean near the data.)
    coupling
        Which noise goes with which data: ``"independent"``, or ``"optimal_transport"`` within a
        batch, with a cost on moving between contexts; see :mod:`tsdiff.processes.couplings`.
    times
        How training times are drawn: ``"uniform"`` or ``"logit_normal"``.
    latent, latent_weight, latent_energy
        ``"gaussian"`` noise or a ``"learned"`` law of it, one quantile function per dimension; the
        weight of its distance to the data, and whether that is ``"marginal"`` or ``"joint"``; see
        :class:`tsdiff.decoders.FlowMatching`.
    rectifications
        How often the trained flow is trained once more, on pairs of its own noise and samples,
        under the encoder that it has: each time it gets straighter, and needs fewer steps. Each
        takes as many epochs as the first training; only for ``path="linear"``.
    **parameters
        See :class:`GenerativeEstimator`.
    """

    path: str = "linear"
    path_kwargs: dict[str, float] | None = None
    prediction: str = "velocity"
    coupling: str = "independent"
    times: str = "uniform"
    latent: str = "gaussian"
    latent_weight: float = 1.0
    latent_energy: str = "marginal"
    rectifications: int = 0

    def make_decoder(self, network: Network, target_dim: int) -> FlowMatching:
        sampler = self.sampler_defaults()
        if not self.rectifications:
            return self._flow(network, target_dim, self.coupling, **sampler)
        if self.rectifications < 0 or int(self.rectifications) != self.rectifications:
            raise ValueError(
                f"rectifications must be an integer of at least 0, got {self.rectifications!r}"
            )
        # What samples in the end, whatever it was trained on.
        sampler = {"solver": "euler", "num_steps": 2, **sampler}
        final = self._flow(network, target_dim, Rectified(), **sampler)
        check_straight(final.path)
        return final

    def _flow(
        self, network: Network, target_dim: int, coupling: str | Coupling, **sampler: Any
    ) -> FlowMatching:
        return FlowMatching(
            network,
            target_dim,
            path=path_maker(self.path, FLOWS, "path")(**(self.path_kwargs or {})),
            prediction=self.prediction,
            coupling=coupling,
            times=self.times,
            latent=self.latent,
            latent_weight=self.latent_weight,
            energy=self.latent_energy,
            preconditioned=self.preconditioned,
            **sampler,
        )

    def _train(self, model: ForecastModel, run: TrainingRun, folder: Path | None) -> History:
        if not self.rectifications:
            return run(folder)
        final = model.decoder
        assert isinstance(final, FlowMatching)
        flow = self._flow(final.network, model.facts.target_dim, self.coupling)
        flow.load_state_dict(final.state_dict())
        model.decoder = flow
        history = run(folder and folder / "flow")
        # The law that is rectified is conditioned by what this encoder says.
        model.requires_grad_(False)
        for number in range(1, self.rectifications + 1):
            student = RectifiedFlow(flow, num_steps=final.num_steps)
            model.decoder = student
            rows = run(folder and folder / f"rectification_{number}")
            history += [{**row, "rectification": float(number)} for row in rows]
            flow = student.released()
        final.load_state_dict(flow.state_dict())
        model.decoder = final
        model.requires_grad_(True)
        return history
