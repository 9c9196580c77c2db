"""The law of a window's errors is that of its own last weeks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.transforms.test_profile import HORIZON, HOUR, SOLAR, clouded, fitted, hourly
from tsdiff.random import seeded
from tsdiff.transforms import history_length, lately
from tsdiff.transforms.profile import SCORES
from tsdiff.transforms.recent_errors import weighted_quantiles

LEVELS = torch.special.ndtr(SCORES).numpy()
LENGTH = history_length(SOLAR)


def reaching(series, origin: int, length: int = LENGTH):
    """Past, mask and features of one window."""
    past, whole = slice(origin - length, origin), slice(origin - length, origin + HORIZON)
    return (
        torch.from_numpy(series.target[past])[None],
        torch.from_numpy(series.observed[past])[None],
        torch.from_numpy(series.features[whole])[None],
    )


def turning(calm: float, num_days: int = 600, turn: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Clouds whose scores have the spread one until a day, and ``calm`` from then on."""
    scores = np.random.default_rng(3).standard_normal(num_days)
    scores[turn:] *= calm
    return clouded(scores), scores


@pytest.fixture(scope="module")
def calmer():
    series = hourly(turning(0.3)[0])
    return series, fitted(SOLAR, series.until(24 * 400), phases=[12])


def test_quantiles_of_equal_weights_are_hazen_s():
    values = torch.randn(2, 3, 40, dtype=torch.float64, generator=seeded(1))
    found = weighted_quantiles(values, torch.full((2, 40), 0.025, dtype=torch.float64))
    expected = np.quantile(values.numpy(), LEVELS, axis=-1, method="hazen")
    np.testing.assert_allclose(found.movedim(-1, 0), expected, atol=1e-12)


def test_quantiles_heed_weights():
    values = torch.randn(1, 2, 9000, dtype=torch.float64, generator=seeded(2))
    weight = torch.where(values[:, 0] > 0.0, 3.0, 1.0).double()
    found = weighted_quantiles(values, weight / weight.sum())
    # Above the level 1/4 the first row's law is the upper half of a normal one.
    upper = torch.special.ndtri(0.5 + 0.5 * (torch.special.ndtr(SCORES) - 0.25) / 0.75)
    above = SCORES > -0.3
    assert (found[0, 0] - upper)[above].abs().max() < 0.12
    assert (found[0, 1] - SCORES).abs().max() < 0.15
    weight = torch.cat([torch.ones(1, 20), torch.zeros(1, 20)], dim=1).double() / 20.0
    some = weighted_quantiles(values[..., :40], weight)
    torch.testing.assert_close(some, weighted_quantiles(values[..., :20], weight[:, :20]))


def test_a_calmer_season_has_narrower_intervals_that_cover(calmer):
    series, profile = calmer
    inside, width = {}, {}
    for length in (SOLAR.memory, LENGTH):
        hits, spreads = [], []
        for day in range(530, 598):
            origin = 24 * day
            frame = lately(profile, *reaching(series, origin, length))
            noise = torch.randn(400, HORIZON * 3, dtype=torch.float64, generator=seeded(day))
            drawn = profile.bounded(frame.unwhiten(noise)).sum(2)
            low, high = drawn.quantile(torch.tensor([0.1, 0.9]).double(), dim=0)
            truth = torch.from_numpy(series.target[origin : origin + HORIZON]).sum(1)
            light = truth > 0.5 * truth.max()
            hits.append(((truth >= low) & (truth <= high))[light].double().mean())
            spreads.append((high - low)[light].mean())
        inside[length] = float(torch.stack(hits).mean())
        width[length] = float(torch.stack(spreads).mean())
    assert inside[SOLAR.memory] > 0.92
    assert 0.7 < inside[LENGTH] < 0.93
    assert width[LENGTH] < 0.65 * width[SOLAR.memory]


def test_a_season_like_the_others_changes_little():
    series = hourly(turning(1.0)[0])
    profile = fitted(SOLAR, series.until(24 * 400), phases=[12])
    typical, recent = (
        lately(profile, *reaching(series, 24 * 590, length)) for length in (SOLAR.memory, LENGTH)
    )
    ratio = recent.deviation[0, :20] / typical.deviation[0, :20]
    assert ratio.log().abs().mean() < 0.15


def test_modes_of_the_last_weeks_are_standard(calmer):
    """The spread that quantiles have already told is not told again by the modes."""
    series, profile = calmer
    modes = []
    for day in range(530, 598):
        origin = 24 * day
        future = torch.from_numpy(series.target[origin : origin + HORIZON])[None]
        modes.append(lately(profile, *reaching(series, origin)).whiten(future))
    leading = torch.cat(modes)[:, :4]
    assert leading.std().item() == pytest.approx(1.0, abs=0.25)


def test_windows_have_their_own_weeks(calmer):
    series, profile = calmer
    alone = [reaching(series, 24 * day) for day in (420, 595)]
    both = lately(profile, *(torch.cat(parts) for parts in zip(*alone, strict=True)))
    for row, window in enumerate(alone):
        one = lately(profile, *window)
        for name in ("knots", "deviation", "location", "mean", "scale"):
            torch.testing.assert_close(getattr(both, name)[[row]], getattr(one, name))
    wide, narrow = both.knots[:, 8:17].diff(dim=-1)[..., 4:-4].mean((1, 2, 3))
    assert wide > 1.5 * narrow


def test_weeks_that_were_not_seen_say_nothing(calmer):
    series, profile = calmer
    past, observed, features = reaching(series, 24 * 590)
    memory = SOLAR.memory
    typical = lately(
        profile, past[:, -memory:], observed[:, -memory:], features[:, LENGTH - memory :]
    )
    unseen = torch.zeros_like(observed)
    unseen[:, -memory:] = 1.0
    blind = lately(profile, past, unseen, features)
    for name in ("knots", "deviation", "location"):
        torch.testing.assert_close(getattr(blind, name), getattr(typical, name))
    # One dimension's gap takes the days that lack it, and no others.
    unseen = observed.clone()
    unseen[:, LENGTH - 24 * 40 : LENGTH - 24 * 30, 1] = 0.0
    gap = lately(profile, past, unseen, features)
    assert torch.isfinite(gap.knots).all()
    assert not torch.equal(gap.deviation, lately(profile, past, observed, features).deviation)


def test_regressions_and_data_without_a_bound_need_no_more_past():
    for plan in (HOUR, replace(HOUR, corrected=False), replace(SOLAR, corrected=True)):
        assert history_length(plan) == plan.memory
    assert SOLAR.memory + 120 * 24 == LENGTH
