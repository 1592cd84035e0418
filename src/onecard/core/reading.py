"""A Reading: what one device does at one moment. `watch` shows readings, the sampler of a run stores them.

Unknown is None and stays None: memory by process is not available under WSL2 and Windows' display driver model, and
a zero there would be a lie.
"""

import msgspec


class Holder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process that holds memory of a device."""

    pid: int | None = None
    name: str = ""
    bytes: int | None = None
    """None: the driver does not tell (WSL2, Windows)"""
    kind: str = "compute"
    """compute, graphics or both"""


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes, hertz, watts, degrees Celsius; shares between 0 and 1."""

    time: float = 0.0
    """seconds since the epoch"""
    device: str = "the card"
    kind: str = "cuda"
    index: int = 0
    memory_used: int | None = None
    memory_total: int | None = None
    utilization: float | None = None
    """share of the last moment in which any kernel (or, on a CPU, any core) was busy"""
    clock: float | None = None
    clock_max: float | None = None
    memory_clock: float | None = None
    memory_clock_max: float | None = None
    power: float | None = None
    power_limit: float | None = None
    temperature: float | None = None
    throttle: tuple[str, ...] | None = None
    """why clocks are held down, in words: idle, power cap, heat, power brake ...; None: not readable"""
    link_generation: int | None = None
    link_generation_max: int | None = None
    link_width: int | None = None
    link_width_max: int | None = None
    holders: tuple[Holder, ...] | None = None
    """None: the driver does not tell"""


class Attached(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that is watched: its plan beside what it does. Bytes, seconds, units per second."""

    id: str
    kind: str = "run"
    workload: str = ""
    seconds: float = 0.0
    phase: str = ""
    done: float | None = None
    of: float | None = None
    unit: str = ""
    shown: dict[str, float | str] = {}
    """figures that the work shows beside its progress: loss, rate ..."""
    planned_peak: tuple[float, float, float] | None = None
    """low, likely, high of the device memory that the plan promised"""
    peak: float | None = None
    """most that was seen so far of the run's own memory; None: not observed"""
    peaks: dict[str, float] = {}
    """the same memory as others count it: allocated (by tensors), reserved (by torch), driver (with context), rss"""
    planned_rates: dict[str, tuple[float, float, float]] = {}
    measured: dict[str, float] = {}
    outcome: str = ""
    """empty while it runs"""


class Moment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All devices at one time, and the run that is watched; one line of `watch --json`."""

    time: float
    readings: tuple[Reading, ...]
    run: Attached | None = None
