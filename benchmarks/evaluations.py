"""How many network evaluations a forecast needs: known-law regret, solver by solver.

Models are trained once per seed on a seasonal vector autoregression, and then sampled with the same
noise at every budget. A solver of several evaluations per step takes as many steps as the budget
holds; the evaluation that VSDM's source costs is counted.

    python benchmarks/evaluations.py --seeds 2 --output evaluations
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from models import MODELS
from regret import true_score

import tsdiff
from tsdiff.solvers import SOLVERS

BUDGETS = (1, 2, 4, 8, 16, 32, 100)
# Each with the grid that suits it: the angle of a rotation is even in uniform t, λ in its own.
SAMPLERS = {
    "Heun": ("heun", "quadratic"),
    "DPM-Solver++ (2M)": ("dpm++2m", "log_snr"),
    "exponential Adams": ("exponential_adams", "uniform"),
    "exponential Heun": ("exponential_heun", "uniform"),
}
SHOWN = ("flow matching", "DDPM", "VSDM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--budgets", nargs="*", type=int, default=list(BUDGETS))
    parser.add_argument("--models", nargs="*", default=list(SHOWN), choices=list(MODELS))
    parser.add_argument("--output", type=Path, default=Path("evaluations"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    data = tsdiff.get_dataset("seasonal_var")
    horizon, law = data.metadata.prediction_length, true_score(data)
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for name in arguments.models:
        for seed in range(arguments.seeds):
            model = MODELS[name](prediction_length=horizon, seed=seed)
            predictor = model.fit(data.train, progress=False)
            for label, (solver, grid) in SAMPLERS.items():
                curve = found.setdefault((name, label), {})
                for budget in arguments.budgets:
                    steps = (budget - (name == "VSDM")) // SOLVERS[solver].evaluations
                    if steps == 0:
                        continue
                    result = tsdiff.evaluate(
                        predictor,
                        data.test,
                        num_samples=arguments.samples,
                        seed=seed,
                        solver=solver,
                        num_steps=steps,
                        grid=grid,
                    )
                    regret = result["crps_sum_fair"].value / law
                    curve.setdefault(budget, []).append(regret)
                    print(f"{name}, seed {seed}, {label}, {budget}: {regret:.4f}", flush=True)
    text = table(found, arguments.budgets)
    print(text)
    (arguments.output / "table.md").write_text(text + "\n", encoding="utf-8")
    draw(found, arguments.models, arguments.output / "evaluations.png")


def table(found: dict[tuple[str, str], dict[int, list[float]]], budgets: list[int]) -> str:
    """Mean regret over seeds, a column for each budget."""
    lines = [
        "| model | solver | " + " | ".join(map(str, budgets)) + " |",
        "|---|---|" + "--:|" * len(budgets),
    ]
    for (name, label), curve in found.items():
        cells = [f"{np.mean(curve[b]):.3f}" if b in curve else "–" for b in budgets]
        lines.append(f"| {name} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(
    found: dict[tuple[str, str], dict[int, list[float]]], models: list[str], path: Path
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(models), figsize=(4.2 * len(models), 3.6), sharey=True, squeeze=False
    )
    for panel, model in zip(panels[0], models, strict=True):
        for (name, label), curve in found.items():
            if name == model:
                panel.plot(list(curve), [np.mean(v) for v in curve.values()], "o-", label=label)
        panel.set(
            title=model, xlabel="network evaluations per step", xscale="log", ylim=(0.98, 1.3)
        )
        panel.axhline(1.0, color="0.7", linewidth=0.8)
    panels[0][0].set_ylabel("CRPS-sum over that of the true law")
    panels[0][-1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
