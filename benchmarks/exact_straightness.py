"""How straight the flows of SGM and VSDM would be without any error of training.

Both point clouds are mixtures whose score is known under any diffusion: Gaussians along the spiral,
uniform cells of the checkerboard. The straightness of the exact probability-flow ODE (Deng et al.
2024, *Variational Schrödinger Diffusion Models*, eq. 38) is then a property of the process alone:
of ``β_max`` and, for VSDM, of its ``λ``. What a trained model misses of it is its own error.

    python benchmarks/exact_straightness.py
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tsdiff.datasets import POINT_CLOUDS
from tsdiff.evaluation import straightness
from tsdiff.processes import VariancePreserving
from tsdiff.random import seeded

STRETCH = {"spiral-8Y": (1.0, 8.0), "checkerboard-6X": (6.0, 1.0)}
# β_max and scaled λ (X, Y): no drift, and where training and the mean-field equation settle.
PROCESSES = {
    "spiral-8Y": {
        "SGM-20": (20.0, (20.0, 20.0)),
        "VSDM-10, λ as trained": (10.0, (5.6, 15.0)),
        "VSDM-10, λ of Gaussian data": (10.0, (5.8, 15.7)),
    },
    "checkerboard-6X": {
        "SGM-20": (20.0, (20.0, 20.0)),
        "VSDM-10, λ as trained": (10.0, (16.0, 7.6)),
    },
}
COMPONENTS, STEPS = 3000, 100


def spiral_score(x: Tensor, a: Tensor, b: Tensor, mean: Tensor, stretch: Tensor) -> Tensor:
    """Of a x_0 + b ε: Gaussians of standard deviation 0.1 along the curve, stretched."""
    share = (torch.arange(COMPONENTS, dtype=x.dtype) + 0.5) / COMPONENTS
    angle = share.sqrt() * 3.0 * math.pi - 0.5 * math.pi
    curve = 0.4 * (angle + math.pi) * torch.stack([angle.cos(), angle.sin()])
    centre, variance = a * (curve.T * stretch - mean), (a * 0.1 * stretch) ** 2 + b**2
    parts = []
    for rows in x.split(500):
        off = rows[:, None] - centre
        weight = torch.softmax(-0.5 * (off**2 / variance).sum(-1), -1)
        parts.append(-(weight[..., None] * off / variance).sum(1))
    return torch.cat(parts)


def checkerboard_score(x: Tensor, a: Tensor, b: Tensor, mean: Tensor, stretch: Tensor) -> Tensor:
    """Of a x_0 + b ε: eight uniform cells of side π, stretched."""
    corners = [(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2]
    low = math.pi * torch.tensor(corners, dtype=x.dtype)
    near = (x[:, None] - a * (low * stretch - mean)) / b
    far = (x[:, None] - a * ((low + math.pi) * stretch - mean)) / b
    # Φ(near) - Φ(far) from the tail that keeps its digits.
    flip = near + far > 0.0
    upper = torch.special.log_ndtr(torch.where(flip, -far, near))
    lower = torch.special.log_ndtr(torch.where(flip, -near, far))
    mass = upper + torch.log1p(-torch.exp((lower - upper).clamp_max(-1e-15)))
    weight = torch.softmax(mass.sum(-1), -1)

    def density(z: Tensor) -> Tensor:
        return torch.exp(-0.5 * z * z - 0.5 * math.log(2.0 * math.pi) - mass)

    return (weight[..., None] * (density(near) - density(far)) / b).sum(1)


SCORES = {"spiral-8Y": spiral_score, "checkerboard-6X": checkerboard_score}


def bend(cloud: str, beta_max: float, scaled: tuple[float, float], points: int) -> np.ndarray:
    """Straightness of both axes."""
    schedule = VariancePreserving(0.1, beta_max, exponent=1.7)
    eigenvalues = torch.tensor(scaled, dtype=torch.float64) / beta_max
    stretch = torch.tensor(STRETCH[cloud], dtype=torch.float64)
    mean = torch.tensor(POINT_CLOUDS[cloud](100_000, seed=1)).mean(0)

    def moments(t: Tensor) -> tuple[Tensor, Tensor]:
        integral = schedule.integrated_rate(t)
        signal = torch.exp(-0.5 * integral * eigenvalues)
        return signal, (-torch.expm1(-integral * eigenvalues) / eigenvalues).sqrt()

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        t = t.clamp_min(1e-4)
        score = SCORES[cloud](x, *moments(t), mean, stretch)
        return -0.5 * schedule.rate(t) * (eigenvalues * x + score)

    times = torch.linspace(1.0, 0.0, STEPS + 1, dtype=torch.float64)
    data = torch.tensor(POINT_CLOUDS[cloud](points, seed=2)) - mean
    signal, noise = moments(times[0])
    x = signal * data + noise * torch.randn(data.shape, dtype=data.dtype, generator=seeded(3))
    ways = [x]
    for t, t_next in pairwise(times):
        h = t_next - t
        slope = velocity(x, t)
        x = x + 0.5 * h * (slope + velocity(x + h * slope, t_next))
        ways.append(x)
    return straightness(torch.stack(ways).numpy(), times.numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=2000)
    arguments = parser.parse_args()
    print("| cloud | process | scaled λ X / Y | straightness X / Y | against SGM-20 |")
    print("|---|---|--:|--:|--:|")
    for cloud, processes in PROCESSES.items():
        base = None
        for name, (beta_max, scaled) in processes.items():
            bends = bend(cloud, beta_max, scaled, arguments.points)
            base = bends if base is None else base
            change = " / ".join(f"{100.0 * c:+.1f} %" for c in bends / base - 1.0)
            print(
                f"| {cloud} | {name} | {scaled[0]:g} / {scaled[1]:g} | "
                f"{bends[0]:.1f} / {bends[1]:.1f} | {change} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
