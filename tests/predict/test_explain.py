"""The equations of --explain: asked for only, and their terms add up to the number that is shown."""

import re

import pytest

from onecard import catalog
from onecard.predict.price import price
from tests.predict.test_time import cost

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def seconds(text: str) -> float:
    number, unit = text.split()[:2]
    return float(number) * UNITS[unit]


@pytest.mark.parametrize("card", ["RTX 4090", "A100 PCIe 80GB", "Apple M2 Ultra 76-core GPU"])
def test_terms_add_up_to_the_phase(card):
    device = catalog.card(card)
    estimate = price(cost(), device, explain=True)
    for phase in ("prefill", "decode"):
        pieces = [seconds(t.value) for t in estimate.terms if t.name.startswith(f"{phase}: ")]
        assert sum(pieces) == pytest.approx(estimate.time[phase].seconds.likely, rel=0.03)


def test_an_equation_has_the_users_own_values():
    terms = price(cost(), catalog.card("RTX 4090"), explain=True).terms
    head = next(t for t in terms if t.name.startswith("decode: head"))
    size, bandwidth, share = re.fullmatch(r"(\d+) MiB / \((\d+) GB/s x ([\d.]+)\)", head.equation).groups()
    assert float(size) * 2**20 / (float(bandwidth) * 1e9 * float(share)) == pytest.approx(seconds(head.value), rel=0.02)


def test_nobody_pays_who_does_not_ask():
    assert price(cost(), catalog.card("RTX 4090")).terms == ()
