"""A Device: what a machine offers to any work. Looked up in the catalogue or probed; frozen; unknown is None."""

import msgspec


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One card, or the CPU with its memory, as numbers with their sources. Bytes, bytes/s and operations/s throughout.

    `flops` maps an arithmetic unit to its dense peak rate:
    "fp32" (ordinary cores), "fp16" and "bf16" (matrix units, fp32 accumulate), "fp16_acc16" (fp16 accumulate: twice
    that on GeForce, the same on data-centre cards), "tf32", "int8", "fp8". A missing key means that the device has no
    such unit or that its rate is unknown.
    """

    name: str
    kind: str
    """cuda, rocm, metal, xpu (Intel) or cpu"""
    architecture: str | None = None
    """Pascal, Turing, Ampere, Ada, Hopper, Blackwell, RDNA3, M2 ...; for a CPU its instruction set (avx2, avx512, neon)"""
    compute_capability: str | None = None
    memory_total: int
    """as the driver shows it: 12,282 MiB for a 12 GB RTX 4070 Ti"""
    memory_free: int | None = None
    """free now, on a probed machine; None for a card by name"""
    memory_reserved: int = 0
    """what a desktop and the driver keep for themselves on a card by name; on a unified memory what the system keeps"""
    memory_kind: str | None = None
    """GDDR6X, HBM3, LPDDR5, DDR4 ..."""
    bandwidth: float
    flops: dict[str, float] = {}
    multiprocessors: int | None = None
    """SMs, compute units or cores"""
    clock: float | None = None
    """boost clock in Hz"""
    l2: int | None = None
    """last cache level in bytes"""
    power: float | None = None
    """board power limit in watts"""
    link: float | None = None
    """host to device bytes/s in one direction"""
    unified: bool = False
    """device and host share one memory (Apple, CPU)"""
    host_total: int | None = None
    host_free: int | None = None
    host_bandwidth: float | None = None
    host_flops: dict[str, float] = {}
    features: tuple[str, ...] = ()
    sources: dict[str, str] = {}
    """where a number comes from: field name -> source; "*" for all the others"""
    uncertainty: dict[str, float] = {}
    """relative half-width of a number that is not a fact: {"bandwidth": 0.2}"""
    laptop: bool = False
    release: str | None = None

    @property
    def usable(self) -> int:
        """What work may hold on an otherwise idle card: the driver's total less what the desktop keeps."""
        return self.memory_total - self.memory_reserved
