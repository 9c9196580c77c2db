"""Axes: an affine map with an inverse, along which the data have the spread that is said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsdiff.decoders.axes import AXES, Axes
from tsdiff.random import seeded

DIM = 6


def law(dim: int = DIM) -> tuple[Tensor, Tensor]:
    factor = torch.randn(dim, dim, generator=seeded(1), dtype=torch.float64)
    mean = torch.randn(dim, generator=seeded(2), dtype=torch.float64)
    scale = torch.linspace(0.2, 4.0, dim).double()
    correlated = factor @ factor.mT + 0.5 * torch.eye(dim)
    return 3.0 * mean, correlated * scale.outer(scale)


def fitted(kind: str, **options) -> Axes:
    axes = Axes(kind, DIM, rank=2 if kind == "leading" else 0, **options).double()
    axes.fit(*law())
    return axes


every_kind = pytest.mark.parametrize("kind", AXES)


@every_kind
@pytest.mark.parametrize("rescale", [True, False])
def test_there_and_back(kind: str, rescale: bool) -> None:
    axes = fitted(kind, rescale=rescale)
    events = torch.randn(5, 3, DIM, generator=seeded(3), dtype=torch.float64)
    torch.testing.assert_close(axes.leave(axes.enter(events)), events)
    torch.testing.assert_close(axes.across(axes.along(events)), events)


@every_kind
def test_axes_are_orthonormal(kind: str) -> None:
    identity = torch.eye(DIM).double()
    turned = fitted(kind).along(identity)
    torch.testing.assert_close(turned @ turned.mT, identity)


@every_kind
def test_spreads_are_those_of_the_data(kind: str) -> None:
    axes = fitted(kind)
    mean, covariance = law()
    events = (
        mean
        + torch.randn(200_000, 1, DIM, generator=seeded(4), dtype=torch.float64)
        @ torch.linalg.cholesky(covariance).mT
    )
    seen = axes.enter(events).squeeze(1)
    centre, expected = axes.moments()
    torch.testing.assert_close(seen.mean(0), centre, rtol=0, atol=0.05 * float(seen.std(0).max()))
    scale = float(expected.diagonal().max())
    torch.testing.assert_close(torch.cov(seen.mT), expected, rtol=0, atol=0.02 * scale)
    spread = expected.diagonal().sqrt()
    if kind == "leading":
        torch.testing.assert_close(axes.spread[:2], spread[:2])
        torch.testing.assert_close(axes.spread[2:], spread[2:].square().mean().sqrt().expand(4))
    else:
        torch.testing.assert_close(axes.spread, spread)


def test_principal_axes_decorrelate_and_leading_ones_lead() -> None:
    _, principal = fitted("principal").moments()
    off = principal - torch.diag(principal.diagonal())
    assert off.abs().max() < 1e-9
    assert (principal.diagonal().diff() < 0).all()
    _, leading = fitted("leading").moments()
    torch.testing.assert_close(leading.diagonal()[:2], principal.diagonal()[:2])
    assert leading[:2, 2:].abs().max() < 1e-9


def test_units() -> None:
    _, covariance = law()
    std = covariance.diagonal().sqrt()
    torch.testing.assert_close(fitted("own").unit, std)
    torch.testing.assert_close(fitted("common").unit, std.square().mean().sqrt().expand(DIM))
    assert (fitted("common", rescale=False).unit == 1.0).all()
    raw = fitted("raw")
    assert (raw.unit == 1.0).all()
    assert (raw.mean == 0.0).all()


def test_a_dimension_without_spread_does_no_harm() -> None:
    for kind in AXES:
        axes = Axes(kind, 3, rank=1 if kind == "leading" else 0)
        axes.fit(torch.ones(3).double(), torch.diag(torch.tensor([4.0, 0.0, 1.0]).double()))
        assert axes.enter(torch.ones(1, 1, 3)).isfinite().all()
        assert (axes.spread > 0.0).all()


def test_a_common_spread() -> None:
    axes = fitted("principal", common_spread=True)
    torch.testing.assert_close(axes.spread, torch.ones(DIM).double())


def test_state_is_kept() -> None:
    for kind in AXES:
        axes = fitted(kind)
        copy = Axes(kind, DIM, rank=axes.rank).double()
        copy.load_state_dict(axes.state_dict())
        events = torch.randn(4, 1, DIM, generator=seeded(5), dtype=torch.float64)
        assert torch.equal(copy.enter(events), axes.enter(events))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "oblique"}, "unknown axes 'oblique': expected one of own"),
        ({"kind": "leading"}, "rank must lie between"),
        ({"kind": "leading", "rank": DIM}, "rank must lie between"),
        ({"kind": "own", "rank": 2}, "rank must lie between"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Axes(dim=DIM, **arguments)
