"""Networks ``(x, t, context) -> prediction``; they know only torch."""

from __future__ import annotations

from tsdiff.networks.base import PRECISIONS, Network
from tsdiff.networks.dilated import DilatedResidualNetwork
from tsdiff.networks.embedding import TimeEmbedding
from tsdiff.networks.mlp import ResidualMLP
from tsdiff.networks.unet import TemporalUNet

NETWORKS: dict[str, type[Network]] = {
    "mlp": ResidualMLP,
    "dilated": DilatedResidualNetwork,
    "unet": TemporalUNet,
}
"""Networks by the names that estimators understand."""

__all__ = [
    "NETWORKS",
    "PRECISIONS",
    "DilatedResidualNetwork",
    "Network",
    "ResidualMLP",
    "TemporalUNet",
    "TimeEmbedding",
]
