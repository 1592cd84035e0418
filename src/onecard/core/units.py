"""Quantities that people write and read; inside there are only bytes, seconds, bytes/s and FLOP/s.

GiB is 1024**3 and GB is 1000**3: they differ by 7.4 %, more than many predictions claim as their error, so both are
accepted and never mixed up. A bare letter ("12g") is binary, as memory sizes on a card are; nothing shown ever reads a bare "GB" for GiB.
"""

import re

from onecard.core.errors import BadSetting

KiB, MiB, GiB, TiB = 1024, 1024**2, 1024**3, 1024**4

_SIZES = {
    "": 1, "b": 1, "byte": 1, "bytes": 1,
    "k": KiB, "kib": KiB, "ki": KiB, "kb": 10**3,
    "m": MiB, "mib": MiB, "mi": MiB, "mb": 10**6,
    "g": GiB, "gib": GiB, "gi": GiB, "gb": 10**9,
    "t": TiB, "tib": TiB, "ti": TiB, "tb": 10**12,
}  # fmt: skip
_SI = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
_DURATIONS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"^\s*([0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z/ ]*?)\s*$")
_GROUPED = re.compile(r"^\s*[0-9]{1,3}(?:([ ,'\u00a0\u2009\u202f])[0-9]{3})(?:\1[0-9]{3})*(?![0-9])")
"""12 282 or 12,282: groups of three behind a first of one to three, all set apart by the same sign"""


def _split(text: str, what: str, example: str) -> tuple[float, str]:
    grouped = _GROUPED.match(text)
    if grouped:
        text = grouped[0].replace(grouped[1], "") + text[grouped.end() :]
    found = _NUMBER.match(text)
    if not found:
        raise BadSetting(
            f'"{text}" is not a {what}', why="it needs a number and a unit", next=f"write it like {example}"
        )
    return float(found[1].replace("_", "")), found[2].replace(" ", "")


def parse_size(text: str) -> int:
    """Bytes from "12GiB", "12 GB", "12,282 MiB", "12g" (binary) or "4294967296". Raises BadSetting.

    A bare number below a MiB is refused: nobody means a budget of 12 bytes.
    """
    number, unit = _split(text, "size", "12GiB, 12GB or 500MiB")
    factor = _SIZES.get(unit.lower())
    # "Gb" would be gigabits to an engineer and gigabytes to anybody else: refuse rather than guess.
    if factor is None or (len(unit) == 2 and unit[0].isupper() and unit[1] == "b"):
        raise BadSetting(f'"{text}" has the unknown unit "{unit}"', next="write it like 12GiB, 12GB or 500MiB")
    if not unit and 0 < number < MiB:
        raise BadSetting(
            f'"{text}" has no unit',
            why=f"it would mean {text.strip()} bytes",
            next=f"write {text.strip()}GiB or {text.strip()}MiB",
        )
    return round(number * factor)


def parse_bandwidth(text: str) -> float:
    """Bytes per second from "504GB/s" or "470GiB/s". Raises BadSetting."""
    number, unit = _split(text, "bandwidth", "504GB/s")
    factor = _SIZES.get(unit[:-2].lower()) if unit.lower().endswith("/s") else None
    if factor is None or len(unit) < 4:
        raise BadSetting(f'"{text}" is not a bandwidth', next="write it like 504GB/s")
    return number * factor


def parse_flops(text: str) -> float:
    """Operations per second from "80TFLOPS", "80 TFLOP/s" or "320TOPS". Raises BadSetting."""
    number, unit = _split(text, "rate of arithmetic", "80TFLOPS")
    found = re.match(r"^([kmgtp]?)(flops|flop/s|ops|op/s)$", unit.lower())
    if not found:
        raise BadSetting(f'"{text}" is not a rate of arithmetic', next="write it like 80TFLOPS")
    return number * _SI[found[1]]


def parse_duration(text: str) -> float:
    """Seconds from "30m", "2h", "90s", "1.5h". Raises BadSetting."""
    number, unit = _split(text, "duration", "30m, 2h or 90s")
    if unit.lower() not in _DURATIONS:
        raise BadSetting(f'"{text}" has the unknown unit "{unit}"', next="write it like 30m, 2h or 90s")
    return number * _DURATIONS[unit.lower()]


def show_size(size: float) -> str:
    """Bytes for people: "3.56 GiB", "512 MiB", "20 KiB"."""
    for unit, factor in (("TiB", TiB), ("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
        if abs(size) >= factor:
            value = size / factor
            return f"{value:.0f} {unit}" if value >= 100 or factor <= MiB else f"{value:.2f} {unit}"
    return f"{size:.0f} B"


def show_rate(rate: float, unit: str) -> str:
    """A rate with three significant digits: "92.4 tok/s", "1,840 tok/s", "0.31 it/s"."""
    digits = 0 if rate >= 100 else 1 if rate >= 10 else 2 if rate >= 0.1 else 4
    return f"{rate:,.{digits}f} {unit}"


def show_seconds(seconds: float) -> str:
    """A duration for people: "2.1 ms", "14.2 s", "3 min 20 s", "5 h 10 min"."""
    if seconds < 1:
        return f"{seconds * 1e3:.2g} ms" if seconds < 0.0095 else f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
