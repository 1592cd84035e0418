"""The out-of-memory ladder of a plan, priced: what the guard may give up, in order, and what would be needed then."""

import msgspec

from onecard.core.device import Device
from onecard.core.plan import Plan, Rung
from onecard.core.settings import make
from onecard.predict.price import price


def rungs(plan: Plan) -> tuple[Rung, ...]:
    """The workload's rungs for a plan's settings; each with the peak memory of all changes up to it. Empty: no ladder."""
    from onecard.execute.job import workload_of

    workload, card = workload_of(plan.workload), msgspec.convert(plan.device, Device)
    values = dict(plan.settings)
    priced = []
    for rung in workload.ladder(make(workload.settings, values)):
        values |= rung.changed
        peak = price(workload.cost(make(workload.settings, values)), card).memory.peak_bytes.likely
        priced.append(msgspec.structs.replace(rung, peak_bytes=peak))
    return tuple(priced)
