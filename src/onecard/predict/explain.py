"""Each number's equation with the user's own values: the terms of `plan --explain`.

Built only on request, from what time.py and the parts of the Cost already know; nothing is computed a second time in
another way, so an equation cannot disagree with its number.
"""

from onecard.core.cost import Cost, Phase
from onecard.core.device import Device
from onecard.core.estimate import Memory, Term
from onecard.core.units import show_size
from onecard.predict import kernels
from onecard.predict.memory import held
from onecard.predict.time import BANDWIDTH, COMPUTE, DEQUANTISATION, FLOATS, LINK, PhaseSeconds, Timed


def explain(cost: Cost, device: Device, memory: Memory, phases: dict[str, PhaseSeconds]) -> tuple[Term, ...]:
    """Terms of the peak, part by part, and of every phase, operation by operation."""
    terms: list[Term] = []
    largest = next((p for p in cost.phases if p.name == memory.phase), None)
    on_device, on_host = held(largest, device) if largest else ([], [])
    for part in (*on_device, *on_host):
        name = f"{part.name} (host)" if part in on_host else part.name
        terms.append(Term(name=name, value=show_size(part.bytes.likely), equation=part.equation, basis=part.basis))
    each = cost.extra.get("kv_bytes_per_token")
    if each and "kv_cache" in memory.parts:
        cache = memory.parts["kv_cache"].likely
        share = f"{cost.extra['reserves']:.0%} of {show_size(device.memory_total)}"
        rule = f"{share} less weights and work: pages for {cache / each:,.0f} tokens"
        terms.append(Term(name="kv_cache reserved", value=show_size(cache), equation=rule, basis="counted"))
    if "context" in memory.parts and not any(t.name == "context" for t in terms):
        base = "what a process takes before it allocates anything: driver state and loaded kernels"
        value = show_size(memory.parts["context"].likely)
        terms.append(Term(name="context", value=value, equation=base, basis="guess", source="predict/memory.py"))
    for phase in cost.phases:
        if phase.name in phases:
            terms += _phase(phase, phases[phase.name], cost, device)
    return tuple(terms)


def _phase(phase: Phase, priced: PhaseSeconds, cost: Cost, device: Device) -> list[Term]:
    silicon = kernels.SILICON[kernels.silicon_name(device)]
    terms = []
    pieces = []
    for timed in priced.timed:
        if timed.seconds < 0.005 * priced.seconds.likely:
            continue
        label = " ".join(filter(None, (timed.operation.label or timed.operation.kind, timed.operation.format)))
        pieces.append(milliseconds(timed.seconds))
        terms.append(
            Term(
                name=f"{phase.name}: {label}", value=milliseconds(timed.seconds), equation=_equation(timed, device, silicon),
                basis=cost.basis, source=kernels.SOURCE,
            )
        )  # fmt: skip
    launches = sum(o.launches for o in phase.operations)
    if priced.gaps:
        pieces.append(milliseconds(priced.gaps))
        each = priced.gaps / launches
        terms.append(
            Term(
                name=f"{phase.name}: between kernels", value=milliseconds(priced.gaps),
                equation=f"{launches:.0f} kernels x {each * 1e6:.1f} us", basis=cost.basis, source=kernels.SOURCE,
            )
        )  # fmt: skip
    whole = " + ".join(pieces)
    if priced.host:
        calls = f"host: {launches:.0f} calls x {priced.host / launches * 1e6:.0f} us = {milliseconds(priced.host)}"
        whole = f"the larger of {whole} on the device and {calls}"
    if priced.factor != 1.0:
        whole = f"({whole}) x {priced.factor:.2f} from {priced.records} Records of this device"
    per = f" for {phase.units:.0f} {phase.unit}" if phase.unit and phase.units != 1 else ""
    terms.append(
        Term(
            name=phase.name, value=f"{milliseconds(priced.seconds.likely)}{per}", equation=whole,
            basis="calibrated" if priced.records else cost.basis,
        )
    )  # fmt: skip
    return terms


def _equation(timed: Timed, device: Device, silicon: kernels.Silicon) -> str:
    operation = timed.operation
    moved = show_size(operation.bytes)
    share = operation.bytes / timed.seconds / device.bandwidth if timed.seconds else 0.0
    if timed.limiter == LINK:
        return f"{moved} over the link at {operation.bytes / timed.seconds / 1e9:.1f} GB/s"
    if timed.limiter == BANDWIDTH and operation.place == "device":
        return f"{moved} / ({device.bandwidth / 1e9:.0f} GB/s x {share:.2f})"
    if timed.limiter == DEQUANTISATION and device.multiprocessors and device.clock:
        rate = operation.bytes / timed.seconds / device.multiprocessors / device.clock
        unit = "SM" if device.kind == "cuda" else "core"
        return f"{moved} / ({device.multiprocessors} {unit}s x {device.clock / 1e9:.2f} GHz x {rate:.1f} bytes a clock)"
    if timed.limiter == COMPUTE and operation.flops:
        rate = operation.flops / timed.seconds
        top = kernels.peak(device, operation.compute) or rate
        unit = "TOPS" if operation.compute == "int8" and operation.format not in FLOATS else "TFLOPS"
        return f"{operation.flops / 1e12:.3g} T operations / ({top / 1e12:.0f} {unit} x {rate / top:.2f})"
    return f"{moved} at {operation.bytes / max(timed.seconds, 1e-12) / 1e9:.1f} GB/s"


def milliseconds(seconds: float) -> str:
    """Three digits in the unit that suits: "10.6 ms", "71 us", "1.25 s"."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
