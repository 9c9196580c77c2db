"""Ridge regressions against scikit-learn, and the choice of coordinates on known laws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tsdiff.random import seeded
from tsdiff.transforms import (
    SCALINGS,
    Coordinates,
    LinearCorrection,
    Measure,
    Series,
    calendar_features,
    choose_coordinates,
    fit_linear,
    set_size,
)
from tsdiff.transforms.choose import Choice, _rolling_level, is_mostly_least
from tsdiff.transforms.linear import ridge_path

LAGS = (1, 2, 7)


def series_of(values: np.ndarray, features: np.ndarray | None = None) -> Series:
    """``values [L, D]``; NaN is missing."""
    observed = np.isfinite(values)
    return Series(
        target=pd.DataFrame(values).ffill().bfill().fillna(0.0).to_numpy(),
        observed=observed.astype(float),
        features=np.zeros((len(values), 0), np.float32) if features is None else features,
        static_real=np.zeros(0, np.float32),
        static_cat=np.zeros(0, np.int64),
        start=pd.Period("2020-01-01", freq="D"),
        item_id=None,
        measure=Measure(np.zeros(values.shape[1]), np.ones(values.shape[1])),
    )


def choose(values: np.ndarray, features: np.ndarray | None = None, **kwargs) -> Choice:
    settings = {"horizon": 7, "context_length": 28, "season": 7, "lags": LAGS} | kwargs
    return choose_coordinates([series_of(values, features)], **settings)


def vector_autoregression(rng: np.random.Generator, matrix: np.ndarray, length: int) -> np.ndarray:
    x = np.zeros((length, len(matrix)))
    for i in range(1, length):
        x[i] = matrix @ x[i - 1] + rng.normal(size=len(matrix))
    return x


class TestRidge:
    n, dims, width = 200, 3, 2

    def problem(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = seeded(1)
        draw = {"dtype": torch.float64, "generator": generator}
        return (
            torch.randn(self.n, self.width, **draw),
            torch.randn(self.n, len(LAGS), self.dims, **draw),
            3.0 + torch.randn(self.n, self.dims, **draw),
        )

    @pytest.mark.parametrize("structure", ["own", "all"])
    @pytest.mark.parametrize("penalty", [1e-4, 0.1, 10.0])
    def test_agrees_with_scikit_learn(self, structure: str, penalty: float) -> None:
        linear_model = pytest.importorskip("sklearn.linear_model")
        features, regressors, target = self.problem()
        (solution,) = ridge_path(features, regressors, target, structure, [penalty])
        for d in range(self.dims):
            columns = [features, regressors[:, :, d]]
            if structure == "all":
                columns.append(regressors[:, 0])
            design = torch.cat(columns, dim=1).numpy()
            # Our penalty is on the mean square, theirs on the sum; their intercept is free.
            model = linear_model.Ridge(alpha=penalty * self.n).fit(design, target[:, d].numpy())
            expected = [model.intercept_, *model.coef_]
            np.testing.assert_allclose(solution[:, d], expected, rtol=1e-5, atol=1e-7)

    def test_without_penalty_it_is_least_squares(self) -> None:
        features, regressors, target = self.problem()
        (solution,) = ridge_path(features, regressors, target, "own", [0.0])
        for d in range(self.dims):
            design = torch.cat([torch.ones(self.n, 1), features, regressors[:, :, d]], dim=1)
            expected = torch.linalg.lstsq(design, target[:, d : d + 1]).solution[:, 0]
            torch.testing.assert_close(solution[:, d], expected, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("structure", ["own", "all"])
    def test_a_path_is_its_points(self, structure: str) -> None:
        problem, penalties = self.problem(), [0.01, 0.1, 1.0]
        together = ridge_path(*problem, structure, penalties)
        for penalty, solution in zip(penalties, together, strict=True):
            torch.testing.assert_close(solution, ridge_path(*problem, structure, [penalty])[0])

    @pytest.mark.parametrize("structure", ["own", "all"])
    def test_weights_land_where_the_forward_pass_uses_them(self, structure: str) -> None:
        features, regressors, _ = self.problem()
        rows = 1 + self.width + len(LAGS) + (self.dims if structure == "all" else 0)
        solution = torch.randn(rows, self.dims, dtype=torch.float64, generator=seeded(2))
        linear = LinearCorrection(self.dims, self.width, LAGS, structure)
        linear.set_weights(solution)
        got = linear(lambda lag: regressors[:, LAGS.index(lag)].unsqueeze(1), features.unsqueeze(1))
        for d in range(self.dims):
            columns = [torch.ones(self.n, 1), features, regressors[:, :, d]]
            if structure == "all":
                columns.append(regressors[:, 0])
            expected = torch.cat(columns, dim=1) @ solution[:, d]
            torch.testing.assert_close(got[:, 0, d], expected)

    @pytest.mark.parametrize("structure", ["own", "all"])
    def test_no_more_steps_than_columns(self, structure: str) -> None:
        """Constant and duplicated columns, fewer rows than columns: a solution all the same."""
        zero = torch.zeros(2, 40, dtype=torch.float64)
        (solution,) = ridge_path(zero[:, :4], zero.view(2, 4, 10), zero[:, :10], structure, [1e-4])
        assert not solution.any()

    def test_a_fresh_correction_corrects_nothing(self) -> None:
        linear = LinearCorrection(2, 3, LAGS, "all")
        assert not linear(lambda lag: torch.ones(4, 1, 2).double(), torch.ones(4, 1, 3)).any()
        assert linear.reach == 8


class TestFit:
    @pytest.mark.parametrize(("reference", "level"), [("level", 50.0), ("season", 0.0)])
    def test_the_law_of_a_vector_autoregression_is_found(
        self, reference: str, level: float
    ) -> None:
        rng = np.random.default_rng(0)
        matrix = np.array([[0.5, 0.3], [-0.2, 0.6]])
        values = level + vector_autoregression(rng, matrix, 8_000)
        series = series_of(values)
        linear = LinearCorrection(2, 0, (1,), "all")
        coordinates = Coordinates(reference, "std", 2, 1, linear)
        set_size(coordinates, [series])
        fit_linear(coordinates, [series], [series.features], 1_000, 1e-6)
        # One step ahead, the corrected reference is the conditional mean.
        at = torch.from_numpy(values)
        steps = torch.arange(4_000, 5_000)
        forecast = coordinates.reference_at(
            lambda lag: at[steps - lag].unsqueeze(1),
            torch.zeros(1_000, 1, 0),
            torch.from_numpy(values.mean(0)).expand(1_000, 1, 2),
        )
        expected = level + (at[steps - 1] - level) @ torch.from_numpy(matrix).T
        error = (forecast.squeeze(1) - expected).square().mean().sqrt()
        assert error < 0.1

    def test_several_series_are_fitted_together_and_short_ones_left_out(self) -> None:
        rng = np.random.default_rng(1)
        parts = [series_of(vector_autoregression(rng, np.array([[0.8]]), n)) for n in (900, 700, 9)]
        linear = LinearCorrection(1, 0, (1,), "own")
        coordinates = Coordinates("zero", "std", 1, 1, linear)
        coordinates.reference = "level"
        set_size(coordinates, parts)
        fit_linear(coordinates, parts, [s.features for s in parts], 100, 1e-4)
        assert linear.lag_weight.item() == pytest.approx(0.8, abs=0.1)

    def test_a_context_as_long_as_the_series_leaves_steps_to_fit_to(self) -> None:
        """Of four years of weeks three are the context: a third of them was judged on instead."""
        rng = np.random.default_rng(4)
        series = series_of(vector_autoregression(rng, np.array([[0.8]]), 120))
        weights = []
        for context_length in (40, 110, 400):
            linear = LinearCorrection(1, 0, (1,), "own")
            coordinates = Coordinates("season", "std", 1, 12, linear)
            set_size(coordinates, [series])
            fit_linear(coordinates, [series], [series.features], context_length, 1e-4)
            weights.append(linear.lag_weight.item())
        assert weights[0] > 0.3
        assert weights[1:] == [weights[0]] * 2

    def test_nothing_long_enough_leaves_the_reference_alone(self) -> None:
        linear = LinearCorrection(1, 0, LAGS, "own")
        coordinates = Coordinates("last", "std", 1, 1, linear)
        series = series_of(np.arange(9.0)[:, None])
        fit_linear(coordinates, [series], [series.features], 20, 0.1)
        assert not any(buffer.any() for buffer in linear.buffers())

    def test_size_is_of_observed_values_only(self) -> None:
        values = np.random.default_rng(2).normal(5.0, 2.0, size=(400, 3))
        values[::3, 1] = np.nan
        values[:, 2] = np.nan
        coordinates = Coordinates("last", "std", 3)
        set_size(coordinates, [series_of(values)])
        np.testing.assert_allclose(coordinates.centre[:2], np.nanmean(values[:, :2], axis=0))
        np.testing.assert_allclose(coordinates.size[:2], np.nanstd(values[:, :2], axis=0))
        assert coordinates.centre[2].item() == 0.0
        assert coordinates.size[2].item() > 0.0


class TestChoice:
    @staticmethod
    def walk(length: int = 700) -> np.ndarray:
        rng = np.random.default_rng(3)
        mixing = np.array([[1.0, 0.0, 0.0], [0.7, 0.7, 0.0], [0.2, -0.4, 0.9]])
        return 100.0 + (rng.normal(size=(length, 3)) @ mixing.T).cumsum(0)

    @staticmethod
    def noise(length: int = 700, dims: int = 3) -> np.ndarray:
        return 20.0 + np.random.default_rng(4).normal(size=(length, dims))

    @staticmethod
    def seasonal(length: int = 700) -> np.ndarray:
        rng = np.random.default_rng(5)
        pattern = rng.normal(size=(7, 3)) * 5.0
        drift = 0.3 * rng.normal(size=(length, 3)).cumsum(0)
        return np.resize(pattern, (length, 3)) + drift + 0.3 * rng.normal(size=(length, 3))

    def test_a_random_walk_is_whitened_increments(self) -> None:
        assert choose(self.walk()) == Choice("whitened", None, 0.0)

    def test_seasonal_data_are_referred_to_their_season(self) -> None:
        assert choose(self.seasonal()).scaling == "whitened_seasonal"

    def test_noise_around_a_level_is_referred_to_the_level(self) -> None:
        assert choose(self.noise()) == Choice("whitened_level", None, 0.0)

    def test_an_autoregression_with_interplay_is_corrected_by_all(self) -> None:
        matrix = np.array([[0.2, 0.7, 0.0], [-0.7, 0.2, 0.0], [0.5, 0.5, 0.3]])
        values = 30.0 + vector_autoregression(np.random.default_rng(6), matrix, 1_500)
        choice = choose(values, horizon=3)
        assert choice.structure == "all"

    @pytest.mark.parametrize("constant", [0.0, 0.3, 1e5 / 3, -1e9 / 7])
    def test_a_constant_dimension_has_no_say(self, constant: float) -> None:
        values = np.concatenate([self.noise(6_000, 1), np.full((6_000, 1), constant)], axis=1)
        assert choose(values).scaling == "whitened_level"

    def test_covariates_that_tell_nothing_are_no_correction(self) -> None:
        """In the steps that they are fitted on, twenty columns of noise always tell something."""
        corrected = 0
        for seed in range(12):
            rng = np.random.default_rng(seed)
            noise = rng.normal(size=(320, 20)).astype(np.float32)
            walk = rng.normal(size=(320, 2)).cumsum(0)
            corrected += choose(walk, noise, lags=(1,), horizon=3).structure is not None
        assert corrected <= 2

    @pytest.mark.parametrize("seed", range(6))
    def test_what_is_mostly_none_is_referred_to_its_level(self, seed: int) -> None:
        """The last value is none as a rule, which in absolute terms errs least of all."""
        rng = np.random.default_rng(seed)
        sold = (rng.random((500, 4)) < 0.08) * rng.integers(1, 9, (500, 4))
        assert choose(sold.astype(float), horizon=14).scaling == "whitened_level"
        # What never moves says nothing of the others.
        walk = np.concatenate([self.walk()[:, :1], np.zeros((700, 3))], axis=1)
        assert not is_mostly_least(series_of(walk))

    @pytest.mark.parametrize("unit", [1e-6, 1e9])
    def test_units_have_no_say(self, unit: float) -> None:
        for values in (self.walk(), self.noise(), self.seasonal()):
            assert choose(unit * values).scaling == choose(values).scaling

    def test_units_of_covariates_have_no_say(self) -> None:
        rng = np.random.default_rng(7)
        signal = rng.normal(size=(900, 1))
        values = 20.0 + 3.0 * signal + 0.3 * rng.normal(size=(900, 2))
        calendar = calendar_features(pd.Period("2020-01-01", freq="D"), 900, "D")
        choices = {
            choose(values, np.concatenate([calendar, unit * signal], axis=1, dtype=np.float32))
            for unit in (1e-6, 1.0, 1e6)
        }
        assert len(choices) == 1
        assert choices.pop().structure is not None

    def test_gaps_and_empty_dimensions_are_no_obstacle(self) -> None:
        values = self.noise()
        values[np.random.default_rng(8).random(values.shape) < 0.2] = np.nan
        values[:, 2] = np.nan
        assert choose(values).scaling == "whitened_level"

    def test_one_dimension_and_one_step(self) -> None:
        assert choose(self.walk()[:, :1], horizon=1).scaling == "whitened"
        assert choose(self.noise(dims=1), horizon=1).scaling == "whitened_level"

    @pytest.mark.parametrize(("dims", "expected"), [(130, "pooled"), (1025, "increment")])
    def test_many_dimensions_share_a_correlation_or_get_a_scale_each(
        self, dims: int, expected: str
    ) -> None:
        wide = np.random.default_rng(9).normal(size=(400, dims)).cumsum(0)
        assert choose(wide, linear="none").scaling == expected

    @pytest.mark.parametrize(("dims", "expected"), [(3, "whitened"), (130, "pooled")])
    def test_short_data_take_the_last_value(self, dims: int, expected: str) -> None:
        values = np.random.default_rng(10).normal(size=(50, dims)).cumsum(0)
        assert choose(values) == Choice(expected, None, 0.0)

    @pytest.mark.parametrize("seed", range(21))
    def test_walks_that_look_like_something_else_are_walks(self, seed: int) -> None:
        walk = np.random.default_rng(seed).normal(size=(600, 2)).cumsum(0)
        assert choose(walk, horizon=14).scaling == "whitened"

    @pytest.mark.parametrize(("season", "length"), [(7, 60), (12, 72), (52, 150)])
    def test_a_few_seasons_are_enough_to_see_one(self, season: int, length: int) -> None:
        wave = 5.0 * np.sin(2.0 * np.pi * np.arange(length) / season)
        values = wave[:, None] + np.random.default_rng(0).normal(size=(length, 2))
        choice = choose(values, season=season, horizon=6, context_length=60, lags=(1, season))
        assert choice.scaling == "whitened_seasonal"

    @pytest.mark.parametrize("scaling", list(SCALINGS))
    @pytest.mark.parametrize("linear", ["auto", "none"])
    def test_what_is_decided_stays_decided(self, scaling: str, linear: str) -> None:
        choice = choose(self.noise(400), scaling=scaling, linear=linear)
        assert choice.scaling == scaling
        if linear == "none" or SCALINGS[scaling][0] == "zero":
            assert choice.structure is None

    @pytest.mark.parametrize("structure", ["own", "all"])
    def test_a_correction_that_is_asked_for_is_made(self, structure: str) -> None:
        assert choose(self.noise(), linear=structure).structure == structure

    def test_without_a_season_none_is_tried(self) -> None:
        assert choose(self.seasonal(), season=1).scaling != "whitened_seasonal"

    def test_the_longest_series_is_judged(self) -> None:
        series = [series_of(self.noise(100)), series_of(self.walk())]
        choice = choose_coordinates(series, horizon=7, context_length=28, season=7, lags=LAGS)
        assert choice.scaling == "whitened"


def test_levels_are_of_what_came_before():
    """A step's own value, and all later ones, have no part in its level."""
    values = torch.from_numpy(1e6 + np.random.default_rng(0).standard_normal((40, 2)))
    level = _rolling_level(values, 7)
    for step in range(7, 40):
        torch.testing.assert_close(level[step], values[step - 7 : step].mean(0))
