from onecard.core.plan import Choice
from onecard.planning.pace import quick_enough

CHOICES = (
    Choice(setting="depth", options=(8, 4, 2, 1), harms=(0.0, 1.0, 2.0, 3.0), why="smaller"),
    Choice(setting="micro", options=(4, 2, 1), harms=(0.0, 0.1, 0.2), why="slower"),
)


def seconds(chosen):
    """Deeper takes longer; smaller micro-batches take longer too."""
    return chosen["depth"] ** 2 + 4 / chosen["micro"]


def options(limit):
    return {c.setting: c.options for c in quick_enough(CHOICES, seconds, limit)}


def test_the_slowest_options_are_dropped_and_the_rest_stays():
    assert options(20) == {"depth": (4, 2, 1), "micro": (4, 2, 1)}
    assert options(1000) == {"depth": (8, 4, 2, 1), "micro": (4, 2, 1)}


def test_the_last_option_stays_though_it_is_too_slow():
    assert options(0.5)["depth"] == (1,)


def test_a_setting_that_wins_no_time_is_left_alone():
    assert options(0.5)["micro"] == (4, 2, 1)


def test_harms_follow_their_options():
    depth, _ = quick_enough(CHOICES, seconds, 20)
    assert depth.harms == (1.0, 2.0, 3.0)
