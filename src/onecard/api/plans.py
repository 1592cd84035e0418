"""plan, can and compare: from a question to a Plan. Nothing runs here, and nothing heavy is imported."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from onecard import __version__
from onecard.api.calibration import factors_of
from onecard.core.cost import Cost
from onecard.core.device import Device
from onecard.core.errors import BadSetting, OnecardError
from onecard.core.estimate import Estimate, Memory
from onecard.core.plan import NO, Advice, Choice, Plan, plan_id
from onecard.core.settings import as_dict, make
from onecard.core.units import parse_duration, parse_size, show_size
from onecard.core.workload import Workload
from onecard.planning import advice
from onecard.planning.pace import quick_enough
from onecard.planning.search import OFFLOAD_SETTINGS, Found, search, verdict
from onecard.predict.factors import Factors

SHOWN = 12
"""well-known cases of a workload that `can` shows unless it is asked for all"""


def workloads() -> tuple[str, ...]:
    """Names of the workloads that exist."""
    from onecard.workloads import names

    return names()


def workload_title(name: str) -> str:
    """One line on a workload."""
    from onecard.workloads import title

    return title(name)


def workload_settings(name: str) -> type[msgspec.Struct]:
    """The Settings type of a workload."""
    from onecard.workloads import get

    return get(name).settings


def device(on: str | Device | None = None) -> Device:
    """The card that is meant: a name, numbers ("memory=12GiB,bandwidth=504GB/s"), or this machine's own."""
    if isinstance(on, Device):
        return on
    if on is None:
        return _this_device()
    from onecard.catalog import find_device

    return find_device(on)


@cache
def _this_device() -> Device:
    from onecard.machine import this_device

    return this_device()


def plan(
    workload: str,
    *,
    on: str | Device | None = None,
    budget: str | int | None = None,
    explain: bool = False,
    **settings: Any,
) -> Plan:
    """Will it fit, how fast, with which settings?

    plan("chat", model="llama-3-8b", quant="q4_k_m", context=8192, on="RTX 4070 Ti"). Settings that are left out and may
    be None are chosen in order of least harm. Raises OnecardError for a question that makes no sense; a "no" is an answer.
    """
    from onecard.workloads import get

    card = device(on)
    question = _Question(workload, get(workload), card, factors_of(card.name), _bytes(budget, card), settings)
    return question.answer(explain=explain)


def can(on: str | Device | None = None, *, everything: bool = False, budget: str | int | None = None) -> list[Plan]:
    """The best plan of every workload and its well-known cases on one device; at most 12 a workload unless everything."""
    from onecard.workloads import get, names

    card = device(on)
    room = _bytes(budget, card)
    factors = factors_of(card.name)
    plans: list[Plan] = []
    for name in names():
        work = get(name)
        order = {group: place for place, (group, _) in reversed(list(enumerate(work.showcase)))}
        cases = work.showcase if everything else work.showcase[:SHOWN]
        for group, case in sorted(cases, key=lambda c: order[c[0]]):
            answer = _Question(name, work, card, factors, room, dict(case)).answer(advise=False)
            plans.append(msgspec.structs.replace(answer, notes=(group, *answer.notes)))
    return plans


def compare(*cards: str | Device, everything: bool = False) -> dict[str, list[Plan]]:
    """The same questions as `can`, for several cards: card name -> plans in the same order."""
    if len(cards) < 2:
        raise BadSetting("compare needs at least two cards", next='onecard compare "RTX 4070 Ti" "RTX 4090"')
    found = [device(c) for c in cards]
    return {d.name: can(d, everything=everything) for d in found}


def _bytes(budget: str | int | None, card: Device) -> int | None:
    if budget is None:
        return None
    size = parse_size(budget) if isinstance(budget, str) else budget
    if size <= 0:
        raise BadSetting(f"a budget of {show_size(size)} holds nothing", next="give more, like --budget 8GiB")
    if size > card.memory_total:
        raise BadSetting(
            f"the budget of {show_size(size)} is larger than {card.name} ({show_size(card.memory_total)})",
            why="a budget can only make a card smaller",
            next="give less, or plan for a larger card with --on",
        )
    return size


class _Question:
    """One question to the planner: a workload, the settings that were given, a device, a budget."""

    def __init__(
        self,
        name: str,
        work: Workload,
        card: Device,
        factors: Factors | None,
        budget: int | None,
        given: dict[str, Any],
    ) -> None:
        self.name = name
        self.work = work
        self.card = card
        self.budget = budget
        self.factors = factors
        self.given = {k: v for k, v in given.items() if v is not None}
        self.costs: dict[msgspec.Struct, Cost] = {}
        """by Settings: no device is in a Cost, so what was counted for one card holds for all that are tried"""
        self.bare: dict[msgspec.Struct, Cost] = {}
        """the same, without operations where the workload can leave them away"""

    def answer(self, *, advise: bool = True, explain: bool = False) -> Plan:
        """The Plan; with advice where it is a no."""
        found = self._search(self.given)
        settings = {**as_dict(make(self.work.settings, {**self.given, **found.chosen}))}
        cost = self._cost(settings)
        estimate = self._price(cost, explain=explain)
        offloaded = cost.extra.get("offloaded_layers", 0) > 0 and self.card.kind != "cpu"
        old = _too_old(cost, self.card)
        answer = NO if old else verdict(estimate.memory, self.budget, offloaded)
        versions = {"onecard": __version__}
        return Plan(
            id=plan_id(self.name, settings, self.card.name, versions),
            workload=self.name,
            settings=settings,
            device=msgspec.to_builtins(self.card),
            verdict=answer,
            estimate=estimate,
            decisions=found.decisions,
            command=self._command(settings),
            advice=self._advise(estimate) if advise and answer == NO else None,
            budget=self.budget,
            versions=versions,
            notes=(*cost.notes, *old),
            notable=tuple(self._notable(settings)),
        )

    def _choices(self, given: dict[str, Any]) -> tuple[Choice, ...]:
        settings = make(self.work.settings, given)
        choices = self.work.choices(settings)
        limit = getattr(settings, "time", None)
        if limit:
            choices = quick_enough(choices, lambda chosen: self._seconds({**given, **chosen}), parse_duration(limit))
        # Host and device are one memory here: moving work to the host would give nothing.
        return tuple(c for c in choices if not (c.setting in OFFLOAD_SETTINGS and self.card.unified))

    def _search(self, given: dict[str, Any]) -> Found:
        choices = self._choices(given)
        return search(choices, lambda chosen: self._memory({**given, **chosen}), self.budget)

    def _memory(self, values: dict[str, Any]) -> Memory:
        from onecard.predict.price import price_memory

        return price_memory(self._held(values), self.card, self.budget)

    def _held(self, values: dict[str, Any]) -> Cost:
        if self.work.held is None:
            return self._cost(values)
        settings = make(self.work.settings, values)
        if settings not in self.bare:
            self.bare[settings] = self.costs.get(settings) or self.work.held(settings)
        return self.bare[settings]

    def _cost(self, values: dict[str, Any]) -> Cost:
        settings = make(self.work.settings, values)
        if settings not in self.costs:
            self.costs[settings] = self.work.cost(settings)
        return self.costs[settings]

    def _seconds(self, values: dict[str, Any]) -> float:
        from onecard.predict.price import likely_seconds

        return likely_seconds(self._cost(values), self.card, self.factors)

    def _price(self, cost: Cost, *, explain: bool) -> Estimate:
        from onecard.predict.price import price

        return price(cost, self.card, factors=self.factors, budget=self.budget, explain=explain)

    def _attempt(self, given: dict[str, Any]) -> tuple[str, dict[str, Any], float]:
        choices = self._choices(given)
        found = self._search(given)
        harm = sum(c.harms[c.options.index(found.chosen[c.setting])] for c in choices)
        old = _too_old(self._held({**given, **found.chosen}), self.card)
        return NO if old else found.verdict, {**given, **found.chosen}, harm

    def _advise(self, estimate: Estimate) -> Advice:
        freed = [name for name in self.given if self._may_choose(name)]
        return Advice(
            smallest_change=advice.smallest_change(self.given, freed, self._attempt),
            largest_that_fits=advice.largest_that_fits(self._smaller(freed), self._attempt),
            cards=advice.smallest_cards(_catalogue(), self._fits_on),
        )

    def _smaller(self, freed: list[str]) -> list[tuple[float, dict[str, Any]]]:
        """Well-known cases that are smaller than what was asked: with all else as it was asked, and with what may be chosen left open."""
        size = case_size(self.work, self.given)
        found: dict[str, tuple[float, dict[str, Any]]] = {}
        for _, case in self.work.showcase[:SHOWN]:
            kept = {k: v for k, v in self.given.items() if k not in case}
            rest = {k: v for k, v in kept.items() if k not in freed}
            for others in ({k: v for k, v in kept.items() if k not in OFFLOAD_SETTINGS}, rest):
                whole = {**others, **case}
                if (here := case_size(self.work, whole)) < size:
                    found.setdefault(repr(sorted(whole.items())), (here, whole))
        return list(found.values())

    def _may_choose(self, name: str) -> bool:
        """Whether the planner could choose this setting if the user had not."""
        given = {k: v for k, v in self.given.items() if k != name}
        try:
            return any(c.setting == name for c in self.work.choices(make(self.work.settings, given)))
        except OnecardError:
            return False

    def _fits_on(self, card: Device) -> bool:
        if _too_old(self._held({**self.given, **{c.setting: c.options[0] for c in self._choices(self.given)}}), card):
            return False
        other = _Question(self.name, self.work, card, factors_of(card.name), None, self.given)
        other.costs, other.bare = self.costs, self.bare
        choices = tuple(c for c in other._choices(self.given) if c.setting not in OFFLOAD_SETTINGS)
        return search(choices, lambda chosen: other._memory({**self.given, **chosen})).verdict != NO

    def _notable(self, settings: dict[str, Any]) -> dict[str, Any]:
        defaults = _defaults(self.work.settings)
        return {k: v for k, v in settings.items() if v is not None and v != defaults.get(k)}

    def _command(self, settings: dict[str, Any]) -> str:
        elsewhere = self.work.outside(make(self.work.settings, settings))
        if elsewhere is not None:
            return elsewhere
        cap = [] if self.budget is None else [f"--budget {self.budget}"]
        return " ".join(["onecard run", self.name, *(_flag(k, v) for k, v in self._notable(settings).items()), *cap])


def _too_old(cost: Cost, card: Device) -> tuple[str, ...]:
    """What stands against a card whose memory would do: kernels that were never built for it."""
    least, has = cost.extra.get("compute_capability"), card.compute_capability
    if least is None or has is None or float(has) >= least:
        return ()
    return (f"needs compute capability {least}, and {card.name} has {has}: it will not start there",)


def _flag(name: str, value: Any) -> str:
    import shlex

    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return flag if value else "--no-" + flag[2:]
    return f"{flag} {shlex.quote(str(value))}"


def case_size(work: Workload, case: dict[str, Any]) -> float:
    """How large a case is: parameters where its Cost tells them, else its peak memory; for ordering only."""
    settings = make(work.settings, case)
    filled = {**case, **{c.setting: c.options[0] for c in work.choices(settings)}}
    cost = work.cost(make(work.settings, filled))
    return float(cost.extra.get("parameters") or max(p.memory().likely for p in cost.phases))


@cache
def _defaults(settings: type[msgspec.Struct]) -> dict[str, Any]:
    return {f.name: f.default for f in msgspec.structs.fields(settings)}


@cache
def _catalogue() -> tuple[Device, ...]:
    from onecard.catalog.cards import cards

    return tuple(c for c in cards() if c.kind == "cuda" and not c.laptop)


def all_devices() -> Iterable[Device]:
    """Every device of this machine, GPUs first."""
    from onecard.machine import probe

    return probe()
