"""Laws between data (t = 0) and source (t = 1): mathematics only.

Noise time ``t`` runs from 0 (data) to 1 (source); see :mod:`tsdiff.processes.affine`.
"""

from tsdiff.processes.affine import (
    PREDICTIONS,
    AffinePath,
    Coefficients,
    DiscreteDDPM,
    Linear,
    PathSample,
    VariancePreserving,
)

__all__ = [
    "PREDICTIONS",
    "AffinePath",
    "Coefficients",
    "DiscreteDDPM",
    "Linear",
    "PathSample",
    "VariancePreserving",
]
