"""Scratch of reductions against requests that a real H100-class card's allocator recorded (132 multiprocessors)."""

import gzip
import json
from pathlib import Path

import pytest

from onecard.tracing.reductions import ACCUMULATORS, scratch

FOLDER = Path(__file__).parents[2] / "benchmarks" / "recordings"


def recorded(name):
    """(buffer, semaphores) of each request that is followed by one of a few bytes, both freed at once, last in first out."""
    events = json.loads(gzip.decompress((FOLDER / f"transformer-2.7b-{name}.json.gz").read_bytes()))["events"]
    events = [e for e in events if e[0] in ("alloc", "free_completed")]
    found = set()
    for a, b, c, d in zip(events, events[1:], events[2:], events[3:], strict=False):
        shape = [e[0] for e in (a, b, c, d)] == ["alloc", "alloc", "free_completed", "free_completed"]
        if shape and a[2] == d[2] and b[2] == c[2] and b[1] <= 128 and a[1] > 100_000:
            found.add((a[1], b[1]))
    return found


@pytest.mark.parametrize(("name", "tokens"), [("step-128-a", 512), ("step-256", 1024)])
def test_recorded_requests_byte_for_byte(name, tokens):
    """Logits (tokens, 10000) and hidden states (tokens, 2560), both transposed in memory, fp32."""
    logits = ((tokens, 10_000), (1, tokens), (1,), 4)
    hidden = ((tokens, 2560), (1, tokens), (1,), 4)
    derived = {
        scratch(*logits, ACCUMULATORS["max"], 132),
        scratch(*logits, ACCUMULATORS["sum"], 132),
        scratch(*hidden, ACCUMULATORS["sum"], 132),
    }
    assert derived <= recorded(name)
    assert {size for size, _ in recorded(name)} == {size for size, _ in derived}


def test_many_outputs_or_a_contiguous_row_need_none():
    assert scratch((4096, 10_000), (10_000, 1), (1,), 4, 4, 132) == (0, 0)
    assert scratch((8, 32, 128, 128), (524_288, 16_384, 128, 1), (-1,), 2, 4, 132) == (0, 0)


def test_a_sum_of_everything_is_split_over_blocks():
    buffer, semaphores = scratch((1 << 26,), (1,), (0,), 4, 4, 132)
    assert buffer > 0
    assert semaphores == 4  # one output, one grid column
    assert scratch((1000,), (1,), (0,), 4, 4, 132) == (0, 0)


def test_a_smaller_card_splits_less():
    large, _ = scratch((2048, 10_000), (1, 2048), (1,), 4, 4, 132)
    small, _ = scratch((2048, 10_000), (1, 2048), (1,), 4, 4, 28, 1536)
    assert 0 < small < large
