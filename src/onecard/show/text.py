"""Words and colours that all terminal views share: a verdict, a range, a bar. Value -> text, nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from onecard.core.plan import FITS, NO, OFFLOAD, TIGHT
from onecard.core.ranges import Range
from onecard.core.units import show_rate, show_size

STYLES = {FITS: "bold green", TIGHT: "bold yellow", OFFLOAD: "bold cyan", NO: "bold red"}
"""Colour of a verdict; the word itself always stands beside it, so that nothing is lost without colour."""

MARKS = {FITS: "✓ fits", TIGHT: "! tight", OFFLOAD: "↓ offload", NO: "✗ no"}

PART_NAMES = {"kv_cache": "KV cache", "context": "runtime context"}

LIMITERS = {
    "compute": "arithmetic",
    "bandwidth": "memory bandwidth",
    "launches": "kernel launches",
    "link": "link to the host",
    "host": "host memory",
    "dequantisation": "unpacking weights",
}


def part_name(name: str) -> str:
    """A part of memory, as the field calls it."""
    return PART_NAMES.get(name, name.replace("_", " "))


def size_range(size: Range) -> str:
    """ "6.19 GiB" where exact, else "6.19 GiB (6.02 to 6.41)" """
    if size.low == size.high:
        return show_size(size.likely)
    return f"{show_size(size.likely)} ({ends_of_size(size)})"


def ends_of_size(size: Range) -> str:
    """ "6.02 to 6.41", in the unit that the likely value is shown in"""
    unit = show_size(size.likely).rpartition(" ")[2]
    scale = {"TiB": 1024**4, "GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "B": 1}[unit]
    digits = 2 if unit in ("TiB", "GiB") else 0
    return f"{size.low / scale:.{digits}f} to {size.high / scale:.{digits}f}"


def rate_range(rate: Range, unit: str) -> str:
    """ "92.4 tok/s (85.0 to 99.1)" """
    low, high = (show_rate(v, "").strip() for v in (rate.low, rate.high))
    return f"{show_rate(rate.likely, unit)} ({low} to {high})"


def main_rate(names: Sequence[str]) -> str:
    """The rate that stands for the whole: of training where something is trained, else the last (decode after prefill)."""
    return next((name for name in names if name.startswith("train_")), names[-1])


def rate_unit(name: str) -> tuple[str, str]:
    """("decode", "tok/s") from "decode_tokens_per_s"."""
    phase, _, unit = name.removesuffix("_per_s").rpartition("_")
    short = {"tokens": "tok", "images": "img", "iterations": "it", "steps": "step", "samples": "sample"}
    return phase, f"{short.get(unit, unit)}/s"


def bar(share: float, width: int = 24) -> str:
    """A bar of eighths: bar(0.5, 4) is "██  "."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)


def settings_line(settings: dict[str, object], skip: tuple[str, ...] = ()) -> str:
    """ "quant q4_k_m · context 8,192 · kv type f16": what was decided, short."""
    shown = []
    for name, value in settings.items():
        if name in skip or value is None or value is False:
            continue
        words = name.replace("_", " ")
        is_count = isinstance(value, int) and not isinstance(value, bool)
        shown.append(words if value is True else f"{words} {value:,}" if is_count else f"{words} {value}")
    return " · ".join(shown)


def subject(settings: Mapping[str, Any]) -> str:
    """What a plan is about: the model or net; of a file the name without its folders."""
    name = str(settings.get("model") or settings.get("net") or "")
    is_path = name.lower().endswith((".gguf", ".json")) or name.startswith(("/", "~", ".")) or "\\" in name
    return PureWindowsPath(name).name or name if is_path else name


_SHORT = {
    "quant": "{}", "context": "{} ctx", "kv_type": "KV {}", "n_gpu_layers": "{} GPU layers",
    "gpu_memory_utilization": "{} of memory",
    "micro_batch": "micro-batch {}", "depth": "depth {}", "method": "{}", "length": "{} tokens",
}  # fmt: skip


def short_count(count: int) -> str:
    """ "32k" for 32,768, as contexts are called; in full where it is no whole number of 1,024."""
    return f"{count // 1024}k" if count >= 1024 and count % 1024 == 0 else f"{count:,}"


def short_settings(settings: dict[str, object], skip: tuple[str, ...] = ()) -> str:
    """ "q4_k_m · 8,192 ctx": for a table, where a column's width is worth more than a setting's full name."""
    shown = []
    for name, value in settings.items():
        # Keys and values in 16 bits are what everybody expects; only what was given up needs saying.
        if name in skip or value is None or value is False or (name == "kv_type" and value in ("f16", "bf16")):
            continue
        if name == "context" and isinstance(value, int):
            value = short_count(value)
        shown.append(_SHORT[name].format(value) if name in _SHORT else settings_line({name: value}))
    return " · ".join(shown)
