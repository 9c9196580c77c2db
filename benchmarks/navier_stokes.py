r"""Forecasts of a randomly stirred fluid: one drift, sampled with three diffusion coefficients.

The two-dimensional Navier-Stokes equations for the vorticity ω on the torus ``[0, 2π]²``, damped
and stirred by white noise on a few waves,

    dω + v·∇ω dt = ν Δω dt - α ω dt + ε dη,   v = curl^{-1} ω,   ν = 1e-3, α = 0.1, ε = 1,

are the study of Chen, Goldstein, Hua, Albergo, Boffi & Vanden-Eijnden (2024), *Probabilistic
forecasting with stochastic interpolants and Föllmer processes*. A point-source interpolant learns
the law of the change ``ω_{t+τ} - ω_t`` given ``ω_t``. It starts from the known ``ω_t``, so that one
trained drift can be integrated with the volatility σ of the interpolant, with the Föllmer
coefficient, or with none. The conditional law is then known as well as its simulator is patient:
every forecast is compared with 500 true continuations of the same state.

Smaller than the original, for one core of a processor: a grid of 32² in place of 128², stirred at
lower waves, a lag of ½ in place of 2, and a network of a million parameters on patches of 2x2. The
viscosity is theirs, which this grid doesn't resolve: the flow is that of its 440 largest waves.

The table has relative errors of the conditional mean and standard deviation (their first row is
what so many true samples get), the ratio of the mean standard deviations, the CRPS over that of the
truth by pixels and by a few Fourier coefficients, the largest and the mean error of log₁₀ of the
enstrophy by wave number, and processor time.

    python benchmarks/navier_stokes.py --check
    python benchmarks/navier_stokes.py --output navier_stokes
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tsdiff.decoders import Interpolant
from tsdiff.networks import Network
from tsdiff.networks.embedding import TimeEmbedding
from tsdiff.random import seeded
from tsdiff.solvers import DDIM, Analytic, Ancestral, EulerMaruyama, Solver

GRID, STEP, SPIN_UP, TRAJECTORIES = 32, 0.02, 30.0, 128
BATCH, LEARNING_RATE = 32, 1e-3
WAVES = ((3, 0), (4, 0), (2, 2), (3, 3))
SAMPLERS: dict[str, Solver] = {
    "σ": EulerMaruyama("volatility"),
    "Föllmer": EulerMaruyama("native"),
    "Föllmer, ancestral": Ancestral(),
    "Föllmer, analytic": Analytic(),
    "ODE": DDIM(),
}
SHELLS = range(1, 11)
MODES = ((1, 0), (0, 1), (1, 1), (2, 1), (3, 0), (2, 2))
_SPIN_UP, _TRUTH, _WEIGHTS, _BATCH, _NOISE, _SAMPLE, _BASELINE = range(7)


class Flow:
    """Vorticity as ``rfft2`` coefficients ``[B, n, n/2 + 1]``, pseudo-spectral with the 2/3 rule.

    A step is Strang's: half a step of damping, viscosity and stirring, which make every wave an
    Ornstein-Uhlenbeck process and are exact; a step of transport by Runge-Kutta's fourth order;
    and the other half. ``η`` has a sine and a cosine of each of ``waves``, with Brownian motions
    of their own, so that its law, and the flow's, is the same everywhere on the torus.
    """

    def __init__(
        self,
        *,
        viscosity: float = 1e-3,
        damping: float = 0.1,
        forcing: float = 1.0,
        waves: tuple[tuple[int, int], ...] = WAVES,
        dtype: torch.dtype = torch.float32,
    ):
        p, q = wave_numbers(dtype)
        square = p * p + q * q
        kept = (3.0 * p.abs() < GRID) & (3.0 * q.abs() < GRID)
        self.rate = -viscosity * square - damping
        self.divergence = torch.stack([1j * p * kept, 1j * q * kept])
        x = 2.0 * math.pi * torch.arange(GRID, dtype=dtype) / GRID
        phases = torch.stack([m * x.view(-1, 1) + n * x for m, n in waves])
        self.stirred = forcing * torch.fft.rfft2(torch.cat([phases.cos(), phases.sin()]))
        rates = [-viscosity * (m * m + n * n) - damping for m, n in waves]
        self.stirred_rate = torch.tensor(2 * rates, dtype=dtype)

    def tendency(self, w: Tensor) -> Tensor:
        """``-∇·(v ω)``."""
        fields = torch.fft.irfft2(torch.cat([w.unsqueeze(1), velocity(w)], dim=1))
        flux = torch.fft.rfft2(fields[:, 1:] * fields[:, :1])
        return -(self.divergence * flux).sum(1)

    def transport(self, w: Tensor, h: float) -> Tensor:
        k1 = self.tendency(w)
        k2 = self.tendency(w + 0.5 * h * k1)
        k3 = self.tendency(w + 0.5 * h * k2)
        k4 = self.tendency(w + h * k3)
        return w + (h / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)

    def linear(self, w: Tensor, h: float, generator: torch.Generator) -> Tensor:
        rate = self.stirred_rate.clamp_max(-1e-9)
        spread = (torch.expm1(2.0 * rate * h) / (2.0 * rate)).sqrt()
        shape = (len(w), len(spread))
        kicks = spread * torch.randn(shape, dtype=spread.dtype, generator=generator)
        stirring = kicks.to(w.dtype) @ self.stirred.flatten(1)
        return torch.exp(self.rate * h) * w + stirring.view_as(w)

    def run(self, fields: Tensor, span: float, generator: torch.Generator, h: float = STEP):
        """Fields ``[B, n, n]`` after ``span`` units of time."""
        steps = round(span / h)
        w = self.linear(torch.fft.rfft2(fields), 0.5 * h, generator)
        for step in range(1, steps + 1):
            # Two halves that meet are one whole.
            w = self.linear(self.transport(w, h), h if step < steps else 0.5 * h, generator)
        return torch.fft.irfft2(w)


def wave_numbers(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    p = torch.fft.fftfreq(GRID, 1.0 / GRID, dtype=dtype).view(-1, 1)
    return p, torch.fft.rfftfreq(GRID, 1.0 / GRID, dtype=dtype).view(1, -1)


def velocity(w: Tensor) -> Tensor:
    """Both components of ``curl^{-1} ω``, ``[B, n, n/2 + 1] -> [B, 2, n, n/2 + 1]``."""
    p, q = wave_numbers(w.real.dtype)
    inverse = 1j / (p * p + q * q).clamp_min(1.0)
    return torch.stack([inverse * q, -inverse * p]) * w.unsqueeze(1)


def spectrum(fields: Tensor) -> Tensor:
    """Mean enstrophy ``½ω²`` by shells of rounded wave number, of fields ``[..., n, n]``."""
    p, q = wave_numbers()
    shell = (p * p + q * q).sqrt().round()
    power = torch.fft.rfft2(fields.reshape(-1, GRID, GRID)).abs().square().mean(0) / GRID**4
    # All but the first and last column stand for two waves.
    power = 0.5 * power * torch.where((q == 0) | (q == GRID // 2), 1.0, 2.0)
    return torch.stack([power[shell == k].sum() for k in SHELLS])


def check() -> None:
    """Laws of the simulator."""
    generator = torch.Generator().manual_seed(0)
    flow = Flow(dtype=torch.float64)
    start = flow.run(torch.zeros(8, GRID, GRID, dtype=torch.float64), 10.0, generator)

    def invariants(w: Tensor) -> Tensor:
        fields = torch.fft.irfft2(torch.cat([w.unsqueeze(1), velocity(w)], dim=1))
        squares = fields.square().mean((-2, -1))
        return torch.stack([squares[:, 0], squares[:, 1:].sum(1)])

    drifts = []
    for steps in (50, 100):
        w = began = torch.fft.rfft2(start)
        for _ in range(steps):
            w = flow.transport(w, 1.0 / steps)
        drifts.append((invariants(w) / invariants(began) - 1.0).abs().max())
    print(f"energy and enstrophy change by {drifts[0]:.1e}, with half the step {drifts[1]:.1e}")
    assert drifts[0] < 1e-3
    assert drifts[0] / drifts[1] > 16.0

    calm = Flow(forcing=0.0, dtype=torch.float64)
    ends = [calm.run(start, 1.0, generator, h) for h in (STEP, STEP / 2, STEP / 4)]
    ratio = float((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm())
    error = float((ends[0] - ends[1]).norm() / ends[1].norm())
    print(f"half the step changes the damped flow by {error:.1e}, half of that {ratio:.1f} x less")
    assert error < 1e-3
    assert 3.5 < ratio < 20.0

    # A single wave is not transported by its own velocity: its law is closed form at any step.
    wave = Flow(damping=1.0, waves=((2, 1),), dtype=torch.float64)
    ended = wave.run(torch.zeros(4_000, GRID, GRID, dtype=torch.float64), 6.0, generator, 0.5)
    found, exact = float(ended[:, 0, 0].var()), 1.0 / (2.0 * (1.0 + 5e-3))
    print(f"variance of a single wave {found:.4f}, exact {exact:.4f}")
    # Four standard errors.
    assert abs(found / exact - 1.0) < 4.0 * (2.0 / 4_000) ** 0.5


class Block(nn.Module):
    """``h + conv(silu(norm(conv(silu(norm(h)))) (1 + scale) + shift))``, on a torus."""

    def __init__(self, width: int, time_width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))
        self.first, self.second = convolution(width, width), convolution(width, width)
        self.modulation = nn.Linear(time_width, 2 * width)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulation(time)[:, 0, :, None, None].chunk(2, dim=1)
        inner = self.norms[1](self.first(F.silu(self.norms[0](h))))
        return h + self.second(F.silu(torch.addcmul(shift, inner, 1.0 + scale)))


class UNet(Network):
    """Convolutions on the torus at three resolutions, of patches of 2x2.

    They see the noisy change, the state that is the context, and the velocity that belongs to it:
    where a vortex is carried to depends on all others, which convolutions find hard to sum.
    """

    def __init__(self, widths: tuple[int, ...] = (48, 80, 112)):
        super().__init__()
        self.time = TimeEmbedding(128)
        self.inlet = convolution(16, widths[0])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.join = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a in widths[:-1])
        self.falling = nn.ModuleList(Block(width, 128) for width in widths)
        self.rising = nn.ModuleList(Block(width, 128) for width in widths)
        self.outlet = convolution(widths[0], 4)
        self.start_at_zero(self.outlet)  # type: ignore[arg-type]

    def bind(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        state = context.view(-1, 1, GRID, GRID)
        # Of unit variance, or thereabouts.
        carried = 4.0 * torch.fft.irfft2(velocity(torch.fft.rfft2(state[:, 0])))
        known = patches(torch.cat([state, carried], dim=1))

        def predict(x: Tensor, t: Tensor) -> Tensor:
            time = self.time(t)
            h = self.inlet(torch.cat([patches(x.view(-1, 1, GRID, GRID)), known], dim=1))
            passed: list[Tensor] = []
            for block, down in zip(self.falling, (*self.down, nn.Identity()), strict=True):
                passed.append(block(h, time))
                h = down(passed[-1])
            h = self.rising[-1](h, time)
            for level in reversed(range(len(self.down))):
                h = self.join[level](torch.cat([self.up[level](h), passed[level]], dim=1))
                h = self.rising[level](h, time)
            return F.pixel_shuffle(self.outlet(F.silu(h)), 2).reshape(x.shape)

        return predict


def patches(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)


def convolution(inlets: int, outlets: int) -> nn.Conv2d:
    return nn.Conv2d(inlets, outlets, 3, padding=1, padding_mode="circular")


class Fluid:
    """Data in units of the field's standard deviation: ``fields [P + 1, B, n, n]``, a lag apart.

    And ``states [C, n, n]`` that training has not seen, with continuations ``truth [C, M, n, n]``.
    """

    def __init__(self, arguments: argparse.Namespace):
        flow, lag = Flow(), arguments.lag
        generator = seeded(arguments.seed, _SPIN_UP)
        fields = [flow.run(torch.zeros(TRAJECTORIES, GRID, GRID), SPIN_UP, generator)]
        for _ in range(math.ceil(arguments.pairs / TRAJECTORIES)):
            fields.append(flow.run(fields[-1], lag, generator))
        # Another ten units of time: of these states training knows nothing.
        states = flow.run(fields[-1][: arguments.conditions], 10.0, generator)
        repeated = states.repeat_interleave(arguments.truth, dim=0)
        truth = flow.run(repeated, lag, seeded(arguments.seed, _TRUTH))
        scale = torch.stack(fields).std()
        self.fields = torch.stack(fields) / scale
        self.states, self.truth = states / scale, truth.view(len(states), -1, GRID, GRID) / scale
        self.correlation = float((self.fields[1:] * self.fields[:-1]).mean())

    def batch(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States and their successors a lag later ``[rows, n, n]``, moved and turned at random.

        The law is the same everywhere on the torus, and under half a turn.
        """
        pick = torch.randint((len(self.fields) - 1) * TRAJECTORIES, (rows,), generator=generator)
        when, which = pick // TRAJECTORIES, pick % TRAJECTORIES
        pair = torch.stack([self.fields[when, which], self.fields[when + 1, which]])
        *shift, turn = torch.randint(GRID, (3,), generator=generator).tolist()
        pair = pair.roll(shift, (-2, -1))
        before, after = pair.flip((-2, -1)) if turn % 2 else pair
        return before, after


def fit(fluid: Fluid, arguments: argparse.Namespace) -> Interpolant:
    """An interpolant of the change over a lag, given the state: Adam, cosine decay, averaging."""
    torch.manual_seed(arguments.seed)
    size = GRID * GRID
    decoder = Interpolant(UNet(), size, prediction="drift", axes="common")
    change = (fluid.fields[1:] - fluid.fields[:-1]).flatten(0, 1).flatten(1)
    # The mean is zero, by symmetry.
    decoder.set_data_moments(torch.zeros(size), torch.cov(change.T))
    network = decoder.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, arguments.updates, pct_start=0.05
    )
    losses = []
    for update in range(arguments.updates):
        rows = seeded(arguments.seed, _BATCH, update)
        before, after = (f.flatten(1).unsqueeze(1) for f in fluid.batch(BATCH, rows))
        noise = seeded(arguments.seed, _NOISE, update)
        loss = decoder.loss(after - before, before, generator=noise).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(float(loss.detach()))
        if (update + 1) % 250 == 0:
            print(f"update {update + 1}: loss {sum(losses[-250:]) / 250:.4f}", flush=True)
    network.load_state_dict(average.module.state_dict())
    return decoder.eval()


@torch.no_grad()
def forecast(
    decoder: Interpolant, states: Tensor, samples: int, solver: Solver, steps: int, seed: int
) -> Tensor:
    """Samples ``[C, N, n, n]`` of the field a lag after ``states [C, n, n]``."""
    drawn = []
    for number, state in enumerate(states):
        context = state.view(1, 1, -1).expand(samples, 1, -1)
        generator = seeded(seed, _SAMPLE, number)
        change = decoder.sample(context, solver=solver, num_steps=steps, generator=generator)
        drawn.append((context + change).view(samples, GRID, GRID))
    return torch.stack(drawn)


def linear_forecast(fluid: Fluid, samples: int, seed: int) -> Tensor:
    """The Gaussian law of wave after wave by itself: a first-order autoregression of each."""
    before, after = (
        torch.fft.rfft2(f.flatten(0, 1)) for f in (fluid.fields[:-1], fluid.fields[1:])
    )
    power = before.abs().square().mean(0).clamp_min(1e-9)
    factor = (after * before.conj()).mean(0) / power
    left = (after - factor * before).abs().square().mean(0).sqrt() / GRID
    mean = torch.fft.irfft2(factor * torch.fft.rfft2(fluid.states)).unsqueeze(1)
    shape = (len(fluid.states), samples, GRID, GRID)
    white = torch.randn(shape, generator=seeded(seed, _BASELINE))
    return mean + torch.fft.irfft2(left * torch.fft.rfft2(white))


def regret(x: Tensor, y: Tensor) -> float:
    """CRPS of forecasts ``x [C, N, ...]`` of the true ``y [C, M, ...]``, over that of the truth.

    The fair score: 1 is the least, and the expectation for draws from the true law.
    """

    def within(z: Tensor) -> Tensor:
        """The sum of ``|z_i - z_j|`` over pairs of the second dimension."""
        rank = 2.0 * torch.arange(z.shape[1]) - z.shape[1] + 1.0
        return torch.tensordot(z.sort(1).values.transpose(1, -1), rank, dims=1).mean()

    n, m = x.shape[1], y.shape[1]
    own, truth = within(x), within(y)
    across = (within(torch.cat([x, y], dim=1)) - own - truth) / (n * m)
    return float((across - own / max(1, n * (n - 1))) / (truth / (m * (m - 1))))


def waves(fields: Tensor) -> Tensor:
    """Real parts of a few Fourier coefficients, ``[C, N, n, n] -> [C, N, len(MODES)]``."""
    spectral = torch.fft.rfft2(fields)
    return torch.stack([spectral[..., p, q].real for p, q in MODES], dim=-1)


def scores(forecasts: Tensor, truth: Tensor) -> list[float]:
    """Of forecasts ``[C, N, n, n]`` against true continuations ``[C, M, n, n]``; see the table."""

    def relative(found: Tensor, exact: Tensor) -> float:
        off = (found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
        return float(off.mean())

    def spread(fields: Tensor) -> Tensor:
        return fields.var(1, correction=min(1, fields.shape[1] - 1)).sqrt()

    off = (spectrum(forecasts) / spectrum(truth)).log10().abs()
    return [
        relative(forecasts.mean(1), truth.mean(1)),
        relative(spread(forecasts), spread(truth)),
        float(spread(forecasts).mean() / spread(truth).mean()),
        regret(forecasts, truth),
        regret(waves(forecasts), waves(truth)),
        float(off.max()),
        float(off.mean()),
    ]


def draw(state: Tensor, ensembles: dict[str, Tensor], folder: Path) -> None:
    """Spectra of ensembles ``[C, N, n, n]``, and what each makes of the first ``state``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    truth = spectrum(ensembles["truth"])
    for name, fields in ensembles.items():
        style = {"color": "black", "linewidth": 2.5} if name == "truth" else {"marker": "."}
        panels[0].semilogy(SHELLS, spectrum(fields), label=name, **style)
        panels[1].plot(SHELLS, (spectrum(fields) / truth).log10(), **style)
    panels[0].set(xlabel="wave number", ylabel="enstrophy")
    panels[1].set(xlabel="wave number", ylabel="log₁₀ of enstrophy over the truth's")
    panels[0].legend()
    figure.savefig(folder / "spectra.png", dpi=110)

    ensembles = {name: ensembles[name] for name in ("truth", "σ", "Föllmer", "ODE")}
    titles = ("condition", "a sample", "another", "mean", "standard deviation")
    rows = len(ensembles)
    figure, panels = plt.subplots(rows, 5, figsize=(10, 1.9 * rows), layout="constrained")
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title)
    for row, (name, fields) in zip(panels, ensembles.items(), strict=True):
        row[0].set_ylabel(name)
        shown = torch.stack([state, *fields[0, :2], fields[0].mean(0)])
        for panel, field in zip(row, shown, strict=False):
            signed = panel.imshow(field, cmap="RdBu_r", vmin=-3.0, vmax=3.0)
        spread = row[4].imshow(fields[0].std(0), cmap="viridis", vmin=0.0, vmax=1.0)
        for panel in row:
            panel.set(xticks=[], yticks=[])
    figure.colorbar(signed, ax=panels[:, :4], location="bottom", shrink=0.5, aspect=40)
    figure.colorbar(spread, ax=panels[:, 4], location="bottom", aspect=10)
    figure.savefig(folder / "fields.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="check the simulator, and no more")
    parser.add_argument("--lag", type=float, default=0.5)
    parser.add_argument("--pairs", type=int, default=16_384)
    parser.add_argument("--updates", type=int, default=2400)
    parser.add_argument("--conditions", type=int, default=4)
    parser.add_argument("--truth", type=int, default=1000, help="continuations of each condition")
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 25])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("navier_stokes"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        check()
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    fluid = Fluid(arguments)
    print(f"{time.process_time() - began:.0f} s of simulation", flush=True)
    print(f"autocorrelation at the lag: {fluid.correlation:.3f}")
    began = time.process_time()
    decoder = fit(fluid, arguments)
    print(f"{time.process_time() - began:.0f} s of training", flush=True)

    count, seed = arguments.samples, arguments.seed
    truth, fresh = fluid.truth.chunk(2, dim=1)
    lines = [
        "| forecast | steps | mean | spread | spread's ratio | regret, pixels | regret, waves "
        "| spectrum, worst | spectrum | time |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]

    def report(name: str, fields: Tensor, steps: str = "", took: str = "") -> None:
        cells = " | ".join(f"{value:.3f}" for value in scores(fields, truth))
        lines.append(f"| {name} | {steps} | {cells} | {took} |")
        print(lines[-1], flush=True)

    report("truth, other draws", fresh[:, :count])
    shown = {"truth": truth}
    for steps in arguments.steps:
        for name, solver in SAMPLERS.items():
            began = time.process_time()
            fields = forecast(decoder, fluid.states, count, solver, steps, seed)
            report(name, fields, str(steps), f"{time.process_time() - began:.0f} s")
            if steps == arguments.steps[-1]:
                shown[name] = fields
    linear = linear_forecast(fluid, count, seed)
    report("linear, wave by wave", linear)
    always = fluid.fields.flatten(0, 1)[:: fluid.fields.shape[0]][:count]
    report("climatology", always.expand(len(fluid.states), -1, -1, -1))
    report("persistence", fluid.states.unsqueeze(1))
    (arguments.output / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(fluid.states[0], {**shown, "linear": linear}, arguments.output)


if __name__ == "__main__":
    main()
