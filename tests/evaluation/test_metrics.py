"""Metrics against hand-made cases, closed forms, GluonTS and properscoring."""

from __future__ import annotations

import numpy as np
import properscoring
import pytest
from gluonts.evaluation import MultivariateEvaluator
from scipy import stats

from tsdiff.evaluation import metrics as m

# --- by hand ------------------------------------------------------------------------------------


def test_crps_of_two_samples_by_hand():
    samples = np.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    target = np.array(2.5).reshape(1, 1, 1)
    # mean |x - y| = (1.5 + 0.5)/2 = 1; sum of pairs 2 + 2 = 4: over 2 N^2 = 8, or 2 N (N-1) = 4
    assert m.crps(samples, target) == pytest.approx((1 - 0.5) / 2.5)
    assert m.crps(samples, target, fair=True) == pytest.approx((1 - 1.0) / 2.5)


def test_quantile_loss_by_hand():
    samples = np.arange(11.0).reshape(1, 11, 1, 1)  # quantile q is the sample round(10 q)
    target = np.array(4.0).reshape(1, 1, 1)
    # at q = i/10 the forecast is i: 2 (4 - i) q below the target, 2 (i - 4)(1 - q) from it on
    loss = [2 * (4 - i) * i / 10 if i < 4 else 2 * (i - 4) * (1 - i / 10) for i in range(1, 10)]
    assert m.crps_sum_q9(samples, target) == pytest.approx(np.mean(loss) / 4)


def test_scores_pool_windows_before_the_ratio():
    samples = np.array([[[[2.0]]], [[[10.0]]]])  # errors 1 and 0 against targets 1 and 10
    target = np.array([[[1.0]], [[10.0]]])
    for score in (m.crps_sum, m.crps_sum_q9, m.nd):
        assert score(samples, target) == pytest.approx(1 / 11)
    # a point forecast loses 2 |e| (1 - q) above the target, mean |e| over symmetric quantiles
    assert m.crps_sum_q19(samples, target) == pytest.approx(1 / 11)
    assert m.nrmse(samples, target) == pytest.approx(np.sqrt(1 / 2) / 5.5)


def test_sum_sees_cancelling_errors_that_dimensions_do_not():
    samples = np.array([[[[2.0, 4.0]]]])
    target = np.array([[[3.0, 3.0]]])
    assert m.crps_sum(samples, target) == 0
    assert m.crps(samples, target) == pytest.approx(1 / 3)


def test_energy_score_by_hand():
    samples = np.array([[[[0.0, 0.0]], [[3.0, 4.0]]]])
    target = np.zeros((1, 1, 2))
    assert m.energy_score(samples, target) == pytest.approx(2.5 - 10 / 8)
    assert m.energy_score(samples, target, fair=True) == pytest.approx(2.5 - 10 / 4)


def test_energy_score_does_not_depend_on_the_chunk_size(scored, monkeypatch):
    whole = m.energy_score(*scored)
    monkeypatch.setattr(m, "_CHUNK", 1)
    assert m.energy_score(*scored) == pytest.approx(whole, rel=1e-12)


def test_energy_score_in_one_dimension_is_the_crps(scored):
    samples, target = scored[0][..., :1], scored[1][..., :1]
    expected = m.crps(samples, target) * np.abs(target).mean()
    assert m.energy_score(samples, target) == pytest.approx(expected)


def test_coverage_by_hand():
    samples = np.arange(1.0, 10.0).reshape(1, 9, 1, 1)  # ranks q (N + 1): quantile q is 10 q
    for value, inside in ((1.99, 0.0), (2.0, 1.0), (8.0, 1.0), (8.01, 0.0)):
        assert m.coverage(samples, [[[value]]], [0.6]) == {0.6: inside}


def test_coverage_of_values_with_a_probability():
    """Of certain values the level; of a calibrated forecast that is often zero, the level, too."""
    certain = np.zeros((1, 9, 1, 1))
    assert m.coverage(certain, [[[0.0]]], [0.8]) == {0.8: pytest.approx(0.8)}
    assert m.coverage(certain, [[[1.0]]], [0.8]) == {0.8: 0.0}
    # Five of nine samples are 0, which takes the ranks from 0 to 6 of 10: the interval has 2 to 8.
    half = np.array([0.0] * 5 + [1.0, 2.0, 3.0, 4.0]).reshape(1, 9, 1, 1)
    assert m.coverage(half, [[[0.0]]], [0.6]) == {0.6: pytest.approx(4 / 6)}
    rng = np.random.default_rng(5)

    def power(*shape: int) -> np.ndarray:
        return np.clip(rng.normal(size=shape), 0.0, None)

    samples, target = power(1, 50, 20_000, 1), power(1, 20_000, 1)
    for level, share in m.coverage(samples, target, (0.5, 0.8, 0.95)).items():
        assert share == pytest.approx(level, abs=0.012)


# --- against other implementations --------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_crps_is_properscorings(scored, count):
    samples, target = scored[0][:, :count], scored[1]
    summed, truth = samples.sum(-1), target.sum(-1)
    expected = properscoring.crps_ensemble(truth, np.moveaxis(summed, 1, -1)).sum()
    assert m.crps_sum(samples, target) == pytest.approx(expected / np.abs(truth).sum(), rel=1e-12)
    single = properscoring.crps_ensemble(target, np.moveaxis(samples, 1, -1)).sum((0, 1))
    expected = (single / np.abs(target).sum((0, 1))).mean()
    assert m.crps(samples, target) == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:The provided callable:FutureWarning")  # theirs
@pytest.mark.parametrize("count", [1, 20, 99, 100])
def test_agrees_with_gluonts(scored, as_gluonts, count):
    samples, target = scored[0][:, :count], scored[1]
    for quantiles, score in ((m.Q19, m.crps_sum_q19), (m.Q9, m.crps_sum_q9)):
        evaluator = MultivariateEvaluator(
            quantiles=quantiles, target_agg_funcs={"sum": np.sum}, num_workers=0
        )
        forecasts, frames = as_gluonts(samples, target)
        theirs, _ = evaluator(frames, forecasts)
        assert score(samples, target) == pytest.approx(
            theirs["m_sum_mean_wQuantileLoss"], abs=1e-6, rel=1e-6
        )
        assert m.nd(samples, target) == pytest.approx(theirs["ND"])
        assert m.nrmse(samples, target) == pytest.approx(theirs["NRMSE"])


# --- laws ---------------------------------------------------------------------------------------


def test_calibrated_gaussian():
    """CRPS is sigma / sqrt(pi); q19 lies 4.8 % above it and q9 9.4 %; coverage is the level."""
    rng = np.random.default_rng(0)
    count, steps = 999, 20_000
    samples = np.broadcast_to(
        stats.norm.ppf(np.arange(1, count + 1) / (count + 1))[None, :, None, None],
        (1, count, steps, 1),
    )
    target = rng.normal(size=(1, steps, 1))
    truth = 1 / np.sqrt(np.pi) / np.abs(target).mean()
    crps = m.crps_sum(samples, target)
    assert crps == pytest.approx(truth, rel=0.01)
    assert m.crps_sum_q19(samples, target) / crps == pytest.approx(1.048, abs=0.004)
    assert m.crps_sum_q9(samples, target) / crps == pytest.approx(1.094, abs=0.004)
    for level, share in m.coverage(samples, target).items():
        assert share == pytest.approx(level, abs=0.01)


def test_fair_scores_are_unbiased_in_the_number_of_samples():
    rng = np.random.default_rng(1)
    samples, target = rng.normal(size=(1, 5, 40_000, 2)), rng.normal(size=(1, 40_000, 2))
    floor = np.sqrt(2 / np.pi) / np.abs(target.sum(-1)).mean()
    assert m.crps_sum(samples, target, fair=True) == pytest.approx(floor, rel=0.02)
    assert m.crps_sum(samples, target) == pytest.approx(floor * (1 + 1 / 5), rel=0.02)
    # E|X - Y| - E|X - X'|/2 for two independent standard normals in the plane: sqrt(pi)/2
    assert m.energy_score(samples, target, fair=True) == pytest.approx(np.sqrt(np.pi) / 2, rel=0.02)


@pytest.mark.parametrize("count", [20, 100])
def test_coverage_is_calibrated_for_few_samples(count):
    rng = np.random.default_rng(2)
    samples, target = rng.normal(size=(1, count, 20_000, 2)), rng.normal(size=(1, 20_000, 2))
    levels = (0.5, 0.8, 0.9)
    for measure in (m.coverage, m.coverage_sum):
        for level, share in measure(samples, target, levels).items():
            assert share == pytest.approx(level, abs=0.012)


@pytest.mark.parametrize("count", [1, 5, 20, 39])
def test_coverage_reaches_no_further_than_the_samples(count):
    rng = np.random.default_rng(3)
    samples, target = rng.normal(size=(1, count, 20_000, 1)), rng.normal(size=(1, 20_000, 1))
    share = m.coverage(samples, target, [0.95])[0.95]
    assert share == pytest.approx((count - 1) / (count + 1), abs=0.012)


# --- missing values, degenerate series, errors --------------------------------------------------


def test_missing_values_are_left_out(scored):
    samples, target = scored
    holed = target.copy()
    holed[:, 2] = np.nan  # a whole step: the same as not having forecast it
    keep = [0, 1, 3, 4, 5]
    for score in (
        m.crps_sum, m.crps_sum_q19, m.crps_sum_q9, m.crps, m.crps_q19, m.nd, m.nrmse,
        m.energy_score,
    ):  # fmt: skip
        assert score(samples, holed) == pytest.approx(score(samples[:, :, keep], target[:, keep]))
    for measure in (m.coverage, m.coverage_sum):
        assert measure(samples, holed) == measure(samples[:, :, keep], target[:, keep])


def test_sum_is_missing_where_one_dimension_is(scored):
    samples, target = scored
    holed = target.copy()
    holed[:, 2, 0] = np.nan
    keep = [0, 1, 3, 4, 5]
    assert m.crps_sum(samples, holed) == pytest.approx(
        m.crps_sum(samples[:, :, keep], target[:, keep])
    )
    others = m.crps(samples[..., 1:], target[..., 1:])
    first = m.crps(samples[:, :, keep, :1], target[:, keep, :1])
    assert m.crps(samples, holed) == pytest.approx((first + 2 * others) / 3)


def test_energy_score_leaves_missing_dimensions_out_of_the_norm(scored):
    samples, target = scored
    holed = target.copy()
    holed[..., 0] = np.nan
    assert m.energy_score(samples, holed) == pytest.approx(
        m.energy_score(samples[..., 1:], target[..., 1:])
    )


def test_a_series_of_zeros_has_no_scale():
    samples = np.ones((1, 5, 2, 2))
    target = np.zeros((1, 2, 2))
    assert np.isnan(m.crps_sum(samples, target))
    target[..., 1] = 2.0
    assert m.crps(samples, target) == pytest.approx(0.5)  # the second dimension alone


@pytest.mark.parametrize(
    ("samples", "target", "message"),
    [
        (np.ones((5, 2, 2)), np.ones((1, 2, 2)), "expected samples"),
        (np.ones((1, 5, 2, 2)), np.ones((1, 2, 3)), "do not fit"),
        (np.ones((1, 0, 2, 2)), np.ones((1, 2, 2)), "nothing to score"),
        (np.full((1, 5, 2, 2), np.nan), np.ones((1, 2, 2)), "20 of 20 sample values"),
        (np.ones((1, 5, 2, 2)), np.full((1, 2, 2), np.inf), "infinite"),
    ],
)
def test_unfit_input_is_explained(samples, target, message):
    with pytest.raises(ValueError, match=message):
        m.crps_sum(samples, target)


def test_fair_needs_two_samples():
    with pytest.raises(ValueError, match="at least 2 samples"):
        m.crps_sum(np.ones((1, 1, 2, 2)), np.ones((1, 2, 2)), fair=True)


def test_levels_are_fractions(scored):
    with pytest.raises(ValueError, match=r"write 80 % as 0\.8"):
        m.coverage(*scored, levels=[80])
