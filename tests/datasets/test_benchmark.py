from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from gluonts.dataset.util import forecast_start
from gluonts.evaluation import make_evaluation_predictions
from gluonts.model.forecast import SampleForecast
from gluonts.model.predictor import RepresentablePredictor
from pandas.tseries.frequencies import to_offset

from tsdiff.datasets import (
    DataError,
    UnknownDatasetError,
    ecb,
    fetch,
    get_dataset,
    get_info,
    list_datasets,
    split_window,
    validate_entries,
)
from tsdiff.datasets.businessdays import business_day_periods

OFFLINE = ("ecb_exchange_rate", "seasonal_var", "seasonal_var_370")


def lengths(entries):
    return [entry["target"].shape[1] for entry in entries]


def check_convention(data):
    """What every benchmark keeps, whatever its size."""
    info, horizon = data.metadata, data.metadata.prediction_length
    everything = [*data.train, *data.validation, *data.test]
    assert all(entry["target"].shape[0] == info.target_dim for entry in everything)
    assert {entry["start"].freq for entry in everything} == {to_offset(info.freq)}
    assert all(entry["dimension_names"] == list(info.dimension_names) for entry in everything)
    end = lengths(data.train)[0]
    assert lengths(data.validation)[-1] == end
    assert lengths(data.test) == [end + horizon * (n + 1) for n in range(info.num_test_windows)]
    assert np.diff(lengths(data.validation)).tolist() == [horizon] * (
        info.num_validation_windows - 1
    )
    whole = data.test[-1]["target"]
    for entry in everything:
        np.testing.assert_array_equal(entry["target"], whole[:, : entry["target"].shape[1]])
    validate_entries(everything)


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_data_sets_keep_the_convention(name):
    check_convention(get_dataset(name))


def test_seasonal_var_has_the_announced_size():
    data = get_dataset("seasonal_var")
    assert data.train[0]["target"].shape == (8, 4000)
    assert len(data.test) == 50
    again = get_dataset("seasonal_var").test[-1]["target"]
    np.testing.assert_array_equal(again, data.test[-1]["target"])
    wide = get_dataset("seasonal_var_370")
    assert wide.train[0]["target"].shape == (370, 6000)
    assert wide.law.num_dims == 370


@pytest.mark.filterwarnings("error")
def test_ecb_rates():
    data = get_dataset("ecb_exchange_rate")
    assert data.metadata.dimension_names == ecb.CURRENCIES
    assert data.train[0]["target"].shape == (8, 5264)
    assert lengths(data.test) == [5294, 5324, 5354, 5384, 5414]
    assert data.metadata.notes == ()
    assert str(data.train[0]["start"]) == "2005-04-01"
    rates = data.test[-1]["target"]
    assert np.isfinite(rates).all()
    np.testing.assert_allclose(
        1 / rates[:, 0],
        [1.6803, 0.68665, 1.5736, 1.5527, 10.7255, 139.07, 1.8239, 2.1449],
        rtol=1e-12,
    )
    np.testing.assert_allclose(1 / rates[[1, 5], -1], [0.8726, 184.09], rtol=1e-12)


def test_ecb_holidays_carry_the_last_rate_forward():
    rates, _ = ecb.load_ecb_rates()
    assert rates.loc["2025-12-25":"2025-12-26"].eq(rates.loc["2025-12-24"]).all(axis=None)
    assert (rates.index.dayofweek < 5).all()


def shortened_history(monkeypatch, change):
    history = ecb._read_history()
    monkeypatch.setattr(ecb, "_read_history", lambda: change(history))


def test_an_older_package_is_noted(monkeypatch):
    shortened_history(monkeypatch, lambda table: table.loc[:"2024-11-21"])
    data = get_dataset("ecb_exchange_rate")
    assert "ends on 2024-11-21" in data.metadata.notes[0]
    assert np.isfinite(data.test[-1]["target"]).all()


def test_an_incomplete_package_is_an_error(monkeypatch):
    shortened_history(monkeypatch, lambda table: table.drop(columns="JPY"))
    with pytest.raises(DataError, match=r"lack \['JPY'\]"):
        get_dataset("ecb_exchange_rate")


def test_an_unknown_name_meets_its_neighbours():
    with pytest.raises(UnknownDatasetError, match=r"^no data set is called.*'exchange_rate'"):
        get_dataset("exchange_rates")
    with pytest.raises(KeyError):
        get_info("")


def test_every_archive_of_the_catalog_can_be_verified():
    archives = [info for info in list_datasets() if info.archive]
    assert {info.name for info in archives} == {
        "exchange_rate", "solar", "electricity", "traffic", "taxi", "wiki", "gefcom2012_load",
        "rts_gmlc_solar",
    }  # fmt: skip
    for info in archives:
        assert info.sha256 or info.git_blob or info.table_sha256
        if info.url:
            assert info.url.startswith("https://")
            assert info.url.endswith(info.archive)
        else:
            assert info.archive in info.recipe
        with business_day_periods():
            pd.Period("2020-01-01", freq=info.freq)


@pytest.mark.parametrize("name", OFFLINE)
def test_what_is_not_downloaded_cannot_be_fetched(name, tmp_path):
    with pytest.raises(ValueError, match="get_dataset"):
        fetch(get_info(name), cache=tmp_path)


def test_importing_is_light():
    code = "import sys, tsdiff.datasets; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pooch", "requests", "torch", "lightning", "matplotlib", "rich", "gluonts"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.archive
@business_day_periods()
def test_exchange_rate(archive_mirror, tmp_path):
    data = get_dataset("exchange_rate", mirror=archive_mirror, cache=tmp_path)
    check_convention(data)
    assert data.train[0]["target"].shape == (8, 6071)
    assert lengths(data.test) == [6101, 6131, 6161, 6191, 6221]
    assert lengths(data.validation) == [5951, 5981, 6011, 6041, 6071]
    assert data.train[0]["target"][0, :3].tolist() == [0.7855, 0.7818, 0.7867]
    assert str(forecast_start(data.train[0])) == "2013-04-09"
    assert data.metadata.notes == ()


@pytest.mark.archive
def test_gefcom2012_load(archive_mirror, tmp_path):
    data = get_dataset("gefcom2012_load", mirror=archive_mirror, cache=tmp_path)
    check_convention(data)
    assert data.train[0]["target"].shape == (18, 34896)
    assert len(data.test) == 7
    whole = data.test[-1]
    assert str(whole["start"]) == "2004-01-01 00:00"
    assert str(forecast_start(whole)) == "2008-01-01 00:00"
    assert whole["target"][:3, 0].tolist() == [16853, 126259, 484]  # zones 1, 2 and 4
    assert np.isfinite(whole["target"]).all()
    zones = dict(zip(data.metadata.dimension_names, whole["target"], strict=True))
    excess = zones["zone_6"] - zones["zone_2"] - zones["zone_5"]
    assert (np.abs(excess) > 1).sum() == 4, "the notes tell of a sum"


@pytest.mark.archive
def test_rts_gmlc_solar(archive_mirror, tmp_path):
    data = get_dataset("rts_gmlc_solar", mirror=archive_mirror, cache=tmp_path)
    check_convention(data)
    assert data.train[0]["target"].shape == (56, 8616)
    assert len(data.test) == 7
    whole = data.test[-1]
    assert str(whole["start"]) == "2020-01-01 00:00"
    assert str(forecast_start(whole)) == "2021-01-01 00:00"
    assert whole["target"][[0, 25], 7].tolist() == [23.9, 13.3]  # the first plant, the first roof
    assert np.isfinite(whole["target"]).all()
    assert (whole["target"] == 0).mean() == pytest.approx(0.54, abs=0.005), "the notes say so"
    alike = np.corrcoef(whole["target"])[np.triu_indices(56, 1)] > 0.9996
    assert alike.sum() == 11, "the notes tell of copies"


class LastValue(RepresentablePredictor):
    """The shortest predictor that GluonTS accepts."""

    def predict_item(self, item):
        samples = np.tile(item["target"][:, -1], (1, self.prediction_length, 1))
        return SampleForecast(samples, forecast_start(item), item["item_id"])


@pytest.mark.archive
@business_day_periods()
def test_gluonts_judges_forecasts_of_the_test_windows(archive_mirror, tmp_path):
    data = get_dataset("exchange_rate", mirror=archive_mirror, cache=tmp_path)
    predictor = LastValue(prediction_length=data.metadata.prediction_length)
    forecasts, truths = make_evaluation_predictions(data.test, predictor, num_samples=1)
    for forecast, truth, window in zip(forecasts, truths, data.test, strict=True):
        history, future = split_window(window, data.metadata.prediction_length)
        assert forecast.start_date == forecast_start(history)
        np.testing.assert_array_equal(forecast.samples[0, 0], history["target"][:, -1])
        np.testing.assert_array_equal(truth.loc[forecast.index].T, future)
