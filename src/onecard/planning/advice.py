"""What a "no" says next: the smallest change that makes it a yes, the largest thing that does fit, the cards that would do.

An honest no with the nearest yes is worth more than a lower number; all three are computed with the same prices as the plan.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from onecard.core.device import Device
from onecard.core.plan import NO, OFFLOAD
from onecard.core.units import show_size

Attempt = Callable[[dict[str, Any]], tuple[str, dict[str, Any], float]]
"""Given settings -> (verdict, all settings, harm of what was chosen): a search with these settings fixed."""


def smallest_change(given: Mapping[str, Any], freeable: Iterable[str], attempt: Attempt) -> str:
    """The one fixed setting whose release turns a no into a yes with the least harm; "" where none does."""
    found: list[tuple[float, str]] = []
    for name in freeable:
        if name not in given:
            continue
        verdict, settings, harm = attempt({k: v for k, v in given.items() if k != name})
        if verdict != NO:
            found.append((harm, f"{name} {given[name]} -> {settings[name]} ({verdict})"))
    return min(found)[1] if found else ""


def largest_that_fits(cases: Iterable[tuple[float, dict[str, Any]]], attempt: Attempt) -> str:
    """The largest of other cases that the device holds by itself, else with help of the host: (size, settings) pairs.

    Of one size the first that fits counts: what keeps more of the question stands before what leaves it open.
    """
    helped = ""
    for _, case in sorted(cases, key=lambda c: -c[0]):
        verdict, settings, _ = attempt(case)
        if verdict == NO or (verdict == OFFLOAD and helped):
            continue
        shown = ", ".join(f"{k} {settings[k]}" for k in _ordered(case) if settings.get(k) is not None)
        chosen = ", ".join(f"{k} {v}" for k, v in settings.items() if k not in case and k == "quant" and v)
        answer = f"{shown}{', ' + chosen if chosen else ''} ({verdict})"
        if verdict != OFFLOAD:
            return answer
        helped = answer
    return helped


def _ordered(case: Mapping[str, Any]) -> list[str]:
    """What is named of a case: its subject first."""
    return sorted((k for k in case if k != "engine"), key=lambda k: k != "model")


def smallest_cards(cards: Iterable[Device], fits: Callable[[Device], bool], count: int = 3) -> tuple[str, ...]:
    """The catalogue cards with the least memory (then the least bandwidth) on which it fits as asked."""
    found: list[str] = []
    for card in sorted(cards, key=lambda c: (c.memory_total, c.bandwidth)):
        if fits(card):
            found.append(f"{card.name} ({show_size(card.memory_total)})")
            if len(found) == count:
                break
    return tuple(found)
