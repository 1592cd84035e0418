"""The allocator model: against a slow reference written as plainly as the rules, and rule by rule."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onecard.core.units import GiB, MiB
from onecard.predict.allocator import Allocator, OutOfMemory
from onecard.predict.allocator_settings import AllocatorSettings, parse

EXPANDABLE = AllocatorSettings(expandable_segments=True)
SIZES = st.sampled_from([1, 512, 513, 40_000, 1 * MiB, 1 * MiB + 1, 3 * MiB, 9 * MiB, 10 * MiB, 17 * MiB, 33 * MiB])


class Reference:
    """Segments as lists of [start, size, used]; every search looks at everything. Default settings only."""

    def __init__(self, capacity=None):
        self.segments, self.capacity, self.reserved, self.next, self.retries = [], capacity, 0, 1 << 60, 0

    def malloc(self, n):
        size = max(512, (n + 511) // 512 * 512)
        small = size <= MiB
        take = 2 * MiB if small else 20 * MiB if size < 10 * MiB else (size + 2 * MiB - 1) // (2 * MiB) * 2 * MiB
        for attempt in ("cached", "new", "retry"):
            if attempt == "retry":
                self.retries += 1
                kept = [s for s in self.segments if len(s[1]) > 1 or s[1][0][2]]
                self.reserved -= sum(s[1][0][1] for s in self.segments if s not in kept)
                self.segments = kept
            if attempt != "cached":
                if self.capacity is not None and self.reserved + take > self.capacity:
                    continue
                grain = 2 * MiB if take == 2 * MiB else 32 * MiB
                self.next = (self.next - take) // grain * grain
                self.segments.append((small, [[self.next, take, False]]))
                self.reserved += take
            fits = [
                (b[1], b[0], b, s[1]) for s in self.segments if s[0] == small for b in s[1] if not b[2] and b[1] >= size
            ]
            if fits:
                _, _, block, blocks = min(fits, key=lambda f: f[:2])
                rest = block[1] - size
                if rest >= 512 if small else rest > MiB:
                    blocks.insert(blocks.index(block) + 1, [block[0] + size, rest, False])
                    block[1] = size
                block[2] = True
                return block[0]
        raise MemoryError

    def free(self, start):
        for _, blocks in self.segments:
            for block in blocks:
                if block[0] == start and block[2]:
                    block[2] = False
            i = 0
            while i + 1 < len(blocks):
                if not blocks[i][2] and not blocks[i + 1][2]:
                    blocks[i][1] += blocks.pop(i + 1)[1]
                else:
                    i += 1

    @property
    def allocated(self):
        return sum(b[1] for _, blocks in self.segments for b in blocks if b[2])


ACTIONS = st.lists(st.one_of(SIZES, st.floats(0, 0.999)), max_size=60)  # a size to ask for, or which live block to free


@pytest.mark.slow
@given(ACTIONS, st.sampled_from([None, 24 * MiB, 60 * MiB, 120 * MiB]))
@settings(max_examples=300, deadline=None)
def test_places_every_block_where_the_plain_reference_does(actions, capacity):
    model, plain = Allocator(capacity=capacity), Reference(capacity)
    live = []
    for action in actions:
        if isinstance(action, float):
            if live:
                block, start = live.pop(int(action * len(live)))
                model.free(block)
                plain.free(start)
        else:
            try:
                start = plain.malloc(action)
            except MemoryError:
                with pytest.raises(OutOfMemory):
                    model.malloc(action)
            else:
                block = model.malloc(action)
                assert block.address == start
                live.append((block, start))
        assert (model.allocated, model.reserved, model.retries) == (plain.allocated, plain.reserved, plain.retries)


@given(ACTIONS, st.sampled_from(["", "expandable_segments:True", "max_split_size_mb:20", "roundup_power2_divisions:2"]))
@settings(max_examples=200, deadline=None)
def test_books_balance_under_any_setting(actions, text):
    """Blocks never overlap, free space is accounted for, and an emptied allocator gives everything back."""
    allocator = Allocator(parse(text))
    live = []
    for action in actions:
        if isinstance(action, float):
            if live:
                allocator.free(live.pop(int(action * len(live))))
        else:
            live.append(allocator.malloc(action))
            assert live[-1].size >= action
        spans = sorted((b.address, b.address + b.size) for b in live)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        cached = sum(
            size for pool in (allocator.small, allocator.large) for f in pool.free.values() for size, _, _ in f
        )
        assert allocator.allocated == sum(b.size for b in live)
        assert allocator.allocated + cached == allocator.reserved <= allocator.peak_reserved
        assert allocator.requested <= allocator.allocated <= allocator.peak_allocated
    for block in live:
        allocator.free(block)
    allocator.empty_cache()
    assert allocator.reserved == 0


@given(ACTIONS, st.sampled_from(["", "expandable_segments:True", "garbage_collection_threshold:0.5"]))
@settings(max_examples=150, deadline=None)
def test_a_cap_is_never_passed_and_a_cap_of_the_peak_suffices(actions, text):
    free_run = play(Allocator(parse(text)), actions)
    capped = Allocator(parse(text), allowed=free_run.peak_reserved + 40 * MiB)
    assert play(capped, actions) is capped  # the peak plus the largest page fits
    tight = Allocator(parse(text), capacity=30 * MiB)
    try:
        play(tight, actions)
    except OutOfMemory as error:
        assert error.limit == 30 * MiB
        assert free_run.peak_reserved > 30 * MiB
    assert tight.peak_reserved <= 30 * MiB


def play(allocator, actions):
    live = []
    for action in actions:
        if isinstance(action, float):
            if live:
                allocator.free(live.pop(int(action * len(live))))
        else:
            live.append(allocator.malloc(action))
    return allocator


def test_streams_do_not_share_cached_blocks():
    allocator = Allocator()
    allocator.free(allocator.malloc(30 * MiB, stream=0))
    assert allocator.malloc(30 * MiB, stream=1).stream == 1
    assert allocator.reserved == 60 * MiB
    allocator.malloc(30 * MiB, stream=0)
    assert allocator.reserved == 60 * MiB


def test_expandable_segments_reuse_what_default_segments_waste():
    """The case that PyTorch's notes give for them: a slightly larger batch cannot use the cached segments."""
    default, expandable = Allocator(), Allocator(EXPANDABLE)
    for allocator in (default, expandable):
        for size in (100 * MiB, 110 * MiB, 120 * MiB, 130 * MiB):
            allocator.free(allocator.malloc(size))
    assert default.reserved == 460 * MiB
    assert expandable.reserved == 140 * MiB  # pages of 20 MiB


def test_expandable_segments_fill_unmapped_holes_first():
    allocator = Allocator(EXPANDABLE)
    low, high = allocator.malloc(40 * MiB), allocator.malloc(40 * MiB)
    allocator.free(low)
    allocator.empty_cache()
    assert allocator.reserved == 40 * MiB
    assert allocator.malloc(20 * MiB).address == high.address - 40 * MiB
    assert allocator.reserved == 60 * MiB


def test_max_split_size_keeps_large_blocks_whole():
    allocator = Allocator(parse("max_split_size_mb:100"))
    allocator.free(allocator.malloc(200 * MiB))
    small = allocator.malloc(50 * MiB)  # may not cut the cached 200 MiB
    assert allocator.reserved == 250 * MiB
    near = allocator.malloc(190 * MiB)  # within 20 MiB of it: taken whole
    assert near.size == 200 * MiB
    assert small.size == 50 * MiB


def test_under_max_split_size_a_refused_request_first_returns_oversize_blocks_only():
    allocator = Allocator(parse("max_split_size_mb:100"), capacity=400 * MiB)
    for block in [allocator.malloc(size * MiB) for size in (160, 160, 60)]:
        allocator.free(block)
    allocator.malloc(300 * MiB)
    assert allocator.retries == 0  # no general emptying of the cache was needed
    assert allocator.reserved == 360 * MiB


def test_garbage_collection_returns_old_blocks_above_the_threshold():
    plain = Allocator(allowed=2 * GiB)
    collecting = Allocator(parse("garbage_collection_threshold:0.2"), allowed=2 * GiB)
    for allocator in (plain, collecting):
        for n in range(8):
            allocator.free(allocator.malloc((100 + 12 * n) * MiB))
    assert plain.peak_reserved == 1136 * MiB
    assert collecting.peak_reserved < 700 * MiB
    assert collecting.retries == 0


def test_the_retry_frees_whole_cached_segments_and_then_reports_what_was_asked():
    allocator = Allocator(capacity=100 * MiB)
    allocator.free(allocator.malloc(60 * MiB))
    allocator.malloc(80 * MiB)
    assert (allocator.retries, allocator.reserved) == (1, 80 * MiB)
    with pytest.raises(OutOfMemory) as error:
        allocator.malloc(30 * MiB)
    assert (error.value.asked, error.value.allocated, error.value.limit) == (30 * MiB, 80 * MiB, 100 * MiB)


def test_a_fraction_counts_whole_segments_where_a_card_counts_pages():
    """set_per_process_memory_fraction compares reserved + segment size before anything is mapped."""
    for limit, fits in (({"allowed": 21 * MiB}, False), ({"capacity": 21 * MiB}, False), ({"allowed": 42 * MiB}, True)):
        allocator = Allocator(EXPANDABLE, **limit)
        allocator.malloc(1 * MiB)
        if fits:
            allocator.malloc(5 * MiB)
        else:
            with pytest.raises(OutOfMemory):
                allocator.malloc(5 * MiB)
