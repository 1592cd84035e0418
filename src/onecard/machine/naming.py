"""From what a driver says to a Device: the catalogue's row for that exact card, with the driver's own numbers on top.

Two cards may share a name ("NVIDIA GeForce RTX 3060" has 12 or 8 GB): a row counts only when its memory is that of the
card in the machine. A card that the catalogue does not know still becomes a Device, from clocks and widths that the
driver tells, with a wide uncertainty; never from the row of a similar name.
"""

from typing import Any

import msgspec

from onecard.core.device import Device
from onecard.core.errors import OnecardError
from onecard.machine.nvml import Card, link_rate

NEAR = 0.12
"""a driver shows up to 12 % less than the nominal memory (ECC on GDDR6 takes 6 %, reserved rows the rest)"""

ARCHITECTURES = {"5": "Maxwell", "6": "Pascal", "7.0": "Volta", "7.2": "Volta", "7.5": "Turing", "8.9": "Ada", "8": "Ampere",
                 "9": "Hopper", "10": "Blackwell", "11": "Blackwell", "12": "Blackwell"}  # fmt: skip
"""By compute capability, else by its major number: https://developer.nvidia.com/cuda-gpus"""

CORES_PER_SM = {"6.0": 64, "6": 128, "7": 64, "8.0": 64, "8": 128, "9": 128, "10": 128, "12": 128, "5": 128}
"""fp32 cores of a multiprocessor: CUDA C programming guide, table of arithmetic throughput"""


def row(name: str, memory: int | None) -> Device | None:
    """The catalogue's Device of exactly this name and about this memory, or None."""
    from onecard.catalog import card

    try:
        found = card(name, memory=memory)
    except OnecardError:
        return None
    return found if not memory or abs(memory / found.memory_total - 1) <= NEAR else None


def by_capability(table: dict[str, Any], capability: str | None) -> Any:
    """An entry by "8.9", else by "8"; None for an unknown or later one."""
    if not capability:
        return None
    return table.get(capability, table.get(capability.partition(".")[0]))


def from_nvml(card: Card, host: dict[str, Any]) -> Device:
    """A CUDA Device: the catalogue's facts where the card is known, the driver's numbers in any case."""
    known = row(card.name, card.memory_total)
    link = link_rate(card.link_generation_max, card.link_width_max)
    told: dict[str, Any] = {
        "memory_free": card.memory_free,
        "compute_capability": card.compute_capability,
        "power": card.power_limit,
        "link": link,
        **host,
    }
    sources = {
        k: "NVML" for k in ("memory_total", "memory_free", "power", "link") if told.get(k) or k == "memory_total"
    }
    told = {k: v for k, v in told.items() if v is not None}
    if known is not None:
        return msgspec.structs.replace(
            known,
            memory_total=card.memory_total or known.memory_total,
            sources={**known.sources, **sources},
            **told,
        )
    return _guessed(card, told, sources)


def _guessed(card: Card, told: dict[str, Any], sources: dict[str, str]) -> Device:
    """A card that no row describes. Bandwidth = 2 x memory clock x bus width (both data edges, as NVML counts the clock
    of GDDR and HBM); fp32 = 2 x cores x boost clock; matrix rate = twice that on Turing and later (GeForce's halved one)."""
    bandwidth = 2 * card.memory_clock_max * card.bus_width / 8 if card.memory_clock_max and card.bus_width else None
    fp32 = 2.0 * card.cuda_cores * card.clock_max if card.cuda_cores and card.clock_max else None
    capability = card.compute_capability
    flops = {"fp32": fp32} if fp32 else {}
    if fp32 and capability and float(capability) >= 7.0:
        flops["fp16"] = 2 * fp32
        flops["fp16_acc16"] = 4 * fp32
    if fp32 and capability and float(capability) >= 8.0:
        flops["bf16"], flops["tf32"], flops["int8"] = 2 * fp32, fp32, 8 * fp32
    cores = by_capability(CORES_PER_SM, capability)
    return Device(
        name=card.name,
        kind="cuda",
        architecture=by_capability(ARCHITECTURES, capability),
        memory_total=card.memory_total or 0,
        memory_reserved=int(0.05 * (card.memory_total or 0)),
        bandwidth=bandwidth or 200e9,
        flops=flops,
        multiprocessors=card.cuda_cores // cores if card.cuda_cores and cores else None,
        clock=card.clock_max,
        sources={
            **sources,
            "bandwidth": "NVML: memory clock x bus width"
            if bandwidth
            else "guess: the driver tells neither clock nor width",
            "flops": "guess from cores and clock: the card is not in the catalogue",
        },
        uncertainty={"bandwidth": 0.15 if bandwidth else 0.7, "flops": 0.5},
        laptop="laptop" in card.name.lower(),
        **told,
    )


def from_row(name: str | None, fallback: str, kind: str, memory: int | None, host: dict[str, Any]) -> Device | None:
    """An AMD, Intel or Apple Device: its row, else its memory with guessed rates; None when not even memory is known."""
    known = row(name, memory) if name else None
    free = host.pop("memory_free", None)
    if known is not None:
        return msgspec.structs.replace(
            known,
            memory_total=memory or known.memory_total,
            **({"memory_free": free} if free is not None else {}),
            **host,
        )
    if not memory:
        return None
    return Device(
        name=name or fallback,
        kind=kind,
        memory_total=memory,
        memory_free=free,
        bandwidth=200e9,
        sources={"memory_total": "driver", "bandwidth": "guess: the card is not in the catalogue"},
        uncertainty={"bandwidth": 0.7},
        **host,
    )
