"""Iterative proportional fitting beside the Schrödinger bridge between Gaussians, in closed form.

Data N(μ, S) with μ = [-8, 2] and S = [[1, 1], [1, 5]] (Deng et al. 2024, sec. 7.1), source N(0, I)
and reference dx = -½ β x dt + √β dw with β ≡ 1: so little noise that the reference, started at the
data, misses the source by far, and fitting takes several iterations. After each of them samples are
drawn from the source by the backward half's transitions. Means and covariances on their way, at 20
times, and the covariance of its two ends, are compared with the closed form: root mean square
errors over the root mean square of what is to be found. Exact fitting, without networks, is drawn
beside them.

    python benchmarks/schrodinger_bridge.py --seeds 3 --output schrodinger_bridge
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsdiff.decoders import SchrodingerBridge
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.clouds import fit_points, trajectories
from tsdiff.networks import ResidualMLP
from tsdiff.processes import GaussianBridge, OrnsteinUhlenbeck, VariancePreserving
from tsdiff.processes.bridge import fitted

MEAN = torch.tensor([-8.0, 2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 1.0], [1.0, 5.0]], dtype=torch.float64)
SCHEDULE = VariancePreserving(1.0, 1.0)
STEPS = 40
TIMES = torch.linspace(0.0, 0.95, 20, dtype=torch.float64)
MEASURES = ("means", "covariances", "coupling")
BRIDGE = GaussianBridge(MEAN, COVARIANCE, SCHEDULE)


def make(method: str, stage: int, iterations: int, path_steps: int) -> SchrodingerBridge:
    # Raw axes: the process carries the mean as well.
    return SchrodingerBridge(
        ResidualMLP(2, 1, width=64, num_blocks=3),
        2,
        schedule=SCHEDULE,
        method=method,
        warm_up=stage,
        stage=stage,
        num_stages=iterations,
        path_steps=path_steps,
        grid="uniform",
        axes=Axes("raw", 2),
    )


def errors(mean: Tensor, covariance: Tensor, coupling: Tensor) -> list[float]:
    """Relative errors of means ``[20, 2]``, covariances ``[20, 2, 2]`` and ``Cov(x_0, x_1)``."""
    truths = (BRIDGE.mean(TIMES), BRIDGE.covariance(TIMES), BRIDGE.coupling)
    pairs = zip((mean, covariance, coupling), truths, strict=True)
    return [float((found - truth).norm() / truth.norm()) for found, truth in pairs]


def of_ways(states: Tensor) -> list[float]:
    """Errors of trajectories ``[STEPS + 1, N, 2]``, which fall from t = 1."""
    x = states.double().flip(0)
    at = x[: -STEPS // 20 : STEPS // 20]
    inside = at - at.mean(1, keepdim=True)
    joint = torch.cov(torch.cat([x[0], x[-1]], dim=-1).T)
    return errors(at.mean(1), inside.mT @ inside / inside.shape[1], joint[:2, 2:])


def of_decoder(decoder: SchrodingerBridge, points: int, seed: int, solver: str) -> list[float]:
    sampler = {"solver": solver, "num_steps": STEPS, "grid": "uniform"}
    return of_ways(trajectories(decoder, points, seed=seed, **sampler)[0])


def exact(iterations: int) -> list[list[float]]:
    """Errors of exact fitting, after each iteration, simulated backward from the source."""
    values, basis = torch.linalg.eigh(COVARIANCE)
    process, rows = OrnsteinUhlenbeck(SCHEDULE), []
    for iteration in range(iterations + 1):
        law = fitted(process, MEAN @ basis, values, 2 * iteration + 1)
        mean, variance = law.at(process, TIMES.unsqueeze(-1))
        spread = basis * variance.unsqueeze(-2) @ basis.T
        rows.append(errors(mean @ basis.T, spread, basis * law.cross @ basis.T))
    return rows


def train(method: str, seed: int, arguments: argparse.Namespace) -> dict:
    """Errors after every iteration, of the averaged weights in the end, and of the flow."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(100_000, 2, generator=generator, dtype=torch.float64)
    points = (MEAN + noise @ torch.linalg.cholesky(COVARIANCE).T).float()
    torch.manual_seed(seed)
    stage, iterations = arguments.stage, arguments.iterations
    decoder = make(method, stage, iterations, arguments.path_steps)
    rows: list[list[float]] = []
    measuring = 0.0

    def watch(update: int, decoder: SchrodingerBridge) -> None:
        nonlocal measuring
        began = time.perf_counter()
        if decoder.half_bridge % 2:
            rows.append(of_decoder(decoder, arguments.points, seed, "analytic"))
        measuring += time.perf_counter() - began

    began = time.perf_counter()
    updates = stage * (2 * iterations + 1)
    fit_points(
        decoder, points, num_updates=updates, batch_size=arguments.batch, seed=seed, watch=watch
    )
    seconds = time.perf_counter() - began - measuring
    rows.append(of_decoder(decoder, arguments.points, seed, "analytic"))
    flow = of_decoder(decoder, arguments.points, seed, "heun")
    return {"method": method, "seed": seed, "seconds": seconds, "errors": rows, "flow": flow}


def table(runs: list[dict], ideal: list[list[float]]) -> str:
    lines = ["| fitting | seed | iteration | means | covariances | coupling | training |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")

    def line(name: str, seed: object, iteration: object, values: list[float], took: str) -> None:
        cells = " | ".join([f"{value:.4f}" for value in values] + [""] * (3 - len(values)))
        lines.append(f"| {name} | {seed} | {iteration} | {cells} | {took} |")

    for iteration, values in enumerate(ideal):
        line("exact", "", iteration, values, "")
    for run in runs:
        took = f"{run['seconds']:.0f} s"
        for iteration, values in enumerate(run["errors"]):
            line(run["method"], run["seed"], iteration, values, took)
        # Its ends are joined by a map: marginals alone are the bridge's.
        last = len(run["errors"]) - 1
        line(f"{run['method']}, flow", run["seed"], last, run["flow"][:2], took)
    return "\n".join(lines)


def draw(runs: list[dict], ideal: list[list[float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True)
    colors = {"endpoints": "tab:blue", "trajectories": "tab:orange"}
    for place, (panel, name) in enumerate(zip(panels, MEASURES, strict=True)):
        for run in runs:
            values = np.array(run["errors"])[:, place]
            label = run["method"] if run["seed"] == runs[0]["seed"] else None
            panel.semilogy(values, "o-", color=colors[run["method"]], markersize=3, label=label)
        panel.semilogy(np.array(ideal)[:, place], "k--", linewidth=1, label="exact fitting")
        panel.axhline(0.05, color="0.8", linewidth=0.8, zorder=0)
        panel.set(title=name, xlabel="iteration")
    panels[0].set_ylabel("relative error")
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=["endpoints"])
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--stage", type=int, default=400, help="updates of a half")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--path-steps", type=int, default=16)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=Path("schrodinger_bridge"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    ideal, runs = exact(arguments.iterations), []
    for method in arguments.methods:
        for seed in range(arguments.seeds):
            runs.append(train(method, seed, arguments))
            (arguments.output / "runs.json").write_text(json.dumps([ideal, runs]))
            print(method, seed, [f"{value:.4f}" for value in runs[-1]["errors"][-1]], flush=True)
    text = table(runs, ideal)
    print(text)
    (arguments.output / "table.md").write_text(text + "\n", encoding="utf-8")
    draw(runs, ideal, arguments.output / "ipf.png")


if __name__ == "__main__":
    main()
