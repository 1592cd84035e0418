"""The price of a Cost on a Device: the one function between the two. Peak memory, seconds, rates, limiters, and why.

    estimate = price(cost, device, factors)

It looks at nothing but its arguments, so the same question has the same answer; it takes well under a millisecond,
because the planner asks it for every candidate. `explain=True` adds the equations.
"""

import msgspec

from onecard.core.cost import Cost
from onecard.core.device import Device
from onecard.core.estimate import Estimate, Memory, PhaseTime, Term
from onecard.core.ranges import Range, total
from onecard.predict.energy import joules
from onecard.predict.factors import Factors
from onecard.predict.memory import elsewhere
from onecard.predict.memory import memory as counted_memory
from onecard.predict.time import PhaseSeconds, time_phase


def price(
    cost: Cost, device: Device, factors: Factors | None = None, budget: int | None = None, explain: bool = False
) -> Estimate:
    """What the work needs of this device and how long it takes.

    factors: corrections from Records of this device.  budget: bytes that may be used instead of what the device has.
    """
    time: dict[str, PhaseTime] = {}
    rates: dict[str, Range] = {}
    bases: dict[str, str] = {}
    limiters: dict[str, str] = {}
    applied: dict[str, float] = {}
    phases: dict[str, PhaseSeconds] = {}
    records = 0
    for phase in cost.phases:
        if not phase.operations:
            continue
        priced = time_phase(phase, device, cost.runtime, factors)
        time[phase.name] = PhaseTime(seconds=priced.seconds, repeat=phase.repeat)
        limiters[phase.name] = priced.limiter
        phases[phase.name] = priced
        records = max(records, priced.records)
        if priced.records:
            applied[phase.name] = priced.factor
        if phase.unit and priced.seconds.low > 0:
            name = f"{phase.name}_{phase.unit}_per_s"
            rates[name] = priced.seconds.rate(phase.units)
            bases[name] = "calibrated" if priced.records else cost.basis
    whole = total(p.seconds * p.repeat for p in time.values())
    if cost.events is not None and whole.low > 0:  # a trace knows the phases of one step, not what the step makes
        rates["step_steps_per_s"] = whole.rate(1)
        bases["step_steps_per_s"] = "calibrated" if records else cost.basis
        limiters["step"] = limiters[max(time, key=lambda name: time[name].seconds.likely)]
    memory = price_memory(cost, device, budget)
    if cost.events is None:
        memory = msgspec.structs.replace(memory, elsewhere=elsewhere(cost, device, memory.parts))
    return Estimate(
        memory=memory,
        time=time,
        total_seconds=whole,
        energy_joules=joules(time, limiters, device),
        rates=rates,
        limiters=limiters,
        basis="calibrated" if records else cost.basis,
        rate_bases=bases,
        calibrated_by=records,
        factors=applied,
        terms=_terms(cost, device, memory, phases) if explain else (),
        notes=cost.notes,
    )


def price_memory(cost: Cost, device: Device, budget: int | None = None) -> Memory:
    """Only the memory of `price`: what a search asks of every candidate. A Cost with events is replayed."""
    if cost.events is None:
        return counted_memory(cost, device, budget)
    from onecard.predict.peak import traced_memory  # a counted plan needs no allocator

    return traced_memory(cost, device, budget)


def likely_seconds(cost: Cost, device: Device, factors: Factors | None = None) -> float:
    """Only `total_seconds.likely` of `price`: what a limit of time asks of every candidate."""
    priced = ((phase, time_phase(phase, device, cost.runtime, factors)) for phase in cost.phases if phase.operations)
    return sum(seconds.seconds.likely * phase.repeat for phase, seconds in priced)


def _terms(cost: Cost, device: Device, memory: Memory, phases: dict[str, PhaseSeconds]) -> tuple[Term, ...]:
    from onecard.predict.explain import explain  # only who asks pays for it

    return explain(cost, device, memory, phases)
