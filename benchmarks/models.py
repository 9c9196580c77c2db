"""The models that the benchmarks compare, by the names that stand in tables."""

from __future__ import annotations

from functools import partial

import tsdiff

MODELS = {
    kind.title(): kind
    for kind in (
        tsdiff.FlowMatchingEstimator,
        tsdiff.DDPMEstimator,
        tsdiff.ScoreEstimator,
        tsdiff.VSDMEstimator,
        tsdiff.InterpolantEstimator,
        tsdiff.SchrodingerBridgeEstimator,
    )
}

VARIANTS = {
    "cosine flow": partial(tsdiff.FlowMatchingEstimator, path="cosine"),
    "VP flow": partial(tsdiff.FlowMatchingEstimator, path="vp"),
    "Lipschitz-optimal flow": partial(tsdiff.FlowMatchingEstimator, path="lipschitz"),
    "transport-coupled flow": partial(tsdiff.FlowMatchingEstimator, coupling="optimal_transport"),
    "Kac flow": partial(tsdiff.FlowMatchingEstimator, path="kac"),
    "uniform flow": partial(tsdiff.FlowMatchingEstimator, path="uniform"),
    "flow from a learned latent": partial(tsdiff.FlowMatchingEstimator, latent="learned"),
    "consistency": tsdiff.ConsistencyEstimator,
    "distilled flow": partial(tsdiff.ConsistencyEstimator, objective="distillation"),
    "moment matching": partial(tsdiff.ConsistencyEstimator, objective="moments"),
    "moment matching, learned latent": partial(
        tsdiff.ConsistencyEstimator, objective="moments", latent="learned"
    ),
    "rectified flow": partial(tsdiff.FlowMatchingEstimator, rectifications=1),
}
"""Other processes, each with its default solver."""
