"""Columns are found again by name, and those that aren't are named."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk, samples_of
from tsdiff.datasets import DataError, DataWarning

FlowMatching = tsdiff.FlowMatchingEstimator
# With no windows to say otherwise, what was learned is kept, and covariates have their say.
LEARNED = SMALL | {"num_validation_windows": 0}
QUICK = SMALL | {"max_epochs": 1, "num_batches_per_epoch": 1}


@pytest.fixture(scope="module")
def trained():
    return FlowMatching(**QUICK).fit(frame(random_walk()), progress=False)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["x0", "x1"], "the data lack x2: the dimensions must be the 3"),
        (["x0", "x1", "x2", "price"], "the data have price, unknown to the model: "),
        (["x0", "x1", "price"], "the data lack x2 and have price, unknown to the model: "),
    ],
)
def test_wrong_columns_are_named(trained, columns, words):
    table = frame(random_walk()).assign(price=1.0)[columns]
    with pytest.raises(DataError, match=words):
        trained.predict(table)


def test_many_wrong_columns_are_not_all_named(trained):
    wide = frame(random_walk(dims=24)).add_prefix("z")
    with pytest.raises(DataError, match="have zx0, zx1, zx2, zx3, zx4 and 19 more, unknown") as e:
        trained.predict(wide)
    assert "zx5" not in str(e.value)


def test_without_names_numbers_of_dimensions_are_compared(trained):
    with pytest.raises(DataError, match="has 2 dimensions, and the model was made for 3"):
        trained.predict([entry(random_walk(dims=2))])
    unnamed = FlowMatching(**QUICK).fit([entry(random_walk())], progress=False)
    with pytest.raises(DataError, match="has 2 dimensions, and the model was made for 3"):
        unnamed.predict(frame(random_walk(dims=2)))


def test_a_window_too_short_to_show_a_column_asks_for_more_history(trained):
    table = frame(random_walk())
    table.iloc[-30:, 1] = np.nan
    assert len(list(trained.predict(table))) == 1
    with pytest.raises(DataError, match=r"'x1' of the table holds no value.*give more history"):
        trained.predict(table[-30:])


@pytest.mark.parametrize("members", [1, 2])
def test_covariates_that_no_model_reads_are_told_of_once(members):
    target = random_walk()
    data = [entry(target, past_feat_dynamic_real=np.ones((1, 160)))]
    estimator = FlowMatching(**QUICK)
    if members > 1:
        estimator = tsdiff.EnsembleEstimator(estimator, members)
    with pytest.warns(DataWarning, match="no model here reads past_feat_dynamic_real") as told:
        estimator.fit(data, progress=False)
    assert len([w for w in told if issubclass(w.category, DataWarning)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        estimator.fit([entry(target)], progress=False)


def planned(future=4):
    """Three series, and a plan of two columns that goes on after them."""
    df = frame(random_walk(160 + future))
    df.iloc[160:] = np.nan
    rng = np.random.default_rng(5)
    return df.assign(promo=rng.integers(0, 2, len(df)), price=rng.random(len(df)))


KNOWN = {"known_columns": ["promo", "price"]}


@pytest.fixture(scope="module")
def informed():
    return FlowMatching(**LEARNED).fit(planned(), progress=False, **KNOWN)


def by_hand():
    df = planned()
    ahead = df[["promo", "price"]].to_numpy(dtype=float).T
    return entry(df[["x0", "x1", "x2"]].to_numpy().T[:, :160], feat_dynamic_real=ahead)


def test_known_columns_are_what_entries_carry(informed):
    """A frame says the same as an entry made by hand, to the last bit."""
    assert informed.facts.dimension_names == ("x0", "x1", "x2")
    assert informed.facts.known_columns == ("promo", "price")
    usual = FlowMatching(**LEARNED).fit([by_hand()], progress=False)
    expected = samples_of(usual, [by_hand()])
    for data in (planned(), tsdiff.from_frame(planned(), **KNOWN), [by_hand()]):
        np.testing.assert_array_equal(samples_of(informed, data), expected)
    table = informed.predict(planned(), quantiles=[0.5])
    assert table["time"].min() == planned().index[160]
    other = samples_of(informed, planned().assign(price=lambda df: 1.0 - df["price"]))
    assert not np.array_equal(other, expected)


def test_known_columns_are_remembered_by_name(informed, tmp_path):
    informed.save(tmp_path)
    loaded = tsdiff.load(tmp_path)
    expected = samples_of(informed, planned())
    for columns in (["price", "x2", "x0", "promo", "x1"], ["promo", "price", "x0", "x1", "x2"]):
        data = planned()[columns]
        (forecast,) = loaded.predict(data, 7, seed=3)
        order = [forecast.info["dimension_names"].index(name) for name in ("x0", "x1", "x2")]
        np.testing.assert_array_equal(forecast.samples[..., order], expected[0])
    swapped = tsdiff.from_frame(planned(), known_columns=["price", "promo"])
    np.testing.assert_array_equal(samples_of(loaded, swapped), expected)


def test_a_model_of_entries_reads_a_frame_whose_known_columns_are_named(informed):
    unnamed = FlowMatching(**LEARNED).fit([by_hand()], progress=False)
    with pytest.raises(DataError, match=r"0 rows of feat_dynamic_real.*known_columns=\[\.\.\.\]"):
        unnamed.predict(planned()[["x0", "x1", "x2"]])
    named = tsdiff.from_frame(planned(), **KNOWN)
    np.testing.assert_array_equal(samples_of(unnamed, named), samples_of(informed, planned()))


def test_what_is_known_must_reach_to_the_end_of_the_forecast(informed):
    with pytest.raises(
        DataError,
        match=r"promo, price of series '0' ends after 3 of the 4 steps to forecast, at 2020-06-11, "
        r"and must be known until 2020-06-12\. In a frame these are rows",
    ):
        informed.predict(planned(future=3))
    with pytest.raises(DataError, match=r"after 0 of the 4 steps to forecast, at 2020-06-08"):
        informed.predict(planned(future=0))


def test_known_columns_that_lack_are_named(informed):
    with pytest.raises(DataError, match="the data lack price, known in advance when"):
        informed.predict(planned().drop(columns="price"))
    other = tsdiff.from_frame(
        planned().rename(columns={"price": "cost"}), known_columns=["promo", "cost"]
    )
    with pytest.raises(DataError, match=r"lack price and have cost.*known_columns must be the 2"):
        informed.predict(other)
    with pytest.raises(DataError, match=r"promo, price was known in advance: tsdiff\.from_frame"):
        informed.predict(tsdiff.from_frame(planned()))
    with pytest.raises(TypeError, match="known_columns names columns of a DataFrame"):
        FlowMatching(**LEARNED).fit([by_hand()], known_columns="promo")


def test_columns_that_are_numbers_are_remembered_too():
    df = planned().set_axis(range(5), axis=1)
    fitted = FlowMatching(**QUICK).fit(df, progress=False, known_columns=[3, 4])
    assert fitted.facts.known_columns == ("3", "4")
    assert set(fitted.predict(df, 5, quantiles=[0.5])["dimension"]) == {"0", "1", "2"}
    assert tsdiff.evaluate(fitted, df, num_samples=5).target_dim == 3


def test_scores_know_what_the_model_knows(informed):
    expected = tsdiff.evaluate(informed, tsdiff.from_frame(planned(), **KNOWN))
    assert tsdiff.evaluate(informed, planned())["crps"].value == expected["crps"].value
    windows = {"num_windows": 2, "num_samples": 8}
    both = [
        tsdiff.backtest(FlowMatching(**QUICK), planned(), **KNOWN, **windows),
        tsdiff.backtest(FlowMatching(**QUICK), tsdiff.from_frame(planned(), **KNOWN), **windows),
    ]
    assert both[0]["crps"].value == both[1]["crps"].value
    walk = tsdiff.baselines("D", 4)["random walk"]
    assert tsdiff.evaluate(walk, planned(), **KNOWN)["crps"].value > 0.0
    assert np.isfinite(informed.log_prob(planned())).all()


def test_validation_data_have_the_same_known_columns():
    df = planned()
    fitted = FlowMatching(**QUICK).fit(df.iloc[:150], df, progress=False, **KNOWN)
    assert len(fitted.history) == 2
    with pytest.raises(DataError, match="lack promo, price, known in advance"):
        FlowMatching(**QUICK).fit(df.iloc[:150], df[["x0", "x1", "x2"]], **KNOWN)


@pytest.mark.filterwarnings("error::tsdiff.datasets.DataWarning")
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_short_history_is_no_plan(informed, rows):
    """The last values before the plan, as many rows or fewer than are forecast."""
    df = planned()[160 - rows :]
    assert len(informed.predict(df, 2, quantiles=[0.5])) == 12


def test_ensembles_know_them_too(informed):
    both = tsdiff.EnsembleEstimator(FlowMatching(**LEARNED), 2).fit(
        planned(), progress=False, **KNOWN
    )
    expected = informed.predict(planned(), 5, quantiles=[0.5], seed=3)
    found = both.predict(planned(), 10, quantiles=[0.5], seed=3)
    assert list(found["time"]) == list(expected["time"])
    assert both.facts.known_columns == ("promo", "price")


def test_a_plan_that_is_taken_for_history_is_told_of():
    """The obvious way that is wrong: its future rows would move the forecast."""
    df = planned().drop(columns="price")
    with pytest.warns(DataWarning, match=r"last 4 steps.*promo alone.*known_columns=\['promo'\]"):
        mistaken = FlowMatching(**QUICK).fit(df, progress=False)
    with pytest.warns(DataWarning, match="values of promo alone, and the forecast starts after"):
        (forecast,) = mistaken.predict(df)
    assert forecast.start_date.to_timestamp() == df.index[-1] + pd.Timedelta(1, "D")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        mistaken.predict(df.iloc[:-1])  # series that end at other times are nothing unusual
        mistaken.predict(df.iloc[:160])
        partly = df.copy()
        partly.iloc[-1, 0] = 1.0
        mistaken.predict(partly)


def shops(*kinds):
    parts = [frame(random_walk(seed=i)).assign(shop=i, kind=k) for i, k in enumerate(kinds)]
    return tsdiff.from_frame(pd.concat(parts), item_column="shop", static_columns="kind")


def test_categories_may_be_names(tmp_path):
    """Numbered by name, not by place: other shops of the same kinds are told as they were."""
    fitted = FlowMatching(**LEARNED).fit(shops("market", "kiosk", "mill"), progress=False)
    assert fitted.facts.categories == (("kiosk", "market", "mill"),)
    fitted.save(tmp_path)
    fitted = tsdiff.load(tmp_path)
    numbered = [
        one | {"feat_static_cat": [number]}
        for one, number in zip(shops("market", "kiosk", "mill"), (1, 0, 2), strict=True)
    ]
    plain = FlowMatching(**LEARNED).fit(numbered, progress=False)
    (alone,) = fitted.predict(shops("mill"), 7, seed=3)
    (expected,) = plain.predict([numbered[2] | {"target": shops("mill")[0]["target"]}], 7, seed=3)
    np.testing.assert_array_equal(alone.samples, expected.samples)
    with pytest.raises(DataError, match="is 'fair', and training saw kiosk, market, mill"):
        fitted.predict(shops("fair"))
    with pytest.raises(DataError, match="is 'mill', and training saw numbers"):
        plain.predict(shops("mill"))
    with pytest.raises(DataError, match=r"0 rows of feat_static_cat.*static_columns=\[\.\.\.\]"):
        fitted.predict(frame(random_walk()))
