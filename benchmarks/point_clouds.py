"""SGM, VSDM and SB on two stretched point clouds: figures 2, 3, 7 to 11 and table 4 of the paper.

Deng et al. (2024), *Variational Schrödinger Diffusion Models*, sec. 7.2 and app. D.2. All models
have the same network, number of updates, batches and seeds; ``-10`` names ``β_max``, and
``β_t = 0.1 + t^1.7 (β_max - 0.1)`` for all. VSDM has ``ζ = 0.75``. Events are taken in their own
units.

SB is the Schrödinger bridge of the same reference, by iterative proportional fitting. The number of
updates is for both its networks together, so that each is trained less than that of another model;
updates of it also simulate, which shows in the time. It starts from N(0, I), where SGM and VSDM
start from the law that x_1 has. An evaluation of its flow (ODE) takes both networks, one of its
equation backward in time (SDE) takes one: at the same number, its flow costs twice as much.

    python benchmarks/point_clouds.py --seeds 3 --jobs 2 --output point_clouds
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from tsdiff.datasets import POINT_CLOUDS
from tsdiff.decoders import VSDM, AffineDecoder, SchrodingerBridge, ScoreSDE
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.clouds import fit_points, sample_points, trajectories
from tsdiff.evaluation import energy_distance, straightness, two_sample_accuracy
from tsdiff.networks import ResidualMLP
from tsdiff.processes import VariancePreserving

MODELS = ("SGM-10", "SGM-20", "SGM-30", "VSDM-10", "VSDM-20", "SB-10")
STAGES, ITERATIONS = 40, 6
# Evaluations, and how they are spent: a hundred on the reverse SDE and on the ODE, as in the
# paper's figures 2 and 3; a few on the ODE with uniform steps, as in figures 10 and 11.
SAMPLERS = {
    "SDE 100": {"solver": "analytic", "num_steps": 100, "grid": "uniform"},
    "ODE 100": {"solver": "heun", "num_steps": 50, "grid": "uniform"},
    "ODE 8": {"solver": "heun", "num_steps": 4, "grid": "uniform"},
    "ODE 6": {"solver": "heun", "num_steps": 3, "grid": "uniform"},
}
SHOWN = 2000


def make(model: str, updates: int, published: bool) -> AffineDecoder:
    """An untrained model by its name in the tables."""
    kind, beta_max = model.split("-")
    schedule = VariancePreserving(0.1, float(beta_max), exponent=1.7)
    options = {"axes": Axes("common", 2, rescale=False), "grid": "uniform"}
    if published:
        options |= {"axes": "raw", "preconditioned": False, "source": "noise"}
    network = ResidualMLP(2, 1, width=64, num_blocks=3)
    if kind == "SGM":
        return ScoreSDE(network, 2, path=schedule, **options)
    if kind == "SB":
        # The first half is twice as long as the others.
        stage = updates // (2 * ITERATIONS + 2)
        options.pop("source", None)
        return SchrodingerBridge(
            network,
            2,
            schedule=schedule,
            warm_up=2 * stage,
            stage=stage,
            num_stages=ITERATIONS,
            **options,
        )
    return VSDM(
        network,
        2,
        schedule=schedule,
        zeta=0.75,
        about="origin" if published else "mean",  # raw axes are not centred
        stage=updates // (3 * STAGES),
        num_stages=STAGES,
        step_size=1.0,
        num_paths=2000,
        path_steps=16,
        **options,
    )


def run(cloud: str, model: str, seed: int, updates: int, published: bool) -> dict:
    """Train one model; scores, scaled λ over stages, and what the pictures need."""
    torch.set_num_threads(1)
    points = torch.tensor(POINT_CLOUDS[cloud](20_000, seed=100 + seed), dtype=torch.float32)
    truth = POINT_CLOUDS[cloud](10_000, seed=1000 + seed)
    torch.manual_seed(seed)
    decoder = make(model, updates, published)
    stages: list[list[float]] = []

    def watch(update: int, decoder: AffineDecoder) -> None:
        if isinstance(decoder, VSDM):
            stages.append(decoder.scaled_eigenvalues[0].tolist())

    began = time.perf_counter()
    fit_points(decoder, points, num_updates=updates, seed=seed, watch=watch)
    row = {"cloud": cloud, "model": model, "seed": seed, "seconds": time.perf_counter() - began}
    row["lambda"] = stages[:STAGES]
    for name, sampler in SAMPLERS.items():
        drawn = array(sample_points(decoder, len(truth), seed=seed, **sampler))
        row[name] = [energy_distance(drawn, truth), two_sample_accuracy(drawn, truth, seed=seed)]
        if seed == 0:
            row[f"{name} points"] = drawn[:SHOWN].tolist()
    ways, times = trajectories(decoder, SHOWN, seed=seed, solver="heun", num_steps=100)
    row["straightness"] = straightness(array(ways), array(times)).tolist()
    if seed == 0:
        row["ways"] = array(ways[:, :40]).tolist()
    return row


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.double().numpy()


def table(rows: list[dict], clouds: list[str]) -> str:
    """One Markdown table for both clouds: mean and standard deviation over seeds."""
    lines = [
        "| cloud | model | straightness X / Y | scaled λ X / Y | energy distance: "
        + " | ".join(SAMPLERS)
        + " | two-sample accuracy: "
        + " | ".join(SAMPLERS)
        + " | training |",
        "|---|---|--:|--:|" + "--:|" * (2 * len(SAMPLERS) + 1),
    ]
    for cloud in clouds:
        for model in named(rows):
            mine = [row for row in rows if (row["cloud"], row["model"]) == (cloud, model)]
            straight = np.array([row["straightness"] for row in mine])
            beta_max = model.split("-")[1]
            scaled = f"{beta_max} / {beta_max}" if model.startswith("SGM") else ""
            if mine[0]["lambda"]:
                scaled = pair(np.array([row["lambda"][-1] for row in mine]))
            cells = [cloud, model, pair(straight), scaled]
            for place, digits in ((0, 4), (1, 3)):
                for name in SAMPLERS:
                    values = np.array([row[name][place] for row in mine])
                    cells.append(f"{values.mean():.{digits}f} ± {values.std():.{digits}f}")
            cells.append(f"{np.mean([row['seconds'] for row in mine]):.0f} s")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pair(values: np.ndarray) -> str:
    return " / ".join(
        f"{mean:.1f} ± {std:.1f}" for mean, std in zip(values.mean(0), values.std(0), strict=True)
    )


def draw_samples(rows: list[dict], cloud: str, sampler: str, path: Path) -> None:
    """Samples of every model beside the data: the paper's figures 2, 7, 10 and 11."""
    import matplotlib.pyplot as plt

    models = named(rows)
    figure, panels = plt.subplots(
        1, len(models) + 1, figsize=(2.7 * len(models) + 2.5, 3.4), sharex=True, sharey=True
    )
    truth = POINT_CLOUDS[cloud](SHOWN, seed=1000)
    panels[0].scatter(*truth.T, s=1, color="0.3", linewidths=0)
    panels[0].set_title("data")
    for panel, model in zip(panels[1:], models, strict=True):
        points = np.array(first(rows, cloud, model)[f"{sampler} points"])
        panel.scatter(*points.T, s=1, linewidths=0)
        panel.set_title(f"{model}, {sampler}")
    reach = 1.15 * np.abs(truth).max(0)
    panels[0].set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]))
    save(figure, path)


def draw_ways(rows: list[dict], cloud: str, path: Path) -> None:
    """Coordinates over t along the probability-flow ODE: the paper's figures 3 and 8."""
    import matplotlib.pyplot as plt

    models = named(rows)
    figure, panels = plt.subplots(
        2, len(models), figsize=(3.2 * len(models), 5), sharex=True, sharey="row", squeeze=False
    )
    for column, model in enumerate(models):
        row = first(rows, cloud, model)
        ways = np.array(row["ways"])
        times = np.linspace(1.0, 0.0, len(ways))
        for axis, name in enumerate("XY"):
            panel = panels[axis, column]
            panel.plot(times, ways[..., axis], color="tab:blue", linewidth=0.6, alpha=0.7)
            panel.set_title(f"{model}, {name}: S = {row['straightness'][axis]:.1f}")
    for panel in panels[1]:
        panel.set_xlabel("t")
    save(figure, path)


def draw_lambda(rows: list[dict], clouds: list[str], path: Path) -> None:
    """Scaled λ over stages, every seed: the paper's figure 9."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(clouds), figsize=(10, 3.6), sharey=True)
    for panel, cloud in zip(np.atleast_1d(panels), clouds, strict=True):
        for row in rows:
            if row["cloud"] != cloud or not row["lambda"]:
                continue
            values = np.vstack([[float(row["model"].split("-")[1])] * 2, row["lambda"]])
            style = "-" if row["model"] == "VSDM-10" else "--"
            for axis, color in enumerate(("tab:blue", "tab:red")):
                label = f"{row['model']}, {'XY'[axis]}" if row["seed"] == 0 else None
                panel.plot(values[:, axis], style, color=color, label=label, linewidth=1)
        panel.set(title=cloud, xlabel="stage")
    np.atleast_1d(panels)[0].set_ylabel("β_max · λ")
    np.atleast_1d(panels)[0].legend(fontsize=8)
    save(figure, path)


def named(rows: list[dict]) -> list[str]:
    """The models there are rows of, in the order of the tables."""
    return [model for model in MODELS if any(row["model"] == model for row in rows)]


def first(rows: list[dict], cloud: str, model: str) -> dict:
    return next(r for r in rows if (r["cloud"], r["model"], r["seed"]) == (cloud, model, 0))


def save(figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=4200)
    parser.add_argument("--jobs", type=int, default=1, help="models trained at once")
    parser.add_argument("--clouds", nargs="*", default=list(POINT_CLOUDS))
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument(
        "--published",
        action="store_true",
        help="no preconditioning, and samples from N(0, Σ_1|0), as the papers have it",
    )
    parser.add_argument("--output", type=Path, default=Path("point_clouds"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    tasks = [
        (cloud, model, seed, arguments.updates, arguments.published)
        for seed in range(arguments.seeds)
        for cloud in arguments.clouds
        for model in arguments.models
    ]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(run, *zip(*tasks, strict=True)))
    (arguments.output / "results.json").write_text(json.dumps(rows))
    text = table(rows, arguments.clouds)
    print(text)
    (arguments.output / "table.md").write_text(text + "\n", encoding="utf-8")

    import matplotlib

    matplotlib.use("Agg")
    for cloud in arguments.clouds:
        for sampler in SAMPLERS:
            draw_samples(rows, cloud, sampler, arguments.output / f"{cloud} {sampler}.png")
        draw_ways(rows, cloud, arguments.output / f"{cloud} trajectories.png")
    if any(row["lambda"] for row in rows):
        draw_lambda(rows, arguments.clouds, arguments.output / "lambda.png")


if __name__ == "__main__":
    main()
