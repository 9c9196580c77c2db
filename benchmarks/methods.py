"""VSDM's variational score in closed form and by gradient descent, on Gaussian data.

Both start from A = 0 and take the same number of stages, with the same random numbers, on data with
the spreads of spiral-8Y along axes that are turned by 0.5; the untrained decoder has their exact
score. The fixed point is known (docs/math/vsdm.md).

    python benchmarks/methods.py
"""

from __future__ import annotations

import argparse
import time

import torch

from tsdiff.decoders import VSDM
from tsdiff.decoders.axes import Axes
from tsdiff.decoders.clouds import empty_context
from tsdiff.networks import ResidualMLP
from tsdiff.processes import VariancePreserving
from tsdiff.random import seeded

STD = torch.tensor([18.67, 2.097], dtype=torch.float64)
KNOWN = (15.65, 5.80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, default=100)
    parser.add_argument("--paths", type=int, default=4000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cos, sin = torch.cos(torch.tensor(0.5)).double(), torch.sin(torch.tensor(0.5)).double()
    turn = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    print("| method | β_max λ, long axis | short axis | of a step: simulation | solution |")
    print("|---|--:|--:|--:|--:|")
    print(f"| fixed point | {KNOWN[0]:.2f} | {KNOWN[1]:.2f} | | |")
    for method in ("exact", "gradient"):
        decoder = VSDM(
            ResidualMLP(2, 1),
            2,
            schedule=VariancePreserving(0.1, 10.0, exponent=1.7),
            structure="principal",
            axes=Axes("principal", 2, rescale=False),
            method=method,
            num_stages=arguments.stages,
            num_paths=arguments.paths,
            step_size=1.0,
        )
        decoder.set_data_moments(torch.zeros(2), turn @ torch.diag(STD**2) @ turn.T)
        context, simulation, solution = empty_context(8, torch.zeros(1)), 0.0, 0.0
        for stage in range(arguments.stages):
            decoder.refresh(torch.zeros(8, 1, 2), context, seeded(0, stage))
        values = decoder.scaled_eigenvalues[0].tolist()
        for stage in range(10):
            began = time.perf_counter()
            moments = decoder.simulate(context, seeded(1, stage))
            middle = time.perf_counter()
            decoder._step(moments)
            simulation += (middle - began) / 10
            solution += (time.perf_counter() - middle) / 10
        print(
            f"| {method} | {values[0]:.2f} | {values[1]:.2f} | {1e3 * simulation:.0f} ms | "
            f"{1e3 * solution:.1f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
