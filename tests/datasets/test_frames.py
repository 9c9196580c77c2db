from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gluonts.model.forecast import SampleForecast

from tsdiff.datasets import DataError, entry_to_frame, from_frame, read_series, to_frame
from tsdiff.datasets.businessdays import business_day_periods


def wide(freq="D", rows=10, start="2024-01-01"):
    times = pd.date_range(start, periods=rows, freq=freq)
    return pd.DataFrame({"a": np.arange(rows), "b": np.arange(rows) * 0.5}, index=times)


FREQUENCIES = [
    ("15min", "15min"),
    ("h", "h"),
    ("3h", "3h"),
    ("D", "D"),
    ("B", "B"),
    ("W-WED", "W-WED"),
    ("MS", "M"),
    ("QS", "Q-DEC"),
]


@pytest.mark.parametrize(("given", "expected"), FREQUENCIES)
def test_infers_the_frequency(given, expected):
    (entry,) = from_frame(wide(given))
    with business_day_periods():  # compared as offsets: pandas 2.1 spells hours "H"
        assert entry["start"].freq == pd.Period("2024-01-01", freq=expected).freq
    assert entry["target"].shape == (2, 10)
    assert entry["dimension_names"] == ["a", "b"]
    np.testing.assert_array_equal(entry["target"][1], np.arange(10) * 0.5)


@pytest.mark.parametrize(("given", "expected"), FREQUENCIES)
def test_a_gap_is_named_or_filled_at_any_frequency(given, expected):
    df = wide(given, rows=20)
    gappy = df.drop(df.index[[7, 8, 12]])
    with pytest.raises(DataError, match=r"gaps.*3 missing in 2 places.*fill_gaps=True") as error:
        from_frame(gappy)
    with business_day_periods():
        first_lacking = pd.Period(df.index[7], freq=expected)
    assert f"{first_lacking} is missing after {df.index[6]}" in str(error.value)
    (entry,) = from_frame(gappy, fill_gaps=True)
    filled = df.astype(float)
    filled.iloc[[7, 8, 12]] = np.nan
    np.testing.assert_array_equal(entry["target"], filled.to_numpy().T)


def test_month_ends_are_months():
    times = pd.DatetimeIndex(["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"])
    (entry,) = from_frame(pd.DataFrame({"a": [1, 2, 3, 4]}, index=times))
    assert entry["start"] == pd.Period("2024-01", "M")


def test_times_may_stand_in_a_column_of_text():
    df = wide().rename_axis("when").reset_index().astype({"when": str})
    (entry,) = from_frame(df, time_column="when", target_column="b")
    assert entry["start"] == pd.Period("2024-01-01", "D")
    assert entry["dimension_names"] == ["b"]


def written(pattern, freq="D", rows=40, start="2024-01-05"):
    """A frame whose index is text."""
    df = wide(freq, rows, start)
    return df.set_axis(df.index.strftime(pattern), axis=0)


@pytest.mark.parametrize(
    ("pattern", "freq", "formats"),
    [
        ("%d/%m/%Y", "MS", ("%d/%m/%Y", "%m/%d/%Y")),
        ("%d.%m.%Y", "MS", ("%d.%m.%Y", "%m.%d.%Y")),
        ("%m-%d-%Y", "MS", ("%d-%m-%Y", "%m-%d-%Y")),
        ("%d.%m.%Y %H:%M", "h", ("%d.%m.%Y %H:%M", "%m.%d.%Y %H:%M")),
        ("%m/%d/%Y %I:%M %p", "h", ("%d/%m/%Y %I:%M %p", "%m/%d/%Y %I:%M %p")),
        ("%d/%m/%YT%H:%M:%SZ", "h", ("%d/%m/%YT%H:%M:%S%z", "%m/%d/%YT%H:%M:%S%z")),
        ("%d/%m/%y", "D", ("%d/%m/%y", "%y/%m/%d")),
    ],
)
def test_dates_of_two_readings_are_refused_and_read_by_their_format(pattern, freq, formats):
    df = written(pattern, freq)
    with pytest.raises(DataError, match="more than one way") as error:
        from_frame(df)
    assert all(one in str(error.value) for one in formats)
    (entry,) = from_frame(df, date_format=pattern)
    with business_day_periods():
        expected = pd.date_range("2024-01-05", periods=1, freq=freq)[0]
        assert entry["start"].start_time == expected
    assert entry["target"].shape == (2, 40)


@pytest.mark.parametrize("pattern", ["%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M", "%y-%m-%d"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_dates_of_one_reading_need_no_format(pattern):
    """The 13th of a month tells, or a year that is no day, wherever it stands."""
    start = "1999-01-05" if "%y" in pattern else "2024-01-05"
    (entry,) = from_frame(written(pattern, start=start))
    assert entry["start"] == pd.Period(start, "D")
    assert entry["target"].shape == (2, 40)


def test_the_dates_of_all_items_tell_how_they_are_read():
    long = pd.concat([written("%d.%m.%Y", rows=5).assign(k=1), written("%d.%m.%Y").assign(k=2)])
    first, _ = from_frame(long, item_column="k")
    assert first["start"] == pd.Period("2024-01-05", "D")


def test_numbers_are_dates_if_a_format_says_so():
    df = written("%Y%m%d")
    (entry,) = from_frame(df.set_axis(df.index.astype(int), axis=0), date_format="%Y%m%d")
    assert entry["start"] == pd.Period("2024-01-05", "D")


@pytest.mark.parametrize("utc", ["UTC", "Etc/GMT", "+00:00"])
def test_universal_time_is_taken_as_it_is(utc):
    df = wide("h", rows=40)
    (entry,) = from_frame(df.tz_localize(utc))
    (text,) = from_frame(df.set_axis(df.tz_localize(utc).index.astype(str), axis=0))
    assert entry["start"] == text["start"] == pd.Period("2024-01-01 00:00", "h")


def test_offsets_that_change_are_refused():
    times = pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin")
    df = pd.DataFrame({"a": np.arange(72)}, index=times.strftime("%Y-%m-%d %H:%M%z"))
    with pytest.raises(DataError, match="several offsets from universal time"):
        from_frame(df)


def test_period_index_and_series():
    index = pd.period_range("2024-01-01", periods=5, freq="h")
    (entry,) = from_frame(pd.Series(np.arange(5.0), index=index, name="load"))
    assert entry["start"] == index[0]
    assert entry["dimension_names"] == ["load"]
    with pytest.raises(DataError, match="freq='D' was given"):
        from_frame(pd.Series(np.arange(5.0), index=index), freq="D")


def test_missing_values_stay_missing():
    df = wide().astype("Float64")
    df.iloc[3, 1] = pd.NA
    target = from_frame(df)[0]["target"]
    assert np.isnan(target[1, 3])
    assert np.isnan(target).sum() == 1


def test_long_by_item_gives_one_entry_each():
    long = pd.concat([wide().assign(shop="x"), wide(start="2024-03-01", rows=6).assign(shop="y")])
    first, second = from_frame(long, item_column="shop")
    assert (first["item_id"], second["item_id"]) == ("x", "y")
    assert second["target"].shape == (2, 6)
    assert second["start"] == pd.Period("2024-03-01", "D")


def test_long_by_dimension_gives_one_multivariate_entry():
    long = wide().rename_axis("t").reset_index().melt(id_vars="t", var_name="zone")
    (entry,) = from_frame(long, time_column="t", dimension_column="zone")
    (expected,) = from_frame(wide())
    np.testing.assert_array_equal(entry["target"], expected["target"])
    assert entry["dimension_names"] == ["a", "b"]


def test_long_by_item_and_dimension():
    parts = [
        wide()
        .mul(factor)
        .rename_axis("t")
        .reset_index()
        .melt(id_vars="t", var_name="zone")
        .assign(site=site)
        for site, factor in (("x", 1), ("y", 10))
    ]
    entries = from_frame(
        pd.concat(parts), time_column="t", item_column="site", dimension_column="zone"
    )
    np.testing.assert_array_equal(entries[1]["target"], 10 * entries[0]["target"])


def test_the_input_stays_untouched():
    df = wide()
    before = df.copy()
    from_frame(df)[0]["target"][:] = -1
    pd.testing.assert_frame_equal(df, before)


def with_value(value):
    df = wide().astype(object)
    df.iloc[4, 1] = value
    return df


def infinite():
    df = wide()
    df.iloc[4, 1] = -np.inf
    return df


BAD = {
    "unsorted": (
        lambda: wide().iloc[::-1],
        {},
        r"do not ascend.*sort the rows.*in pandas, df\.sort_index",
    ),
    "long without its item column": (
        lambda: pd.concat([wide(), wide()]),
        {},
        r"2024-01-01.*more than once.*item_column",
    ),
    "duplicated": (lambda: wide().iloc[[0, 1, 1, 2]], {}, r"2024-01-02.*more than once"),
    "off the grid": (
        lambda: wide("h").set_axis([*wide("h").index[:-1], pd.Timestamp("2024-01-01 09:17")]),
        {"freq": "h"},
        r"09:17:00 does not lie on the grid",
    ),
    "weekend": (lambda: wide("D"), {"freq": "B"}, "2024-01-06.*is a weekend"),
    "crowded": (lambda: wide("h"), {"freq": "M"}, "fall into the same step"),
    "days asked for hours": (wide, {"freq": "h"}, r"looks daily \('D'\).*'h' was asked"),
    "months asked for days": (lambda: wide("MS"), {"freq": "D"}, r"looks monthly.*'D' was asked"),
    "minutes asked for less": (
        lambda: wide("15min"),
        {"freq": "5min"},
        r"looks like every 15min.*'5min' was asked",
    ),
    "odd multiple": (
        lambda: wide("h").iloc[[0, 2, 4, 5]],
        {"freq": "2h"},
        "no multiple of '2[hH]'",
    ),
    "time zone": (
        lambda: wide("h").tz_localize("Europe/Berlin"),
        {},
        r"Z or \+00:00.*\(in pandas.*tz_convert",
    ),
    "London in winter": (lambda: wide("h").tz_localize("Europe/London"), {}, "zone Europe/London"),
    "fixed offset": (lambda: wide("h").tz_localize("+01:00"), {}, r"zone UTC\+01:00"),
    "day and month mixed up": (
        lambda: wide(rows=3).set_axis(["01.13.2024", "13.01.2024", "14.01.2024"]),
        {},
        r"cannot be read \([^\n]*\): name .*date_format='%d.%m.%Y'",
    ),
    "no format": (
        lambda: written("%d.%m.%Y"),
        {"date_format": "%Q"},
        "not written as date_format='%Q' says .*bad directive",
    ),
    "another format": (
        lambda: written("%d.%m.%Y"),
        {"date_format": "%d/%m/%Y"},
        r"not written as date_format='%d/%m/%Y' says",
    ),
    "text": (lambda: with_value("n/a"), {}, r"'a' of the table is not numeric|'n/a'"),
    "booleans": (lambda: wide().assign(a=[None, True] * 5), {}, "not numeric"),
    "infinite": (infinite, {}, "'b' of the table is infinite at 2024-01-05"),
    "all missing": (lambda: wide().assign(c=np.nan), {}, "'c' of the table holds no value"),
    "empty": (lambda: wide().iloc[:0], {}, r"empty, shape \(0, 2\)"),
    "no columns": (lambda: wide().drop(columns=["a", "b"]), {}, "empty"),
    "too few rows": (lambda: wide().iloc[:2], {}, r"2 rows: at least 3.*freq='D'"),
    "wild steps": (
        lambda: wide(rows=4).set_axis(
            pd.DatetimeIndex(["2024-01-01", "2024-01-11", "2024-02-20", "2024-03-01"])
        ),
        {},
        "cannot be inferred",
    ),
    "numbers as index": (lambda: wide().reset_index(drop=True), {}, "are numbers .*date_format"),
    "unreadable times": (lambda: wide().set_axis(list("abcdefghij")), {}, "cannot be read"),
    "missing time": (lambda: wide().set_axis([*wide().index[:-1], pd.NaT]), {}, "row 9"),
    "several levels": (
        lambda: wide().set_index("a", append=True),
        {},
        r"several levels.*reset_index",
    ),
    "unknown column": (wide, {"target_column": "c"}, r"no column 'c'.*\['a', 'b'\]"),
    "twin columns": (lambda: wide().set_axis(["a", "a"], axis=1), {}, "two columns.*'a'"),
    "unknown frequency": (wide, {"freq": "fortnight"}, "'fortnight' is no frequency"),
    "two values of one dimension": (
        lambda: wide().assign(zone="x", a=1).iloc[[0, 0, 1]],
        {"dimension_column": "zone", "target_column": "a"},
        "two values of dimension 'x'",
    ),
    "two columns of values": (
        lambda: wide().assign(zone="x"),
        {"dimension_column": "zone"},
        "target_column",
    ),
    "items of unlike frequency": (
        lambda: pd.concat([wide().assign(k=1), wide("h").assign(k=2)]),
        {"item_column": "k"},
        "frequency [hH]",
    ),
}


@pytest.mark.parametrize(("make", "options", "match"), BAD.values(), ids=BAD.keys())
def test_bad_frames_teach(make, options, match):
    with pytest.raises(DataError, match=match):
        from_frame(make(), **options)


def test_something_else_is_a_type_error():
    with pytest.raises(TypeError, match="DataFrame, got ndarray"):
        from_frame(np.zeros((3, 2)))


@pytest.mark.parametrize("name", ["series.csv", "series.csv.gz", "series.parquet"])
def test_reads_files(tmp_path, name):
    df = wide("h").rename_axis("time")
    if ".csv" in name:
        df.to_csv(tmp_path / name)
    else:
        pytest.importorskip("pyarrow")
        df.to_parquet(tmp_path / name)
    (entry,) = read_series(tmp_path / name)
    assert entry["start"] == pd.Period("2024-01-01 00:00", "h")
    np.testing.assert_array_equal(entry["target"], df.to_numpy().T)


def test_reads_long_files(tmp_path):
    long = wide().rename_axis("t").reset_index().melt(id_vars="t", var_name="zone")
    long[["zone", "t", "value"]].to_csv(tmp_path / "long.csv", index=False)
    (entry,) = read_series(tmp_path / "long.csv", time_column="t", dimension_column="zone")
    assert entry["dimension_names"] == ["a", "b"]


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        read_series(tmp_path / "absent.csv")
    (tmp_path / "series.xlsx").write_bytes(b"")
    with pytest.raises(DataError, match=r"\.csv or \.parquet"):
        read_series(tmp_path / "series.xlsx")
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        read_series(tmp_path / "empty.csv")


def test_european_files_are_read(tmp_path):
    df = wide("h").rename_axis("time")
    df.to_csv(tmp_path / "series.csv", sep=";", decimal=",")
    (entry,) = read_series(tmp_path / "series.csv", separator=";", decimal=",")
    np.testing.assert_array_equal(entry["target"], df.to_numpy().T)
    df.to_csv(tmp_path / "tabs.csv", sep="\t")
    (entry,) = read_series(tmp_path / "tabs.csv", separator="\\t")
    np.testing.assert_array_equal(entry["target"], df.to_numpy().T)


FILES = {
    "separators": ("time;a;b\n2024-01-01;1;2\n", {}, r"separated by ';'\? .*--separator ';'"),
    "separators and decimals": (
        "time;a;b\n2024-01-01;1,0;2,0\n2024-01-02;;2,0\n",
        {},
        r"separated by ';'\? .*--separator ';'",
    ),
    "commas after all": ("time,a\n2024-01-01,1\n", {"separator": ";"}, "--separator ','"),
    "decimals": (
        'time,a\n2024-01-01,"1,5"\n2024-01-02,"1,7"\n2024-01-03,"2"\n',
        {},
        "commas stand before decimals.*--decimal ','",
    ),
    "a long line": ("time,a\n2024-01-01,1\n2024-01-02,1,5\n", {}, r"Expected 2 fields in line 3"),
    "no values": ("time\n2024-01-01\n2024-01-02\n2024-01-03\n", {}, "no column of values"),
    "no order": ("time,a\n2024-01-02,1\n2024-01-01,1\n2024-01-03,2\n", {}, "sort the rows"),
    "nothing": ("", {}, "the file is empty"),
}


@pytest.mark.parametrize(("text", "options", "match"), FILES.values(), ids=FILES.keys())
def test_bad_files_teach_without_pandas(text, options, match, tmp_path):
    path = tmp_path / "series.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=match) as error:
        read_series(path, **options)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert not any(word in message for word in ("DataFrame", "df.", "pandas", "C error"))


def test_another_encoding_is_named(tmp_path):
    path = tmp_path / "series.csv"
    path.write_bytes("time,höhe\n2024-01-01,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="not encoded as UTF-8"):
        read_series(path)


@pytest.mark.parametrize("freq", ["15min", "h", "D", "B", "W-WED", "M"])
@pytest.mark.filterwarnings("error")
def test_there_and_back(freq):
    (entry,) = from_frame(wide({"M": "MS"}.get(freq, freq), start="2024-01-03"))
    frame = entry_to_frame(entry)
    (again,) = from_frame(frame)
    assert again["start"] == entry["start"]
    assert again["dimension_names"] == entry["dimension_names"]
    np.testing.assert_array_equal(again["target"], entry["target"])


def test_business_days_come_out_as_the_right_dates():
    days = pd.bdate_range("2024-01-04", periods=5)
    (entry,) = from_frame(pd.DataFrame({"a": np.arange(5.0)}, index=days))
    assert list(entry_to_frame(entry).index) == list(days)


def test_forecasts_become_a_tidy_frame(tmp_path):
    rng = np.random.default_rng(0)
    forecasts = [
        SampleForecast(rng.normal(size=(50, 3, 2)), pd.Period("2024-01-31", "D"), item_id="x"),
        SampleForecast(rng.normal(size=(50, 3, 2)), pd.Period("2024-02-03", "D"), item_id="x"),
    ]
    table = to_frame(forecasts, quantiles=(0.05, 0.5), dimension_names=["north", "south"])
    assert list(table.columns) == ["item_id", "time", "dimension", "mean", "0.05", "0.5"]
    assert len(table) == 2 * 3 * 2
    row = table[(table.time == "2024-02-04") & (table.dimension == "south")].iloc[0]
    assert row["0.05"] == forecasts[1].quantile(0.05)[1, 1]
    assert row["mean"] == pytest.approx(forecasts[1].samples[:, 1, 1].mean())
    table.to_csv(tmp_path / "forecast.csv", index=False)
    again = pd.read_csv(tmp_path / "forecast.csv", parse_dates=["time"])
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


def test_univariate_and_unnamed_forecasts():
    forecast = SampleForecast(np.zeros((10, 4)), pd.Period("2024-01-05", "h"))
    table = to_frame(forecast)
    assert set(table["item_id"]) == {"0"}
    assert set(table["dimension"]) == {"0"}
    assert list(to_frame([]).columns) == [
        "item_id",
        "time",
        "dimension",
        "mean",
        "0.1",
        "0.5",
        "0.9",
    ]


def test_to_frame_refuses():
    forecast = SampleForecast(np.zeros((10, 4, 2)), pd.Period("2024-01-05", "h"))
    with pytest.raises(ValueError, match="between 0 and 1, got 90"):
        to_frame(forecast, quantiles=(90,))
    with pytest.raises(ValueError, match="3 dimension names for a forecast of 2"):
        to_frame(forecast, dimension_names=["a", "b", "c"])
