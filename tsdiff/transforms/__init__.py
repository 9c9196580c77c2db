"""From data entries to tensors: windows, scaling, lags and calendar. Widths are computed."""

from tsdiff.transforms.calendar import calendar_features, num_calendar_features
from tsdiff.transforms.choose import LINEAR, choose_coordinates, fit_linear, set_size
from tsdiff.transforms.coordinates import SCALINGS, Coordinates, Frame
from tsdiff.transforms.decoding import DECODINGS, plan_if_better
from tsdiff.transforms.gaps import filled_by_season
from tsdiff.transforms.inputs import InputLayer
from tsdiff.transforms.lags import default_context_length, default_lags, season_length
from tsdiff.transforms.linear import LinearCorrection
from tsdiff.transforms.profile import Plan, ProfileForecast, ProfileFrame
from tsdiff.transforms.profile_fit import choose_plan, fit_profile
from tsdiff.transforms.recent_errors import history_length, lately
from tsdiff.transforms.series import Measure, Series, Sizes, load_series, sizes_of
from tsdiff.transforms.windows import (
    Plain,
    Window,
    WindowSampler,
    forecast_windows,
    measures_of,
)

__all__ = [
    "DECODINGS",
    "LINEAR",
    "SCALINGS",
    "Coordinates",
    "Frame",
    "InputLayer",
    "LinearCorrection",
    "Measure",
    "Plain",
    "Plan",
    "ProfileForecast",
    "ProfileFrame",
    "Series",
    "Sizes",
    "Window",
    "WindowSampler",
    "calendar_features",
    "choose_coordinates",
    "choose_plan",
    "default_context_length",
    "default_lags",
    "filled_by_season",
    "fit_linear",
    "fit_profile",
    "forecast_windows",
    "history_length",
    "lately",
    "load_series",
    "measures_of",
    "num_calendar_features",
    "plan_if_better",
    "season_length",
    "set_size",
    "sizes_of",
]
