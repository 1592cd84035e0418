"""Constants of speed: what silicon sustains of its peak, and what each engine's kernels and calls cost. The one place.

Silicon (by architecture) and software (by generation of an engine) are apart, so a constant learned on one card serves all
cards of its generation, and none is tuned on mixed data. Fitted ones were printed by benchmarks/fit_speed.py, which leaves
each card out in turn and reports the error on it; the others name their source.
"""

import msgspec

from onecard.core.device import Device

SOURCE = "constants of predict/kernels.py, fitted by benchmarks/fit_speed.py"


class Silicon(msgspec.Struct, frozen=True, kw_only=True):
    """What chips of one architecture sustain."""

    dram: float
    """share of DRAM peak that long streams reach: refresh, row misses and bus turnarounds take the rest"""
    flight: float | None = None
    """bytes that one multiprocessor keeps moving per clock in matrix-vector kernels: requests in flight / latency of memory
    (Little's law). GDDR cards need 2 to 7 of it to saturate their memory, an A100 13: that is why it reaches a third"""
    tensor: float = 0.6
    """share of the matrix units' peak that large matmuls reach at boost clock"""
    feed: float | None = None
    """16-bit operations that one multiprocessor is fed with per clock: where matrix units are so fast that loads from shared
    memory and L2 do not keep up (A100: 2048 possible, Hopper 4096); int8 and fp8 operands are half as large"""
    joule: float | None = None
    """fp16 operations per joule of board power in large matmuls: where the power limit takes the clock down"""
    tiles: float | None = None
    """int8 operations per multiprocessor and clock of llama.cpp's kernels for quantised prompts (MMQ): ordinary instructions unpack
    each tile into shared memory and scale its sums, which sets the pace long before the matrix units do"""
    decode: float | None = None
    """weights that one multiprocessor unpacks per clock from a 4-bit block format: its ALUs' limit"""
    gap: float = 1.0
    """factor on the gap between two of llama.cpp's kernels: their tails last longer where many multiprocessors share little work"""
    spread: float = 0.0
    """added to the relative half-width where the constants are from a neighbour, not from data"""


SILICON: dict[str, Silicon] = {
    "ampere": Silicon(tiles=620.0, dram=0.907, flight=12.0, tensor=0.70, joule=0.32e12),
    "ada": Silicon(tiles=760.0, dram=0.903, flight=12.0, tensor=1.0, joule=0.43e12),
    "ampere-hbm": Silicon(tiles=620.0, dram=0.85, flight=9.2, tensor=0.85, feed=1190.0, joule=0.62e12, gap=1.05),
    "hopper": Silicon(tiles=620.0, dram=0.85, flight=10.1, tensor=0.85, feed=1290.0, joule=0.69e12, gap=1.4),
    "blackwell": Silicon(tiles=635.0, dram=0.93, flight=12.0, tensor=0.8, joule=0.45e12, spread=0.05),
    "turing": Silicon(tiles=450.0, dram=0.90, flight=10.0, tensor=0.6, joule=0.2e12, spread=0.1),
    "volta": Silicon(dram=0.85, flight=10.0, tensor=0.5, joule=0.3e12, spread=0.1),
    "pascal": Silicon(dram=0.80, flight=8.0, tensor=0.6, joule=0.04e12, spread=0.15),
    "apple": Silicon(dram=0.90, tensor=0.73, decode=14.0),
    "apple-m1-max": Silicon(dram=0.71, tensor=0.56, decode=8.3, spread=0.1),
    "apple-ultra": Silicon(dram=0.87, tensor=0.67, decode=14.0, gap=1.45),
    "rdna": Silicon(dram=0.80, flight=12.0, tensor=0.4, joule=0.2e12, gap=1.7, spread=0.15),
    "cdna": Silicon(dram=0.60, flight=7.5, tensor=0.3, joule=0.6e12, gap=1.9, spread=0.2),
    "xpu": Silicon(dram=0.70, tensor=0.3, spread=0.2),
    "cpu": Silicon(dram=0.85, tensor=0.5, spread=0.35),
    "unknown": Silicon(dram=0.80, tensor=0.5, spread=0.2),
}

CPU_DOT = 8.8
"""operations per core and clock of a matrix-vector product with 4-bit blocks: 22 tokens/s of a 1.1B Q4_K_M model on two idle
2.6 GHz AVX2 cores of a Xeon (xllamacpp 2026.10, 512 tokens deep), whose memory would have allowed 48"""

CPU_GEMM = {"": 39.0, "q8_0": 29.0, "f16": 20.0, "bf16": 12.0, "f32": 24.0}
"""operations per core and clock with many rows: 100 to 112 prompt tokens/s there with Q4_K, Q6_K, IQ4_XS and Q2_K; floats convert
to fp32 first (f16 50 tokens/s under load)"""

CPU_FORMATS = {
    "q4_0": 1.3, "q4_1": 1.2, "q5_0": 0.9, "q5_1": 0.9, "q8_0": 0.76, "q2_k": 1.0, "q3_k": 0.75, "q5_k": 0.85, "q6_k": 0.8,
    "iq4_nl": 0.9, "iq4_xs": 0.65, "iq3_s": 0.4, "iq3_xxs": 0.4, "iq2_s": 0.4, "iq2_xs": 0.4, "iq2_xxs": 0.4, "f16": 1.2,
    "bf16": 1.0, "f32": 1.5,
}  # fmt: skip
"""the same relative to Q4_K, one row: instructions of ggml's vec_dot functions; measured for q2_k, q4_k, iq4_xs and
q8_0 only (llama-3.2-1b beside q4_k_m on two AVX-512 cores: 43 of 57 prompt tokens/s, 9.4 of 12.4 tokens/s)"""

CPU_RANDOM = 24.0
"""clocks of one core for one random number of torch on a processor: its generator (mt19937) is drawn from by one thread. 8.6 to 9.1 ns
an element of dropout with one thread and with two, on a 2.6 GHz Xeon (torch 2.13)"""

CPU_BACKWARD = 108.0
"""clocks of a core for each element of the queries when fused attention goes backward in bf16 on a processor: its blocks are so
small that starting and converting them takes longer than their products (`_scaled_dot_product_flash_attention_for_cpu_backward`).
2.3 to 3.6 us a token and head of 64 from 128 to 1024 tokens, on AMX cores at 2.1 GHz (torch 2.13); in fp32 products take the time"""

CPU_MAP = 0.31e-9
"""seconds a byte of memory that is new from the system: a fault and zeroes for each page of 4 KiB. A product of 40, 64 and 128 MiB into new
memory less that into old: 0.30 to 0.34 ns a byte with two threads on a virtual Xeon (torch 2.13)"""

CPU_WIDTH = {"avx512": 1.15, "avx2": 1.0, "avx": 0.5, "sse3": 0.35, "neon": 0.8, "dotprod": 1.1}
"""relative to AVX2: wheels are built for AVX2, a native build gains a little from wider units"""

ECC = 0.885
"""share left of GDDR bandwidth where error correction keeps its bits in the same memory (A10, A40, L4, L40, L40S, T4)"""


class Software(msgspec.Struct, frozen=True, kw_only=True):
    """What one generation of an engine costs."""

    latency: float
    """seconds from the end of one kernel to useful work of the next: launch gap, ramp, tail"""
    host: float = 0.0
    """seconds the host needs per call (Python and dispatcher); 0 where graphs or compiled code hide it"""
    step: float = 0.0
    """seconds per step of the engine itself: scheduling, sampling, detokenising"""
    stream: float = 1.0
    """share of what the silicon sustains that float matrix-vector kernels reach"""
    quantized: float = 1.0
    """the same for quantised ones"""
    flight: float = 1.0
    """factor on Silicon.flight of float kernels"""
    flight_quantized: float = 1.0
    """the same of quantised ones, whose blocks are smaller and whose threads compute between two requests"""
    compute: float = 1.0
    """factor on Silicon.tensor and joule"""
    quantized_compute: float = 1.0
    """the same for quantised weights, where they are multiplied directly"""
    tiles: float = 0.0
    """factor on Silicon.tiles; 0 where quantised prompts do not run in kernels of their own"""
    experts: float = 1.0
    """share of streaming that matrix-vector kernels keep on experts: each expert is a short stream with a tail of its own"""
    attention: float = 0.3
    """prompt attention's share of the matmul rate"""
    fused_attention: float | None = None
    """the same in one fused kernel; None where it is no different"""
    cache: float = 0.8
    """share of streaming that attention reaches on the cache at decode"""
    eager_cache: float = 0.3
    """the same without flash attention: scores go to memory and back, softmax in fp32"""
    walk: float = 0.0
    """clocks per head and token of depth of an attention without flash: a warp walks the cache"""
    copy: float = 0.5
    """share of streaming of strided copies of the cache"""
    expand: float = 0.4
    """the same for the repetition of K and V"""
    elementwise: float = 0.9
    dequantize: float = 0.8
    """share of streaming when quantised weights become fp16 for a prompt"""
    row: float = 0.01
    """a further row of a matrix-vector kernel costs this share of the first"""
    step_prefill: float = 0.0
    """seconds per prompt of the engine itself"""
    spread: float = 0.25
    """relative half-width that holds 90 % of held-out decode rows"""
    spread_prefill: float = 0.25
    """the same for prefill"""


SOFTWARE: dict[str, Software] = {
    "llama.cpp-2023": Software(
        eager_cache=0.8,
        spread=0.18,
        latency=3.45e-6,
        walk=0.04,
        flight=1.27,
        flight_quantized=1.17,
        compute=0.81,
        elementwise=0.48,
        dequantize=0.85,
        attention=0.29,
    ),
    "llama.cpp-2024": Software(
        eager_cache=0.8,
        spread=0.18,
        latency=2.75e-6,
        walk=0.39,
        flight=0.70,
        elementwise=1.0,
        dequantize=1.3,
        attention=0.29,
    ),
    "llama.cpp-mmq": Software(
        eager_cache=0.8,
        latency=2.5e-6,
        walk=0.36,
        flight=0.8,
        quantized_compute=0.9,
        tiles=0.95,
        experts=0.6,
        elementwise=1.0,
        attention=0.29,
        fused_attention=0.5,
    ),
    "llama.cpp": Software(
        latency=1.4e-6,
        walk=0.39,
        cache=1.0,
        eager_cache=0.8,
        quantized_compute=0.9,
        tiles=1.0,
        experts=0.6,
        elementwise=1.0,
        attention=0.29,
        fused_attention=0.5,
    ),
    "transformers-4.30": Software(
        latency=2e-6, host=36e-6, copy=0.22, eager_cache=0.24, flight=4.0, flight_quantized=0.4
    ),
    "transformers-4.37": Software(
        compute=1.2,
        latency=2e-6,
        host=14.5e-6,
        copy=0.25,
        cache=0.95,
        eager_cache=0.23,
        flight=4.0,
        flight_quantized=0.42,
    ),
    "transformers-4.38": Software(
        compute=1.2, latency=2e-6, host=18.5e-6, copy=0.63, expand=0.43, cache=0.95, flight=4.0, flight_quantized=0.44
    ),
    "transformers-4.46": Software(
        compute=1.2, latency=2e-6, host=18.4e-6, copy=0.86, expand=0.47, cache=1.0, flight=4.0, flight_quantized=0.6
    ),
    "transformers-4.48": Software(
        compute=1.2, latency=2e-6, host=18.0e-6, copy=0.86, expand=0.43, cache=1.0, flight=4.0, flight_quantized=0.6
    ),
    "transformers": Software(
        compute=1.2, latency=2e-6, host=18.0e-6, copy=0.86, expand=0.43, cache=1.0, flight=4.0, flight_quantized=0.6
    ),
    "vllm-0.4": Software(
        quantized_compute=1.2,
        latency=6.3e-6,
        step=0.23e-3,
        stream=1.04,
        flight=4.0,
        flight_quantized=4.0,
        cache=0.6,
        attention=0.6,
    ),
    "vllm-0.4-eager": Software(
        quantized_compute=1.2, latency=6.3e-6, host=20.6e-6, flight=4.0, flight_quantized=4.0, cache=0.7, attention=0.6
    ),
    "vllm": Software(
        quantized_compute=1.4,
        latency=4.4e-6,
        step=0.98e-3,
        stream=1.04,
        flight=4.0,
        flight_quantized=4.0,
        cache=1.0,
        attention=0.73,
    ),
    "sglang": Software(
        quantized_compute=1.4,
        latency=3.9e-6,
        step=0.5e-3,
        stream=1.04,
        flight=4.0,
        flight_quantized=4.0,
        cache=1.0,
        attention=0.75,
    ),
    "exllama-0": Software(latency=6.1e-6, flight=4.0, flight_quantized=2.0, quantized_compute=0.3, eager_cache=0.4),
    "exllama": Software(
        latency=3.9e-6,
        flight=4.0,
        flight_quantized=2.0,
        eager_cache=0.4,
        dequantize=1.3,
        attention=0.4,
        elementwise=1.0,
        compute=1.4,
    ),
    "exllamav2": Software(latency=2.6e-6, flight=4.0, flight_quantized=2.0),
    "autoawq": Software(
        latency=3.0e-6, flight=4.0, flight_quantized=2.0, eager_cache=1.0, quantized_compute=0.49, step_prefill=35e-3
    ),
    "autoawq-gemv": Software(
        latency=2.7e-6,
        flight=4.0,
        flight_quantized=2.0,
        eager_cache=0.8,
        quantized_compute=0.09,
        row=0.35,
        step_prefill=45e-3,
    ),
    "gpt-fast": Software(latency=0.73e-6, stream=1.1, flight=4.0, flight_quantized=2.0),
    "mlc": Software(latency=1.25e-6, flight=4.0, flight_quantized=2.0, eager_cache=0.8),
    "litgpt": Software(latency=2e-6, host=22.5e-6, flight=4.0, flight_quantized=2.0),
    "gptq-for-llama": Software(latency=2e-6, host=12.5e-6, flight=4.0, flight_quantized=2.0, quantized_compute=0.29),
}
"""Fitted rows, with the error on each card (or model) left out in turn, median and p90, as fit_speed.py printed it on 2026-11-24:
llama.cpp-2023/2024 decode 2.4 and 6.0 %, prefill 4.5 and 22 % (three broken series of the source included); Metal decode 6 and
14 %, prefill 14 and 42 % (one hot M1 Max); transformers 4.9 and 14.5 %; vLLM 4.7 and 40 % (4.4 and 11.8 % on the held-out models; its
72B rows contradict each other between releases); exllama 4 and 20 %; AutoAWQ 10 and 28 %; lit-gpt 9 and 47 %; gpt-fast and MLC 4 %.
llama.cpp-mmq and llama.cpp (and Silicon.tiles with them) are read from the 34 rows of benchmarks/measurements/newer: pull requests on an
RTX 3090 and 4090, where the error is 7 % (median) and 17 % (p90); an RTX 3080 that shaped nothing is 5 % off at decode and 3 % in a
prompt. Tiles of Ampere and Ada with HBM, Hopper and Blackwell are the RTX 3090's (Blackwell: one row of an RTX 5090).
Without published rows, set from their predecessor and the change that `parts/generations.py` names: transformers-4.48 and
later, sglang."""

# a traced eager program, by library (predict/eager.py): modules in Python and PyTorch's dispatcher start a kernel in about 18 us
SOFTWARE |= {
    name: Software(latency=1.5e-6, host=18e-6, spread=0.25, spread_prefill=0.25)
    for name in ("cublas", "cudnn", "eager", "flash", "efficient", "bitsandbytes")
}
SOFTWARE["llama.cpp@metal"] = Software(
    latency=3.7e-6, walk=1.6, cache=0.48, eager_cache=0.48, quantized_compute=0.95, attention=0.53, elementwise=1.5
)
SOFTWARE["llama.cpp@cpu"] = Software(latency=3e-6, cache=0.5, elementwise=0.5, attention=0.5)
GAP_CLOCK = 2.0e9
GAP_POWER = 0.7
"""A gap between kernels is `latency` at 2 GHz and shrinks with the clock to this power: launching, ramps and tails run on the
chip's clock, waits for memory do not. Left-one-out errors fall from 7.4 % (constant gaps) to 6.2 % (p90), and the shares of
bandwidth of Ampere and Ada, fitted apart, meet at 0.90."""


def gap(device: Device, silicon: Silicon, kernel: str, latency: float) -> float:
    """Seconds between two kernels on this device."""
    if device.kind == "cuda" and device.clock:
        latency *= (GAP_CLOCK / device.clock) ** GAP_POWER
    return latency * (silicon.gap if kernel.startswith("llama.cpp") else 1.0)


OTHER = Software(latency=5e-6, spread=0.35, spread_prefill=0.4)
"""work of an engine without a row of its own"""


def software(kernel: str, kind: str) -> Software:
    """The row for an operation's kernel on a kind of device: Metal kernels and CPU code are other code under one version."""
    name = kernel.partition("/")[0]
    return SOFTWARE.get(f"{name.partition('-')[0]}@{kind}") or SOFTWARE.get(name, OTHER)


SLOW_FORMATS = {"int8-dynamic": 0.045, "gptq-int4-fp32": 0.025, "int4wo": 0.65}
"""share of streaming of formats that old libraries multiply without a kernel of their own: torchao's int8 dynamic activations
fall back to integer torch calls below 17 rows, lit-gpt's GPTQ unpacks to fp32 with torch calls; tinygemm's int4"""

_BY_CAPABILITY = {
    "6": "pascal",
    "7.0": "volta",
    "7.5": "turing",
    "8.0": "ampere-hbm",
    "8": "ampere",
    "8.9": "ada",
    "9": "hopper",
}
_BY_NAME = {
    "pascal": "pascal", "volta": "volta", "turing": "turing", "ada": "ada", "hopper": "hopper", "blackwell": "blackwell",
    "rdna": "rdna", "cdna": "cdna", "m": "apple",
}  # fmt: skip


def silicon_name(device: Device) -> str:
    """The row of SILICON for a device."""
    if device.kind == "cpu":
        return "cpu"
    if device.kind == "metal":
        if "Ultra" in device.name.split():
            return "apple-ultra"
        return "apple-m1-max" if device.architecture == "M1" and "Max" in device.name.split() else "apple"
    capability = device.compute_capability or ""
    if device.kind == "cuda" and capability:
        major = capability.partition(".")[0]
        return _BY_CAPABILITY.get(capability) or _BY_CAPABILITY.get(major) or "blackwell"
    name = (device.architecture or "").lower()
    if name.startswith("ampere"):
        return "ampere-hbm" if (device.memory_kind or "").startswith("HBM") else "ampere"
    if device.kind == "xpu":
        return "xpu"
    return next((row for start, row in _BY_NAME.items() if start != "m" and name.startswith(start)), "unknown")


_ERROR_CORRECTED = ("A2", "A10", "A10G", "A16", "A30", "A40", "L4", "L40", "L40S", "T4")


def dram(device: Device, silicon: Silicon) -> float:
    """Bytes per second that long streams reach."""
    share = silicon.dram
    if (device.memory_kind or "").startswith("GDDR") and (
        "ecc" in device.features or any(word in _ERROR_CORRECTED for word in device.name.split())
    ):
        share *= ECC
    return device.bandwidth * share


FALLBACK = {
    "fp16_acc16": ("fp16", "bf16", "fp32"),
    "fp16": ("bf16", "fp32"),
    "bf16": ("fp16", "fp32"),
    "int8": ("fp16_acc16", "fp16", "bf16", "fp32"),
    "fp8": ("int8", "fp16", "bf16", "fp32"),
    "tf32": ("fp32",),
    "": ("fp16", "bf16", "fp32"),
}
"""what a kernel uses where the device lacks its unit"""


def peak(device: Device, compute: str) -> float | None:
    """Operations per second of an arithmetic unit, or of the next best that the device has; None where unknown."""
    for unit in (compute, *FALLBACK.get(compute, ())):
        if unit in device.flops:
            return device.flops[unit]
    return None
