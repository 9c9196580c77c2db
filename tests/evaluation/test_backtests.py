"""evaluate, score_forecasts and backtest: what the forecaster sees, and what is scored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gluonts.model.estimator import Estimator
from gluonts.model.forecast import QuantileForecast, SampleForecast
from gluonts.model.predictor import Predictor

import tsdiff
from tsdiff.evaluation import LastValue, RandomWalk, backtest, evaluate, metrics, score_forecasts


class Spy(Predictor):
    """Forecasts zeros and remembers what it was given."""

    def __init__(self, prediction_length=5, lead_time=0):
        super().__init__(prediction_length, lead_time)
        self.seen, self.arguments = [], {}

    def predict(self, dataset, num_samples=10, *, seed=0, solver="euler"):
        self.arguments = {"num_samples": num_samples, "seed": seed, "solver": solver}
        for entry in dataset:
            self.seen.append(entry)
            dims, length = entry["target"].shape
            yield SampleForecast(
                np.zeros((num_samples, self.prediction_length, dims)), entry["start"] + length
            )


def test_the_truth_is_hidden_and_known_features_are_not(make_entry):
    entry = make_entry(length=40, feat_dynamic_real=np.ones((2, 40)))
    spy = Spy()
    evaluation = evaluate(spy, [entry], num_samples=7, seed=3, solver="heun")
    (seen,) = spy.seen
    np.testing.assert_array_equal(seen["target"], entry["target"][:, :35])
    assert seen["feat_dynamic_real"].shape == (2, 40)
    assert entry["target"].shape == (3, 40)
    assert spy.arguments == {"num_samples": 7, "seed": 3, "solver": "heun"}
    assert evaluation["crps_sum"].value == pytest.approx(1)  # zeros against anything
    assert (evaluation.name, evaluation.num_samples, evaluation.seed) == ("Spy", 7, 3)
    assert evaluation.seconds >= 0


def test_scores_are_those_of_the_stacked_forecasts(make_entry):
    entries = [make_entry(seed=s) for s in range(3)]
    evaluation = evaluate(RandomWalk(8), entries, name="walk", keep_forecasts=True)
    samples = np.stack([forecast.samples for forecast in evaluation.forecasts])
    target = np.stack([entry["target"][:, -8:].T for entry in entries])
    assert evaluation["crps_sum_q19"].value == metrics.crps_sum_q19(samples, target)
    again = score_forecasts(evaluation.forecasts, entries, 8)
    assert again.scores == evaluation.scores
    assert not again.forecasts


def test_univariate_gluonts_entries_and_predictors_are_welcome():
    from gluonts.model.seasonal_naive import SeasonalNaivePredictor

    entry = {"target": np.arange(30.0), "start": pd.Period("2024-01-01", "D")}
    theirs = evaluate(SeasonalNaivePredictor(4, season_length=1), [entry])
    ours = evaluate(LastValue(4), [entry])
    assert theirs["nd"].value == pytest.approx(ours["nd"].value)
    assert theirs.target_dim == 1


def test_backtest_rolls_over_the_end(make_entry):
    spy = Spy()
    entry = make_entry(length=60)
    evaluation = backtest(spy, [entry], num_windows=3, stride=2)
    assert [seen["target"].shape[1] for seen in spy.seen] == [51, 53, 55]
    assert evaluation.num_windows == 3


class SpyEstimator(Estimator):
    prediction_length = 5

    def train(self, training_data, validation_data=None):
        self.training = training_data
        return Spy()


def test_backtest_trains_an_estimator_before_the_first_window(make_entry):
    estimator = SpyEstimator()
    entry = make_entry(length=60, feat_dynamic_real=np.ones((1, 60)))
    evaluation = backtest(estimator, [entry], num_windows=4)
    assert estimator.training[0]["target"].shape == (3, 40)
    assert estimator.training[0]["feat_dynamic_real"].shape == (1, 40)
    assert evaluation.name == "SpyEstimator"


def test_backtest_trains_no_series_beyond_the_first_window_of_any(make_entry):
    estimator = SpyEstimator()
    early, late = make_entry(length=60), make_entry(length=160)
    evaluation = backtest(estimator, [early, late], num_windows=4)
    assert [len(entry["target"].T) for entry in estimator.training] == [40, 40]
    assert evaluation.num_windows == 8


def test_windows_know_their_series_and_dimensions(make_entry):
    entries = [make_entry(seed=s, dimension_names=["a", "b", "c"]) for s in range(2)]
    evaluation = backtest(RandomWalk(5), entries, num_windows=2)
    assert evaluation.item_ids == ("walk-0", "walk-1") * 2
    assert evaluation.dimension_names == ("a", "b", "c")
    alone = evaluate(RandomWalk(5), entries[:1]).by_item("nd")
    assert evaluate(RandomWalk(5), entries).by_item("nd")["walk-0"] == pytest.approx(alone.iloc[0])
    other = [
        entries[0],
        {**entries[1], "dimension_names": ["b", "a", "c"]},
        {**entries[0], "item_id": None},
    ]
    mixed = evaluate(RandomWalk(5), other)
    assert (mixed.item_ids, mixed.dimension_names) == ((), ())


def test_what_is_no_predictor_is_named(make_entry):
    with pytest.raises(TypeError, match="got dict"):
        evaluate({}, [make_entry()])
    with pytest.raises(
        TypeError,
        match=r"Spy\.predict has no argument 'sover'; did you mean 'solver'\? It has: known_c",
    ):
        evaluate(Spy(), [make_entry()], sover="heun")
    with pytest.raises(ValueError, match="lead_time=2"):
        evaluate(Spy(lead_time=2), [make_entry()])
    with pytest.raises(ValueError, match="at least one"):
        evaluate(Spy(), [])
    with pytest.raises(ValueError, match="no history"):
        evaluate(Spy(), [make_entry(length=5)])
    with pytest.raises(ValueError, match="the model forecasts 5 steps"):
        backtest(Spy(), [make_entry()], num_windows=1, prediction_length=6)


def test_baselines_refuse_what_they_do_not_know(make_entry):
    with pytest.raises(TypeError, match=r"RandomWalk\.predict has no argument 'num_sample'; did"):
        evaluate(RandomWalk(3), [make_entry()], num_sample=5)
    with pytest.raises(TypeError, match=r"'quantiles' out; predictor\.predict"):
        evaluate(RandomWalk(3), [make_entry()], quantiles=[0.1])
    with pytest.raises(TypeError, match=r"num_samples must be an integer, got 2\.5"):
        evaluate(RandomWalk(3), [make_entry()], num_samples=2.5)


class Loud(SpyEstimator):
    """An estimator with a progress bar, annotated with what it makes."""

    def train(self, training_data, validation_data=None, *, progress=True) -> Spy:
        self.progress = progress
        return super().train(training_data, validation_data)


def test_backtest_checks_all_arguments_before_training(make_entry):
    estimator, entries = Loud(), [make_entry(length=60)]
    for error, wrong in (
        (TypeError, {"sover": "heun"}),
        (TypeError, {"keep_forecast": True}),
        (TypeError, {"quantiles": [0.1]}),
        (ValueError, {"num_samples": 0}),
        (ValueError, {"num_windows": 0}),
        (ValueError, {"stride": 0}),
        (ValueError, {"num_windows": 12}),
    ):
        with pytest.raises(error):
            backtest(estimator, entries, **{"num_windows": 2} | wrong)
    assert not hasattr(estimator, "training")
    model = tsdiff.FlowMatchingEstimator(prediction_length=5)
    for ours in (model, tsdiff.EnsembleEstimator(model, num_members=2)):
        with pytest.raises(TypeError, match="has no argument 'sover'; did you mean 'solver'"):
            backtest(ours, entries, num_windows=2, sover="heun")
        for wrong in ({"solver": "hen"}, {"num_steps": 0}, {"precision": "fp64"}):
            with pytest.raises(ValueError, match=r"hen|num_steps|fp64"):
                backtest(ours, entries, num_windows=2, **wrong)
    backtest(estimator, entries, num_windows=2, solver="heun", keep_forecasts=True)
    assert estimator.progress is True


def test_progress_bars_of_training_can_be_silenced(make_entry):
    estimator, entries = Loud(), [make_entry(length=60)]
    backtest(estimator, entries, num_windows=2, progress=False)
    assert estimator.progress is False
    backtest(SpyEstimator(), entries, num_windows=2, progress=False)  # it has none
    backtest(Spy(), entries, num_windows=2, progress=False)


def test_forecasts_must_fit_their_entries(make_entry):
    entries = [make_entry(), make_entry(length=190)]
    first, second = evaluate(RandomWalk(8), entries, keep_forecasts=True).forecasts
    with pytest.raises(ValueError, match="got 1 forecasts for 2 entries"):
        score_forecasts([first], entries, 8)
    with pytest.raises(ValueError, match="forecast 0 starts at"):
        score_forecasts([second, first], entries, 8)
    fewer = SampleForecast(second.samples[:50], second.start_date)
    with pytest.raises(ValueError, match="one size at a time"):
        score_forecasts([first, fewer], entries, 8)
    flat = SampleForecast(first.samples[..., 0], first.start_date)
    with pytest.raises(ValueError, match="its truth has"):
        score_forecasts([flat], entries[:1], 8)
    quantiles = QuantileForecast(np.zeros((1, 8)), first.start_date, ["0.5"])
    with pytest.raises(TypeError, match="expected a SampleForecast"):
        score_forecasts([quantiles], entries[:1], 8)


@pytest.mark.filterwarnings("error")
def test_business_days_are_quiet(make_entry):
    with pytest.warns(FutureWarning):
        entry = make_entry(freq="B")
    assert evaluate(RandomWalk(3), [entry]).num_windows == 1
