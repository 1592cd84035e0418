"""Settings of the CUDA caching allocator, read from the text that users put into PYTORCH_ALLOC_CONF.

Names, defaults and bounds are those of PyTorch's `c10/core/AllocatorConfig.h` (2.13) and its "Memory management" notes,
https://docs.pytorch.org/docs/stable/notes/cuda.html#optimizing-memory-usage-with-pytorch-alloc-conf.
"""

import re

import msgspec

from onecard.core.errors import BadSetting
from onecard.core.units import MiB

UNLIMITED = 1 << 62
"""max_split_size where none is set: every block may be split"""
INTERVALS = 16
"""roundup_power2_divisions has one entry for each power of two of MiB: 1 MiB, 2 MiB ... 32 GiB and above"""

# Host-side and driver-side keys that change no device segment; they are accepted and have no effect here.
_NO_EFFECT = (
    "pinned_use_background_threads", "pinned_use_cuda_host_register", "pinned_num_register_threads",
    "pinned_reserve_segment_size_mb", "pinned_max_round_threshold_mb", "pinned_max_cached_size_mb", "release_lock_on_cudamalloc",
    "release_lock_on_hipmalloc", "graph_capture_record_stream_reuse", "throw_on_cudamalloc_oom",
)  # fmt: skip


class AllocatorSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changes how the allocator cuts segments. Sizes in bytes."""

    expandable_segments: bool = False
    max_split_size: int = UNLIMITED
    """blocks of at least this size are never split"""
    max_non_split_rounding: int = 20 * MiB
    """how much larger than asked an unsplittable cached block may be"""
    large_segment: int = 20 * MiB
    """the segment that requests between 1 and 10 MiB share (a setting since PyTorch 2.13)"""
    roundup_power2_divisions: tuple[int, ...] = ()
    """divisions between powers of two, one entry for each of INTERVALS; empty: sizes are rounded to 512 bytes only"""
    garbage_collection_threshold: float = 0.0
    """fraction of the allowed memory above which old cached blocks go back; acts only under a memory fraction"""
    memory_fraction: float | None = None
    """per_process_memory_fraction: part of the card's total that the process may reserve"""


DEFAULT = AllocatorSettings()


def parse(text: str) -> AllocatorSettings:
    """Settings from "expandable_segments:True,max_split_size_mb:128". Raises BadSetting as PyTorch would refuse."""
    found: dict[str, object] = {}
    for key, value in _pairs(text):
        if key == "expandable_segments":
            if value not in ("True", "False"):
                raise BadSetting(f"expandable_segments:{value}", next="write expandable_segments:True")
            found[key] = value == "True"
        elif key == "max_split_size_mb":
            found["max_split_size"] = _number(key, value, least=20) * MiB
        elif key == "max_non_split_rounding_mb":
            found["max_non_split_rounding"] = _number(key, value, least=20) * MiB
        elif key == "large_segment_size_mb":
            found["large_segment"] = _number(key, value, least=2) * MiB
        elif key == "roundup_power2_divisions":
            found[key] = _divisions(value)
        elif key in ("garbage_collection_threshold", "per_process_memory_fraction"):
            name = "memory_fraction" if key.startswith("per") else key
            found[name] = _fraction(key, value)
        elif key == "backend" and value != "native":
            raise BadSetting(
                f"backend:{value} is not PyTorch's own allocator",
                why="cudaMallocAsync keeps its pools inside the driver, whose rules are not published",
                next="leave backend out, or say backend:native",
            )
        elif key != "backend" and key not in _NO_EFFECT:
            raise BadSetting(
                f'unknown allocator setting "{key}"',
                next="known: expandable_segments, max_split_size_mb, "
                "max_non_split_rounding_mb, roundup_power2_divisions, garbage_collection_threshold, "
                "per_process_memory_fraction, large_segment_size_mb",
            )
    return msgspec.convert(found, AllocatorSettings)


def _pairs(text: str) -> list[tuple[str, str]]:
    """Commas part the settings, except inside brackets."""
    pairs = []
    for item in re.split(r",(?![^\[]*\])", re.sub(r"\s", "", text)):
        if item:
            key, colon, value = item.partition(":")
            if not colon or not value:
                raise BadSetting(f'"{item}" has no value', next="write it like max_split_size_mb:128")
            pairs.append((key, value))
    return pairs


def _number(key: str, value: str, least: int) -> int:
    if not value.isdigit() or int(value) < least:
        raise BadSetting(f"{key}:{value} will not do", why=f"PyTorch wants a whole number of MiB, at least {least}")
    return int(value)


def _fraction(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number <= 1:
        raise BadSetting(
            f"{key}:{value} will not do", why="it is a fraction of the allowed memory, above 0 and at most 1"
        )
    return number


def _divisions(value: str) -> tuple[int, ...]:
    """ "8" for all sizes, or "[256:1,512:2,>:8]": from so many MiB on, so many divisions; what is below the first
    entry takes the first one's, what lies between two takes 1."""
    if not value.startswith("["):
        return (_power(value),) * INTERVALS
    result = [1] * INTERVALS
    last = 0
    for n, item in enumerate(value.strip("[]").split(",")):
        boundary, _, count = item.partition(":")
        if boundary == ">":
            result[last:] = [_power(count)] * (INTERVALS - last)
            continue
        last = min(max(_power(boundary), 1).bit_length() - 1, INTERVALS - 1)
        if n == 0:
            result[:last] = [_power(count)] * last
        result[last] = _power(count)
    return tuple(result)


def _power(text: str) -> int:
    """A power of two, or 0 for no divisions."""
    if not text.isdigit() or int(text) & (int(text) - 1):
        raise BadSetting(f"roundup_power2_divisions has {text}", why="sizes and divisions are powers of two there")
    return int(text)
