"""Guided forecasts of a random walk beside the exact conditionals, and a picture of them.

The model is a random walk with Gaussian increments, exactly: an untrained flow in whitened
coordinates. Whatever is known of its future, its law is then a Gaussian in closed form. Errors of
means are in standard deviations of the walk, those of covariances relative (Frobenius norm).

    python benchmarks/guidance.py --samples 20000 --output guidance
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import tsdiff
from tsdiff.datasets import as_entries
from tsdiff.guidance import Bounds, Energy, Guidance, Observed, QuantileTarget, Total
from tsdiff.transforms import forecast_windows, load_series

HORIZON, DIMS, CHUNK = 12, 3, 1000


def walk() -> tuple[tsdiff.GenerativePredictor, dict, np.ndarray, np.ndarray]:
    """The model, its history, and mean ``[T · D]`` and covariance of what follows."""
    rng = np.random.default_rng(0)
    target = 10.0 + rng.standard_normal((DIMS, 400)).cumsum(axis=1)
    history = {"target": target, "start": pd.Period("2024-01-01", "D")}
    estimator = tsdiff.FlowMatchingEstimator(
        prediction_length=HORIZON,
        context_length=24,
        lags=(1, 2),
        scaling="whitened",
        linear="none",
        num_validation_windows=0,
        max_epochs=1,
        num_batches_per_epoch=1,
    )
    predictor = estimator.fit([history], progress=False)
    decoder = predictor.model.decoder
    decoder.set_data_moments(torch.zeros(DIMS), torch.diag(decoder.axes.unit.square()))
    with torch.no_grad():
        for parameter in decoder.network.parameters():
            parameter.zero_()
    series = load_series(as_entries([history]), "D", HORIZON)
    model = predictor.model
    window = model.informed(forecast_windows(series, model.history_length, HORIZON))
    root = model.frame(window).matrix()[0] * decoder.axes.unit.double()
    order = np.arange(1, HORIZON + 1)
    covariance = np.kron(np.minimum.outer(order, order), (root @ root.T).numpy())
    return predictor, history, np.tile(target[:, -1], HORIZON), covariance


def studies(last: np.ndarray) -> dict[str, tuple]:
    """What is known: guidance, its matrix, values and errors, and particles."""
    path = last[0] + np.linspace(0.5, 4.0, HORIZON)
    one = np.full((HORIZON, DIMS), np.nan)
    one[:, 0] = path
    end = np.full((HORIZON, DIMS), np.nan)
    end[-1] = last + 3.0
    totals = last.sum() + 6.0 * np.sin(np.arange(HORIZON) / 2)
    point = np.tile(last + 1.0, (HORIZON, 1))
    each = np.eye(HORIZON * DIMS)
    goal = torch.tensor(last + 1.0)

    def energy(values: torch.Tensor, step: int) -> torch.Tensor:
        return 0.5 * ((values - goal) / 2.0).square().sum(-1)

    sums = np.kron(np.eye(HORIZON), np.ones((1, DIMS)))
    return {
        "one dimension": (Observed(one), each[::DIMS], path, 0.0, 1),
        "the last step": (Observed(end), each[-DIMS:], last + 3.0, 0.0, 16),
        "totals": (Total(totals), sums, totals, 0.0, 1),
        "a point forecast, std 2": (Observed(point, std=2.0), each, point.ravel(), 2.0, 16),
        "a quadratic energy": (Energy(energy), each, point.ravel(), 2.0, 16),
    }


def drawn(predictor, history, guidance, count: int, num_steps: int | None) -> np.ndarray:
    """``[count, T, D]``."""
    parts = [
        next(
            iter(
                predictor.predict(
                    [history],
                    num_samples=CHUNK,
                    guidance=guidance,
                    seed=seed,
                    num_steps=num_steps,
                )
            )
        ).samples
        for seed in range(count // CHUNK)
    ]
    return np.concatenate(parts)


def draw(predictor, history, last: np.ndarray, path: Path) -> None:
    """Fans of one dimension, or of the sum, under six kinds of knowledge."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    known = np.full((HORIZON, DIMS), np.nan)
    known[[5, 11], 0] = last[0] + np.array([4.0, -1.0])
    bounds = Bounds(lower=last - 0.5)
    wanted = last[0] + np.array([-1.0, 0.0, 5.0])
    totals = last.sum() + 6.0 * np.sin(np.arange(HORIZON) / 2)
    panels = {
        "nothing": None,
        "two values": Guidance(Observed(known), 16),
        "a lower bound": Guidance(bounds, 16),
        "a point forecast": Guidance(Observed(np.tile(last + 3.0, (HORIZON, 1)), std=1.0), 16),
        "quantiles 10, 50, 90 %": Guidance(
            QuantileTarget([0.1, 0.5, 0.9], np.tile(wanted, (HORIZON, 1)), {"0": 1.0}), 16
        ),
        "the total": Guidance(Total(totals), 4),
    }
    steps = np.arange(1, HORIZON + 1)
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex=True)
    for panel, (title, guidance) in zip(axes.flat, panels.items(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples = drawn(predictor, history, guidance, CHUNK, None)[..., 0]
        for level, shade in ((0.98, 0.15), (0.8, 0.3), (0.5, 0.5)):
            low, high = np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2], axis=0)
            panel.fill_between(steps, low, high, color="tab:blue", alpha=shade, linewidth=0)
        panel.plot(steps, samples[:8].T, color="0.2", linewidth=0.5)
        panel.set_title(title, fontsize=10)
        if title == "two values":
            panel.plot([6, 12], known[[5, 11], 0], "o", color="tab:red")
        if title == "a lower bound":
            panel.axhline(last[0] - 0.5, color="tab:red", linewidth=1)
        if title == "a point forecast":
            panel.axhline(last[0] + 3.0, color="tab:red", linewidth=1)
    for panel in axes[1]:
        panel.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--output", type=Path, default=Path("guidance"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    predictor, history, mean, covariance = walk()
    last, std = history["target"][:, -1], np.sqrt(np.diag(covariance))
    print("| known | particles | means | covariance | exact samples | samples off |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (condition, matrix, values, noise, particles) in studies(last).items():
        total = matrix @ covariance @ matrix.T + noise**2 * np.eye(len(matrix))
        gain = covariance @ matrix.T @ np.linalg.inv(total)
        expected = mean + gain @ (values - matrix @ mean)
        left = covariance - gain @ matrix @ covariance
        guidance = Guidance(condition, particles)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples = drawn(predictor, history, guidance, arguments.samples, None)
        flat = samples.reshape(len(samples), -1)
        exact = np.random.default_rng(1).multivariate_normal(expected, left, len(flat))
        cells = []
        for cloud in (flat, exact):
            off = np.abs((cloud.mean(0) - expected) / std).max()
            spread = np.linalg.norm(np.cov(cloud.T) - left) / np.linalg.norm(left)
            cells.append((off, spread))
        missed = "–" if noise else f"{np.abs(flat @ matrix.T - values).max():.0e}"
        print(
            f"| {name} | {particles} | {cells[0][0]:.3f} | {cells[0][1]:.3f} | "
            f"{cells[1][0]:.3f}, {cells[1][1]:.3f} | {missed} |",
            flush=True,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bounds = Bounds(lower=last - 0.5)
        samples = drawn(predictor, history, bounds, min(5000, arguments.samples), None)
    print(f"\nsamples beyond a bound: {(samples < last - 0.5).sum()} of {samples.size}")
    draw(predictor, history, last, arguments.output / "guidance.png")


if __name__ == "__main__":
    main()
