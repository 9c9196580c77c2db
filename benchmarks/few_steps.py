"""One, two and four network evaluations: few-step models beside the flow that they shorten.

Four modes in the plane, of unequal masses and with a bend in each, far from any Gaussian. All have
the same network, batches and number of updates; a student's come on top of its teacher's. Energy
distance to the truth; what a fresh sample of the data scores is its Monte-Carlo error.

    python benchmarks/few_steps.py --seeds 3 --output few_steps
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tsdiff.decoders import Consistency, FlowMatching, MomentMatching, RectifiedFlow
from tsdiff.decoders.base import AffineDecoder
from tsdiff.decoders.clouds import fit_points, sample_points
from tsdiff.evaluation import energy_distance
from tsdiff.networks import ResidualMLP

STEPS = (1, 2, 4)
TRAINED, DRAWN, SHOWN = 20_000, 5_000, 2_000
CENTRES = np.array([[-2.0, -2.0], [2.0, -1.5], [-1.5, 2.0], [2.5, 2.5]])
MASSES = np.array([0.4, 0.3, 0.2, 0.1])


def crescents(num_points: int, seed: int) -> np.ndarray:
    """Four bent modes, ``[N, 2]``."""
    rng = np.random.default_rng(seed)
    along = 0.5 * rng.standard_normal(num_points)
    across = 0.12 * rng.standard_normal(num_points)
    bent = np.stack([along, across + 0.8 * along**2 - 0.2], axis=1)
    return CENTRES[rng.choice(4, num_points, p=MASSES)] + bent


def network(seed: int) -> ResidualMLP:
    torch.manual_seed(seed)
    return ResidualMLP(2, 1, width=64, num_blocks=3)


def models(points: torch.Tensor, seed: int, updates: int) -> dict[str, tuple[AffineDecoder, float]]:
    """Trained models by their names in the table, and the seconds that each took by itself."""
    trained: dict[str, tuple[AffineDecoder, float]] = {}

    def add(name: str, make: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        decoder = fit_points(
            make(), points, num_updates=updates, batch_size=256, learning_rate=1e-3, seed=seed
        )
        trained[name] = (decoder, time.perf_counter() - began)
        return decoder

    flow = add("flow matching", lambda: FlowMatching(network(seed), 2))
    add("rectified flow", lambda: RectifiedFlow(flow))
    add("distilled flow", lambda: Consistency.student(flow))
    add("consistency training", lambda: Consistency(network(seed), 2))
    # No contexts: all particles of a batch are of one.
    whole: dict[str, Any] = {"particles": 256}
    add("moment matching", lambda: MomentMatching(network(seed), 2, **whole))
    whole["latent"] = "learned"
    add("moment matching, learned latent", lambda: MomentMatching(network(seed), 2, **whole))
    return trained


def samplers(name: str) -> dict[str, str]:
    """Names of rows, and the solvers that they are drawn by."""
    if name == "flow matching":
        return {f"{name}, Euler": "euler", f"{name}, exponential Adams": "exponential_adams"}
    return {name: "euler" if name == "rectified flow" else "consistency"}


def run(seed: int, updates: int) -> tuple[dict[str, list[float]], dict[str, list]]:
    """Energy distances of every row, the seconds of training last; and points to be drawn."""
    points = torch.tensor(crescents(TRAINED, 100 + seed), dtype=torch.float32)
    truth = crescents(DRAWN, 1000 + seed)
    floor = energy_distance(crescents(DRAWN, 2000 + seed), truth)
    scores, pictures = {"fresh data": [floor] * len(STEPS) + [0.0]}, {"data": truth[:SHOWN]}
    for name, (decoder, seconds) in models(points, seed, updates).items():
        for row, solver in samplers(name).items():
            scores[row] = []
            for steps in STEPS:
                drawn = sample_points(decoder, DRAWN, seed=seed, solver=solver, num_steps=steps)
                drawn = drawn.double().numpy()
                scores[row].append(energy_distance(drawn, truth))
                pictures[f"{row}: {steps}"] = drawn[:SHOWN]
            scores[row].append(seconds)
    return scores, pictures


def table(results: list[dict[str, list[float]]]) -> str:
    lines = [
        "| | " + " | ".join(map(str, STEPS)) + " | training |",
        "|---|" + "--:|" * (len(STEPS) + 1),
    ]
    for name in results[0]:
        values = np.array([result[name] for result in results])
        mean, std = values.mean(0), values.std(0)
        cells = [f"{m:.4f} ± {s:.4f}" for m, s in zip(mean[:-1], std[:-1], strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {mean[-1]:.0f} s |")
    return "\n".join(lines)


def draw(pictures: dict[str, np.ndarray], path: Path) -> None:
    """The data, the flow by one and two steps, and one evaluation of every few-step model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {
        "data": "data",
        "flow, Euler, 1": "flow matching, Euler: 1",
        "flow, Euler, 2": "flow matching, Euler: 2",
        "rectified flow, 1": "rectified flow: 1",
        "distilled flow, 1": "distilled flow: 1",
        "consistency training, 1": "consistency training: 1",
        "consistency training, 2": "consistency training: 2",
        "moment matching, 1": "moment matching: 1",
    }
    figure, panels = plt.subplots(2, 4, figsize=(9, 4.8), sharex=True, sharey=True)
    for panel, (title, key) in zip(panels.flat, shown.items(), strict=True):
        panel.scatter(*pictures[key].T, s=0.6, linewidths=0, color="0.3" if key == "data" else "C0")
        panel.set_title(title, fontsize=9)
        panel.set(xlim=(-4.5, 4.5), ylim=(-4.0, 5.0), xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("few_steps"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    results = []
    for seed in range(arguments.seeds):
        scores, pictures = run(seed, arguments.updates)
        results.append(scores)
        if seed == 0:
            draw(pictures, arguments.output / "few-steps.png")
    (arguments.output / "results.json").write_text(json.dumps(results))
    print(table(results))


if __name__ == "__main__":
    main()
