"""Laws between data (t = 0) and source (t = 1): mathematics only.

Noise time ``t`` runs from 0 (data) to 1 (source); see :mod:`tsdiff.processes.affine`.
"""

from tsdiff.processes.affine import (
    PREDICTIONS,
    AffinePath,
    Coefficients,
    DiscreteDDPM,
    Linear,
    LipschitzOptimal,
    PathSample,
    SubVP,
    Trigonometric,
    VarianceExploding,
    VariancePreserving,
)
from tsdiff.processes.bridge import GaussianCoupling, OrnsteinUhlenbeck
from tsdiff.processes.fixed_basis import FixedBasisSDE
from tsdiff.processes.gaussian_bridge import GaussianBridge
from tsdiff.processes.interpolant import PointSource
from tsdiff.processes.kac import Kac
from tsdiff.processes.linear_sde import LinearSDE, Moments
from tsdiff.processes.matrix_sde import MatrixSDE
from tsdiff.processes.mean_reverting import MeanReverting
from tsdiff.processes.quantile import QuantileLatent
from tsdiff.processes.uniform import Uniform

__all__ = [
    "PREDICTIONS",
    "AffinePath",
    "Coefficients",
    "DiscreteDDPM",
    "FixedBasisSDE",
    "GaussianBridge",
    "GaussianCoupling",
    "Kac",
    "Linear",
    "LinearSDE",
    "LipschitzOptimal",
    "MatrixSDE",
    "MeanReverting",
    "Moments",
    "OrnsteinUhlenbeck",
    "PathSample",
    "PointSource",
    "QuantileLatent",
    "SubVP",
    "Trigonometric",
    "Uniform",
    "VarianceExploding",
    "VariancePreserving",
]
