"""A Cost: what a piece of work asks of any machine. No device in it, no workload in it: here the two meet.

A Cost is a list of phases. A phase is repeated; each time it holds some memory, by part, and does some operations. The
pricer turns both into an Estimate on a Device. Who counts (closed forms, a trace) says so in `basis`.
"""

from typing import Any

import msgspec

from onecard.core.ranges import Range, total

PARTS = ("weights", "kv_cache", "activations", "gradients", "optimizer", "workspace", "context", "other")
"""The names of memory parts, in the order in which they are shown."""

AGAIN = "/again"
"""behind the library in an Operation's kernel: a checkpoint starts it again, from Python and not from the engine's C++"""

CATEGORIES = ("weights", "gradients", "optimizer", "activations", "inputs", "workspace", "other")
"""What a traced storage is for."""

BASES = ("counted", "traced", "measured", "calibrated", "guess")


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some memory held during a phase."""

    name: str
    """one of PARTS"""
    bytes: Range
    place: str = "device"
    """device or host"""
    only: str = ""
    """card: held only where the device has a memory of its own; cpu: only where the processor is the device; "": always"""
    basis: str = "counted"
    equation: str = ""
    """the formula with the user's own values, for `plan --explain`"""


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Like work that is done together: all matmuls of one format, say. Totals for one repeat of the phase.

    The pricer finds the rate of each limit (arithmetic, memory, launches, link) from `kind`, `kernel`, `format` and
    `compute`; the largest limit is the time of the operation.
    """

    kind: str
    """matmul, attention, convolution, elementwise, reduction, embedding, copy, optimizer, quantize, random, host; of a processor
    alone: backward (elements of queries in `written`), map (bytes of memory that is new from the system)"""
    kernel: str = ""
    """whose code runs it: llama.cpp, cublas, cudnn, bitsandbytes, gptq, awq, exllama, flash, eager, vllm ..."""
    format: str = ""
    """how the large operand is stored: q4_K, q8_0, f16, nf4, gptq-int4 ...; as in the file"""
    compute: str = ""
    """arithmetic unit, a key of Device.flops: fp16, fp16_acc16, bf16, tf32, fp32, int8"""
    flops: float = 0.0
    read: float = 0.0
    """bytes read from the memory of `place`"""
    written: float = 0.0
    launches: float = 0.0
    """kernels started (or graph nodes), each with its overhead where the engine does not hide it"""
    shape: tuple[int, int, int] | None = None
    """(m, n, k) of the typical matmul: m rows of activations, n outputs, k inputs; for shape efficiency"""
    place: str = "device"
    """device, host, or link (bytes that cross from host to device)"""
    only: str = ""
    """cpu: done only where the processor is the device; card: only elsewhere; "": always"""
    label: str = ""

    @property
    def bytes(self) -> float:
        return self.read + self.written


class Phase(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stretch of work with one memory need: prefill, decode, forward, backward, step, denoise, evaluate, save.

    Times: one repeat takes the sum over its operations; the phase takes `repeat` of these. `units` of `unit` come out
    of one repeat, so the rate is units / seconds of one repeat.
    """

    name: str
    parts: tuple[Part, ...] = ()
    operations: tuple[Operation, ...] = ()
    repeat: float = 1.0
    unit: str = ""
    """tokens, images, steps, iterations ...; empty where no rate makes sense"""
    units: float = 1.0

    def memory(self, place: str = "device") -> Range:
        """Bytes held in one place during this phase."""
        return total(p.bytes for p in self.parts if p.place == place and p.only != "cpu")


class Events(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Births and deaths of storages in a traced step, to be replayed through the model of the caching allocator.

    Storages are numbered from 0 in the order of their birth. Columns of plain integers, since a step of a large model
    has more than 100,000 events: they stay small as JSON and decode in milliseconds. A storage that is resized is a
    death and a new birth, as in the allocator.
    """

    sizes: tuple[int, ...]
    """bytes asked of the allocator, by storage number, before any rounding; never 0: an empty tensor asks for nothing"""
    order: tuple[int, ...]
    """storage numbers as things happened: the first time a number stands here the storage is born, the second time it
    is freed; one that outlives the trace stands here once"""
    labels: tuple[int, ...] = ()
    """by storage number, an index into `names`; empty where the trace kept none"""
    names: tuple[tuple[str, str, str], ...] = ()
    """(category, module, operator): one of CATEGORIES; "model.layers.0.mlp.up_proj"; "aten::mm" """
    marks: tuple[tuple[int, str], ...] = ()
    """(index into `order`, phase): the phase begins before that event; names may come again (each step its forward)"""
    cache_drops: tuple[int, ...] = ()
    """indices into `order` before which the program called torch.cuda.empty_cache()"""
    streams: tuple[tuple[int, int], ...] = ()
    """(storage number, stream) where that is not the default stream 0"""


class Cost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything the work asks for."""

    phases: tuple[Phase, ...]
    runtime: str
    """whose process it is, for the context and its overheads: llama.cpp, torch, vllm, exllama, sglang, none"""
    basis: str = "counted"
    events: Events | None = None
    card_class: str | None = None
    """a traced Cost names the class of cards whose kernels it assumed, nothing else"""
    notes: tuple[str, ...] = ()
    """what could not be counted or traced, in words for the user"""
    versions: dict[str, str] = {}
    extra: dict[str, Any] = {}
    """facts for people: parameters, bits per weight, layers on the device ..."""
