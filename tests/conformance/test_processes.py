"""Every process with every network and every solver that it allows: samples come out, and right."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.decoders.test_decoders import DECODERS
from tsdiff.decoders import VSDM, Consistency, FlowMatching, MomentMatching
from tsdiff.networks import NETWORKS
from tsdiff.random import seeded
from tsdiff.solvers import GRIDS, SOLVERS, MissingFieldError, PowerGrid

PROCESSES = DECODERS | {
    "flow_vp": partial(FlowMatching, path="vp"),
    "kac": partial(FlowMatching, path="kac"),
    "uniform": partial(FlowMatching, path="uniform"),
    "learned_latent": partial(FlowMatching, latent="learned"),
    "flow_coupled": partial(FlowMatching, coupling="optimal_transport"),
    "consistency": Consistency,
    "moment_matching": MomentMatching,
    "moment_matching_latent": partial(MomentMatching, latent="learned"),
    "vsdm_conditional": VSDM,
    "vsdm_low_rank": partial(VSDM, structure="low_rank", rank=1),
}
MEAN = torch.tensor([1.0, -2.0, 30.0], dtype=torch.float64)
FACTOR = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 3.0]], dtype=torch.float64)


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("network", [n for n in sorted(NETWORKS) if not NETWORKS[n].over_steps])
@pytest.mark.parametrize("process", sorted(PROCESSES))
@torch.no_grad()
def test_samples_have_the_law_that_an_untrained_decoder_has(
    process: str, network: str, solver: str
) -> None:
    """A Gaussian of the data's mean and spreads, whatever the steps and where they are taken."""
    torch.manual_seed(0)
    decoder = PROCESSES[process](NETWORKS[network](3, 2), 3).eval()
    covariance = FACTOR @ FACTOR.mT
    decoder.set_data_moments(MEAN, covariance)
    try:
        SOLVERS[solver].check(decoder.field(torch.zeros(1, 1, 2)))
    except MissingFieldError as error:
        assert decoder.field(torch.zeros(1, 1, 2)).name in str(error)  # noqa: PT017
        return
    grid = "quadratic" if process in ("ddpm", "vp", "sub_vp") else "uniform"
    grid = PowerGrid(0.5) if process == "ve" else grid
    steps = 1 if solver == "dopri5" else 20  # it takes as many of its own as it needs
    x = decoder.sample(
        torch.zeros(800, 1, 2), solver=solver, num_steps=steps, grid=grid, generator=seeded(1)
    ).squeeze(1)
    if process == "vsdm_low_rank":  # all but the first axis are given one spread
        x = decoder.axes.enter(x.unsqueeze(1)).squeeze(1)
        assert x[:, 0].std().item() == pytest.approx(decoder.axes.spread[0].item(), rel=0.25)
        assert x[:, 1:].std().item() == pytest.approx(decoder.axes.spread[1].item(), rel=0.25)
        return
    spread = covariance.diagonal().sqrt()
    assert ((x.mean(0) - MEAN).abs() < 0.16 * spread).all()
    limit = 0.4 if SOLVERS[solver].order == 1 or process == "ve" else 0.12
    assert ((x.std(0) / spread - 1.0).abs() < limit).all()


@pytest.mark.parametrize("grid", sorted(GRIDS))
@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_every_grid_fits_every_process(process: str, grid: str) -> None:
    decoder = PROCESSES[process](next(iter(NETWORKS.values()))(3, 2), 3)
    decoder.set_data_moments(MEAN, FACTOR @ FACTOR.mT)
    x = decoder.sample(torch.zeros(4, 1, 2), grid=grid, num_steps=5, generator=seeded(1))
    assert x.isfinite().all()
