"""The encoder's input vector: widths as computed, every part where it belongs."""

from __future__ import annotations

import torch

from tsdiff.random import seeded
from tsdiff.transforms import Frame, InputLayer


def layer(target_dim: int = 3, **kwargs) -> InputLayer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InputLayer(target_dim, target_dim, (1, 4), 5, **kwargs)


def frame(scale: torch.Tensor) -> Frame:
    return Frame(torch.zeros_like(scale), scale, None)


def test_width_is_the_sum_of_the_parts() -> None:
    inputs = layer(num_static_real=2, cardinalities=(1, 7, 100))
    scale = torch.ones(6, 1, 3, dtype=torch.float64)
    static = inputs.static(
        frame(scale),
        torch.ones(3, dtype=torch.float64),
        torch.ones(6, 20, 3, dtype=torch.float64),
        torch.zeros(6, 2),
        torch.tensor([[0, 6, 99]] * 6),
    )
    assert static.shape == (6, 1, inputs.static_dim)
    assert static.shape[-1] == 4 + 4 + 2 + (1 + 4 + 16)
    lagged = inputs.lagged(lambda lag: torch.full((6, 9, 3), float(lag)))
    joined = inputs(lagged, torch.full((6, 9, 5), 7.0), static)
    assert joined.shape == (6, 9, inputs.output_dim)
    assert joined.dtype == torch.float32
    assert joined[0, 0, :11].tolist() == [1.0] * 3 + [4.0] * 3 + [7.0] * 5


def test_static_parts_tell_windows_apart() -> None:
    inputs = layer(num_static_real=1, cardinalities=(5,))
    generator = seeded(1)
    scale = torch.rand(4, 1, 3, dtype=torch.float64, generator=generator) + 0.5
    observed = torch.ones(4, 20, 3, dtype=torch.float64)
    observed[1, :10, 2] = 0.0
    real, category = torch.zeros(4, 1), torch.tensor([[0], [0], [0], [3]])
    real[2] = 1.0
    typical = torch.ones(3, dtype=torch.float64)
    static = inputs.static(frame(scale), typical, observed, real, category)
    same = inputs.static(frame(torch.ones_like(scale)), typical, observed, real, category)
    assert not torch.allclose(static[0], same[0])
    assert bool(torch.pdist(same.squeeze(1)).gt(1e-3).all())


def test_a_frame_in_other_units_is_the_same_frame() -> None:
    inputs = layer()
    scale = torch.rand(4, 1, 3, dtype=torch.float64, generator=seeded(2)) + 0.5
    typical, observed = torch.full((3,), 0.8).double(), torch.ones(4, 20, 3).double()
    none = (torch.zeros(4, 0), torch.zeros(4, 0, dtype=torch.long))
    one = inputs.static(frame(scale), typical, observed, *none)
    two = inputs.static(frame(1e6 * scale), 1e6 * typical, observed, *none)
    torch.testing.assert_close(one, two)


def test_extreme_volatility_stays_bounded() -> None:
    inputs = layer()
    scale = torch.tensor([1e-300, 1.0, 1e300], dtype=torch.float64).expand(2, 1, 3)
    static = inputs.static(
        frame(scale),
        torch.ones(3).double(),
        torch.zeros(2, 20, 3).double(),
        torch.zeros(2, 0),
        torch.zeros(2, 0, dtype=torch.long),
    )
    assert static.isfinite().all()
    assert static.abs().max() < 50.0
