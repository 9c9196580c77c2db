"""How scores are called in the report, what they mean, and which are shown at first."""

from __future__ import annotations

from dataclasses import dataclass

from tsdiff.benchmark.tables import MAIN

__all__ = ["HEADLINE", "METRICS", "Metric", "metric", "of_laws"]

HEADLINE = MAIN


@dataclass(frozen=True)
class Metric:
    """A column: its heading, what it says, and whether it is shown before anybody chooses."""

    name: str
    label: str
    meaning: str
    shown: bool = False


METRICS = {
    m.name: m
    for m in (
        Metric(
            HEADLINE,
            "CRPS-sum",
            "weighted quantile loss of the sum over dimensions, 19 quantiles: what most papers "
            "print; lower is better",
            True,
        ),
        Metric("crps_sum_q9", "CRPS-sum, 9 quantiles", "the same over 9 quantiles"),
        Metric("crps_sum", "CRPS-sum, samples", "the ensemble score E|X − y| − ½ E|X − X′|"),
        Metric("crps_sum_fair", "CRPS-sum, fair", "its form that is unbiased in the samples"),
        Metric("crps", "CRPS", "of each dimension over its scale, mean over dimensions", True),
        Metric("crps_q19", "CRPS, 19 quantiles", "the same from 19 quantiles"),
        Metric("nd", "ND", "absolute error of the median over the absolute truth"),
        Metric("nrmse", "NRMSE", "root mean square error of the mean over the absolute truth"),
        Metric(
            "energy_score", "Energy score", "the joint law of all dimensions, data's units", True
        ),
        Metric("variogram_score", "Variogram score", "differences between dimensions, order ½"),
        *(
            Metric(
                f"coverage_{level}",
                f"{level} % covers",
                f"share of single values inside the central {level} % interval; nearest is best",
                level == 80,
            )
            for level in (50, 80, 95)
        ),
        *(
            Metric(
                f"coverage_sum_{level}",
                f"{level} % covers, sum",
                f"share of sums inside the central {level} % interval; nearest is best",
                level == 80,
            )
            for level in (50, 80, 95)
        ),
        Metric("pit_error", "Calibration error", "distance of the transform's law from uniform"),
        Metric("pit_error_calibrated", "… if calibrated", "what a calibrated forecast would have"),
        Metric("pit_error_sum", "Calibration error, sum", "the same of the sum over dimensions"),
        Metric("pit_error_sum_calibrated", "… if calibrated", "what a calibrated one would have"),
        Metric("nll", "NLL", "negative log-likelihood, nats per value", True),
    )
}


def metric(name: str) -> Metric:
    """The column of a score; one that the report doesn't know keeps its name."""
    return METRICS.get(name, Metric(name, name, ""))


def of_laws(name: str) -> bool:
    """Whether a score is about intervals or whole distributions, which a point forecast has not."""
    return name.startswith(("coverage", "pit"))
