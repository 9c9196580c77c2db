"""Which choices VSDM has, and which of them go together."""

from __future__ import annotations

STRUCTURES = ("auto", "principal", "diagonal", "low_rank", "full")
"""What ``A`` may look like: see :class:`~tsdiff.decoders.VSDM`."""
METHODS = ("exact", "gradient")
LOSS_PRIORS = ("standard", "conditional")
AVERAGING = ("none", "polyak", "ema")
ABOUT = ("mean", "origin")

# Up to here a change to principal axes costs little beside the network.
_MOST_PRINCIPAL = 128
_LEADING = 16


def resolve_structure(structure: str, rank: int | None, dim: int) -> tuple[str, int]:
    """The structure that is meant, and its rank."""
    if structure not in STRUCTURES:
        raise ValueError(
            f"unknown structure {structure!r}: expected one of {', '.join(STRUCTURES)}"
        )
    if structure == "auto":
        structure = "principal" if dim <= _MOST_PRINCIPAL else "low_rank"
    if structure != "low_rank":
        return structure, 0
    rank = min(_LEADING, dim - 1) if rank is None else rank
    if not 0 < rank < dim:
        raise ValueError(
            f"structure 'low_rank' needs a rank between 1 and D - 1, got rank={rank}, D={dim}"
        )
    return structure, rank


def check_options(
    cells: int,
    zeta: float,
    loss_prior: str,
    method: str,
    averaging: str,
    structure: str,
    about: str,
) -> None:
    """Raise a ValueError if a choice is unknown, or two of them have no fixed point together."""
    for name, value, known in (
        ("loss_prior", loss_prior, LOSS_PRIORS),
        ("method", method, METHODS),
        ("averaging", averaging, AVERAGING),
        ("about", about, ABOUT),
    ):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(known)}")
    if not 0.0 < zeta <= 1.0:
        raise ValueError(f"zeta must lie in (0, 1], got {zeta}")
    if zeta < 1.0 and cells > 1:
        raise ValueError(
            f"zeta={zeta} with cells={cells}: a drift that varies in time has a fixed point at "
            "zeta=1 only; take cells=1 or zeta=1"
        )
    if zeta == 1.0 and loss_prior == "conditional":
        raise ValueError(
            "zeta=1 with loss_prior='conditional' has no fixed point, eigenvalues of D grow "
            "without end: take loss_prior='standard' or zeta below 1"
        )
    if structure == "full" and cells > 1:
        raise ValueError(
            f"structure='full' with cells={cells}: drifts of different cells need common "
            "eigenvectors; take structure='principal'"
        )
