"""The input vector of one encoder step: lags, calendar, covariates, and the window's scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tsdiff.transforms.coordinates import Frame


class InputLayer(nn.Module):
    """Joins everything that is known at a step into ``[B, L, output_dim]``.

    The window's scale and gaps enter through an embedding per dimension, ``Σ_d v_d E_d / √D``:
    the network is told in a few numbers which dimensions are unusually volatile and which are
    often missing, at any D.

    Parameters
    ----------
    signal_dim
        Width of the lagged signals, ``num_signals · D``.
    target_dim
        D.
    lags
        Positive, in steps.
    num_features
        Width of calendar features and dynamic covariates together.
    num_static_real
        Number of static real covariates.
    cardinalities
        Number of categories of each static categorical covariate.
    embedding_dim
        Width of the embedding per dimension.
    """

    def __init__(
        self,
        signal_dim: int,
        target_dim: int,
        lags: Sequence[int],
        num_features: int,
        num_static_real: int = 0,
        cardinalities: Sequence[int] = (),
        embedding_dim: int = 4,
    ):
        super().__init__()
        self.lags = tuple(lags)
        self.dimension_embedding = nn.Parameter(torch.randn(target_dim, embedding_dim))
        widths = [min(16, (cardinality + 1) // 2) for cardinality in cardinalities]
        self.category_embeddings = nn.ModuleList(
            nn.Embedding(cardinality, width)
            for cardinality, width in zip(cardinalities, widths, strict=True)
        )
        self.static_dim = 2 * embedding_dim + num_static_real + sum(widths)
        self.output_dim = len(self.lags) * signal_dim + num_features + self.static_dim

    def lagged(self, signal_at: Callable[[int], Tensor]) -> Tensor:
        """Lagged signals in the order of :attr:`lags`; ``signal_at(lag) -> [B, L, signals]``."""
        return torch.cat([signal_at(lag) for lag in self.lags], dim=-1)

    def static(
        self,
        frame: Frame,
        typical_scale: Tensor,
        observed: Tensor,
        static_real: Tensor,
        static_cat: Tensor,
    ) -> Tensor:
        """What doesn't change within a window, ``[B, 1, static_dim]``.

        Parameters
        ----------
        frame, typical_scale
            The window's coordinates and the scale over the training data, ``[D]``.
        observed
            Mask of the context, ``[B, C, D]``.
        static_real, static_cat
            Covariates, ``[B, S]`` and ``[B, C]``.
        """
        embedding = self.dimension_embedding
        weight = embedding.shape[0] ** -0.5
        volatility = (frame.scale / typical_scale.clamp_min(1e-12)).log().clamp(-3.0, 3.0)
        missing = 1.0 - observed.mean(1, keepdim=True)
        parts = [
            volatility.to(embedding.dtype) @ embedding * weight,
            missing.to(embedding.dtype) @ embedding * weight,
            static_real.to(embedding.dtype).unsqueeze(1),
        ]
        for column, table in enumerate(self.category_embeddings):
            parts.append(table(static_cat[:, column]).unsqueeze(1))
        return torch.cat(parts, dim=-1)

    def forward(self, lagged: Tensor, features: Tensor, static: Tensor) -> Tensor:
        """``[B, L, ·]``, ``[B, L, F]`` and ``[B, 1, static_dim]`` to ``[B, L, output_dim]``."""
        beside = self.beside(features, static)
        return torch.cat([lagged.to(beside.dtype), beside], dim=-1)

    def beside(self, features: Tensor, static: Tensor) -> Tensor:
        """All but the lagged signals: ``[B, L, F]`` and ``[B, 1, static_dim]``, joined."""
        static = static.expand(-1, features.shape[1], -1)
        return torch.cat([features.to(static.dtype), static], dim=-1)
