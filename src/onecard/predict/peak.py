"""Peak memory of a traced Cost on a Device: its allocations are replayed, nothing is estimated by formula.

    memory = traced_memory(cost, device)             # for an Estimate
    answer = answer(cost, "train.py:step", device)   # for `onecard trace`: with timeline and breakdown

What a process takes of the card is what its allocator has *reserved* at its highest, and the CUDA context beside it.
The parts are the categories of what lives at the allocated peak; what the allocator holds beyond that is cached or lost
to rounding, and stands as a part of its own. Where the reserved peak does not fit, the replay is repeated under the cap:
the allocator then returns cached blocks and tries again, and often the step fits after all, only slower.
"""

from onecard.core.cost import PARTS, Cost, Events
from onecard.core.device import Device
from onecard.core.estimate import Estimate, Memory
from onecard.core.ranges import Range
from onecard.core.traced import Replay, Traced
from onecard.predict import allocator_settings
from onecard.predict.allocator_settings import DEFAULT, AllocatorSettings
from onecard.predict.replay import breakdown, replay

SPREAD = 0.01
"""relative half-width of a reserved peak whose every allocation is known: how far order and addresses of a real process
move it (recordings/: 0.05 % between two traces of one program)"""

GUESSED = "guessed scratch"
"""operator prefix of scratch memory whose size is a guess; its bytes at the peak widen the range both ways"""


def place_of(category: str) -> str:
    """The memory part that a traced category counts for."""
    return {"inputs": "activations", "": "activations"}.get(category, category if category in PARTS else "other")


def limits(
    settings: AllocatorSettings, total: int, usable: int | None, context: float
) -> tuple[int | None, int | None]:
    """(capacity, allowed) of the allocator: what the card leaves after the context, and the fraction of its total."""
    capacity = None if usable is None else max(int(usable - context), 0)
    fraction = settings.memory_fraction
    return capacity, None if fraction is None else int(fraction * total)


def context_of(cost: Cost) -> Range:
    """The CUDA context as the trace names it; nothing where it does not."""
    parts = [p.bytes for phase in cost.phases for p in phase.parts if p.name == "context" and p.place == "device"]
    return max(parts, key=lambda r: r.likely, default=Range.exact(0))


def unseen_of(cost: Cost) -> Range:
    """Workspaces that a trace knows nothing of but how large they can become: nothing is likely, all of it is possible."""
    parts = [p.bytes for phase in cost.phases for p in phase.parts if p.name == "workspace" and not p.bytes.likely]
    return max(parts, key=lambda r: r.high, default=Range.exact(0))


def fitting_replay(
    events: Events, settings: AllocatorSettings, capacity: int | None, allowed: int | None, timeline: bool = False
) -> Replay:
    """Free if it fits free; else under the cap, which may do with retries."""
    free = replay(events, settings, None, allowed, timeline)
    if capacity is None or free.oom is not None or free.peak_reserved <= capacity:
        return free
    return replay(events, settings, capacity, allowed, timeline)


def traced_memory(
    cost: Cost, device: Device, budget: int | None = None, settings: AllocatorSettings = DEFAULT
) -> Memory:
    """Peak memory of a Cost with events. Raises ValueError for one without."""
    if cost.events is None:
        raise ValueError("a Cost without events has no traced memory")
    usable = min(budget, device.usable) if budget is not None else device.usable
    context = context_of(cost)
    capacity, allowed = limits(settings, device.memory_total, usable, context.likely)
    free = replay(cost.events, settings)
    fitted = fitting_replay(cost.events, settings, capacity, allowed)
    # Where it does not fit even with retries, the peak is what it would take: the larger number is the honest answer.
    reserved = free if fitted.oom is not None else fitted
    held = breakdown(cost.events, reserved.peak_event)
    guessed = sum(size for name, size in held.operators.items() if name.startswith(GUESSED))
    peak = Range(
        max(reserved.peak_reserved * (1 - SPREAD) - guessed, reserved.peak_requested),
        reserved.peak_reserved,
        reserved.peak_reserved * (1 + SPREAD) + guessed,
    )
    parts: dict[str, Range] = {}
    for category, size in held.categories.items():
        name = place_of(category)
        parts[name] = parts.get(name, Range.exact(0)) + Range.exact(size)
    slack = reserved.peak_reserved - held.total
    spread = Range(peak.low - reserved.peak_reserved, 0, peak.high - reserved.peak_reserved)
    parts["other"] = parts.get("other", Range.exact(0)) + Range.exact(slack) + spread
    unseen = unseen_of(cost)
    if unseen.high:
        parts["workspace"] = parts.get("workspace", Range.exact(0)) + unseen
    if context.likely:
        parts["context"] = context
    host = {p.name: p.bytes for phase in cost.phases for p in phase.parts if p.place == "host"}
    return Memory(
        peak_bytes=peak + unseen + context,
        phase=max(reserved.phases, key=lambda p: p.allocated).name,
        parts={name: parts[name] for name in PARTS if name in parts},
        host_parts=host,
        usable_bytes=usable,
        free_bytes=device.memory_free,
        host_usable_bytes=device.host_total if device.host_free is None else device.host_free,
        allocated=Range.within(reserved.peak_allocated, SPREAD / 2, SPREAD / 2),
        reserved=peak + unseen,
        bases={**dict.fromkeys(parts, "traced"), **({"workspace": "guess"} if unseen.high else {})},
    )


def answer(
    cost: Cost,
    target: str,
    device: Device,
    budget: int | None = None,
    allocator: str = "",
    estimate: Estimate | None = None,
) -> Traced:
    """A traced Cost with its timeline and breakdown on a device. Raises BadSetting for allocator settings."""
    settings = allocator_settings.parse(allocator)
    assert cost.events is not None
    usable = min(budget, device.usable) if budget is not None else device.usable
    context = int(context_of(cost).likely)
    capacity, allowed = limits(settings, device.memory_total, usable, context)
    result = fitting_replay(cost.events, settings, capacity, allowed, timeline=True)
    return Traced(
        target=target,
        card=device.name,
        cost=cost,
        replay=result,
        held=breakdown(cost.events, result.peak_event),
        context=context,
        needs=replay(cost.events, settings, timeline=True).peak_reserved + context,
        capacity=capacity,
        allocator=allocator,
        estimate=estimate,
    )
