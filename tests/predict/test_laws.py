"""Laws proven by points, and the search for the largest value that fits."""

from hypothesis import given, settings
from hypothesis import strategies as st

from onecard.predict.laws import largest_that_fits, law


def test_three_points_on_a_line_make_a_law():
    found = law({2: 150, 4: 250, 8: 450})
    assert found.at(16) == 850
    assert law({2: 150, 4: 250}) is None
    assert law({2: 150, 4: 260, 8: 450}) is None  # the middle one is off by more than a thousandth


@given(
    st.integers(1, 10**10),
    st.integers(1, 10**9),
    st.integers(0, 40),
    st.integers(1, 50),
    st.integers(1, 2000),
    st.integers(1, 64),
)
@settings(max_examples=300, deadline=None)
def test_finds_the_very_value_and_asks_seldom(base, slope, curve, noise, answer, step):
    """Any growing need: a line, a parabola, segments of a size of their own."""

    def need(n):
        grain = noise * slope // 7 + 1
        size = base + slope * n + curve * slope * n * n // 100
        return -(-size // grain) * grain

    low = 1
    room = need(low + (answer // step) * step)
    found = largest_that_fits(need, room, low=low, step=step)
    assert need(found.value) <= room < need(found.value + step)
    assert (found.value - low) % step == 0
    assert len(found.tried) <= 24


def test_nothing_fits_or_everything_does():
    assert largest_that_fits(lambda n: 100 * n, room=50).value is None
    all_of_it = largest_that_fits(lambda n: 100 * n, room=10**9, high=16)
    assert (all_of_it.value, all_of_it.open) == (16, True)


def test_a_line_takes_few_traces_and_is_told():
    found = largest_that_fits(lambda n: 5 * 10**9 + 3 * 10**8 * n, room=11 * 10**9)
    assert found.value == 20
    assert len(found.tried) <= 6
    assert found.law is not None
    assert round(found.law.slope) == 3 * 10**8
