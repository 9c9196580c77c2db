"""Covariates that are known ahead, gaps in the history, and what they do to a forecast.

Demand in two shops rises when a promotion runs. The plan of promotions is known for the days to
forecast; of one shop a fortnight of records is missing. Run it from anywhere:

    python examples/covariates.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import tsdiff

HORIZON = 14


def main() -> None:
    rng = np.random.default_rng(0)
    days = 900
    promotion = (rng.random(days + HORIZON) < 0.2).astype(float)
    week = 10.0 * np.sin(2 * np.pi * np.arange(days + HORIZON) / 7)
    law = 100.0 + week + 30.0 * promotion
    demand = law[:days] + rng.normal(0.0, 3.0, (2, days))
    demand[1, 400:414] = np.nan  # missing is NaN

    # Rows after the last demand hold the plan alone, HORIZON days of it.
    times = pd.date_range("2023-01-01", periods=days + HORIZON, freq="D")
    shops = pd.DataFrame(demand.T, index=times[:days], columns=["north", "south"]).reindex(times)
    shops["promotion"] = promotion

    estimator = tsdiff.FlowMatchingEstimator(prediction_length=HORIZON, max_epochs=5)
    predictor = estimator.fit(shops, known_columns=["promotion"], progress=False)
    (forecast,) = predictor.predict(shops, num_samples=200)

    planned = promotion[days:] > 0
    print(f"scaling {predictor.facts.scaling}, linear correction {predictor.facts.linear}")
    for name, chosen in (("with", planned), ("without", ~planned)):
        found, true = forecast.mean[chosen].mean(), law[days:][chosen].mean()
        print(f"days {name} a promotion: {found:.0f} (law: {true:.0f})")


if __name__ == "__main__":
    main()
