"""The models that the benchmarks compare, by the names that stand in tables."""

from __future__ import annotations

import tsdiff

MODELS = {
    kind.title(): kind
    for kind in (
        tsdiff.FlowMatchingEstimator,
        tsdiff.DDPMEstimator,
        tsdiff.ScoreEstimator,
        tsdiff.VSDMEstimator,
        tsdiff.InterpolantEstimator,
    )
}
