"""Factors: how much slower or faster this very device is than the general law says, learned from its Records.

A Factor multiplies the seconds of one kind of work: 1.1 means that this device takes 10 % longer than predicted. It is
bounded and shrunk towards 1 by the number of Records behind it, so that no single bad run can bend a prediction far
(a free polynomial could; `calibrate.py` makes Factors, `price.py` applies them).
"""

import msgspec

LOWEST, HIGHEST = 0.5, 2.0
"""no Factor leaves these bounds: a larger discrepancy is another card, another engine or an error, not a correction"""


class Factor(msgspec.Struct, frozen=True, kw_only=True):
    """Correction of the seconds of one kind of work on one device."""

    value: float
    """measured seconds / predicted seconds, shrunk and bounded"""
    spread: float
    """relative half-width that held 90 % of the Records behind it, floor included"""
    records: int


class Factors(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All corrections of one device. Keys are "<runtime>/<phase>" or, narrower, "<runtime>/<phase>/<format>"."""

    device: str
    entries: dict[str, Factor] = {}
    records: int = 0
    """Records of this device that were used"""

    def find(self, runtime: str, phase: str, format: str = "") -> Factor | None:
        """The narrowest correction that exists for this work."""
        return self.entries.get(f"{runtime}/{phase}/{kind_of(format)}") or self.entries.get(f"{runtime}/{phase}")


def kind_of(format: str) -> str:
    """The block format that a mix is mostly made of: q4_k of q4_k_m; other formats are their own kind."""
    name = format.lower()
    return name[:4] if name[:1] == "q" and name[1:4] in ("2_k", "3_k", "4_k", "5_k", "6_k") else name
