"""What of a card changes a trace, as data: its compute capability, how many multiprocessors, how much memory.

The kernels that PyTorch picks, and the memory they take beside the tensors, depend on the compute capability alone,
except for a reduction's scratch (multiprocessors) and scripts that ask how much memory there is. So one trace serves
all cards of a class; the class is named in the Cost (`card_class`) and nothing else of a card is.
"""

import msgspec

from onecard.core.device import Device
from onecard.core.errors import OnecardError, UnknownName
from onecard.core.ranges import Range
from onecard.core.units import GiB, KiB, MiB

CUDNN = 91900
"""cuDNN assumed, as major * 10000 + minor * 100 + patch: what PyTorch 2.13 wheels for CUDA bring (9.19); attention on
Hopper and Blackwell depends on it"""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A class of cards, by a member that stands for it."""

    card_class: str
    capability: tuple[int, int]
    multiprocessors: int
    memory: int
    """what `torch.cuda.mem_get_info` answers; nothing is limited by it"""
    name: str
    cudnn: int = CUDNN

    @property
    def threads(self) -> int:
        """Threads that a multiprocessor holds at once. Source: CUDA C programming guide, technical specifications."""
        if self.capability == (7, 5):
            return 1024
        return 1536 if self.capability in ((8, 6), (8, 7), (8, 9), (12, 0), (12, 1)) else 2048

    @property
    def context(self) -> Range:
        """Bytes of the CUDA context with PyTorch's kernels loaded lazily: outside the allocator, on top of what it
        reserves. A guess until measured on such a card; data-centre cards with more multiprocessors hold more."""
        low, likely, high = (250, 400, 600) if self.multiprocessors < 100 else (350, 520, 750)
        return Range(low * MiB, likely * MiB, high * MiB)

    @property
    def blas_workspace(self) -> int:
        """Bytes that cuBLAS keeps for each thread that multiplies, taken through the caching allocator at the first
        product and never given back: 32 MiB on Hopper and Blackwell, else 8320 KiB.

        Source: `getChosenWorkspaceSize`/`parseChosenWorkspaceSize` in aten/src/ATen/cuda/CublasHandlePool.cpp of
        PyTorch 2.13 (the default ":4096:2:16:8" means 2 x 4096 + 8 x 16 KiB).
        """
        return 32 * MiB if self.capability[0] >= 9 else (4096 * 2 + 16 * 8) * KiB

    @property
    def bfloat16(self) -> bool:
        """Whether the card multiplies bfloat16 in hardware."""
        return self.capability >= (8, 0)


_CLASSES = {
    p.card_class: p
    for p in (
        # the properties of a well-known member; sources: the vendor's data sheets, CUDA C programming guide, table of
        # technical specifications per compute capability
        Profile(card_class="sm_60", capability=(6, 0), multiprocessors=56, memory=16 * GiB, name="Tesla P100"),
        Profile(card_class="sm_61", capability=(6, 1), multiprocessors=28, memory=11 * GiB, name="GeForce GTX 1080 Ti"),
        Profile(card_class="sm_70", capability=(7, 0), multiprocessors=80, memory=16 * GiB, name="Tesla V100"),
        Profile(card_class="sm_75", capability=(7, 5), multiprocessors=40, memory=16 * GiB, name="Tesla T4"),
        Profile(card_class="sm_80", capability=(8, 0), multiprocessors=108, memory=80 * GiB, name="NVIDIA A100 80GB"),
        Profile(card_class="sm_86", capability=(8, 6), multiprocessors=82, memory=24 * GiB, name="GeForce RTX 3090"),
        Profile(card_class="sm_89", capability=(8, 9), multiprocessors=60, memory=12 * GiB, name="GeForce RTX 4070 Ti"),
        Profile(card_class="sm_90", capability=(9, 0), multiprocessors=132, memory=80 * GiB, name="NVIDIA H100"),
        Profile(card_class="sm_100", capability=(10, 0), multiprocessors=148, memory=180 * GiB, name="NVIDIA B200"),
        Profile(card_class="sm_120", capability=(12, 0), multiprocessors=170, memory=32 * GiB, name="GeForce RTX 5090"),
    )
}

DEFAULT = _CLASSES["sm_89"]
"""the reference card's class"""


def known() -> tuple[str, ...]:
    """Names of all classes."""
    return tuple(_CLASSES)


def profile(card_class: str) -> Profile:
    """A class by its name. Raises UnknownName."""
    if card_class not in _CLASSES:
        raise UnknownName("class of cards", card_class, _CLASSES, next=f"one of {', '.join(_CLASSES)}")
    return _CLASSES[card_class]


def profile_of(device: Device) -> Profile:
    """The class that a device belongs to, with the device's own multiprocessors and memory.

    A capability between two classes takes the nearest below (8.7 is traced as 8.6). Raises OnecardError for a card that
    CUDA does not drive or whose capability is unknown.
    """
    if device.kind != "cuda" or not device.compute_capability:
        raise OnecardError(
            f"{device.name} has no CUDA compute capability",
            why="a trace predicts the kernels of a CUDA card by its capability",
            next="trace for a card by name: --on 'RTX 4070 Ti'",
        )
    major, _, minor = device.compute_capability.partition(".")
    capability = (int(major), int(minor or 0))
    below = [p for p in _CLASSES.values() if p.capability <= capability and p.capability[0] == capability[0]]
    if not below:
        raise OnecardError(
            f"no traces for compute capability {device.compute_capability} ({device.name})",
            next=f"known classes: {', '.join(_CLASSES)}",
        )
    return below[-1]
