"""The search against a brute-force walk over all options, with made-up memory needs."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from onecard.core.estimate import Memory
from onecard.core.plan import FITS, NO, OFFLOAD, TIGHT, Choice
from onecard.core.ranges import Range
from onecard.planning.path import harm, least_harm_path
from onecard.planning.search import search, verdict


def memory(likely: float, room: int, *, high: float | None = None, free: int | None = None) -> Memory:
    peak = Range(likely, likely, likely if high is None else high)
    return Memory(peak_bytes=peak, phase="decode", parts={"weights": peak}, usable_bytes=room, free_bytes=free)


def choice(setting: str, *harms: float) -> Choice:
    return Choice(setting=setting, options=tuple(range(len(harms))), harms=harms, why="")


choices_strategy = st.lists(
    st.lists(st.floats(0.1, 5), min_size=0, max_size=4).map(lambda steps: (0.0, *itertools.accumulate(steps))),
    min_size=1,
    max_size=3,
)


@given(choices_strategy)
def test_the_path_starts_with_nothing_given_up_and_moves_one_option_at_a_time(harms):
    choices = tuple(choice(f"s{i}", *h) for i, h in enumerate(harms))
    path = least_harm_path(choices)
    assert path[0] == (0,) * len(choices)
    assert path[-1] == tuple(len(c.options) - 1 for c in choices)
    for before, after in itertools.pairwise(path):
        assert sum(after) == sum(before) + 1
        assert harm(choices, after) >= harm(choices, before)


@given(choices_strategy, st.integers(0, 40), st.lists(st.integers(0, 9), min_size=12, max_size=12))
def test_what_the_search_accepts_fits_and_nothing_of_it_can_be_taken_back(harms, room, steps):
    choices = tuple(choice(f"s{i}", *h) for i, h in enumerate(harms))

    def need(values):
        return 30 - sum(sum(steps[4 * i : 4 * i + values[c.setting]]) for i, c in enumerate(choices))

    found = search(choices, lambda values: memory(max(0, need(values)), room))
    everything = [
        dict(zip([c.setting for c in choices], p, strict=True))
        for p in itertools.product(*(c.options for c in choices))
    ]
    possible = [v for v in everything if max(0, need(v)) <= room]
    assert (found.verdict == NO) == (not possible)
    if possible:
        assert found.chosen in possible
        for name, value in found.chosen.items():
            if value > 0:
                assert max(0, need({**found.chosen, name: value - 1})) > room


def test_offload_comes_after_everything_else():
    choices = (
        choice("quant", 0, 1, 9),
        Choice(setting="n_gpu_layers", options=(32, 16, 0), harms=(0, 0.1, 0.2), why=""),
    )
    needs = {0: 20, 1: 15, 2: 8}
    found = search(choices, lambda v: memory(needs[v["quant"]] * (v["n_gpu_layers"] + 1) / 33, 10))
    assert found.chosen == {"quant": 2, "n_gpu_layers": 32}
    assert found.verdict == FITS
    found = search(choices, lambda v: memory(needs[v["quant"]] * (v["n_gpu_layers"] + 1) / 33, 7))
    assert found.verdict == OFFLOAD


def test_a_peak_whose_high_end_does_not_fit_is_never_called_fits():
    assert verdict(memory(9, 10, high=10)) == FITS
    assert verdict(memory(9, 10, high=11)) == TIGHT
    assert verdict(memory(11, 10, high=12)) == NO


def test_what_is_free_now_counts_more_than_what_the_card_has():
    assert verdict(memory(9, 10, free=8)) == NO
    assert verdict(memory(9, 10, free=12)) == FITS
    assert verdict(memory(9, 10), budget=8) == NO


def test_the_trail_names_what_was_refused_and_ends_with_what_was_taken():
    found = search((choice("quant", 0, 1, 2),), lambda v: memory(12 - 2 * v["quant"], 10))
    assert found.chosen == {"quant": 1}
    assert found.decisions[-1].tried == {"quant": 1} and found.decisions[-1].outcome == "accepted"
    assert {d.outcome for d in found.decisions[:-1]} == {"refused"}


def test_what_was_taken_although_tight_is_the_accepted_one():
    found = search((choice("quant", 0, 1),), lambda v: memory(9 - v["quant"], 8, high=12))
    assert found.verdict == TIGHT
    assert [d.outcome for d in found.decisions] == ["refused", "accepted"]
    assert found.decisions[-1].tried == found.chosen == {"quant": 1}


def split(size: float, layers: int, room: int, host: int) -> Memory:
    """`size` bytes in 10 layers, of which `layers` lie on the device."""
    there, here = Range.exact(size * layers / 10), Range.exact(size * (10 - layers) / 10)
    return Memory(
        peak_bytes=there, phase="decode", parts={"weights": there}, host_parts={"weights": here},
        usable_bytes=room, host_usable_bytes=host,
    )  # fmt: skip


@given(st.integers(0, 20), st.integers(0, 20), st.lists(st.integers(1, 9), min_size=3, max_size=3))
def test_work_is_moved_to_the_host_only_as_far_as_the_host_has_room(room, host, steps):
    sizes = [40 - sum(steps[:i]) for i in range(4)]
    choices = (
        choice("quant", 0, 0.1, 0.2, 0.9),
        Choice(
            setting="n_gpu_layers", options=tuple(range(10, -1, -1)), harms=tuple(i / 11 for i in range(11)), why=""
        ),
    )
    found = search(choices, lambda v: split(sizes[v["quant"]], v["n_gpu_layers"], room, host))
    possible = [
        (q, n) for q in range(4) for n in range(11)
        if sizes[q] * n / 10 <= room and sizes[q] * (10 - n) / 10 <= host
    ]  # fmt: skip
    assert (found.verdict == NO) == (not possible)
    if possible:
        assert (found.chosen["quant"], found.chosen["n_gpu_layers"]) in possible


def test_a_host_without_room_is_said():
    found = search((choice("quant", 0, 1),), lambda v: split(100 - v["quant"], 5, 60, 20))
    assert found.verdict == NO
    assert all("the host would hold" in d.why for d in found.decisions)


def test_a_layer_more_on_the_host_is_taken_before_keys_in_four_bits_and_never_many_layers():
    """80 layers of 1 GiB and a cache that costs as much as two of them: what the device saves by 4 bits is one layer."""

    def need(values):
        cache = {"f16": 2.0, "q8_0": 1.0, "q4_0": 0.5}[values["kv_type"]]
        return memory(values["n_gpu_layers"] * (1 + cache / 80), 40)

    layers = tuple(range(81, -1, -1))
    choices = (
        Choice(setting="kv_type", options=("f16", "q8_0", "q4_0"), harms=(0.0, 0.02, 0.3), why=""),
        Choice(setting="n_gpu_layers", options=layers, harms=tuple(i / 82 for i in range(82)), why=""),
    )
    found = search(choices, need)
    assert found.verdict == OFFLOAD and found.chosen == {"kv_type": "f16", "n_gpu_layers": 39}
    # A format that costs a tenth of the layers stays what it was, however much its harm.
    wide = {0: 2.0, 1: 1.0}
    quants = (choice("quant", 0, 0.1), choices[1])
    found = search(quants, lambda v: memory(v["n_gpu_layers"] * wide[v["quant"]], 40))
    assert found.chosen == {"quant": 1, "n_gpu_layers": 40}
