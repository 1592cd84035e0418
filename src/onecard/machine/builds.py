"""Which PyTorch build runs on which card and driver: published tables as data, and the two rules that read them.

A driver runs every build of its own CUDA major version and of older ones (minor version compatibility). A binary kernel
(cubin) for compute capability X.y runs on X.z with z >= y: a card of 8.9 runs what was built for 8.6, so a card needs
no entry of its own in a build's list.
"""

from typing import NamedTuple

WHEELS = "https://download.pytorch.org/whl"
LLAMA = "https://xorbitsai.github.io/xllamacpp/whl"

OLD = ("5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0")
VOLTA_UP = ("7.0", "7.5", "8.0", "8.6", "9.0", "10.0", "12.0")
TURING_UP = ("7.5", "8.0", "8.6", "9.0", "10.0", "12.0")

MATRIX = "https://github.com/pytorch/pytorch/blob/main/RELEASE.md#pytorch-cuda-support-matrix"


class Build(NamedTuple):
    """One CUDA build of a PyTorch release for x86-64 Linux and Windows."""

    torch: str
    cuda: str
    architectures: tuple[str, ...]
    source: str
    date: str

    @property
    def tag(self) -> str:
        """ "cu130": the name of its package index."""
        return "cu" + self.cuda.replace(".", "")


BUILDS = (
    Build("2.14", "12.6", OLD, MATRIX, "2026-08-21"),
    Build("2.14", "13.0", TURING_UP, MATRIX, "2026-08-21"),
    Build("2.14", "13.2", TURING_UP, MATRIX, "2026-08-21"),
    Build("2.13", "12.6", OLD, MATRIX, "2026-09-18"),
    Build("2.13", "13.0", TURING_UP, MATRIX, "2026-09-18"),
    Build("2.13", "13.2", TURING_UP, MATRIX, "2026-09-18"),
    Build("2.12", "12.6", OLD, "https://github.com/pytorch/pytorch/pull/182849", "2026-05-07"),
    Build("2.12", "13.0", TURING_UP, "https://github.com/pytorch/pytorch/pull/182849", "2026-05-07"),
    Build("2.12", "13.2", TURING_UP, "https://github.com/pytorch/pytorch/pull/182849", "2026-05-07"),
    Build("2.11", "12.6", OLD, "https://github.com/pytorch/pytorch/pull/175253", "2026-02-18"),
    Build("2.11", "12.8", TURING_UP, "https://github.com/pytorch/pytorch/pull/175253", "2026-02-18"),
    Build("2.11", "13.0", TURING_UP, "https://github.com/pytorch/pytorch/pull/175253", "2026-02-18"),
    Build("2.10", "12.6", OLD, "https://github.com/pytorch/pytorch/pull/175253", "2026-02-18"),
    Build("2.10", "12.8", VOLTA_UP, "https://github.com/pytorch/pytorch/pull/175253", "2026-02-18"),
    Build("2.10", "13.0", TURING_UP, "https://github.com/pytorch/pytorch/pull/175253", "2026-02-18"),
    Build("2.9", "12.6", OLD, "https://github.com/pytorch/pytorch/pull/164471", "2025-10-02"),
    Build("2.9", "12.8", VOLTA_UP, "https://github.com/pytorch/pytorch/pull/164471", "2025-10-02"),
    Build("2.9", "13.0", TURING_UP, "https://github.com/pytorch/pytorch/pull/164471", "2025-10-02"),
    Build("2.8", "12.6", OLD, "https://github.com/pytorch/pytorch/issues/157517", "2025-07-14"),
    Build("2.8", "12.8", VOLTA_UP, "https://github.com/pytorch/pytorch/issues/157517", "2025-07-14"),
    Build("2.8", "12.9", VOLTA_UP, "https://github.com/pytorch/pytorch/issues/157517", "2025-07-14"),
    Build("2.7", "11.8", OLD, "https://github.com/pytorch/pytorch/issues/145544", "2025-04-23"),
    Build("2.7", "12.6", OLD, "https://github.com/pytorch/pytorch/issues/145544", "2025-04-23"),
    Build("2.7", "12.8", TURING_UP, "https://github.com/pytorch/pytorch/issues/145544", "2025-04-23"),
    *(Build(t, c, OLD, MATRIX, "2025-04-23") for t, c in
      (("2.6", "11.8"), ("2.6", "12.4"), ("2.6", "12.6"), ("2.5", "11.8"), ("2.5", "12.1"), ("2.5", "12.4"))),
)  # fmt: skip
"""Newest release first. Sources: the support matrix of each release."""

DRIVERS = {
    13: ("580", "580", "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html", "2025-12-04"),
    12: ("525.60.13", "527.41", "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
         "2025-12-04"),
    11: ("450.80.02", "452.39", "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
         "2025-12-04"),
}  # fmt: skip
"""CUDA major version -> lowest driver on Linux, on Windows, source, date of the table."""

PYTHONS = ((3, 10), (3, 14))
"""lowest and highest Python with stable wheels of current PyTorch (2.12 to 2.14): the release compatibility matrix in
RELEASE.md, 2026-08-21; 3.15 is experimental"""

LLM_PYTHONS = ((3, 11), (3, 14))
"""what onecard itself needs, and what its extras have wheels for"""


def decode_cuda(number: int) -> str:
    """ "11.6" from the driver's 11060."""
    return f"{number // 1000}.{number % 1000 // 10}"


def parts(version: str) -> tuple[int, ...]:
    """Leading numbers of a version, for comparing: "2.13.0+cpu" is (2, 13, 0), "525.60.13" is (525, 60, 13)."""
    numbers: list[int] = []
    for piece in version.partition("+")[0].split("."):
        digits = ""
        for letter in piece:
            if not letter.isdigit():
                break
            digits += letter
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


LAST_DRIVERS = {5: "580", 6: "580", 7: "580", 3: "470"}
"""major capability -> the last driver branch: 590 dropped Maxwell, Pascal and Volta (7.0, not Turing's 7.5), 495 Kepler.
https://github.com/NixOS/nixos-hardware/issues/1880, 2026-05-17"""

BRANCHES = (
    (595, 13020), (590, 13010), (580, 13000), (575, 12090), (570, 12080), (565, 12070), (560, 12060), (555, 12050),
    (550, 12040), (545, 12030), (535, 12020), (530, 12010), (525, 12000), (520, 11080), (515, 11070), (510, 11060),
    (495, 11050), (470, 11040), (465, 11030), (460, 11020), (455, 11010), (450, 11000), (440, 10020), (418, 10010),
)  # fmt: skip
"""Driver branch -> the CUDA that it brings: CUDA release notes, table of toolkits and drivers,
https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/, 2026-09-01. Only for recordings that lack the driver's own number."""


def cuda_of_driver(driver: str) -> int | None:
    """12040 for "550.54.14"; None for what is no version of a driver."""
    branch = parts(driver)
    return next((cuda for first, cuda in BRANCHES if branch[0] >= first), None) if branch else None


def last_driver(capability: str | None) -> str | None:
    """The last driver branch for a card that newer drivers no longer know; None for a current card."""
    if not capability or parts(capability) >= (7, 5):
        return None
    return LAST_DRIVERS.get(parts(capability)[0])


def driver_runs(driver_cuda: int, cuda: str) -> bool:
    """Whether a driver (12040 for CUDA 12.4) runs what was built with that CUDA: same major version or an older one."""
    return driver_cuda // 1000 >= parts(cuda)[0]


def minimum_driver(cuda: str, system: str) -> str | None:
    """Lowest driver version for builds of a CUDA version ("12.8"), on Linux (and WSL2's Windows driver: the other column)."""
    found = DRIVERS.get(parts(cuda)[0])
    return None if found is None else found[1] if system == "windows" else found[0]


def installed_driver_runs(driver: str | None, driver_cuda: int | None, cuda: str, system: str) -> bool | None:
    """By the driver's own CUDA version where it tells, else by its version number; None where neither is known."""
    if driver_cuda:
        return driver_runs(driver_cuda, cuda)
    lowest = minimum_driver(cuda, system)
    return parts(driver) >= parts(lowest) if driver and lowest else None


def card_runs(capability: str, architectures: tuple[str, ...]) -> bool:
    """Whether binary kernels of these architectures ("8.6", "sm_86" or "compute_120" for PTX) run on a card.

    A cubin runs on the same major version with the same or a higher minor one; PTX is compiled for anything newer.
    Architecture-specific code ("sm_90a") runs nowhere else.
    """
    card = _capability(capability)
    for each in architectures:
        if each.endswith(("a", "f")):
            continue
        built = _capability(each)
        if each.startswith("compute_"):
            if card >= built:
                return True
        elif built[0] == card[0] and built[1] <= card[1]:
            return True
    return False


def _capability(text: str) -> tuple[int, int]:
    digits = text.rpartition("_")[2]
    if "." in digits:
        major, _, minor = digits.partition(".")
        return int(major), int(minor)
    return int(digits[:-1] or 0), int(digits[-1])


def build_of(torch: str, cuda: str | None) -> Build | None:
    """The published build of an installed PyTorch; None for one that the table does not know."""
    release = ".".join(str(n) for n in parts(torch)[:2])
    return next((b for b in BUILDS if b.torch == release and b.cuda == cuda), None)


def best_build(capability: str | None, driver_cuda: int | None) -> Build | None:
    """The newest build that this card and this driver run; the stable CUDA 13.0 before the newer 13.2.

    None: no published build does (a driver of CUDA 10, say). Unknown card or driver counts as a current one.
    """
    fitting = [
        b
        for b in BUILDS
        if (capability is None or card_runs(capability, b.architectures))
        and (driver_cuda is None or driver_runs(driver_cuda, b.cuda))
    ]
    order = {"13.0": 0, "12.8": 1, "12.6": 2, "13.2": 3}
    newest = max((parts(b.torch) for b in fitting), default=None)
    return min((b for b in fitting if parts(b.torch) == newest), key=lambda b: order.get(b.cuda, 9), default=None)


def install_torch(build: Build | None, python: str = "python -m pip", beside: tuple[str, ...] = ()) -> str:
    """One command that installs that build; the CPU build for None. Pinned only where the newest release lacks that CUDA.

    beside: packages that belong to one PyTorch release (torchvision, torchaudio) and so are installed with it.
    """
    others = "".join(f" {name}" for name in beside)
    if build is None:
        return f"{python} install torch{others} --index-url {WHEELS}/cpu"
    pin = "torch" if build.torch == BUILDS[0].torch else f'"torch=={build.torch}.*"'
    return f"{python} install {pin}{others} --index-url {WHEELS}/{build.tag}"


class LlamaWheel(NamedTuple):
    """A wheel of xllamacpp with a GPU in it: its index, what it is for, and why this one."""

    address: str
    title: str
    why: str


def llama_wheel(capability: str | None, driver_cuda: int | None) -> LlamaWheel:
    """Which wheel of llama.cpp runs on an NVIDIA card: https://github.com/xorbitsai/xllamacpp#cuda-gpu-architecture-coverage.

    Machine code is in the CUDA 12.8 wheel for 8.6, 8.9 and 12.0 only; other cards compile its PTX at the first start,
    which needs a driver of CUDA 12.8 or later. Vulkan needs no CUDA at all.
    """
    public = "the wheel on the public index runs on the CPU only"
    if capability == "12.1" and (driver_cuda is None or driver_cuda >= 13000):
        return LlamaWheel(f"{LLAMA}/cu132", "llama.cpp with CUDA 13.2", public)
    native = capability in (None, "8.6", "8.9", "12.0")
    if driver_cuda is None or driver_cuda >= (12000 if native else 12080):
        return LlamaWheel(f"{LLAMA}/cu128", "llama.cpp with CUDA 12.8", public)
    needs = "CUDA 12" if native else "CUDA 12.8"
    return LlamaWheel(
        f"{LLAMA}/vulkan", "llama.cpp with Vulkan", f"its CUDA wheel needs a driver of {needs} or later on this card"
    )
