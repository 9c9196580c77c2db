"""Linear and Lipschitz-optimal paths to the invariant law of the stochastic Allen-Cahn equation.

Chen, Vanden-Eijnden & Xu (2025), *Lipschitz-guided design of interpolation schedules in generative
models*: the Allen-Cahn example. Data are functions on N points of [0, 1] with free ends and the
density exp(-Σ ½ N (u_{i+1} - u_i)² - Σ (1 - u_i²)² / N). Along the points that is a Markov chain:
data are drawn from it, and moments computed, exactly. Two settings, RK4 with few equal steps:

*Largest eigenvalue 1*: plain white noise, and data divided by the root of their covariance's
largest eigenvalue (M times the smallest), as in the paper's theory. The network is told the noise
level, not the time, so that what it learns along straight lines serves the other path too: the
paper's transfer, here "transferred".

*Package defaults*: white noise in units of every point's standard deviation for straight lines,
in those of principal axes for the other path.

Network, updates and seeds are the same throughout. Its training, on one core, is short: rows with
more steps tell what of an error is the network's. Derivatives of the optimal path are infinite at
both ends, where RK4 asks for the velocity and the network has hardly been trained. Decoders clip
times to [1e-4, 1 - 1e-4]; rows "margin" have them clipped to [0.01, 0.99], after training.

    python benchmarks/allen_cahn.py --output allen_cahn
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsdiff.decoders import FlowMatching
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.clouds import fit_points, sample_points
from tsdiff.decoders.flow_matching import rotation_weight
from tsdiff.evaluation.clouds import energy_distance
from tsdiff.networks import Network
from tsdiff.networks.embedding import TimeEmbedding
from tsdiff.processes import AffinePath, Linear, LipschitzOptimal

UNIT, DEFAULTS = "largest eigenvalue 1", "package defaults"
LINEAR, OPTIMAL, TRANSFERRED = "linear", "Lipschitz-optimal", "transferred"
COLOURS = {LINEAR: "tab:blue", OPTIMAL: "tab:orange", TRANSFERRED: "tab:green"}
PATHS = {LINEAR: Linear, OPTIMAL: LipschitzOptimal}
CHUNK, PLACES, MARGIN = 500, 16, 0.01


class AllenCahn:
    """The law on ``size`` points, by sums over a lattice that are exact to rounding.

    Attributes
    ----------
    covariance
        ``[N, N]``; the mean is zero.
    fourth
        ``E u⁴`` averaged over points.
    """

    def __init__(self, size: int, reach: float = 4.0, cells: int = 1025):
        self.size, self.lattice = size, np.linspace(-reach, reach, cells)
        u = self.lattice
        self.weight = np.exp(-((1.0 - u**2) ** 2) / size)
        self.kernel = np.exp(-0.5 * size * (u[:, None] - u) ** 2)
        # What the points to the right contribute, seen from every point.
        ahead = [np.ones(cells)]
        for _ in range(size - 1):
            message = self.kernel @ (self.weight * ahead[-1])
            ahead.append(message / message.max())
        self.ahead = ahead[::-1]
        self._measure()

    def _measure(self) -> None:
        u, behind = self.lattice, self.weight / self.weight.sum()
        covariance, fourth = np.zeros((self.size, self.size)), 0.0
        # Column j carries u_j times the weight of all that lies behind.
        carried = np.zeros((len(u), 0))
        for i, ahead in enumerate(self.ahead):
            if i > 0:
                behind = self.weight * (self.kernel @ behind)
                total = behind.sum()
                behind = behind / total
                carried = self.weight[:, None] * (self.kernel @ carried) / total
            carried = np.concatenate([carried, (behind * u)[:, None]], axis=1)
            total = behind @ ahead
            covariance[i, : i + 1] = covariance[: i + 1, i] = (u * ahead) @ carried / total
            fourth += (behind * ahead) @ u**4 / total / self.size
        self.covariance, self.fourth = covariance, fourth

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent draws ``[count, N]``, uniform within the lattice's cells."""
        cells, first = len(self.lattice), np.cumsum(self.weight * self.ahead[0])
        at = np.searchsorted(first / first[-1], rng.random(count))
        visited = [at]
        for ahead in self.ahead[1:]:
            rows = np.cumsum(self.kernel * (self.weight * ahead), axis=1)
            # Row after row in one rising sequence, so that one search serves all.
            rising = (rows / rows[:, -1:] + np.arange(cells)[:, None]).ravel()
            found = np.searchsorted(rising, at + rng.random(count)) - at * cells
            at = np.clip(found, 0, cells - 1)
            visited.append(at)
        width = self.lattice[1] - self.lattice[0]
        cell = np.stack(visited, axis=1)
        return self.lattice[cell] + width * (rng.random(cell.shape) - 0.5)


def cosines(size: int) -> np.ndarray:
    """Orthonormal rows ``[N, N]``: waves with free ends."""
    k, place = np.arange(size)[:, None], np.arange(size) + 0.5
    rows = np.cos(math.pi * k * place / size) * math.sqrt(2.0 / size)
    rows[0] /= math.sqrt(2.0)
    return rows


class _Block(nn.Module):
    """Two convolutions, modulated in between, and a residual."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        same = {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"}
        self.first = nn.Conv1d(channels, channels, **same)
        self.second = nn.Conv1d(channels, channels, **same)
        self.modulation = nn.Linear(width, 2 * channels)
        Network.start_at_zero(self.second)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.modulation(embedded).transpose(1, 2).chunk(2, dim=1)
        return h + self.second(F.silu(torch.addcmul(shift, self.first(h), 1.0 + scale)))


class SignalNetwork(Network):
    """Reads an event of one step as a signal of N points, and the path's ``log(a/b)`` as its time.

    A gain for every cosine, and convolutions over 16 stretches whose points are channels. Finer
    features of this law are all but Gaussian, and a gain is all that they need.
    """

    basis: Tensor

    def __init__(self, size: int, path: AffinePath, channels: int, width: int = 64):
        super().__init__()
        self.path, points = path, size // PLACES
        same = {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"}
        self.time = TimeEmbedding(width)
        self.gains = nn.Linear(width, size)
        self.inlet = nn.Conv1d(points, channels, **same)
        self.blocks = nn.ModuleList(_Block(channels, width) for _ in range(4))
        self.outlet = nn.Conv1d(channels, points, **same)
        self.start_at_zero(self.outlet, self.gains)
        basis = torch.from_numpy(cosines(size)).float()
        self.register_buffer("basis", basis, persistent=False)

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        def predict(x: Tensor, t: Tensor) -> Tensor:
            k = self.path.coefficients(t)
            embedded = self.time(0.5 + (k.a.log() - k.b.log()) / 24.0)
            smooth = (x @ self.basis.T * self.gains(embedded)) @ self.basis
            h = self.inlet(x.squeeze(1).unflatten(1, (PLACES, -1)).transpose(1, 2))
            for block in self.blocks:
                h = block(h, embedded)
            return smooth + self.outlet(F.silu(h)).transpose(1, 2).reshape(x.shape)

        return predict


def make(setting: str, schedule: str, size: int, channels: int) -> FlowMatching:
    path = PATHS[schedule]()
    network = SignalNetwork(size, path, channels)
    if setting == DEFAULTS:
        return FlowMatching(network, size, path=path)
    # Preconditioned by one spread: a scaling that is the same for all modes.
    return FlowMatching(network, size, path=path, axes=Axes("raw", size), weighting=rotation_weight)


def transfer(decoder: FlowMatching) -> None:
    """Let what was learned along one path be sampled along the optimal one."""
    path = LipschitzOptimal()
    path.adapt(decoder.axes.covariance)
    decoder.path = decoder.network.path = path


def keep_off(decoder: FlowMatching) -> None:
    """Ask for no velocity near the ends, where errors weigh most."""
    decoder.path.t_min, decoder.path.t_max = MARGIN, 1.0 - MARGIN


def draw_samples(decoder: FlowMatching, count: int, **sampler: object) -> np.ndarray:
    """``[count, N]``, a cache's worth at a time."""
    chunks = [
        sample_points(decoder, CHUNK, seed=chunk, **sampler) for chunk in range(count // CHUNK)
    ]
    return torch.cat(chunks).double().numpy()


def spectrum(x: np.ndarray) -> np.ndarray:
    """Mean power of every cosine, ``[N]``."""
    return np.square(x @ cosines(x.shape[1]).T).mean(axis=0)


def autocovariance(products: np.ndarray) -> np.ndarray:
    """Means of ``[N, N]`` along its diagonals, for lags 0, 1, …, N/2."""
    return np.array([products.diagonal(lag).mean() for lag in range(len(products) // 2 + 1)])


def measures(x: np.ndarray, law: AllenCahn, true: np.ndarray) -> list[str]:
    """Cells of the table for samples ``[S, N]`` beside the law, and others drawn from it."""
    rows = cosines(law.size)
    error = np.log10(spectrum(x) / ((rows @ law.covariance) * rows).sum(axis=1))
    lags = autocovariance(x.T @ x / len(x)) - autocovariance(law.covariance)
    apart = law.size // 4
    values = [a[:, apart // 2 :: apart].reshape(-1, 1) for a in (x, true)]
    return [
        f"{np.sqrt(np.square(error).mean()):.3f}",
        f"{np.abs(error).max():.3f}",
        f"{error[law.size // 2 :].mean():+.3f}",
        f"{np.square(x).mean():.3f}",
        f"{np.power(x, 4).mean():.3f}",
        f"{np.abs(lags).max():.3f}",
        f"{energy_distance(*values):.4f}",
    ]


Pictures = dict[tuple[int, str, str, bool], np.ndarray]
"""Samples by size, setting, schedule and whether times have a margin."""


def draw(pictures: Pictures, laws: list[AllenCahn], path: Path) -> None:
    """Spectra where the largest eigenvalue is 1, and what both settings make of the true one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        3, len(laws), figsize=(4.2 * len(laws), 9.5), sharex=True, sharey="row", squeeze=False
    )
    for column, law in enumerate(laws):
        k, rows = np.arange(1, law.size), cosines(law.size)
        true = ((rows @ law.covariance) * rows).sum(axis=1)
        for (size, setting, schedule, margin), x in pictures.items():
            if size != law.size:
                continue
            label = f"{schedule}, margin" if margin else schedule
            look = {"color": COLOURS[schedule], "label": label, "linewidth": 1.2}
            look["linestyle"] = "-" if margin or schedule == LINEAR else ":"
            found = spectrum(x)
            if setting == UNIT:
                panels[0][column].loglog(k, found[1:], **look)
                panels[1][column].loglog(k, (found / true)[1:], **look)
            else:
                panels[2][column].semilogx(k, (found / true)[1:], **look)
        panels[0][column].loglog(k, true[1:], "--", color="black", linewidth=1.2, label="truth")
        for row in (1, 2):
            panels[row][column].axhline(1.0, color="black", linestyle="--", linewidth=1.2)
        panels[0][column].set_title(f"N = {law.size}")
        panels[-1][column].set_xlabel("wavenumber (half turns)")
    panels[0][0].set_ylabel(f"mean power\n{UNIT}")
    panels[1][0].set_ylabel(f"over the true one\n{UNIT}")
    panels[2][0].set_ylabel(f"over the true one\n{DEFAULTS}")
    panels[0][0].legend()
    panels[2][0].legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_paths(pictures: Pictures, true: np.ndarray, path: Path) -> None:
    """A few functions of the finest grid, beside true ones."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = true.shape[1]
    shown = {"truth": true}
    for schedule in (LINEAR, OPTIMAL, TRANSFERRED):
        label = schedule if schedule == LINEAR else f"{schedule}, margin"
        shown[label] = pictures[size, UNIT, schedule, schedule != LINEAR]
    figure, panels = plt.subplots(1, len(shown), figsize=(3.6 * len(shown), 3.0), sharey=True)
    for panel, (name, x) in zip(panels, shown.items(), strict=True):
        panel.plot((np.arange(size) + 0.5) / size, x[:5].T, linewidth=0.8)
        panel.set(title=name, xlabel="x")
    panels[0].set_ylabel("u")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", nargs="*", type=int, default=[32, 64, 128])
    parser.add_argument("--steps", type=int, default=10, help="of RK4, four evaluations each")
    parser.add_argument("--more", type=int, default=40, help="steps that show the network's errors")
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("allen_cahn"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    few = {"solver": "rk4", "num_steps": arguments.steps, "grid": "uniform"}
    more = {**few, "num_steps": arguments.more}
    lines = [
        "| N | setting | schedule | solver | spectrum, rms | largest | fine half | E u² | E u⁴ "
        "| autocovariance | energy distance | training |",
        "|--:|---|---|---|" + "--:|" * 8,
    ]

    def note(cells: list[str]) -> None:
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)

    laws: list[AllenCahn] = []
    pictures: Pictures = {}
    growth: dict[str, list[float]] = {}
    ratios, true = [], np.zeros((0, 0))
    for size in arguments.sizes:
        law, rng = AllenCahn(size), np.random.default_rng(arguments.seed)
        laws.append(law)
        values = np.linalg.eigvalsh(law.covariance)
        ratios.append(f"{values[-1] / values[0]:.0f} for N = {size}")
        unit = math.sqrt(values[-1])
        points = torch.from_numpy(law.sample(40_000, rng)).float()
        true = law.sample(arguments.samples, rng)
        exact = [f"{np.trace(law.covariance) / size:.3f}", f"{law.fourth:.3f}"]
        note([str(size), "", "the law itself", "", "0", "0", "0", *exact, "0", "0", ""])
        other = measures(law.sample(arguments.samples, rng), law, true)
        note([str(size), "", "as many of its samples", "", *other, ""])
        for setting in (UNIT, DEFAULTS):
            scale = unit if setting == UNIT else 1.0
            for schedule in PATHS:
                torch.manual_seed(arguments.seed)
                decoder = make(setting, schedule, size, arguments.channels)
                began = time.perf_counter()
                fit_points(
                    decoder,
                    points / scale,
                    num_updates=arguments.updates,
                    batch_size=128,
                    seed=arguments.seed,
                )
                took = f"{time.perf_counter() - began:.0f} s"
                runs = [(schedule, False, "RK4", few)]
                if schedule == OPTIMAL:
                    runs.append((schedule, True, "RK4", few))
                if setting == UNIT:
                    runs.insert(1, (schedule, False, "RK4", more))
                    if schedule == LINEAR:
                        runs += [(TRANSFERRED, False, "RK4", few), (TRANSFERRED, True, "RK4", few)]
                else:
                    own = {"num_steps": 2 * arguments.steps}
                    runs.insert(1, (schedule, False, type(decoder.solver).__name__, own))
                for name, margin, solver, sampler in runs:
                    if name == TRANSFERRED and not margin:
                        transfer(decoder)
                    if margin:
                        keep_off(decoder)
                    x = scale * draw_samples(decoder, arguments.samples, **sampler)
                    label = f"{solver}, {sampler['num_steps']}" + (", margin" if margin else "")
                    found = measures(x, law, true)
                    note([str(size), setting, name, label, *found, took])
                    if sampler is few:
                        pictures[size, setting, name, margin] = x
                        key = f"{setting} | {name}" + (", margin" if margin else "")
                        growth.setdefault(key, []).append(float(found[0]))
    sizes = arguments.sizes
    lines += [
        "",
        f"Spectrum, rms, of {arguments.steps} steps of RK4, and the last over the first:",
        "",
        "| setting | schedule | " + " | ".join(f"N = {size}" for size in sizes) + " | growth |",
        "|---|---|" + "--:|" * (len(sizes) + 1),
    ]
    for key, found in growth.items():
        cells = " | ".join(f"{value:.3f}" for value in found)
        lines.append(f"| {key} | {cells} | {found[-1] / found[0]:.1f} |")
    notes = [
        "",
        "Spectrum: log10 of the power of cosines over the true one; its root mean square over all "
        "of them, the largest, and the mean over the finer half. Autocovariance: the largest error "
        "over lags up to half the interval. Energy distance: of values at four points. "
        f"M: {', '.join(ratios)}.",
    ]
    text = "\n".join(lines + notes)
    print(text)
    (arguments.output / "table.md").write_text(text + "\n", encoding="utf-8")
    draw(pictures, laws, arguments.output / "spectra.png")
    draw_paths(pictures, true, arguments.output / "paths.png")


if __name__ == "__main__":
    main()
