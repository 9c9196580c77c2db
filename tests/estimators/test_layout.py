"""Columns are found again by name, and those that aren't are named."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tsdiff
from tests.estimators.small import SMALL, entry, frame, random_walk
from tsdiff.datasets import DataError, DataWarning

FlowMatching = tsdiff.FlowMatchingEstimator
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
    with pytest.raises(DataError, match=r"'x1' of the DataFrame holds no value.*give more history"):
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
