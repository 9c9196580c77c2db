"""Linear and Lipschitz-optimal paths to a smooth Gaussian field, on finer and finer grids.

Chen, Vanden-Eijnden & Xu (2025), *Lipschitz-guided design of interpolation schedules in generative
models*: the Gaussian example. Data are N(0, C) with C = (-Δ + I)^{-3} on the unit torus, of N x N
points; the largest eigenvalue is 1, M the inverse of the smallest. The source is white noise, the
velocity the exact one, and RK4 takes equal steps. Wherever the law is linear so is the flow: what
RK4 makes of every Fourier mode is computed without sampling, and compared with the truth by the
radially averaged spectrum. Samples are drawn for the picture.

Times are clipped to [1e-4, 1 - 1e-4], as decoders clip them. That costs nothing, even where modes
are narrower than 1e-4: the slope along the optimal path hardly changes there, and at the end of a
straight line there is nothing left to be multiplied by it.

    python benchmarks/gaussian_measure.py --output gaussian_measure
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from tsdiff.processes import AffinePath, Linear, LipschitzOptimal
from tsdiff.solvers import RK4, Field, integrate

LINEAR, OPTIMAL = "linear", "Lipschitz-optimal"
COLOURS = {LINEAR: "tab:blue", OPTIMAL: "tab:orange"}
TOLERANCE, MOST = 0.1, 4096


def eigenvalues(size: int) -> Tensor:
    """Those of C, ``[N, N]``, by Fourier mode."""
    k = torch.fft.fftfreq(size, d=1.0 / size, dtype=torch.float64)
    return (4.0 * math.pi**2 * (k[:, None] ** 2 + k**2) + 1.0) ** -3


def radial(values: Tensor) -> Tensor:
    """Means of ``[..., N, N]`` over modes whose wavenumber rounds to 0, 1, …, to the corner's."""
    size = values.shape[-1]
    k = torch.fft.fftfreq(size, d=1.0 / size, dtype=torch.float64)
    shell = torch.hypot(k[:, None].expand(size, size), k.expand(size, size)).round().long()
    modes = values.reshape(-1, size * size).mean(0)
    sums = torch.zeros(int(shell.max()) + 1, dtype=torch.float64)
    sums.index_add_(0, shell.flatten(), modes)
    return sums / shell.flatten().bincount()


def slopes(name: str, values: Tensor) -> Field:
    """The exact velocity, mode by mode, for modes ``[..., N, N]`` of these variances."""
    path: AffinePath = LipschitzOptimal(1.0 / values.min().item()) if name == OPTIMAL else Linear()

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        k = path.coefficients(path.clip(t))
        return (k.a * k.da * values + k.b * k.db) / (k.a * k.a * values + k.b * k.b) * x

    return Field(velocity=velocity, name=name)


def fields(name: str, values: Tensor) -> Field:
    """The same for fields ``[..., N, N]``, through their Fourier modes."""
    modes = slopes(name, values)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return torch.fft.ifft2(modes.velocity(torch.fft.fft2(x), t)).real  # type: ignore[misc]

    return Field(velocity=velocity, name=name)


def carry(field: Field, x: Tensor, steps: int) -> Tensor:
    """``x`` taken from t = 1 to 0 by RK4."""
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    return integrate(field, RK4(), x, times)


def off(name: str, values: Tensor, steps: int) -> Tensor:
    """log10 of the made power of modes over the true one, ``values`` ``[...]``."""
    return (carry(slopes(name, values), torch.ones_like(values), steps) ** 2 / values).log10()


def needed(name: str, values: Tensor) -> str:
    """The fewest steps that leave every mode's power within TOLERANCE, or that MOST don't do."""
    distinct = values.flatten().unique().view(1, 1, -1)
    for steps in [*range(1, 64), *(2**i for i in range(6, 20))]:
        if steps > MOST:
            break
        if off(name, distinct, steps).abs().max() < TOLERANCE:
            return str(steps)
    return f"over {MOST}"


def draw(sizes: list[int], shown: list[int], samples: int, path: Path) -> None:
    """Spectra for every size and each shown number of steps: lines exact, dots of samples."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        len(shown),
        len(sizes),
        figsize=(4.2 * len(sizes), 3.5 * len(shown)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for column, size in enumerate(sizes):
        values = eigenvalues(size)
        rng = torch.Generator().manual_seed(size)
        noise = torch.randn(samples, size, size, generator=rng, dtype=torch.float64)
        for row, steps in enumerate(shown):
            panel = panels[row][column]
            for name in (LINEAR, OPTIMAL):
                exact = radial(carry(slopes(name, values), torch.ones_like(values), steps) ** 2)
                drawn = torch.fft.fft2(carry(fields(name, values), noise, steps), norm="ortho")
                found = radial(drawn.abs().square())
                k = torch.arange(1, len(exact))
                panel.loglog(k, exact[1:], color=COLOURS[name], label=name)
                panel.loglog(k, found[1:], ".", color=COLOURS[name], markersize=4)
            panel.loglog(k, radial(values)[1:], "--", color="black", linewidth=1.2, label="truth")
            panel.set_title(f"{size} x {size}, {steps} steps")
    for panel in panels[-1]:
        panel.set_xlabel("wavenumber")
    for line in panels:
        line[0].set_ylabel("mean power of a mode")
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", nargs="*", type=int, default=[32, 64, 128])
    parser.add_argument("--steps", nargs="*", type=int, default=[5, 10, 20, 40])
    parser.add_argument("--shown", nargs="*", type=int, default=[10, 20])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--output", type=Path, default=Path("gaussian_measure"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    sizes, steps = arguments.sizes, arguments.steps
    lines = [
        "| N | M | schedule | steps | largest error | rms error | at most off by a factor of |",
        "|--:|--:|---|--:|--:|--:|--:|",
    ]
    worst: dict[tuple[str, int], list[float]] = {}
    for size in sizes:
        values = eigenvalues(size)
        for name in (LINEAR, OPTIMAL):
            for count in steps:
                made = carry(slopes(name, values), torch.ones_like(values), count) ** 2
                error = (radial(made) / radial(values)).log10()
                largest, rms = float(error.abs().max()), float(error.square().mean().sqrt())
                worst.setdefault((name, count), []).append(largest)
                cells = f"{size} | {1.0 / values.min():.1e} | {name} | {count}"
                lines.append(f"| {cells} | {largest:.4f} | {rms:.4f} | {10.0**largest:.3g} |")
    lines += [
        "",
        "Errors: of log10 of the radially averaged spectrum, over all wavenumbers.",
        "",
    ]
    lines += [f"From {sizes[0]} to {sizes[-1]}, the largest error grows as:", ""]
    lines += ["| schedule | steps | as a logarithm | as a factor |", "|---|--:|--:|--:|"]
    for (name, count), (first, *_, last) in worst.items():
        lines.append(f"| {name} | {count} | {last / first:.2f} | {10.0 ** (last - first):.3g} |")
    lines += ["", f"Fewest steps that leave no mode's log10 power off by {TOLERANCE}:", ""]
    lines += ["| schedule | " + " | ".join(map(str, sizes)) + " |", "|---|" + "--:|" * len(sizes)]
    for name in (LINEAR, OPTIMAL):
        cells = [needed(name, eigenvalues(size)) for size in sizes]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    text = "\n".join(lines)
    print(text)
    (arguments.output / "table.md").write_text(text + "\n", encoding="utf-8")
    draw(sizes, arguments.shown, arguments.samples, arguments.output / "spectra.png")


if __name__ == "__main__":
    main()
