"""Which source suits which target: Gaussian, Kac, uniform and learned latents on point clouds.

After Duong, Chemseddine, Friz & Steidl (2025), *Telegrapher's generative model via Kac flows*, and
Chemseddine, Kornhardt, Duong & Steidl (2025), *Adapting noise to data: generative flows from 1D
processes*. All models have the same network, number of updates, batches and seeds. Beside them
stands a fresh sample of the data itself: what it scores is the scores' Monte-Carlo error.

    python benchmarks/latents.py --seeds 3 --jobs 2 --output latents
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from tsdiff.datasets.synthetic import checkerboard
from tsdiff.decoders import FlowMatching
from tsdiff.decoders.clouds import empty_context, fit_points, sample_points
from tsdiff.evaluation import energy_distance, two_sample_accuracy
from tsdiff.networks import ResidualMLP
from tsdiff.processes import Kac

DATA = "fresh data"
MODELS = (
    "Gaussian",
    "Gaussian, OT",
    "Kac",
    "Kac, t²",
    "uniform",
    "learned",
    "learned, OT",
)
"""OT: plain optimal transport within batches, as there is nothing to condition on; else pairs are
independent. Kac: rate 25, speed 5; t²: with clock power 2."""

SAMPLERS = {100: {"solver": "heun", "num_steps": 50}, 12: {"solver": "heun", "num_steps": 6}}
"""By network evaluations; uniform steps."""

TRAINED, DRAWN, COMPARED, SHOWN = 20_000, 10_000, 5_000, 3_000
"""Points that models are trained on, that samplers draw, that are compared pair by pair (of those
drawn), and that pictures show."""

FREEDOM = 3
LEVELS = (0.001, 0.01, 0.99, 0.999)
REACH = 10.0 ** -np.linspace(0.0, 4.0, 81)

PLACES, WIDTH = np.array([-2.0, 0.0, 2.0]), 0.1
TIED = np.array([[0.30, 0.02, 0.08], [0.02, 0.20, 0.02], [0.08, 0.03, 0.25]])
FREE = np.outer([0.6, 0.3, 0.1], [0.1, 0.3, 0.6])
NEAR = 5.0 * WIDTH  # one point in 270 000 of a mode lies farther from its centre


@dataclass(frozen=True)
class Target:
    """A law, and what its samples are judged by besides two-sample scores.

    Attributes
    ----------
    draw
        ``draw(num_points, rng)``, ``[N, 2]``.
    columns
        Names of the scores.
    judge
        Scores of samples ``[N, 2]``.
    half
        Half the side of the pictures.
    """

    draw: Callable[[int, np.random.Generator], np.ndarray]
    columns: tuple[str, ...]
    judge: Callable[[np.ndarray], list[float]]
    half: float


def board(num_points: int, rng: np.random.Generator) -> np.ndarray:
    return checkerboard(num_points, seed=rng, stretch=(1.0, 1.0))


def off_board(points: np.ndarray) -> list[float]:
    """Share of points beyond the dark cells."""
    cells = np.floor(points / np.pi).astype(int)
    dark = (np.abs(points) < 2.0 * np.pi).all(1) & (cells.sum(1) % 2 != 0)
    return [float(1.0 - dark.mean())]


def heavy(num_points: int, rng: np.random.Generator) -> np.ndarray:
    """Independent Student-t coordinates."""
    return rng.standard_t(FREEDOM, (num_points, 2))


def radial(num_points: int, rng: np.random.Generator) -> np.ndarray:
    """The bivariate Student-t law: the same coordinates, dependent through a common scale."""
    scale = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, (num_points, 1)))
    return scale * rng.standard_normal((num_points, 2))


def tails(points: np.ndarray) -> list[float]:
    """Quantiles of both coordinates together, over the exact ones."""
    return list(np.quantile(points, LEVELS) / student.ppf(LEVELS, FREEDOM))


def mixture(weights: np.ndarray) -> Target:
    """Nine modes on a grid, narrow and far apart, of unequal masses ``weights [3, 3]``."""
    centres = np.stack(np.meshgrid(PLACES, PLACES, indexing="ij"), axis=-1).reshape(9, 2)
    masses = weights.ravel()
    small = masses < 0.05

    def draw(num_points: int, rng: np.random.Generator) -> np.ndarray:
        mode = rng.choice(9, num_points, p=masses)
        return centres[mode] + WIDTH * rng.standard_normal((num_points, 2))

    def judge(points: np.ndarray) -> list[float]:
        apart = np.linalg.norm(points[:, None] - centres, axis=2)
        mode, near = apart.argmin(1), apart.min(1) < NEAR
        found = np.bincount(mode[near], minlength=9) / len(points)
        between = 1.0 - found.sum()
        wrong = 0.5 * (np.abs(found - masses).sum() + between)
        width = np.sqrt((apart.min(1)[near] ** 2).mean() / 2.0)
        return [between, wrong, found[small].sum() / masses[small].sum(), width / WIDTH]

    columns = ("between modes", "mass misplaced", "small modes' mass / true", "width / true")
    return Target(draw, columns, judge, half=3.0)


QUANTILES = tuple(f"quantile {100 * level:g} % / true" for level in LEVELS)
TARGETS = {
    "checkerboard": Target(board, ("off the board",), off_board, half=7.5),
    "Student-t": Target(heavy, QUANTILES, tails, half=15.0),
    "modes": mixture(TIED),
    "radial Student-t": Target(radial, QUANTILES, tails, half=15.0),
    "product of modes": mixture(FREE),
}
"""Of the first three the second has independent coordinates, as a learned latent has, the other
two have not; of the last two it is the other way round."""


def make(model: str, weight: float) -> FlowMatching:
    """An untrained model by its name in the tables."""
    name, _, extra = model.partition(", ")
    options: dict[str, Any] = {"coupling": "plain_optimal_transport"} if extra == "OT" else {}
    if name == "Kac":
        options["path"] = Kac(25.0, 5.0, clock_power=2.0 if extra == "t²" else 1.0)
    elif name == "uniform":
        options["path"] = "uniform"
    elif name == "learned":
        options |= {"latent": "learned", "latent_weight": weight}
    return FlowMatching(ResidualMLP(2, 1, width=64, num_blocks=3), 2, **options)


def run(target: str, model: str, seed: int, shown: bool, updates: int, weight: float) -> dict:
    """Train one model; its scores, and what the pictures need of the seed that is shown."""
    torch.set_num_threads(1)
    law = TARGETS[target]
    truth = law.draw(DRAWN, np.random.default_rng(1000 + seed))
    row: dict[str, Any] = {"target": target, "model": model, "seed": seed, "seconds": 0.0}

    def judge(evaluations: int, drawn: np.ndarray) -> None:
        pair = drawn[:COMPARED], truth[:COMPARED]
        scores = [energy_distance(*pair), two_sample_accuracy(*pair, seed=seed)]
        row[str(evaluations)] = scores + law.judge(drawn)
        if shown:
            row[f"{evaluations} points"] = drawn[:SHOWN].tolist()
            row[f"{evaluations} reach"] = np.quantile(np.abs(drawn), 1.0 - REACH).tolist()

    if model == DATA:
        judge(0, law.draw(DRAWN, np.random.default_rng(2000 + seed)))
        return row
    points = torch.tensor(law.draw(TRAINED, np.random.default_rng(100 + seed)), dtype=torch.float32)
    torch.manual_seed(seed)
    decoder = make(model, weight)
    began = time.perf_counter()
    fit_points(decoder, points, num_updates=updates, batch_size=128, seed=seed)
    row["seconds"] = time.perf_counter() - began
    for evaluations, sampler in SAMPLERS.items():
        drawn = sample_points(decoder, DRAWN, seed=seed, **sampler)
        judge(evaluations, drawn.double().numpy())
    if decoder.latent is not None:
        row |= source(decoder, points, seed)
    return row


@torch.no_grad()
def source(decoder: FlowMatching, points: torch.Tensor, seed: int) -> dict:
    """The learned latent: its spread, samples and quantiles, in the data's standard units."""
    latent = decoder.latent
    assert latent is not None
    u = torch.linspace(0.001, 0.999, 999)
    like = empty_context(SHOWN, points).expand(SHOWN, 1, 2)
    generator = torch.Generator().manual_seed(seed)
    return {
        "spread": latent.moments()[1].sqrt().tolist(),
        "source": latent.draw(like, generator).squeeze(1).tolist(),
        "quantiles": latent(u[:, None, None].expand(-1, 1, 2)).squeeze(1).tolist(),
        "data quantiles": torch.quantile(decoder.axes.enter(points), u, dim=0).tolist(),
        "data": decoder.axes.enter(points[:SHOWN]).tolist(),
    }


def table(rows: list[dict], target: str) -> str:
    """Mean and standard deviation over seeds; the evaluations of a sampler have rows of their own.

    The source's std is that of a learned latent, over the data's.
    """
    columns = ("energy distance", "two-sample accuracy", *TARGETS[target].columns)
    lines = [
        "| model | evaluations | " + " | ".join(columns) + " | source's std | training |",
        "|---|" + "--:|" * (len(columns) + 3),
    ]
    for model in (DATA, *MODELS):
        mine = [row for row in rows if (row["target"], row["model"]) == (target, model)]
        for evaluations in (0,) if model == DATA else SAMPLERS:
            values = np.array([row[str(evaluations)] for row in mine])
            cells = [model, str(evaluations) if evaluations else ""]
            for column, (mean, std) in enumerate(zip(values.mean(0), values.std(0), strict=True)):
                digits = 2 if "/ true" in columns[column] else 3 if column == 1 else 4
                cells.append(f"{mean:.{digits}f} ± {std:.{digits}f}")
            spread = [row["spread"] for row in mine if "spread" in row]
            cells.append(f"{np.mean(spread):.2f}" if spread else "")
            seconds = np.mean([row["seconds"] for row in mine])
            cells.append("" if model == DATA else f"{seconds:.0f} s")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_samples(rows: list[dict], target: str, path: Path) -> None:
    """Samples of every model beside the data; the numbers of evaluations from top to bottom."""
    import matplotlib.pyplot as plt

    shape = len(SAMPLERS), 1 + len(MODELS)
    figure, panels = plt.subplots(*shape, figsize=(20, 5.6), sharex=True, sharey=True)
    for line, evaluations in zip(panels, SAMPLERS, strict=True):
        for panel, model in zip(line, (DATA, *MODELS), strict=True):
            name = "0 points" if model == DATA else f"{evaluations} points"
            x, y = np.array(first(rows, target, model)[name]).T
            color = "0.3" if model == DATA else "tab:blue"
            panel.scatter(x, y, s=2, alpha=0.5, color=color, linewidths=0)
            panel.set_title(model if model == DATA else f"{model}, {evaluations}", fontsize=10)
            panel.set_aspect("equal")
    half = TARGETS[target].half
    panels[0, 0].set(xlim=(-half, half), ylim=(-half, half))
    save(figure, path)


def draw_latents(rows: list[dict], target: str, path: Path) -> None:
    """Data, samples of the learned latents, and their quantile functions, in standard units."""
    import matplotlib.pyplot as plt
    from scipy.stats import norm

    learned = [model for model in MODELS if model.startswith("learned")]
    some = first(rows, target, learned[0])
    figure, panels = plt.subplots(1, 5, figsize=(17, 3.6))
    half = np.quantile(np.abs(some["data"]), 0.995) * 1.2
    for panel, model in zip(panels, (DATA, *learned), strict=False):
        row, data = first(rows, target, model), model == DATA
        x, y = np.array(some["data"] if data else row["source"]).T
        panel.scatter(x, y, s=2, alpha=0.5, color="0.3" if data else "tab:red", linewidths=0)
        panel.set(title="data" if data else f"latent: {model}", aspect="equal")
        panel.set(xlim=(-half, half), ylim=(-half, half))
    quantiles = np.array(some["data quantiles"])
    u = np.linspace(0.001, 0.999, len(quantiles))
    for axis, panel in enumerate(panels[3:]):
        panel.plot(u, quantiles[:, axis], color="0.3", linewidth=3, alpha=0.5, label="data")
        panel.plot(u, norm.ppf(u), ":", color="0.3", label="normal")
        for model, style in zip(learned, ("-", "--"), strict=True):
            values = np.array(first(rows, target, model)["quantiles"])[:, axis]
            panel.plot(u, values, style, color="tab:red", label=model, linewidth=1.2)
        reach = 1.3 * np.abs(quantiles[:, axis]).max()
        panel.set(title=f"quantiles, coordinate {axis + 1}", xlabel="u", ylim=(-reach, reach))
    panels[-1].legend(fontsize=8)
    save(figure, path)


def draw_tails(rows: list[dict], target: str, path: Path) -> None:
    """How many coordinates exceed what, beside the exact law."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(SAMPLERS), figsize=(12, 4.4), sharey=True)
    colors = plt.get_cmap("tab10").colors  # pyright: ignore[reportAttributeAccessIssue]
    for panel, evaluations in zip(panels, SAMPLERS, strict=True):
        exact = student.isf(REACH / 2.0, FREEDOM)
        panel.loglog(exact, REACH, color="0.3", linewidth=4, alpha=0.4, label="exact")
        for model, color in zip(MODELS, colors, strict=False):
            reach = first(rows, target, model)[f"{evaluations} reach"]
            panel.loglog(reach, REACH, color=color, linewidth=1.2, label=model)
        panel.set(title=f"{evaluations} evaluations", xlabel="x", xlim=(1.0, 100.0))
    panels[0].set_ylabel("P(|X| > x)")
    panels[0].legend(fontsize=8)
    save(figure, path)


def first(rows: list[dict], target: str, model: str) -> dict:
    """The row of the first seed."""
    return next(row for row in rows if (row["target"], row["model"]) == (target, model))


def save(figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--latent-weight", type=float, default=1.0, help="of 1 and 5, by seed 50")
    parser.add_argument("--jobs", type=int, default=1, help="models trained at once")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS)[:3], choices=list(TARGETS))
    parser.add_argument("--output", type=Path, default=Path("latents"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    begin = arguments.first_seed
    tasks = [
        (target, model, seed, seed == begin, arguments.updates, arguments.latent_weight)
        for seed in range(begin, begin + arguments.seeds)
        for target in arguments.targets
        for model in (DATA, *MODELS)
    ]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(run, *zip(*tasks, strict=True)))
    (arguments.output / "results.json").write_text(json.dumps(rows))
    text = "\n\n".join(f"{target}\n\n{table(rows, target)}" for target in arguments.targets)
    print(text)
    (arguments.output / "table.md").write_text(text + "\n", encoding="utf-8")

    import matplotlib

    matplotlib.use("Agg")
    for target in arguments.targets:
        draw_samples(rows, target, arguments.output / f"{target}.png")
        draw_latents(rows, target, arguments.output / f"{target} latents.png")
        if "Student-t" in target:
            draw_tails(rows, target, arguments.output / f"{target} tails.png")


if __name__ == "__main__":
    main()
