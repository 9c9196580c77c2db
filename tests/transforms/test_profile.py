"""The whole horizon at once: there and back, and calibrated where the law is known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tsdiff.random import seeded
from tsdiff.transforms import (
    Plan,
    ProfileForecast,
    choose_plan,
    fit_profile,
    load_series,
    profile_fit,
)
from tsdiff.transforms.profile import SCORES, from_scores, to_scores
from tsdiff.transforms.profile_fit import _ridge

HOUR = Plan(season=24, depth=1, phases=24, weekly=True, corrected=True, bounded=False)
HORIZON = 24


def hourly(target: np.ndarray, **fields):
    """A series of ``[D, L]`` that starts on a Wednesday at noon."""
    entry = {"target": target, "start": pd.Period("2020-01-01 12:00", "h"), **fields}
    return load_series([entry], "h", 0)[0]


def days(num_days: int = 200, dims: int = 3, seed: int = 0, noise: float = 0.3) -> np.ndarray:
    """A daily shape whose level wanders from day to day, ``[D, L]``, larger on Sundays."""
    rng = np.random.default_rng(seed)
    steps = np.arange(24 * num_days)
    shape = np.sin(2.0 * np.pi * steps / 24.0)
    level = np.zeros(num_days)
    for day in range(1, num_days):
        level[day] = 0.8 * level[day - 1] + rng.standard_normal()
    sunday = (steps + 12) // 24 % 7 == 4  # the first step is a Wednesday's noon
    values = 10.0 + 3.0 * shape + np.repeat(level, 24) + 2.0 * sunday
    return values + noise * rng.standard_normal((dims, len(steps)))


def solar(num_days: int = 200, dims: int = 3, seed: int = 0) -> np.ndarray:
    """Power that is zero at night and a cloudy share of a clear day's, ``[D, L]``."""
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * num_days) % 24
    clear = np.clip(np.sin(np.pi * (hours - 6) / 12.0), 0.0, None)
    cloud = np.repeat(rng.beta(4.0, 1.0, num_days), 24)
    return 5.0 * clear * cloud * np.clip(1.0 + 0.1 * rng.standard_normal((dims, len(hours))), 0, 2)


def fitted(plan: Plan, series, horizon: int = HORIZON, **options) -> ProfileForecast:
    features = torch.from_numpy(series.features)
    profile = ProfileForecast(plan, horizon, series.target.shape[1], features.shape[1])
    fit_profile(profile, [series], [features], **options)
    return profile


def windows(plan: Plan, series, origins, horizon: int = HORIZON) -> tuple[Tensor, Tensor, Tensor]:
    """Past, features and future of windows."""
    index = torch.tensor(origins).unsqueeze(1) + torch.arange(-plan.memory, horizon)
    values = torch.from_numpy(series.target)[index]
    past, future = values.split([plan.memory, horizon], dim=1)
    return past, torch.from_numpy(series.features)[index], future


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_there_and_back(bounded, corrected):
    series = hourly(solar() if bounded else days())
    plan = replace(HOUR, bounded=bounded, corrected=corrected, depth=3)
    profile = fitted(plan, series)
    past, features, future = windows(plan, series, [4000, 4011, 4500])
    frame = profile(past, features)
    torch.testing.assert_close(frame.unwhiten(frame.whiten(future)), future, atol=1e-6, rtol=1e-6)


def test_rows_of_a_window_stand_together():
    series = hourly(days())
    profile = fitted(HOUR, series)
    past, features, _ = windows(HOUR, series, [4000, 4011])
    modes = torch.randn(6, 72, dtype=torch.float64, generator=seeded(1))
    together = profile(past, features).unwhiten(modes)
    for window in range(2):
        alone = profile(past[[window]], features[[window]]).unwhiten(modes[3 * window :][:3])
        torch.testing.assert_close(together[3 * window :][:3], alone)


def test_the_volume_is_that_of_the_map():
    series = hourly(days(dims=2))
    plan = replace(HOUR, corrected=False)
    profile = fitted(plan, series, horizon=3)
    past, features, future = windows(plan, series, [4000], 3)
    frame = profile(past, features)
    jacobian = torch.autograd.functional.jacobian(
        lambda values: frame.whiten(values.view(1, 3, 2)).flatten(), future.flatten()
    )
    assert frame.log_volume.item() == pytest.approx(-torch.linalg.slogdet(jacobian)[1].item())


def test_modes_of_new_days_are_standard_normal():
    """What was not seen in fitting, so that a ridge regression that learns noise by heart fails."""
    series = hourly(days(600))
    profile = fitted(HOUR, series.until(24 * 400))
    past, features, future = windows(HOUR, series, range(24 * 401, 24 * 599, 7))
    modes = profile(past, features).whiten(future)
    assert modes.std().item() == pytest.approx(1.0, abs=0.06)
    assert modes[:, :8].std().item() == pytest.approx(1.0, abs=0.12)
    fitted_spread = profile.spread_fitted.mean() / profile.spread.mean()
    assert 0.5 < fitted_spread < 0.98


def _covered(series, apart: np.ndarray, start: int) -> tuple[float, float]:
    """Share inside 80 % intervals of days from ``start`` on that are not, and that are, apart."""
    profile = fitted(HOUR, series.until(24 * start), phases=[0])
    # The first midnight is noon plus twelve hours.
    tested = np.arange(start, len(apart) - 1)
    past, features, future = windows(HOUR, series, 24 * tested + 12)
    frame = profile(past, features)
    inside = ((future - frame.mean).abs() < 1.2816 * frame.scale).double().mean((1, 2)).numpy()
    return float(inside[~apart[tested]].mean()), float(inside[apart[tested]].mean())


@pytest.mark.parametrize("known_by", ["year", "week", "covariate"])
def test_intervals_widen_with_what_is_known_to_be_uncertain(known_by):
    """Days of a kind have twice the noise: intervals cover 80 % of those days and of the others."""
    rng = np.random.default_rng(5)
    midnights = pd.date_range("2020-01-02", periods=1500, freq="D")
    apart = midnights.month.isin([11, 12, 1, 2, 3, 4])
    if known_by == "week":
        apart = midnights.dayofweek >= 5
    elif known_by == "covariate":
        apart = rng.random(1500) < 0.3
    # The first day is half a day: the series starts at noon.
    scale = np.concatenate([np.ones(12), np.repeat(1.0 + apart, 24)])[: 24 * 1500]
    steps = np.arange(24 * 1500)
    noise = np.repeat(rng.standard_normal(1501), 24)[12:-12] + rng.standard_normal((2, len(steps)))
    target = 20.0 + 5.0 * np.sin(2.0 * np.pi * steps / 24.0) + 0.5 * scale * noise
    fields = {}
    if known_by == "covariate":
        fields["feat_dynamic_real"] = (scale - 1.0)[None]
    for share in _covered(hourly(target, **fields), apart, 1100):
        assert share == pytest.approx(0.8, abs=0.05)


def test_the_regression_finds_level_and_sundays():
    """The law's own one-day forecast: 0.8 of the level, and Sundays known in advance."""
    series = hourly(days(800, noise=0.05))
    profile = fitted(HOUR, series)
    past, features, future = windows(HOUR, series, range(24 * 700 + 12, 24 * 798, 24))
    error = (profile(past, features).mean - future).square().mean().sqrt().item()
    # The day's innovation has spread 1; yesterday's value alone leaves √(2 · 0.2 / 0.36 + Sundays).
    assert error < 1.15
    plain = profile.ahead(profile.profile(past)) - future
    assert plain.square().mean().sqrt().item() > 1.25


def test_what_dimensions_have_in_common_is_regressed_for_itself(monkeypatch):
    """A level that all share, under days of each one's own: the total is forecast the better."""
    rng = np.random.default_rng(1)
    own = np.repeat(4.0 * rng.standard_normal((24, 500)), 24, axis=1)
    series = hourly(days(500, dims=24) + own)
    common = profile_fit._common_axes

    def total_error(told_apart: bool) -> float:
        axes = partial(common, told_apart=told_apart)
        monkeypatch.setattr(profile_fit, "_common_axes", lambda errors, **_: axes(errors))
        profile = fitted(HOUR, series.until(24 * 300), phases=[0])
        past, features, future = windows(HOUR, series, range(24 * 300 + 12, 24 * 498, 24))
        total = (profile(past, features).mean - future).sum(2)
        return total.square().mean().sqrt().item()

    assert total_error(told_apart=True) < 0.97 * total_error(told_apart=False)


def test_the_first_step_follows_from_the_last_value():
    """Values that swing from hour to hour, of which the mean of two hours tells little."""
    rng = np.random.default_rng(4)
    length = 24 * 600
    walk, steps = np.zeros((2, length)), rng.standard_normal((2, length))
    for step in range(1, length):
        walk[:, step] = -0.9 * walk[:, step - 1] + steps[:, step]
    series = hourly(walk)
    profile = fitted(HOUR, series, phases=[0])
    past, features, future = windows(HOUR, series, range(24 * 400 + 12, 24 * 598, 24))
    error = (profile(past, features).mean - future)[:, 0].square().mean().sqrt().item()
    # The next step's innovation has spread 1, and the values 2.3.
    assert error < 1.2


def test_what_is_known_of_the_future_is_used():
    rng = np.random.default_rng(3)
    off = rng.random(500) < 0.15
    target = days(500, noise=0.1) - 4.0 * np.repeat(off, 24)
    holidays = np.repeat(off, 24).astype(float)[None]
    with_them = hourly(target, feat_dynamic_real=holidays)
    without = hourly(target)
    errors = []
    for series in (with_them, without):
        profile = fitted(HOUR, series)
        past, features, future = windows(HOUR, series, range(24 * 400 + 12, 24 * 498, 24))
        errors.append((profile(past, features).mean - future).abs().mean().item())
    assert errors[0] < 0.8 * errors[1]


def test_nights_are_dark_and_nothing_is_negative():
    series = hourly(solar())
    plan = choose_plan([series], HORIZON, "h")
    assert plan.bounded
    profile = fitted(plan, series)
    past, features, _ = windows(plan, series, [4000])
    noise = torch.randn(200, 72, dtype=torch.float64, generator=seeded(2))
    drawn = profile.bounded(profile(past, features).unwhiten(noise))
    assert (drawn >= 0.0).all()
    night = (torch.from_numpy(series.target).view(-1, 24, 3) == 0.0).all(0).all(1)
    dark = night[torch.arange(4000, 4024) % 24]
    assert dark.any()
    assert (drawn[:, dark] == 0.0).all()
    assert (drawn[:, ~dark] > 0.0).double().mean() > 0.9


SOLAR = replace(HOUR, depth=5, corrected=False, bounded=True)


def clouded(score: np.ndarray, dims: int = 3, seed: int = 0) -> np.ndarray:
    """Solar power ``[D, L]`` on days whose clouds have these scores ``[L / 24]``."""
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * len(score)) % 24
    clear = np.clip(np.sin(np.pi * (hours - 6) / 12.0), 0.0, None)
    seen = 1.0 / (1.0 + np.exp(-2.0 - np.repeat(score, 24)))
    return 5.0 * clear * seen * (1.0 - 0.05 * rng.random((dims, len(hours))))


def whitened(series, known: int, tested: range) -> tuple[Tensor, Tensor]:
    """Modes and futures of days that a fit to the first ``known`` hasn't seen, before dawn."""
    profile = fitted(SOLAR, series.until(24 * known), phases=[12])
    past, features, future = windows(SOLAR, series, [24 * day for day in tested])
    return profile(past, features).whiten(future), future


def test_cloudy_days_follow_cloudy_days():
    rng = np.random.default_rng(5)
    score = np.zeros(901)
    for day in range(1, len(score)):
        score[day] = 0.8 * score[day - 1] + 0.6 * rng.standard_normal()
    modes, _ = whitened(hourly(clouded(score)), 400, range(401, 899))
    leading = modes[:, 0] - modes[:, 0].mean()
    # Yesterday's clouds are known: what is new today has nothing to do with what was new then.
    assert abs(leading[1:] @ leading[:-1] / leading.square().sum()) < 0.2
    assert leading.std().item() == pytest.approx(1.0, abs=0.15)


def test_quantiles_are_the_data_s_own():
    """A skew law, clear on most days, that a normal one would be drawn towards."""
    rng = np.random.default_rng(7)
    series = hourly(clouded(-rng.exponential(1.0, 301)))
    profile = fitted(SOLAR, series, phases=[12])
    origins = [24 * day for day in range(9, 299)]
    past, features, future = windows(SOLAR, series, origins)
    frame = profile(past, features)
    scores = frame.standardise(future)[:, 8:17]
    assert scores.mean().abs() < 0.03
    assert scores.std().item() == pytest.approx(1.0, abs=0.03)


def test_an_outage_is_no_lowest_value_and_has_no_say_in_the_scale():
    target = days(100)
    first = int(target[1].argmin()) + 1
    target[1, first : first + 24 * 10] = np.nan
    profile = fitted(HOUR, hourly(target), phases=[0])
    assert profile.lowest.isinf().all()
    np.testing.assert_allclose(profile.centre, np.nanmean(target, 1))
    np.testing.assert_allclose(profile.size, np.nanstd(target, 1))


def test_plans_follow_the_data():
    walk = np.random.default_rng(0).standard_normal((2, 4800)).cumsum(1)
    assert choose_plan([hourly(walk)], HORIZON, "h").season == 1
    plan = choose_plan([hourly(days(400))], HORIZON, "h")
    assert plan.season == 24
    assert plan.corrected
    assert not plan.bounded


@pytest.mark.parametrize("freq", ["15min", "30min", "h", "2h", "D", "B", "W", "M", "s"])
def test_kinds_of_origin_repeat_with_the_season(freq):
    series = load_series(
        [{"target": np.zeros((1, 1500)), "start": pd.Period("2020-01-03 01:00", freq)}], freq, 0
    )[0]
    plan = choose_plan([series], 4, freq)
    assert plan.season >= 1
    for season in (96, 48, 24, 12, 7):
        profile = ProfileForecast(replace(plan, season=season, phases=season), 2, 1, 12)
        if freq != {96: "15min", 48: "30min", 24: "h", 12: "2h", 7: "D"}[season]:
            continue
        kinds = profile.phase_of(torch.from_numpy(series.features)).numpy()
        assert (np.diff(kinds) % season == 1).all()


@pytest.mark.parametrize(("freq", "season"), [("24h", 7), ("7h", 24), ("1440min", 7)])
def test_a_season_that_is_a_week_is_no_day(freq, season):
    noise = 0.3 * np.random.default_rng(0).standard_normal((1, 1500))
    target = np.arange(1500) % season + noise
    series = load_series([{"target": target, "start": pd.Period("2020-01-03", freq)}], freq, 0)[0]
    plan = choose_plan([series], 4, freq)
    assert (plan.season, plan.phases, plan.weekly) == (season, 1, False)


def test_what_would_not_fit_into_memory_is_not_made(monkeypatch):
    """Minutes ahead for a day: kinds of origin aren't told apart, and nothing large is made."""
    series = load_series(
        [{"target": np.zeros((1, 60 * 1440)), "start": pd.Period("2020-01-03", "min")}], "min", 0
    )[0]
    tried = []
    monkeypatch.setattr(profile_fit, "_judge", lambda plan, *_: tried.append(plan))
    choose_plan([series], 1440, "min")
    assert 1440 in {plan.season for plan in tried}
    assert all(plan.phases == 1 for plan in tried)
    large = Plan(1440, 1, 1440, True, False, False)
    monkeypatch.undo()
    monkeypatch.setattr(profile_fit, "ProfileForecast", _Refused)
    assert profile_fit._judge(large, series, 1440) is None


class _Refused(ProfileForecast):
    """Has sizes, and must not be made."""

    def __init__(self, *_):
        raise AssertionError("made before its size was looked at")


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_sizes_are_told_in_advance(corrected, bounded):
    plan = replace(HOUR, corrected=corrected, bounded=bounded)
    profile = ProfileForecast(plan, 5, 40, 12)
    assert ProfileForecast.num_weights(plan, 5, 40, 12) == profile.weight.numel()
    moments = [profile.time_axes, profile.dimension_axes]
    moments += [] if profile.knots is None else [profile.knots]
    assert ProfileForecast.num_moments(plan, 5, 40) == sum(part.numel() for part in moments)


def test_days_of_the_week():
    series = hourly(np.zeros((1, 24 * 30)))
    expected = pd.period_range("2020-01-01 12:00", periods=24 * 30, freq="h").dayofweek
    found = ProfileForecast._weekday(torch.from_numpy(series.features))
    np.testing.assert_array_equal(found.numpy(), expected)


def _left_out(x: Tensor, y: Tensor, penalty: float, row: int) -> Tensor:
    """The error ``[Q]`` of a row that a ridge regression with a free intercept wasn't given."""
    kept = torch.arange(len(x)) != row
    design = torch.cat([torch.ones(len(x), 1).to(x), x], dim=1)
    free = torch.cat([torch.zeros(1), torch.ones(x.shape[1])]).to(x)
    gram = design[kept].T @ design[kept] + len(x) * penalty * torch.diag(free)
    return y[row] - design[row] @ torch.linalg.solve(gram, design[kept].T @ y[kept])


def test_left_out_errors_are_those_of_leaving_out():
    x = torch.randn(40, 5, dtype=torch.float64, generator=seeded(4))
    x = x - x.mean(0)
    y = x @ torch.randn(5, 2, dtype=torch.float64, generator=seeded(5))
    y = y + torch.randn(40, 2, dtype=torch.float64, generator=seeded(6))
    solution = _ridge(x, y, [0.3])
    residual = y - y.mean(0) - x @ solution.weight
    torch.testing.assert_close(solution.fitted, residual)
    for row in (0, 17):
        torch.testing.assert_close(solution.left_out[row], _left_out(x, y, 0.3, row))


def test_outputs_choose_their_penalties():
    """One that a line tells, one that is noise: the mean of two penalties leans to either."""
    x = torch.randn(100, 40, dtype=torch.float64, generator=seeded(4))
    x = x - x.mean(0)
    noise = torch.randn(100, 2, dtype=torch.float64, generator=seeded(5))
    y = noise * torch.tensor([0.1, 1.0]).double()
    y[:, 0] += x[:, 0]
    small, large = _ridge(x, y, [0.01]), _ridge(x, y, [100.0])
    mean = _ridge(x, y, [0.01, 100.0])
    share = (mean.weight - large.weight).norm(dim=0) / (small.weight - large.weight).norm(dim=0)
    assert share[0] > 0.99
    assert share[1] < 0.01
    # What is left out of a mean is close to the mean of what is left out, and larger than fitted.
    between = _ridge(x, noise, [0.3, 1.0])
    rows = [_left_out(x, noise, p, r) for p in (0.3, 1.0) for r in range(100)]
    exact = torch.stack(rows).view(2, 100, 2).mean(0).square().mean().sqrt()
    assert between.left_out.square().mean().sqrt().item() == pytest.approx(exact.item(), rel=0.03)
    assert between.fitted.square().mean().sqrt() < 0.9 * exact


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_and_back(dtype):
    knots = SCORES.sinh().to(dtype).repeat(3, 2, 1)
    errors = torch.linspace(-20.0, 20.0, 101, dtype=dtype).repeat(3, 2, 1)
    scores = to_scores(errors, knots)
    assert (scores.diff(dim=-1) > 0.0).all()
    torch.testing.assert_close(from_scores(scores, knots), errors, atol=1e-4, rtol=1e-4)
    inside = errors[0, 0].abs() < SCORES[-1].sinh()
    expected = errors[0, 0].asinh()
    assert (scores[0, 0] - expected)[inside].abs().max() < 0.05


def test_gaps_are_neither_learned_nor_fatal():
    target = days(200)
    target[:, 500:530] = np.nan
    target[1, 2000:2003] = np.nan
    profile = fitted(HOUR, hourly(target))
    assert all(bool(buffer.isfinite().all()) for name, buffer in profile.named_buffers()
               if name not in ("lowest", "regressor_std", "spread_size"))  # fmt: skip


def test_a_series_without_an_origin_stands_beside_one_that_has_some():
    several = [hourly(days(60)), hourly(days(8, seed=1))]
    features = [torch.from_numpy(one.features) for one in several]
    profile = ProfileForecast(HOUR, HORIZON, 3, features[0].shape[1])
    assert len(several[1]) < profile.plan.memory + HORIZON
    fit_profile(profile, several, features, [0])
    assert (profile.spread[0] != 1.0).all()


def test_constant_series_stay_where_they_are():
    series = hourly(np.full((2, 24 * 100), 7.0))
    plan = choose_plan([series], HORIZON, "h")
    profile = fitted(plan, series)
    past, features, _ = windows(plan, series, [2000])
    drawn = profile(past, features).unwhiten(torch.ones(1, 48, dtype=torch.float64))
    torch.testing.assert_close(drawn, torch.full_like(drawn, 7.0), atol=1e-4, rtol=0.0)
