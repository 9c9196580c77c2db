"""Guided samples of laws that are known, against the laws' own conditionals."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tsdiff.decoders import DDPM, VSDM, AffineDecoder, FlowMatching, Interpolant, ScoreSDE
from tsdiff.guidance.particles import effective_size, normalised
from tsdiff.guidance.sampler import Affine, GuidedSampler, Target
from tsdiff.networks import Network
from tsdiff.random import seeded
from tsdiff.solvers import MissingFieldError

DIM, CONTEXT, COUNT = 3, 2, 20_000
KINDS = {
    "flow matching": FlowMatching,
    "DDPM": DDPM,
    "score": ScoreSDE,
    "interpolant": Interpolant,
}
MAPPED = torch.tensor([[2.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.3, -0.2, 0.7]]).double()
OFFSET = torch.tensor([10.0, 20.0, 30.0]).double()


class GaussianNetwork(Network):
    """Predicts what is exact for ``N(m, C)``, data being in units of their own deviations."""

    def __init__(self, decoder: AffineDecoder, mean: Tensor, covariance: Tensor):
        super().__init__()
        self.path, self.mean = decoder.path, mean.double()
        self.values, self.vectors = torch.linalg.eigh(covariance.double())

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        def predict(u: Tensor, t: Tensor) -> Tensor:
            k = self.path.coefficients(self.path.clip(t).double())
            r = (k.a.square() + k.b.square()).sqrt()
            a, b = k.a / r, k.b / r
            y = (u.double() - a * self.mean) @ self.vectors
            total = a * a * self.values + b * b
            data = (a * self.values / total * y) @ self.vectors.T + self.mean
            noise = (b / total * y) @ self.vectors.T
            return (a * noise - b * data).to(u.dtype)

        return predict


def law(seed: int = 0) -> tuple[Tensor, Tensor]:
    root = torch.randn(DIM, DIM, generator=seeded(seed), dtype=torch.float64)
    return torch.tensor([1.0, -2.0, 0.5]).double(), root @ root.T + 0.3 * torch.eye(DIM).double()


def make(kind: type, mean: Tensor, covariance: Tensor) -> AffineDecoder:
    """A decoder whose law is the Gaussian, and which was told of it."""
    decoder = kind(Network(), DIM)
    decoder.set_data_moments(mean, covariance)
    std = covariance.diagonal().sqrt()
    decoder.network = GaussianNetwork(decoder, torch.zeros(DIM), covariance / torch.outer(std, std))
    return decoder


def draw(decoder, matrix, values, noise, count=COUNT, num_steps=None, **options):
    target = Target(matrix, values, noise, **options)
    affine = Affine(OFFSET.expand(count, DIM), MAPPED)
    context = torch.zeros(count, 1, CONTEXT)
    with torch.no_grad():
        sampler = GuidedSampler(decoder, num_steps=num_steps)
        values, log_weights = sampler.draw(context, target, affine, seeded(1))
    return values, log_weights


def moments(values: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    weights = normalised(log_weights)
    mean = weights @ values
    centred = values - mean
    return mean, centred.T @ (centred * weights.unsqueeze(-1))


OBSERVED = {
    "a dimension": (torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0.0])),
    "two dimensions": (torch.eye(3)[1:], torch.tensor([0.0, 0.0])),
    "a total": (torch.ones(1, 3), torch.tensor([0.0])),
    "a total and a dimension": (
        torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]),
        torch.tensor([0.0, 0.0]),
    ),
    "all, with errors": (torch.eye(3), torch.tensor([0.5, 0.5, 1.0])),
}


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
@pytest.mark.parametrize("what", list(OBSERVED))
def test_exact_conditionals_of_a_gaussian(kind: type, what: str):
    mean, covariance = law()
    matrix, noise = (part.double() for part in OBSERVED[what])
    outer, centre = MAPPED @ covariance @ MAPPED.T, OFFSET + MAPPED @ mean
    wanted = matrix @ centre + torch.linspace(1.0, -0.5, len(matrix)).double()
    total = matrix @ outer @ matrix.T + torch.diag(noise**2)
    gain = outer @ matrix.T @ torch.linalg.inv(total)
    expected = centre + gain @ (wanted - matrix @ centre)
    left = outer - gain @ matrix @ outer

    values, log_weights = draw(make(kind, mean, covariance), matrix, wanted, noise)
    found, spread = moments(values, log_weights)
    std = outer.diagonal().sqrt()
    assert float(((found - expected) / std).abs().max()) < 0.02
    assert float((spread - left).norm() / left.norm()) < 0.03
    # Where the law is Gaussian every step is exact, and all weights are the evidence.
    assert effective_size(log_weights).item() > 0.98 * COUNT
    evidence = torch.distributions.MultivariateNormal(matrix @ centre, total).log_prob(wanted)
    estimate = torch.logsumexp(log_weights, 0).item() - math.log(COUNT)
    assert estimate == pytest.approx(evidence.item(), abs=0.01)
    if not noise.any():
        torch.testing.assert_close(values @ matrix.T, wanted.expand(COUNT, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [FlowMatching, ScoreSDE])
def test_weights_mend_what_the_decoder_was_not_told(kind: type):
    """Its law is narrower and lies elsewhere than the data's, as under a telling context."""
    told = law()
    decoder = make(kind, *told)
    std = told[1].diagonal().sqrt()
    inner = 0.4 * told[1] / torch.outer(std, std)
    decoder.network = GaussianNetwork(decoder, torch.tensor([0.5, -0.3, 0.2]), inner)
    mean = told[0] + std * decoder.network.mean
    outer = MAPPED @ (0.4 * told[1]) @ MAPPED.T
    centre = OFFSET + MAPPED @ mean
    matrix = torch.ones(1, 3).double()
    wanted = matrix @ centre + 1.0
    gain = outer @ matrix.T / (matrix @ outer @ matrix.T)
    expected = centre + gain @ torch.ones(1).double()
    left = outer - gain @ matrix @ outer
    # Steps with too wide a covariance are of first order: 24 of them make the law 6 % wide.
    values, log_weights = draw(decoder, matrix, wanted, torch.zeros(1).double(), num_steps=80)
    found, spread = moments(values, log_weights)
    assert float(((found - expected) / outer.diagonal().sqrt()).abs().max()) < 0.05
    assert float((spread - left).norm() / left.norm()) < 0.05
    assert effective_size(log_weights).item() > 0.1 * COUNT


def test_bounds_leave_the_truncated_law():
    mean, covariance = law()
    centre, outer = OFFSET + MAPPED @ mean, MAPPED @ covariance @ MAPPED.T
    lower = centre - torch.tensor([0.5, math.inf, 0.1]).double()
    upper = centre + torch.tensor([math.inf, 1.0, 2.0]).double()
    nothing = torch.zeros(0, DIM).double(), torch.zeros(0).double(), torch.zeros(0).double()
    values, log_weights = draw(
        make(FlowMatching, mean, covariance), *nothing, lower=lower, upper=upper
    )
    assert bool(((values >= lower) & (values <= upper)).all())
    root = torch.linalg.cholesky(outer)
    free = centre + torch.randn(10**6, DIM, generator=seeded(2), dtype=torch.float64) @ root.T
    kept = free[((free >= lower) & (free <= upper)).all(-1)]
    found, spread = moments(values, log_weights)
    assert float(((found - kept.mean(0)) / kept.std(0)).abs().max()) < 0.03
    truth = torch.cov(kept.T)
    assert float((spread - truth).norm() / truth.norm()) < 0.04
    mass = float(log_weights.exp().mean())
    assert mass == pytest.approx(len(kept) / len(free), rel=0.05)


def test_many_bounds_at_once_are_kept():
    """Half of every one of sixty dimensions' law lies below zero."""
    dims, count = 60, 200
    decoder = FlowMatching(_Zero(), dims)
    decoder.set_data_moments(torch.zeros(dims), torch.eye(dims))
    box = torch.zeros(dims).double(), torch.full((dims,), math.inf).double()
    empty = torch.zeros(0, dims).double(), *(torch.zeros(0).double() for _ in range(2))
    affine = Affine(torch.zeros(count, dims).double(), torch.eye(dims).double())
    values, log_weights = GuidedSampler(decoder).draw(
        torch.zeros(count, 1, CONTEXT), Target(*empty, *box), affine, seeded(0)
    )
    assert bool((values >= 0.0).all())
    assert bool(log_weights.isfinite().all())
    # The half-normal's mean.
    assert float(values.mean()) == pytest.approx(math.sqrt(2.0 / math.pi), abs=0.04)


class _Zero(Network):
    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, t: torch.zeros_like(x)


def test_an_energy_tilts_the_law():
    mean, covariance = law()
    centre, outer = OFFSET + MAPPED @ mean, MAPPED @ covariance @ MAPPED.T
    slope = torch.tensor([0.3, -0.2, 0.5]).double()

    def potential(values: Tensor, spread: Tensor) -> Tensor:
        return values @ slope

    nothing = torch.zeros(0, DIM).double(), torch.zeros(0).double(), torch.zeros(0).double()
    values, log_weights = draw(make(ScoreSDE, mean, covariance), *nothing, potentials=(potential,))
    found, spread = moments(values, log_weights)
    expected = centre + outer @ slope
    assert float(((found - expected) / outer.diagonal().sqrt()).abs().max()) < 0.03
    assert float((spread - outer).norm() / outer.norm()) < 0.04
    normaliser = float(centre @ slope + 0.5 * slope @ outer @ slope)
    estimate = torch.logsumexp(log_weights, 0).item() - math.log(COUNT)
    assert estimate == pytest.approx(normaliser, abs=0.02)


def test_without_a_target_nothing_is_changed():
    mean, covariance = law()
    nothing = torch.zeros(0, DIM).double(), torch.zeros(0).double(), torch.zeros(0).double()
    values, log_weights = draw(make(ScoreSDE, mean, covariance), *nothing)
    assert float(log_weights.abs().max()) == 0.0
    found, spread = moments(values, log_weights)
    outer = MAPPED @ covariance @ MAPPED.T
    assert float(((found - OFFSET - MAPPED @ mean) / outer.diagonal().sqrt()).abs().max()) < 0.03
    assert float((spread - outer).norm() / outer.norm()) < 0.03


def test_axes_with_schedules_of_their_own():
    mean, covariance = law()
    decoder = VSDM(_Zero(), DIM, source="matched")
    decoder.set_data_moments(mean, covariance)
    decoder.path.set_spectrum(torch.tensor([[0.5, 1.0, 3.0]]).double())
    decoder._place_source()
    matrix, noise = torch.ones(1, 3).double(), torch.zeros(1).double()
    centre, outer = OFFSET + MAPPED @ mean, MAPPED @ covariance @ MAPPED.T
    wanted = matrix @ centre + 1.0
    gain = outer @ matrix.T / (matrix @ outer @ matrix.T)
    left = outer - gain @ matrix @ outer
    values, log_weights = draw(decoder, matrix, wanted, noise)
    found, spread = moments(values, log_weights)
    expected = centre + gain @ torch.ones(1).double()
    assert float(((found - expected) / outer.diagonal().sqrt()).abs().max()) < 0.02
    assert float((spread - left).norm() / left.norm()) < 0.03


def test_what_has_no_data_prediction_is_refused():
    decoder = FlowMatching(_Zero(), DIM, path="kac")
    nothing = torch.ones(1, DIM).double(), torch.zeros(1).double(), torch.zeros(1).double()
    with pytest.raises(MissingFieldError, match="Kac"):
        draw(decoder, *nothing, count=4)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_classifier_free_weights_interpolate_predictions(weight: float):
    class Leaning(Network):
        """Predicts the context's mean."""

        def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda x, t: context.mean(-1, keepdim=True).expand_as(x)

    decoder = FlowMatching(Leaning(), DIM)
    x, t = torch.randn(4, 1, DIM, generator=seeded(0)), torch.full((1, 1, 1), 0.3)
    context = torch.full((4, 1, CONTEXT), 0.8)
    field = decoder.field(context, condition_weight=weight)
    plain, free = decoder.field(context), decoder.field(torch.zeros_like(context))
    expected = torch.lerp(free.velocity(x, t), plain.velocity(x, t), weight)
    torch.testing.assert_close(field.velocity(x, t), expected)
    if weight == 1.0:
        assert torch.equal(field.velocity(x, t), plain.velocity(x, t))
