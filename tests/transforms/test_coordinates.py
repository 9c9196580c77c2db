"""Coordinates: there and back, blind to what is missing, white where they promise it."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tsdiff.random import seeded
from tsdiff.transforms import SCALINGS, Coordinates, Frame, LinearCorrection

SEASON, LAGS, CONTEXT, HORIZON, FEATURES = 4, (1, 2, 5), 30, 6, 2
every_scaling = pytest.mark.parametrize("scaling", list(SCALINGS))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed, *shape))


def build(scaling: str, dims: int, structure: str | None = None) -> Coordinates:
    linear = None
    if structure is not None:
        linear = LinearCorrection(dims, FEATURES, LAGS, structure)
        for i, buffer in enumerate(linear.buffers()):
            buffer.copy_(0.2 * normal(*buffer.shape, seed=100 + i))
    coordinates = Coordinates(*SCALINGS[scaling], dims, SEASON, linear)
    coordinates.centre.copy_(normal(dims, seed=1))
    coordinates.size.copy_(0.5 + normal(dims, seed=2).abs())
    factor = torch.eye(dims).double() + 0.2 * normal(dims, dims, seed=3).tril(-1)
    covariance = factor @ factor.T
    std = covariance.diagonal().sqrt()
    coordinates.set_typical(std, covariance / std / std.unsqueeze(1), 5.0)
    return coordinates


def windows(dims: int, reach: int, batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Values, mask and features of ``reach + context + horizon`` steps."""
    steps = reach + CONTEXT + HORIZON
    values = 10.0 + normal(batch, steps, dims, seed=4).cumsum(1)
    return values, torch.ones_like(values), normal(batch, steps, FEATURES, seed=5)


def frame_of(coordinates: Coordinates, values: Tensor, seen: Tensor, features: Tensor) -> Frame:
    past = coordinates.reach + CONTEXT
    return coordinates.frame(values[:, :past], seen[:, :past], features[:, :past])


class TestRoundTrip:
    @pytest.mark.parametrize("dims", [1, 4])
    @pytest.mark.parametrize(
        ("scaling", "structure"),
        list(itertools.product(SCALINGS, [None, "own", "all"])),
    )
    def test_values_come_back_step_by_step(
        self, scaling: str, structure: str | None, dims: int
    ) -> None:
        coordinates = build(scaling, dims, structure)
        values, seen, features = windows(dims, coordinates.reach)
        frame = frame_of(coordinates, values, seen, features)
        z, known = coordinates(values, seen, features, frame)
        assert bool(known.all())
        steps = values.shape[1]
        for step in range(steps - HORIZON, steps):
            back = coordinates.inverse(
                z[:, step - coordinates.reach].unsqueeze(1),
                frame,
                lambda lag, i=step: values[:, i - lag].unsqueeze(1),
                features[:, step : step + 1],
            )
            torch.testing.assert_close(back.squeeze(1), values[:, step], rtol=1e-11, atol=1e-11)

    @every_scaling
    def test_samples_of_a_window_stay_in_its_frame(self, scaling: str) -> None:
        """N adjacent rows per window, as ``repeat_interleave`` makes them."""
        coordinates = build(scaling, 3, "all" if SCALINGS[scaling][0] != "zero" else None)
        values, seen, features = windows(3, coordinates.reach)
        frame = frame_of(coordinates, values, seen, features)
        z, here = normal(3 * 5, 1, 3, seed=6), features[:, -1:]
        together = coordinates.inverse(
            z,
            frame,
            lambda lag: values[:, -1 - lag].unsqueeze(1).repeat_interleave(5, dim=0),
            here.repeat_interleave(5, dim=0),
        )
        for row in range(3):
            window = slice(row, row + 1)
            past = coordinates.reach + CONTEXT
            alone = coordinates.inverse(
                z[5 * row : 5 * row + 5],
                coordinates.frame(
                    values[window, :past], seen[window, :past], features[window, :past]
                ),
                lambda lag, w=window: values[w, -1 - lag].unsqueeze(1).expand(5, 1, 3),
                here[window].expand(5, 1, FEATURES),
            )
            torch.testing.assert_close(together[5 * row : 5 * row + 5], alone)

    @pytest.mark.parametrize("dims", [1, 3])
    def test_spread_undoes_whiten_for_events_of_several_steps(self, dims: int) -> None:
        coordinates = build("whitened", dims)
        frame = frame_of(coordinates, *windows(dims, coordinates.reach))
        residual = normal(3, 7, dims, seed=7)
        torch.testing.assert_close(frame.spread(frame.whiten(residual)), residual)

    @pytest.mark.parametrize("scaling", [name for name in SCALINGS if name != "none"])
    @pytest.mark.parametrize("size", [1e-9, 1e-3, 1e7, 1e12])
    def test_units_do_not_matter(self, scaling: str, size: float) -> None:
        """The same series in other units has the same residuals."""
        reference, spread = SCALINGS[scaling]
        results = []
        for unit in (1.0, size):
            coordinates = Coordinates(reference, spread, 2, SEASON)
            coordinates.set_typical(torch.full((2,), unit).double(), torch.eye(2), 3.0)
            values, seen, features = windows(2, coordinates.reach)
            values = values * unit
            frame = frame_of(coordinates, values, seen, features)
            results.append(coordinates(values, seen, features, frame)[0])
        torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-6)

    def test_prices_of_a_million_with_movements_of_a_cent(self) -> None:
        coordinates = Coordinates("last", "covariance", 2)
        coordinates.set_typical(torch.full((2,), 0.01).double(), torch.eye(2).double(), 5.0)
        moves = 0.01 * normal(2, 1 + CONTEXT + HORIZON, 2, seed=8)
        values = 1e6 + moves.cumsum(1)
        seen, features = torch.ones_like(values), values[..., :0]
        frame = frame_of(coordinates, values, seen, features)
        z, _ = coordinates(values, seen, features, frame)
        torch.testing.assert_close(frame.spread(z), moves[:, 1:], rtol=0, atol=1e-8)
        assert 0.5 < z.std() < 2.0


class TestMissing:
    @every_scaling
    def test_what_is_unobserved_has_no_effect(self, scaling: str) -> None:
        coordinates = build(scaling, 3)
        values, seen, features = windows(3, coordinates.reach)
        seen = (torch.rand(seen.shape, dtype=seen.dtype, generator=seeded(9)) > 0.3).double()
        seen[1, :, 2] = 0.0
        # What is never observed takes its level from the value that was filled in last.
        other = torch.where(seen > 0, values, values + 100.0 * normal(*values.shape, seed=10))
        other[1, :, 2] = values[1, :, 2]
        frames = [frame_of(coordinates, v, seen, features) for v in (values, other)]
        for one, two in zip(vars(frames[0]).values(), vars(frames[1]).values(), strict=True):
            if one is not None:
                torch.testing.assert_close(one, two)
        outcomes = []
        for v, frame in zip((values, other), frames, strict=True):
            z, known = coordinates(v, seen, features, frame)
            signals = coordinates.signals(z, v[:, coordinates.reach :], known)
            outcomes.append((z, known, signals))
        for one, two in zip(*outcomes, strict=True):
            torch.testing.assert_close(one, two)

    @every_scaling
    def test_unknown_residuals_are_zero_and_masked(self, scaling: str) -> None:
        coordinates = build(scaling, 3)
        values, seen, features = windows(3, coordinates.reach)
        seen[:, 20, 1] = 0.0
        z, known = coordinates(
            values, seen, features, frame_of(coordinates, values, seen, features)
        )
        back = {"last": 1, "season": SEASON}.get(SCALINGS[scaling][0])
        lost = {20 - coordinates.reach, *([20 - coordinates.reach + back] if back else [])}
        assert {i for _, i, _ in (known == 0).nonzero().tolist()} == lost
        assert not z[known == 0].any()

    @every_scaling
    @pytest.mark.parametrize("structure", [None, "all"])
    def test_the_future_has_no_effect_on_frame_and_past(
        self, scaling: str, structure: str | None
    ) -> None:
        coordinates = build(scaling, 3, structure)
        values, seen, features = windows(3, coordinates.reach)
        changed = values.clone()
        changed[:, -HORIZON:] += 5.0
        outcomes = []
        for v in (values, changed):
            frame = frame_of(coordinates, v, seen, features)
            z, _ = coordinates(v, seen, features, frame)
            outcomes.append((frame.level, frame.scale, z[:, :-HORIZON]))
        for one, two in zip(*outcomes, strict=True):
            assert torch.equal(one, two)

    @every_scaling
    def test_nothing_observed_falls_back_on_what_is_typical(self, scaling: str) -> None:
        coordinates = build(scaling, 3)
        values, seen, features = windows(3, coordinates.reach)
        seen[:, :, 1] = 0.0
        frame = frame_of(coordinates, values, seen, features)
        z, known = coordinates(values, seen, features, frame)
        assert z.isfinite().all()
        assert not known[..., 1].any()
        if SCALINGS[scaling][1] != "one":
            torch.testing.assert_close(frame.scale[:, 0, 1], coordinates.typical_scale[1].expand(3))
        if frame.factor is not None:
            assert frame.factor.isfinite().all()

    @every_scaling
    @pytest.mark.parametrize("constant", [0.0, 5.0, -3e8])
    def test_constant_series_stay_put(self, scaling: str, constant: float) -> None:
        coordinates = build(scaling, 2)
        coordinates.set_typical(
            torch.tensor([1.0, 1e-12]).double(), coordinates.typical_correlation, 5.0
        )
        values, seen, features = windows(2, coordinates.reach)
        values[..., 1] = constant
        frame = frame_of(coordinates, values, seen, features)
        z, _ = coordinates(values, seen, features, frame)
        assert z.isfinite().all()
        assert bool((frame.scale > 0).all())
        drawn = coordinates.inverse(
            torch.ones(3, 1, 2),
            frame,
            lambda lag: values[:, -1 - lag].unsqueeze(1),
            features[:, :1],
        )
        if SCALINGS[scaling][0] != "zero":
            error = (drawn[..., 1] - constant).abs().max()
            assert error <= 1e-6 * max(1.0, abs(constant))


class TestWhitening:
    factor = torch.tensor([[1.0, 0.0, 0.0], [1.6, 1.2, 0.0], [-0.3, 0.2, 0.1]]).double()

    def correlated_walk(self, batch: int, steps: int) -> Tensor:
        return 50.0 + (normal(batch, steps, 3, seed=11) @ self.factor.T).cumsum(1)

    def test_residuals_of_a_correlated_random_walk_are_white(self) -> None:
        coordinates = Coordinates("last", "covariance", 3)
        covariance = self.factor @ self.factor.T
        std = covariance.diagonal().sqrt()
        coordinates.set_typical(std, covariance / std / std.unsqueeze(1), 1e6)
        values = self.correlated_walk(400, 1 + CONTEXT + HORIZON)
        seen, features = torch.ones_like(values), values[..., :0]
        z, _ = coordinates(values, seen, features, frame_of(coordinates, values, seen, features))
        covariance = torch.cov(z.flatten(0, 1).T)
        torch.testing.assert_close(covariance, torch.eye(3).double(), rtol=0, atol=0.06)

    def test_a_long_context_speaks_for_itself(self) -> None:
        """With a vanishing prior the frame is the context's own second moment."""
        coordinates = Coordinates("last", "covariance", 3)
        coordinates.set_typical(torch.ones(3).double(), torch.eye(3).double(), 1e-9)
        values = self.correlated_walk(2, 501)
        frame = coordinates.frame(values, torch.ones_like(values), values[..., :0])
        residual = values.diff(dim=1)
        expected = residual.transpose(1, 2) @ residual / 500
        spread = frame.scale.transpose(1, 2) * (frame.factor @ frame.factor.transpose(1, 2))
        torch.testing.assert_close(spread * frame.scale, expected, rtol=1e-6, atol=1e-8)

    def test_identical_dimensions_are_no_breakdown(self) -> None:
        coordinates = Coordinates("last", "covariance", 3)
        walk = normal(2, 1 + CONTEXT + HORIZON, 1, seed=12).cumsum(1)
        values = walk.expand(-1, -1, 3).clone()
        seen, features = torch.ones_like(values), values[..., :0]
        frame = frame_of(coordinates, values, seen, features)
        assert frame.factor.isfinite().all()
        z, _ = coordinates(values, seen, features, frame)
        assert z.isfinite().all()

    def test_more_dimensions_than_steps(self) -> None:
        coordinates = Coordinates("last", "covariance", 50)
        values = normal(2, 11, 50, seed=13).cumsum(1)
        frame = coordinates.frame(values, torch.ones_like(values), values[..., :0])
        assert bool((frame.factor.diagonal(dim1=1, dim2=2) > 0).all())

    def test_outliers_are_limited_in_training_and_not_in_forecasts(self) -> None:
        coordinates = Coordinates("last", "std", 1)
        values = normal(1, 1 + CONTEXT + HORIZON, 1, seed=14).cumsum(1)
        values[:, -1] += 1e4
        seen, features = torch.ones_like(values), values[..., :0]
        frame = frame_of(coordinates, values, seen, features)
        z, known = coordinates(values, seen, features, frame)
        assert z[0, -1].item() > 1e3
        assert coordinates.limited(z)[0, -1].item() == 6.0
        far = torch.full((1, 1, 1), 50.0)
        assert coordinates.signals(far, far, known[:, :1]).max().item() == 6.0
        drawn = coordinates.inverse(far, frame, lambda lag: values[:, :1], features[:, :1])
        assert (drawn - values[:, :1]).item() == pytest.approx(50.0 * frame.scale.item())


class TestSignals:
    @every_scaling
    def test_width(self, scaling: str) -> None:
        coordinates = build(scaling, 3)
        values, seen, features = windows(3, coordinates.reach)
        z, known = coordinates(
            values, seen, features, frame_of(coordinates, values, seen, features)
        )
        signals = coordinates.signals(z, values[:, coordinates.reach :], known)
        assert signals.shape == (*z.shape[:2], 3 * coordinates.num_signals)

    def test_seasonal_signals_tell_where_the_series_stands(self) -> None:
        coordinates = build("seasonal", 2)
        values = normal(1, 5, 2, seed=15)
        signals = coordinates.signals(torch.zeros_like(values), values, torch.ones_like(values))
        expected = (values - coordinates.centre) / coordinates.size
        torch.testing.assert_close(signals[..., 2:], expected)


class TestRecentSpread:
    HALF_LIFE = 20.0

    def history(self, coordinates: Coordinates, steps: int = 60) -> tuple[Tensor, Tensor, Tensor]:
        length = coordinates.reach + steps
        values = normal(2, length, 3, seed=7).cumsum(1)
        return values, torch.ones_like(values), normal(2, length, FEATURES, seed=8)

    @pytest.mark.parametrize("structure", [None, "own", "all"])
    @pytest.mark.parametrize("scaling", ["increment", "whitened", "pooled_seasonal"])
    def test_steps_count_half_as_much_every_half_life(
        self, scaling: str, structure: str | None
    ) -> None:
        coordinates = build(scaling, 3, structure)
        assert coordinates.spread_follows
        values, seen, features = self.history(coordinates)
        residual, known = coordinates.residuals(values, seen, features, values[:, :1])
        seen[0, -7, 1] = 0.0
        weight = 0.5 ** (torch.arange(60).flip(0) / self.HALF_LIFE)
        weight = weight * (1.0 - 0.5 ** (1.0 / self.HALF_LIFE))
        typical = coordinates.typical_scale
        square = coordinates.limited(residual / typical).square() * typical.square()
        _, known = coordinates.residuals(values, seen, features, values[:, :1])
        expected = torch.zeros(2, 3).double()
        for row, dim in itertools.product(range(2), range(3)):
            mine = weight * known[row, :, dim]
            rest = (1.0 - mine.sum()) * typical[dim] ** 2
            expected[row, dim] = ((mine * square[row, :, dim]).sum() + rest).sqrt()
        found = coordinates.recent_scale(values, seen, features, self.HALF_LIFE)
        torch.testing.assert_close(found.squeeze(1), expected)

    def test_what_was_not_seen_is_typical(self) -> None:
        coordinates = build("whitened", 3)
        values, seen, features = self.history(coordinates)
        found = coordinates.recent_scale(values, 0.0 * seen, features, self.HALF_LIFE)
        torch.testing.assert_close(found[0, 0], coordinates.typical_scale)

    def test_windows_are_shrunk_towards_it(self) -> None:
        coordinates = build("whitened", 3)
        values, seen, features = windows(3, coordinates.reach)
        past = coordinates.reach + CONTEXT
        context = (values[:, :past], seen[:, :past], features[:, :past])
        typical = torch.tensor([[[0.1, 1.0, 10.0]]], dtype=torch.float64).repeat(3, 1, 1)
        coordinates.pseudo_count.fill_(1e9)
        frame = coordinates.frame(*context, typical=typical)
        torch.testing.assert_close(frame.scale, typical, rtol=1e-4, atol=0.0)
        usual = coordinates.frame(*context)
        torch.testing.assert_close(frame.factor, usual.factor)

    @pytest.mark.parametrize("scaling", ["none", "mean", "standard", "whitened_level"])
    def test_levels_have_no_residuals_before_their_window(self, scaling: str) -> None:
        assert not build(scaling, 3).spread_follows
