"""An Estimate: a Cost priced on a Device. Peak memory and seconds as ranges, what limits them, and on what it rests."""

import msgspec

from onecard.core.ranges import Range


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Peak memory of the largest phase, in bytes.

    `peak_bytes` is what the whole process takes of the device (context included), the number that must fit.
    `allocated` and `reserved` are the peaks of torch's allocator, where the runtime has one; `parts` add up to the peak.
    """

    peak_bytes: Range
    phase: str
    parts: dict[str, Range]
    host_parts: dict[str, Range] = {}
    usable_bytes: int
    free_bytes: int | None = None
    host_usable_bytes: int | None = None
    """of the host: what is free now on a probed machine; None for a card by name"""
    allocated: Range | None = None
    reserved: Range | None = None
    elsewhere: dict[str, Range] = {}
    """parts that are larger in another phase than in the one that needs most, as they are there: transformers' keys and values
    are complete only at the end, when the logits of the prompt are gone"""
    bases: dict[str, str] = {}
    """basis per part"""


class PhaseTime(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one repeat of a phase."""

    seconds: Range
    repeat: float = 1.0


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `plan --explain`: the equation of a number with the user's own values."""

    name: str
    value: str
    equation: str
    basis: str
    source: str = ""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a Plan promises."""

    memory: Memory
    time: dict[str, PhaseTime]
    total_seconds: Range
    energy_joules: Range | None = None
    """of the board over all phases, a guess from its power limit; None where that is unknown"""
    rates: dict[str, Range]
    """<phase>_<unit>_per_s"""
    limiters: dict[str, str]
    """per phase: compute, bandwidth, launches, link, host or dequantisation"""
    basis: str
    rate_bases: dict[str, str] = {}
    calibrated_by: int = 0
    """Records of this very device that corrected it"""
    factors: dict[str, float] = {}
    """per phase: the correction from Records that is already in its seconds"""
    terms: tuple[Term, ...] = ()
    notes: tuple[str, ...] = ()
