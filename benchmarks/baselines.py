"""All baselines on four data sets: the literature's windows, and thirty at the end of the series.

    python benchmarks/baselines.py [DATASET ...] [--no-automatic] [--json FOLDER]

Prints Markdown tables of ``crps_sum_q19`` with its Monte-Carlo error, 100 samples, seed 0. The
literature's windows (5 of 30 business days, 7 of 24 hours) are the last of thirty, so that each
baseline forecasts once; nothing here is fitted to them. The automatic ones take a second for each
dimension of each window: half an hour on 56 dimensions.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import tsdiff
from tsdiff.datasets import rolling_windows
from tsdiff.evaluation import evaluate, score_forecasts

DATASETS = ("exchange_rate", "ecb_exchange_rate", "gefcom2012_load", "rts_gmlc_solar")
NUM_WINDOWS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", default=DATASETS, metavar="DATASET")
    parser.add_argument("--no-automatic", action="store_true", help="leave ETS and ARIMA out")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write all scores, too")
    arguments = parser.parse_args()
    for name in arguments.datasets:
        table(name, automatic=not arguments.no_automatic, folder=arguments.json)


def table(name: str, *, automatic: bool, folder: Path | None) -> None:
    """Print the baselines' scores on one data set, row by row as they come."""
    data = tsdiff.get_dataset(name)
    facts = data.metadata
    horizon, few = facts.prediction_length, facts.num_test_windows
    windows = rolling_windows([data.test[-1]], horizon, NUM_WINDOWS)
    print(f"\n{name}, {facts.target_dim} dimensions, windows of {horizon} steps\n")
    print(f"| baseline | {few} windows | {NUM_WINDOWS} windows | 80 % covers | seconds |")
    print("|---|--:|--:|--:|--:|", flush=True)
    chosen = tsdiff.baselines(facts.freq, horizon, statistical=True, automatic=automatic)
    results = []
    for title, baseline in chosen.items():
        many = evaluate(baseline, windows, name=title, keep_forecasts=True)
        last = score_forecasts(many.forecasts[-few:], windows[-few:], horizon, name=title)
        scores = f"{last['crps_sum_q19']} | {many['crps_sum_q19']}"
        covered = many["coverage_80"].value
        print(f"| {title} | {scores} | {covered:.0%} | {many.seconds:.0f} |", flush=True)
        results.append(dataclasses.replace(many, forecasts=(), entries=()))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        tsdiff.compare(results).to_json(folder / f"{name}.json")


if __name__ == "__main__":
    main()
