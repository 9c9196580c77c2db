"""VSDM and SGM beside the Schrödinger bridge between Gaussians: figure 1 of the paper.

Deng et al. (2024), *Variational Schrödinger Diffusion Models*, sec. 7.1: data N(μ, S) with
μ = [-8, 2] and S = [[1, 1], [1, 5]], reference dX = -2 X dt + 2 dw, prior N(0, I). VSDM has ζ = 1
and a drift that is free in time; SGM is the same with A = 0. Means and covariances at 20 times, of
samples of the probability-flow ODE and of the forward process with the learned drift, are compared
with the closed form.

    python benchmarks/gaussian_bridge.py --seeds 3 --output gaussian_bridge
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from tsdiff.decoders import VSDM
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.clouds import fit_points, trajectories
from tsdiff.networks import ResidualMLP
from tsdiff.processes import GaussianBridge, VariancePreserving

MEAN = torch.tensor([-8.0, 2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 1.0], [1.0, 5.0]], dtype=torch.float64)
STEPS, SHOWN, CHUNK = 40, 60, 20_000
TIMES = torch.linspace(0.05, 1.0, 20, dtype=torch.float64)


def make(name: str) -> VSDM:
    schedule = VariancePreserving(4.0, 4.0)
    network = ResidualMLP(2, 1, width=64, num_blocks=3)
    return VSDM(
        network,
        2,
        schedule=schedule,
        zeta=1.0,
        cells=20,
        offset=True,
        about="origin",
        # Falling steps: with ζ = 1 nothing pulls an error of a stage's scores back.
        step_size=1.0,
        step_decay=0.75,
        averaging="polyak",
        stage=250,
        num_stages=0 if name == "SGM" else 18,
        num_paths=1000,
        path_steps=40,
        source="matched",
        axes=Axes("principal", 2, rescale=False),
    )


def errors(mean: torch.Tensor, covariance: torch.Tensor, bridge: GaussianBridge) -> list[float]:
    """Root mean square error over 20 times, of means ``[20, 2]`` and covariances ``[20, 2, 2]``."""
    off_mean, off = mean - bridge.mean(TIMES), covariance - bridge.covariance(TIMES)
    return [
        float(off_mean.square().sum(-1).mean().sqrt()),
        float(off.square().sum((-2, -1)).mean().sqrt()),
    ]


def of_samples(chunks: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and covariances of trajectories ``[STEPS + 1, N, 2]``, which fall from t = 1."""
    count, first, second = 0, torch.zeros(()), torch.zeros(())
    for states in chunks:
        # Counted from the data's mean, so that nothing cancels.
        x = states.double().flip(0)[STEPS // 20 :: STEPS // 20] - MEAN
        count, first, second = count + x.shape[1], first + x.sum(1), second + x.mT @ x
    mean = first / count
    return mean + MEAN, second / count - mean.unsqueeze(-1) * mean.unsqueeze(-2)


def sampled(decoder: VSDM, points: int, seed: int) -> Iterator[torch.Tensor]:
    """Trajectories of the probability-flow ODE, a cache's worth at a time.

    By a solver that is exact for Gaussian scores: Heun's method adds 0.01 to covariances' errors.
    """
    for chunk in range(points // CHUNK):
        where = {"solver": "exponential_heun", "num_steps": STEPS, "grid": "uniform"}
        yield trajectories(decoder, CHUNK, seed=1000 * seed + chunk, **where)[0]


@torch.no_grad()
def of_process(decoder: VSDM) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and covariances that the forward process with the learned drift has, exactly."""
    t = TIMES.view(-1, 1, 1)
    k, axes = decoder.path.coefficients(t), decoder.axes
    mean = decoder.restore(torch.zeros(20, 1, 2, dtype=torch.float64), t)[:, 0]
    along = axes.moments()[1]
    spread = k.a.expand(20, 1, 2) * k.a.expand(20, 1, 2).mT * along
    spread = spread + torch.diag_embed(k.b.expand(20, 1, 2)[:, 0] ** 2)
    return mean, axes.across(axes.across(spread).mT)


def draw(ways: dict[str, np.ndarray], path: Path) -> None:
    """The plane, with the ways that points take: the paper's figure 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(ways), figsize=(4.2 * len(ways), 4), sharex=True, sharey=True
    )
    for panel, (name, states) in zip(panels, ways.items(), strict=True):
        panel.plot(*states[:, :SHOWN].transpose(2, 0, 1), color="0.6", linewidth=0.7)
        panel.scatter(*states[-1, :SHOWN].T, s=8, color="tab:red", label="t = 0", zorder=3)
        panel.scatter(*states[0, :SHOWN].T, s=8, color="tab:blue", label="t = 1", zorder=3)
        panel.set_title(name)
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=Path("gaussian_bridge"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    bridge = GaussianBridge(MEAN, COVARIANCE, VariancePreserving(4.0, 4.0))
    lines = [
        "| model | seed | means, samples | covariances, samples | means, process | covariances, "
        "process | training |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    pictures: dict[str, np.ndarray] = {}
    for seed in range(arguments.seeds):
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(arguments.points, 2, generator=rng, dtype=torch.float64)
        points = MEAN + noise @ torch.linalg.cholesky(COVARIANCE).T
        for name in ("SGM", "VSDM"):
            torch.manual_seed(seed)
            decoder, began = make(name), time.perf_counter()
            fit_points(
                decoder,
                points.float(),
                num_updates=arguments.updates,
                batch_size=1024,
                learning_rate=5e-4,
                seed=seed,
            )
            took = time.perf_counter() - began
            pictures.setdefault(name, next(sampled(decoder, CHUNK, seed)).double().numpy())
            found = errors(*of_samples(sampled(decoder, arguments.points, seed)), bridge)
            found += errors(*of_process(decoder), bridge)
            cells = " | ".join(f"{value:.4f}" for value in found)
            lines.append(f"| {name} | {seed} | {cells} | {took:.0f} s |")
            print(lines[-1], flush=True)
        if seed == 0:
            t = torch.linspace(1.0, 0.0, STEPS + 1, dtype=torch.float64)
            pictures = {"closed form": bridge.trajectory(points[:SHOWN], t).numpy(), **pictures}
            ways = (bridge.trajectory(chunk, t) for chunk in points.split(CHUNK))
            found = errors(*of_samples(ways), bridge)
            cells = " | ".join(f"{value:.4f}" for value in found)
            lines.append(f"| closed form, as many samples | {seed} | {cells} | | | |")
    text = "\n".join(lines)
    print(text)
    (arguments.output / "table.md").write_text(text + "\n", encoding="utf-8")
    draw(pictures, arguments.output / "trajectories.png")


if __name__ == "__main__":
    main()
