"""Negative log-likelihoods of trained models beside the random walk's, and a density in a picture.

python benchmarks/likelihood.py exchange_rate --picture docs/images/likelihood.png
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import tsdiff
from tsdiff.decoders import FlowMatching, ScoreSDE
from tsdiff.decoders.clouds import empty_context, fit_points
from tsdiff.evaluation import RandomWalk, negative_log_likelihood
from tsdiff.networks import ResidualMLP

MODELS = (tsdiff.FlowMatchingEstimator, tsdiff.ScoreEstimator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=256, help="times per step for the bound")
    parser.add_argument("--picture")
    arguments = parser.parse_args()

    data = tsdiff.get_dataset(arguments.dataset)
    horizon = data.metadata.prediction_length
    walk = RandomWalk(horizon)
    baseline = window_means(walk, data.test)
    print("| forecast | nats per value | less the random walk's |\n|---|--:|--:|")
    print(f"| random walk | {negative_log_likelihood(walk, data.test)} | |", flush=True)
    for kind in MODELS:
        predictor = kind(prediction_length=horizon, seed=arguments.seed).fit(
            data.train, progress=False
        )
        methods = {"ODE": {}, "ELBO": {"method": "elbo", "num_draws": arguments.draws}}
        for method, options in methods.items():
            report(f"{predictor.name}, {method}", predictor, data.test, options, baseline)
        # Zero is the Gaussian of the coordinates: what is left is theirs.
        with torch.no_grad():
            for parameter in predictor.model.decoder.network.outlet.parameters():
                parameter.zero_()
        report(f"{predictor.name}, network set to zero", predictor, data.test, {}, baseline)
    if arguments.picture:
        draw(arguments.picture)


def report(name: str, predictor, test, options: dict, baseline: np.ndarray) -> None:
    """One row of the table."""
    gain = window_means(predictor, test, **options) - baseline
    error = gain.std(ddof=1) / len(gain) ** 0.5
    score = negative_log_likelihood(predictor, test, **options)
    print(f"| {name} | {score} | {gain.mean():.3f} ± {error:.3f} |", flush=True)


def window_means(predictor, test, **options) -> np.ndarray:
    """Negative log-likelihood per value of each window, ``[W]``."""
    dims = len(test[0]["target"])
    return -np.nanmean(predictor.log_prob(test, **options), axis=1) / dims


def draw(path: str) -> None:
    """Densities of a law of two modes, learned from 20,000 points, with the bound's mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    law = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.7, 0.3])),
        torch.distributions.Normal(torch.tensor([-1.0, 1.5]), torch.tensor([0.5, 0.25])),
    )
    torch.manual_seed(0)
    points, x = law.sample((20_000, 1)), torch.linspace(-3.0, 3.0, 241)
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 2.8), sharey=True)
    for axis, kind in zip(axes, (FlowMatching, ScoreSDE), strict=True):
        decoder = fit_points(kind(ResidualMLP(1, 1), 1), points, num_updates=2000)
        events = x.view(-1, 1, 1)
        density = decoder.log_prob(events, empty_context(len(x), x)).exp()
        rows = events.repeat_interleave(64, 0)
        bound = decoder.elbo(rows, empty_context(len(rows), x)).view(-1, 64).mean(1).exp()
        axis.fill_between(x, law.log_prob(x).exp(), color="0.85", label="truth")
        axis.plot(x, density, label="ODE")
        axis.plot(x, bound, ":", label="exp(mean ELBO)")
        axis.set_title(kind.__name__, fontsize=10)
        mass = 6.0 / 240.0 * density.sum().item()
        print(f"{kind.__name__}: mass {mass:.4f} on [-3, 3]")
    axes[0].set_ylim(0.0, 0.8)
    axes[0].legend(frameon=False, fontsize=8, loc="upper right", ncol=3)
    figure.savefig(path, dpi=90, bbox_inches="tight")


if __name__ == "__main__":
    main()
