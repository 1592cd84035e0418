"""Seconds of a phase on a device: each operation takes its largest limit, the host may be slower than all of them.

    matrix x vector   max( bytes / (DRAM peak x share),                     the memory
                           bytes / (SMs x clock x bytes in flight),         too few requests in flight
                           weights / (SMs x clock x weights unpacked) )     the ALUs that unpack a block format
    matrix x matrix   max( FLOPs / (peak x share x wave), FLOPs / (power x FLOPs per joule), bytes / DRAM )
    phase             max( sum of operations + kernels x gap between two, calls x host's seconds per call ) + engine's step

Every max is a soft one: neighbouring limits blend (a p-norm with p = 4), because a kernel at the corner of two limits
reaches neither. The device works while the host already starts the next kernels, so the host limits only where it is
slower than the device: that is why eager frameworks take as long for a 0.5B model as for a 3B one.
"""

import math
from math import ceil

import msgspec

from onecard.core.cost import Operation, Phase
from onecard.core.device import Device
from onecard.core.ranges import Range
from onecard.predict import eager, kernels
from onecard.predict.factors import Factors
from onecard.predict.kernels import Silicon, Software

COMPUTE, BANDWIDTH, LAUNCHES, LINK, HOST = "compute", "bandwidth", "launches", "link", "host"
DEQUANTISATION = "dequantisation"

VECTOR_ROWS = 8
"""up to so many rows engines use matrix-vector kernels, which read each weight once for all rows"""

FLOATS = ("f16", "bf16", "fp16", "f32", "fp32", "")
PCIE = 16e9
"""bytes/s of a link that nobody named: PCIe 3.0 x16"""


class Timed(msgspec.Struct, frozen=True):
    """One operation priced: likely seconds and the limit that set them."""

    operation: Operation
    seconds: float
    limiter: str


class PhaseSeconds(msgspec.Struct, frozen=True, kw_only=True):
    """One repeat of a phase priced."""

    seconds: Range
    limiter: str
    timed: tuple[Timed, ...]
    gaps: float
    """seconds between kernels"""
    host: float
    """seconds the host needs to start everything"""
    factor: float = 1.0
    """correction from Records, already in `seconds`"""
    records: int = 0


def blend(*limits: float) -> float:
    """The largest, a little more where two are close: p-norm with p = 4."""
    largest = max(limits)
    if largest <= 0:
        return 0.0
    return float(largest * sum((x / largest) ** 4 for x in limits) ** 0.25)


def time_operation(operation: Operation, device: Device, silicon: Silicon, software: Software) -> Timed:
    """Likely seconds of one operation and what limits it, without the gaps between kernels."""
    if operation.place == "link":
        return Timed(operation, operation.bytes / (device.link or PCIE), LINK)
    if operation.place == "host" and not device.unified:
        return _on_host(operation, device)
    if operation.kind == "random":
        return Timed(operation, operation.written * kernels.CPU_RANDOM / (device.clock or CLOCK), COMPUTE)
    if operation.kind == "map":
        return Timed(operation, operation.written * kernels.CPU_MAP, BANDWIDTH)
    if operation.kind == "backward":
        clocks = (device.clock or CLOCK) * (device.multiprocessors or 1)
        return Timed(operation, operation.written * kernels.CPU_BACKWARD / clocks, COMPUTE)
    if device.kind == "cpu" and software.host == 0:
        return processor(operation, device.bandwidth, _cycles(device))
    if device.kind in ("cuda", "rocm") and operation.kernel.partition("/")[0] in eager.KERNELS:
        return Timed(operation, *eager.seconds(operation, device, silicon))
    memory = kernels.dram(device, silicon)
    if operation.kind == "matmul":
        rows = operation.shape[0] if operation.shape else 1
        if rows <= VECTOR_ROWS:
            return _vector(operation, device, silicon, software, memory)
        return _matrix(operation, device, silicon, software, memory)
    if operation.kind == "attention":
        return _attention(operation, device, silicon, software, memory)
    if operation.kind == "quantize":
        # Metal and the CPU unpack inside the matmul; only CUDA and ROCm libraries want fp16 in memory.
        seconds = operation.bytes / (memory * software.dequantize) if device.kind in ("cuda", "rocm") else 0.0
        return Timed(operation, seconds, DEQUANTISATION)
    if operation.kind == "copy":
        share = software.expand if operation.kernel.endswith("/expand") else software.copy
        return Timed(operation, operation.bytes / (memory * share), BANDWIDTH)
    seconds = operation.bytes / (memory * software.elementwise)
    if operation.flops:
        rate = kernels.peak(device, operation.compute)
        if rate and operation.flops / (rate * silicon.tensor) > seconds:
            return Timed(operation, operation.flops / (rate * silicon.tensor), COMPUTE)
    return Timed(operation, seconds, BANDWIDTH)


def _vector(operation: Operation, device: Device, silicon: Silicon, software: Software, memory: float) -> Timed:
    quantized = operation.format not in FLOATS
    rows = operation.shape[0] if operation.shape else 1
    more = 1 + software.row * (rows - 1)
    share = software.quantized * kernels.SLOW_FORMATS.get(operation.format, 1.0) if quantized else software.stream
    if operation.label.startswith("experts"):
        share *= software.experts
    streamed = operation.bytes / (memory * share) * more
    flight = unpack = 0.0
    if device.multiprocessors and device.clock:
        cycles = device.multiprocessors * device.clock
        if silicon.flight:
            factor = software.flight_quantized if quantized else software.flight
            flight = operation.bytes / (cycles * silicon.flight * factor) * more
        if silicon.decode and quantized:
            weights = operation.flops / (2 * rows)
            unpack = weights * more / (cycles * silicon.decode * UNPACK.get(operation.format, 1.0))
    seconds = blend(streamed, flight, unpack)
    other = max(flight, unpack) > streamed
    return Timed(operation, seconds, DEQUANTISATION if other and quantized else BANDWIDTH)


UNPACK = {
    "q4_0": 1.6,
    "q4_1": 1.5,
    "q8_0": 2.5,
    "q5_0": 1.2,
    "q5_1": 1.2,
    "q6_k": 0.85,
    "q5_k": 0.85,
    "q3_k": 0.8,
    "q2_k": 0.9,
}
"""weights unpacked per clock relative to Q4_K: simple blocks are faster, split high bits slower (instructions in ggml's
dequantize and vec_dot functions)"""


def matmul_rate(
    operation: Operation, device: Device, silicon: Silicon, software: Software, quantized: bool
) -> float | None:
    """FLOP/s of a large matmul: the units' share and waves, and what the board's power allows."""
    rate = kernels.peak(device, operation.compute)
    if rate is None:
        return None
    factor = software.quantized_compute if quantized else software.compute
    units = rate * silicon.tensor
    if silicon.feed and device.multiprocessors and device.clock:
        small = 2.0 if operation.compute in ("int8", "fp8") else 1.0
        units = min(units, silicon.feed * device.multiprocessors * device.clock * small)
    if quantized and software.tiles and silicon.tiles and _unpacks_tiles(operation, device):
        # stream-k gives every multiprocessor the same share of the tiles, so there is no last wave (ggml-org/llama.cpp#8018)
        return blend_rates(units * factor, tile_rate(operation, device, silicon.tiles * software.tiles))
    units *= factor * _wave(operation, device)
    if silicon.joule and device.power:
        cap = silicon.joule * device.power * factor
        return float(units * (1 + (units / cap) ** 4) ** -0.25)
    return units


TILE_ROWS = 60
"""rows of a prompt at which MMQ's unpacking takes as long as its products: each weight is unpacked once per tile of rows"""


def _unpacks_tiles(operation: Operation, device: Device) -> bool:
    """Whether llama.cpp multiplies with int8 matrix units: NVIDIA from Turing on (turing_mma_available, ggml-cuda/common.cuh)."""
    capability = (device.compute_capability or "").partition(".")
    return (
        operation.compute == "int8"
        and device.kind == "cuda"
        and capability[0].isdigit()
        and float(device.compute_capability or 0) >= 7.5
    )


def tile_rate(operation: Operation, device: Device, tiles: float) -> float:
    """Operations per second of MMQ: multiprocessors x clock x what one of them does, less for few rows.

    Experts are visited by uneven numbers of rows: a tile of 128 of each, or as many rows again, is padding and waiting.
    """
    rows = operation.shape[0] if operation.shape else 512
    filled = rows / (rows + TILE_ROWS)
    if operation.label.startswith("experts"):
        filled *= rows / (rows + min(128.0, rows))
    cycles = (device.multiprocessors or 0) * (device.clock or 0)
    return tiles * filled * cycles


def blend_rates(*rates: float) -> float:
    """The smallest rate, a little less where two are close; rates that nobody knows (0) do not count."""
    known = [r for r in rates if r > 0]
    return 1 / blend(*(1 / r for r in known)) if known else 0.0


SPLIT = 0.45
"""with few tiles the sum over k is split among multiprocessors, at the price of a second pass over the partial sums"""


def _wave(operation: Operation, device: Device) -> float:
    return wave(operation.shape, device.multiprocessors) if device.kind in ("cuda", "rocm") else 1.0


def wave(shape: tuple[int, int, int] | None, multiprocessors: int | None) -> float:
    """Share of multiprocessors that have a tile to work on, with the best of three tile sizes.

    A matmul of m x n outputs is cut into tiles; they run in waves of one per multiprocessor, and the last wave is mostly
    empty: 64 tiles on 108 multiprocessors keep 59 % of them busy. Smaller tiles fill better and reuse less.
    """
    if shape is None or not multiprocessors:
        return 1.0
    m, n, _ = shape
    best = 0.0
    for rows, columns, reuse in ((128, 256, 1.0), (128, 128, 0.9), (64, 128, 0.75), (64, 64, 0.6)):
        tiles = ceil(m / rows) * ceil(n / columns)
        filled = (m * n) / (ceil(m / rows) * rows * ceil(n / columns) * columns)
        share = tiles / (ceil(tiles / multiprocessors) * multiprocessors) * reuse * filled
        best = max(best, share)
    return max(best, SPLIT * m / (ceil(m / 16) * 16))


def _matrix(operation: Operation, device: Device, silicon: Silicon, software: Software, memory: float) -> Timed:
    quantized = operation.format not in FLOATS
    rate = matmul_rate(operation, device, silicon, software, quantized)
    arithmetic = operation.flops / rate if rate else 0.0
    streamed = operation.bytes / (memory * (software.quantized if quantized else software.stream))
    return Timed(operation, blend(arithmetic, streamed), COMPUTE if arithmetic >= streamed else BANDWIDTH)


def _attention(operation: Operation, device: Device, silicon: Silicon, software: Software, memory: float) -> Timed:
    rows, depth, heads = operation.shape or (1, 1, 1)
    eager = operation.kernel.endswith("/eager")
    streamed = operation.bytes / (memory * (software.eager_cache if eager else software.cache))
    if rows <= VECTOR_ROWS:
        walked = 0.0
        if software.walk and device.clock and eager:
            walked = software.walk * heads * depth / device.clock
        return Timed(operation, streamed + walked, BANDWIDTH)
    rate = matmul_rate(msgspec.structs.replace(operation, shape=None), device, silicon, software, False)
    share = software.attention if eager else software.fused_attention or software.attention
    arithmetic = operation.flops / (rate * share) if rate else 0.0
    return Timed(operation, blend(arithmetic, streamed), COMPUTE if arithmetic >= streamed else BANDWIDTH)


def _on_host(operation: Operation, device: Device) -> Timed:
    """Layers that stay with the CPU of a machine with a card."""
    rate = device.host_flops.get("fp32")
    timed = processor(operation, device.host_bandwidth or HOST_BANDWIDTH, rate / CPU_PEAK if rate else HOST_CYCLES)
    return Timed(operation, timed.seconds, HOST)


HOST_BANDWIDTH = 40e9
"""two channels of DDR4-3200 reach so much, where nobody measured"""
HOST_CYCLES = 8 * 4e9
"""eight cores at 4 GHz"""
CLOCK = 2.5e9
"""of a processor that does not tell its own"""
CPU_PEAK = 32.0
"""fp32 operations per core and clock of AVX2: two fused multiply-adds of eight"""


def processor(operation: Operation, bandwidth: float, cycles: float) -> Timed:
    """llama.cpp's CPU kernels: bytes through the memory, or block products through the cores; `cycles` of all cores a second."""
    streamed = operation.bytes / (bandwidth * kernels.SILICON["cpu"].dram)
    rows = operation.shape[0] if operation.shape else 1
    if operation.kind == "matmul":
        one = kernels.CPU_DOT * kernels.CPU_FORMATS.get(operation.format, 1.0)
        many = kernels.CPU_GEMM.get(operation.format, kernels.CPU_GEMM[""])
        # One row is a chain of dot products; with more of them a block is unpacked once for several.
        rate = many * rows / (rows + many / one - 1) if many > one else many
        counted = operation.flops / (cycles * rate)
    else:
        counted = operation.flops / (cycles * kernels.CPU_GEMM["f16"] * 0.5)
    if operation.kind == "quantize":
        return Timed(operation, 0.0, DEQUANTISATION)
    limiter = BANDWIDTH if streamed >= counted else COMPUTE if rows > VECTOR_ROWS else DEQUANTISATION
    return Timed(operation, blend(streamed, counted), limiter)


def _cycles(device: Device) -> float:
    """Clock cycles per second of all cores, scaled to AVX2."""
    width = next((f for w, f in kernels.CPU_WIDTH.items() if (device.architecture or "").startswith(w)), 1.0)
    if device.multiprocessors and device.clock:
        return device.multiprocessors * device.clock * width
    rate = device.flops.get("fp32")
    return rate / CPU_PEAK if rate else HOST_CYCLES


def _format(phase: Phase) -> str:
    """The format of the matmuls that read most."""
    largest = max((o for o in phase.operations if o.kind == "matmul"), key=lambda o: o.read, default=None)
    return largest.format if largest else ""


def doubt(device: Device, limiter: str) -> float:
    """Relative half-width from the device's own numbers: guessed or measured ones, and a laptop's power limit."""
    found = device.uncertainty.get("bandwidth" if limiter == BANDWIDTH else "flops", 0.0)
    return max(found, LAPTOP) if device.laptop else found


LAPTOP = 0.15
"""the maker of a laptop chooses power and clocks; the one published laptop row is off by 17 and 21 %"""


def time_phase(phase: Phase, device: Device, runtime: str, factors: Factors | None = None) -> PhaseSeconds:
    """Seconds of one repeat of a phase, as a range, with the limit that takes most of them."""
    silicon = kernels.SILICON[kernels.silicon_name(device)]
    timed = []
    gaps = host = step = spread = 0.0
    for operation in phase.operations:
        if operation.only and (operation.only == "cpu") != (device.kind == "cpu"):
            continue
        software = kernels.software(operation.kernel, device.kind)
        timed.append(time_operation(operation, device, silicon, software))
        gaps += operation.launches * kernels.gap(device, silicon, operation.kernel, software.latency)
        traced = operation.kernel.partition("/")[0] in eager.KERNELS
        host += operation.launches * software.host * (eager.host_share(phase.name, operation.kernel) if traced else 1.0)
        step = max(step, software.step_prefill if phase.name == "prefill" else software.step)
        spread = max(spread, software.spread_prefill if phase.name == "prefill" else software.spread)
    shares = {LAUNCHES: gaps}
    for t in timed:
        shares[t.limiter] = shares.get(t.limiter, 0.0) + t.seconds
    busy = sum(shares.values())
    limiter = LAUNCHES if host > busy else max(shares, key=lambda name: shares[name])
    likely = blend(busy, host) + step
    spread = math.hypot(spread + silicon.spread, doubt(device, limiter))
    value, records = 1.0, 0
    if factors is not None and (factor := factors.find(runtime, phase.name, _format(phase))) is not None:
        value, spread, records = factor.value, factor.spread, factor.records
        if device.kind == "cpu":
            # Records tell how fast it is on the whole; how fast it is at this moment, among other work, they do not.
            spread = math.hypot(spread, doubt(device, limiter))
    likely *= value
    return PhaseSeconds(
        seconds=Range(likely / (1 + spread), likely, likely * (1 + spread)), limiter=limiter, timed=tuple(timed),
        gaps=gaps, host=host, factor=value, records=records,
    )  # fmt: skip
