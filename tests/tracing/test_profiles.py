"""Classes of cards: which one a card belongs to, and what follows from it."""

import pytest

from onecard.core.device import Device
from onecard.core.errors import OnecardError, UnknownName
from onecard.tracing.profiles import known, profile, profile_of


def card(capability, kind="cuda"):
    return Device(name="a card", kind=kind, compute_capability=capability, memory_total=1, bandwidth=1.0)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("8.9", "sm_89"), ("8.6", "sm_86"), ("8.7", "sm_86"), ("12.0", "sm_120"), ("12.1", "sm_120")],
)
def test_a_card_belongs_to_the_nearest_class_below(capability, expected):
    assert profile_of(card(capability)).card_class == expected


@pytest.mark.parametrize("device", [card("3.5"), card(None), card(None, kind="rocm")])
def test_a_card_without_a_class_is_refused(device):
    with pytest.raises(OnecardError) as error:
        profile_of(device)
    assert error.value.next


def test_an_unknown_class_names_the_nearest():
    with pytest.raises(UnknownName, match="sm_88"):
        profile("sm_88")
    assert profile("sm_89").bfloat16
    assert not profile("sm_75").bfloat16
    assert len(known()) == len(set(known()))
