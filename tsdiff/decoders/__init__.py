"""Conditional generative models of one event: loss and sample, given context."""

from tsdiff.decoders.base import AffineDecoder
from tsdiff.decoders.bridge import SchrodingerBridge
from tsdiff.decoders.consistency import Consistency
from tsdiff.decoders.ddpm import DDPM
from tsdiff.decoders.decoder import Decoder, Phase
from tsdiff.decoders.flow_matching import FlowMatching
from tsdiff.decoders.interpolant import Interpolant
from tsdiff.decoders.low_rank_gaussian import LowRankGaussian
from tsdiff.decoders.moment_matching import MomentMatching
from tsdiff.decoders.rectified import RectifiedFlow
from tsdiff.decoders.score import ScoreSDE
from tsdiff.decoders.vsdm import VSDM, VSDMWarning

__all__ = [
    "DDPM",
    "VSDM",
    "AffineDecoder",
    "Consistency",
    "Decoder",
    "FlowMatching",
    "Interpolant",
    "LowRankGaussian",
    "MomentMatching",
    "Phase",
    "RectifiedFlow",
    "SchrodingerBridge",
    "ScoreSDE",
    "VSDMWarning",
]
