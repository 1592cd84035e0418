"""Energy is power x time; the board's limit bounds it from above."""

import msgspec

from onecard import api
from onecard.core.estimate import PhaseTime
from onecard.core.ranges import Range
from onecard.predict.energy import joules

CARD = api.device("RTX 4090")
HOUR = {"train": PhaseTime(seconds=Range.exact(36.0), repeat=100)}


def test_an_hour_at_the_limit_is_the_limit_in_watt_hours():
    found = joules(HOUR, {"train": "compute"}, CARD)
    assert found.high / 3600 == CARD.power
    assert 0.9 * CARD.power < found.likely / 3600 < CARD.power


def test_a_card_that_waits_takes_less_than_one_that_computes():
    taken = [joules(HOUR, {"train": limit}, CARD).likely for limit in ("compute", "bandwidth", "launches", "link")]
    assert taken == sorted(taken, reverse=True)


def test_without_a_known_power_limit_energy_is_unknown():
    assert joules(HOUR, {}, msgspec.structs.replace(CARD, power=None)) is None


def test_a_plan_tells_it_and_twice_the_steps_take_twice_the_energy():
    one, two = (api.plan("finetune", model="llama-3.2-1b", on=CARD, method="lora", steps=s) for s in (1000, 2000))
    energy = [p.estimate.energy_joules.likely for p in (one, two)]
    assert 1.9 < energy[1] / energy[0] < 2.05
    watts = energy[0] / one.estimate.total_seconds.likely
    assert 0.3 * CARD.power < watts < CARD.power
