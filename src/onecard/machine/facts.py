"""Facts: everything that the rules of `doctor` look at, as one frozen value of plain fields.

The probe fills it (collect.py), a file replays it (`doctor --fixture`), the rules only read it. Unknown is None: a
field that could not be read must never look like a healthy or a broken one. Bytes, seconds, hertz throughout.
"""

import re

import msgspec

from onecard.core.reading import Holder, Reading
from onecard.core.units import GiB
from onecard.machine.installing import likely_capability
from onecard.machine.nvml import Card
from onecard.machine.sysfs import ARC

SCHEMA = 1

DISCRETE_AMD = ("73a5", "73af", "73bf", "73df", "73ef", "73ff", "7448", "744c", "745e", "7470", "747e", "7480", "7550",
                "7551", "7590", "738c", "7408", "740c", "740f", "74a1")  # fmt: skip
"""PCI numbers of Radeon RX 6600 to 9070 and Instinct MI100 to MI300: the PCI ID database"""


class Python(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The interpreter that runs us."""

    version: str = ""
    bits: int = 64
    virtual: bool = False
    """in a virtual or conda environment"""
    managed: bool = False
    """the system's package manager forbids pip (PEP 668)"""


class Torch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """PyTorch as its own version file describes it, without importing it."""

    version: str = ""
    cuda: str | None = None
    """of the build, "13.0"; empty: looked for, and the build has none"""
    hip: str | None = None
    xpu: str | None = None
    places: tuple[str, ...] = ()
    """every folder of the search path that holds a torch: more than one is a conflict"""


class Disk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A folder that work writes to, and the disk below it."""

    path: str = ""
    total: int | None = None
    free: int | None = None
    writable: bool | None = None
    filesystem: str | None = None
    """ext4, ntfs, 9p (a Windows disk inside WSL2), nfs ..."""
    set_by: str | None = None
    """the environment variable that names it"""


class Docker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Docker on this machine, seen from outside a container."""

    snap: bool = False
    toolkit: bool | None = None
    """nvidia-container-toolkit is installed"""
    configured: bool | None = None
    """daemon.json names the nvidia runtime, or CDI is set up"""
    cgroup_driver: str | None = None


class Deep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a child process measured on the device; rates in operations/s and bytes/s."""

    device: str | None = None
    kind: str = "cpu"
    error: str | None = None
    """the last words of the child, where it failed"""
    stage: str | None = None
    """what it was doing then: import, launch, matmul, copy, bandwidth, allocate, "import NAME", done"""
    late: bool = False
    available: bool | None = None
    """torch.cuda.is_available()"""
    unavailable: str | None = None
    """why not, in torch's own words"""
    architectures: tuple[str, ...] = ()
    """torch.cuda.get_arch_list()"""
    cudnn: int | None = None
    launched: bool | None = None
    flops: dict[str, float] = {}
    unsupported: dict[str, str] = {}
    """types that the device refused, with its words"""
    imports: dict[str, str] = {}
    """installed libraries with compiled parts that could not be imported, with their words"""
    to_device: float | None = None
    from_device: float | None = None
    pinned: bool | None = None
    """page-locked host memory could be had"""
    bandwidth: float | None = None
    allocated_share: float | None = None
    """of what was free, what could be allocated and touched"""
    allocated_bytes: int | None = None
    free_bytes: int | None = None
    """what the driver called free before"""
    full_slowdown: float | None = None
    """time of a copy in nearly full memory over the same copy in empty memory: above 3 it went to host memory"""
    load: Reading | None = None
    """taken while the device was busy: link, clocks, throttling"""
    expected_name: str | None = None
    expected: dict[str, float] = {}
    """the catalogue's numbers of this card: bandwidth, link, fp16 ...; for a CPU what was measured before"""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine at one moment."""

    schema: int = SCHEMA
    taken: str = ""
    """ISO 8601"""
    system: str = ""
    """linux, windows or darwin; empty: unknown"""
    distribution: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    wsl: bool = False
    container: str | None = None
    """docker, podman, kubernetes, lxc ...; None: none that shows"""
    host: str | None = None
    user: str | None = None
    home: str | None = None

    python: Python = Python()
    packages: dict[str, str] = {}
    """name -> version of the installed packages that matter here"""
    installers: dict[str, str] = {}
    """how a package came: "sdist" where it was built on this machine"""
    files: dict[str, tuple[str, ...]] = {}
    """compiled parts of a package by name: which CUDA versions bitsandbytes brings, which backends llama.cpp"""
    torch: Torch | None = None
    environment: dict[str, str] = {}
    """the environment variables that matter here"""
    programs: dict[str, str] = {}
    """programs on PATH that matter: nvcc, cl, gcc, ninja, docker -> where"""
    toolkit: str | None = None
    """version of the CUDA toolkit on disk"""
    cudnn_copies: dict[str, int] = {}
    """cuDNN library folder -> its major version, in the order of the loader's search"""
    vc_runtime: bool | None = None
    """Windows: the Visual C++ runtime is there"""

    adapters: tuple[str, ...] = ()
    """display adapters of the PCI bus as "vendor:device driver", e.g. "10de:2782 nouveau" """
    modules: tuple[str, ...] | None = None
    """loaded kernel modules of graphics drivers"""
    driver: str | None = None
    driver_cuda: int | None = None
    """highest CUDA of the driver as the driver encodes it: 12040 is 12.4"""
    driver_module: str | None = None
    """version of the loaded kernel module"""
    nvml_library: str | None = None
    """where the driver's library lies; empty: looked for and not there"""
    nvml_error: str | None = None
    """NVML's words where it did not start; "late" when it did not answer"""
    device_nodes: tuple[str, ...] | None = None
    """/dev/nvidia0, /dev/nvidia-uvm, /dev/kfd ..."""
    closed_nodes: tuple[str, ...] | None = None
    """those of them that this user may not open"""
    cards: tuple[Card, ...] = ()
    readings: tuple[Reading, ...] = ()
    rocm: str | None = None
    """version of ROCm on disk"""
    groups: tuple[str, ...] | None = None
    """groups of the user: render and video open AMD and Intel cards"""
    preserves_memory: bool | None = None
    """NVreg_PreserveVideoMemoryAllocations"""
    secure_boot: bool | None = None
    module_signing_refused: bool | None = None
    kernel_log: tuple[str, ...] = ()
    """the lines that matter: Xid, suspend, out of memory, refused modules"""
    kernel_log_readable: bool | None = None
    """False: the log may not be read, so that its silence means nothing"""
    wsl_library: str | None = None
    """the first libcuda.so.1 that the loader finds under WSL2; empty: none"""
    display_driver_model: str | None = None

    processors: int | None = None
    physical: int | None = None
    allowed: int | None = None
    """processors that this process may use"""
    limited_by: str | None = None
    sets: tuple[str, ...] = ()
    load: float | None = None
    """load average of one minute"""
    governor: str | None = None
    on_battery: bool | None = None
    memory_total: int | None = None
    memory_available: int | None = None
    swap_total: int | None = None
    commit_limit: int | None = None
    """Windows: RAM and paging file together"""
    locked_limit: int | None = None
    """bytes that may be page-locked; None: no limit or unknown"""
    open_files: int | None = None
    shm_total: int | None = None
    """/dev/shm"""
    disks: dict[str, Disk] = {}
    """hub: model cache; home: our own records; temporary; environment"""
    incomplete_downloads: int | None = None
    """bytes of half-finished files in the model cache"""
    docker: Docker | None = None
    deep: Deep | None = None

    @property
    def platform(self) -> str:
        """Which of a rule's commands holds here: linux, windows, wsl, container or darwin."""
        if self.wsl:
            return "wsl"
        return "container" if self.container and self.system == "linux" else self.system

    @property
    def has_nvidia(self) -> bool:
        """An NVIDIA card is in the machine, whether or not its driver works."""
        return bool(self.cards) or bool(self.nvidia_adapters) or self.wsl_has_nvidia

    @property
    def nvidia_adapters(self) -> tuple[str, ...]:
        """NVIDIA's cards on the bus, less those that are handed to a virtual machine."""
        return tuple(a for a in self.adapters if a.startswith("10de:") and not a.endswith("vfio-pci"))

    @property
    def wsl_has_nvidia(self) -> bool:
        """Under WSL2 the bus shows no card; Windows' driver puts its libraries there."""
        return self.wsl and (self.nvml_library or "").startswith("/usr/lib/wsl")

    @property
    def has_amd(self) -> bool:
        """A discrete or integrated AMD adapter with the amdgpu driver."""
        return any(a.startswith("1002:") for a in self.adapters)

    @property
    def has_arc(self) -> bool:
        """A discrete Intel Arc card: by its PCI number on Linux, by its name on Windows ("Arc(TM) Graphics" is integrated)."""
        numbers = {f"8086:{number[2:]}" for number in ARC}
        return any(a.split(" ")[0] in numbers or re.search(r"Arc\b.*\b[AB]\d{3}", a) for a in self.adapters)

    @property
    def capability(self) -> str | None:
        """Compute capability of the first card."""
        return next((c.compute_capability for c in self.cards if c.compute_capability), None)

    @property
    def listed_capability(self) -> str | None:
        """The same where the published table of builds holds: it is of x86-64, and boards with Arm have builds of their own."""
        return None if (self.architecture or "").lower() in ("aarch64", "arm64") else self.capability

    @property
    def likely_capability(self) -> str | None:
        """listed_capability, and before a driver runs the least that the card has by its PCI number."""
        if self.cards or (self.architecture or "").lower() in ("aarch64", "arm64"):
            return self.listed_capability
        return likely_capability(self.nvidia_adapters)

    @property
    def has_compute_amd(self) -> bool:
        """An AMD card with memory of its own, by its readings (integrated graphics have little), else by its PCI number."""
        seen = [r for r in self.readings if r.kind == "rocm" and r.memory_total is not None]
        if seen or not self.has_amd:
            return any((r.memory_total or 0) >= 4 * GiB for r in seen)
        return any(a.startswith("1002:") and a[5:9] in DISCRETE_AMD for a in self.adapters)

    @property
    def companions(self) -> tuple[str, ...]:
        """Installed packages that belong to one release of PyTorch, and so are installed together with it."""
        return tuple(n for n in ("torchvision", "torchaudio") if n in self.packages)

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Processes that hold memory of any card."""
        return tuple(h for r in self.readings for h in r.holders or ())


def encode(facts: Facts) -> bytes:
    """Facts as indented JSON, for `doctor --record` and fixtures."""
    return msgspec.json.format(msgspec.json.encode(facts), indent=2)


def decode(data: bytes) -> Facts:
    """Facts from JSON. Raises msgspec.ValidationError or DecodeError."""
    return msgspec.json.decode(data, type=Facts)
