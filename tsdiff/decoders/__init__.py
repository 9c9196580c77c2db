"""Conditional generative models of one event: loss and sample, given context."""

from tsdiff.decoders.base import AffineDecoder, Decoder
from tsdiff.decoders.ddpm import DDPM
from tsdiff.decoders.flow_matching import FlowMatching

__all__ = ["DDPM", "AffineDecoder", "Decoder", "FlowMatching"]
