"""What Linux tells about drivers, containers, WSL2, Secure Boot and its own log: files only, no program is started.

Every function takes the root of a file system, so that a recorded or made-up machine can be read too.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from onecard.machine.facts import Docker

ROOT = Path("/")
LONGEST_LOG = 2 << 20
MODULES = ("nvidia", "nvidia_uvm", "nvidia_drm", "nouveau", "amdgpu", "i915", "xe")
LOG_WORDS = (
    "Xid",
    "suspend exit",
    "Out of memory: Killed",
    "oom-kill",
    "Key was rejected",
    "unavailable key is rejected",
    "Legacy drivers",
    "open kernel modules",
    "rm_init_adapter",
    "NVRM: API mismatch",
    "RmInitAdapter",
)
LOG_FILES = ("kern.log", "messages", "syslog")
NODES = ("nvidiactl", "nvidia0", "nvidia1", "nvidia-uvm", "kfd", "dxg", "dri/renderD128")


def text(path: Path) -> str:
    """A file's content, empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def distribution(root: Path = ROOT) -> str | None:
    """ "Ubuntu 24.04.1 LTS" """
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', text(root / "etc/os-release"), re.M)
    return found[1] if found else None


def is_wsl(root: Path = ROOT) -> bool:
    """WSL, version 1 or 2: the kernel's release names Microsoft."""
    return "microsoft" in text(root / "proc/sys/kernel/osrelease").lower()


def container(root: Path = ROOT) -> str | None:
    """docker, podman, kubernetes, lxc; None where nothing shows."""
    if "KUBERNETES_SERVICE_HOST=" in text(root / "proc/1/environ"):
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    named = re.search(r"(?:^|\0)container=(\w+)", text(root / "proc/1/environ"))
    return named[1] if named else None


def adapters(root: Path = ROOT) -> tuple[str, ...]:
    """Display and compute adapters of the PCI bus (class 03) as "10de:2782 nvidia"."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if text(device / "class").startswith(("0x03", "0x12")):
            driver = ""
            with suppress(OSError):
                driver = (device / "driver").resolve(strict=True).name
            found.append(
                f"{text(device / 'vendor').strip()[2:]}:{text(device / 'device').strip()[2:]} {driver}".strip()
            )
    return tuple(found)


def modules(root: Path = ROOT) -> tuple[str, ...]:
    """Loaded graphics modules."""
    loaded = {line.split(" ", 1)[0] for line in text(root / "proc/modules").splitlines()}
    return tuple(m for m in MODULES if m in loaded)


def driver_module(root: Path = ROOT) -> str | None:
    """Version of the loaded NVIDIA module."""
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", text(root / "proc/driver/nvidia/version"))
    return found[1] if found else None


def preserves_memory(root: Path = ROOT) -> bool | None:
    """NVreg_PreserveVideoMemoryAllocations of the loaded module."""
    found = re.search(r"PreserveVideoMemoryAllocations: (\d)", text(root / "proc/driver/nvidia/params"))
    return found[1] == "1" if found else None


def device_nodes(root: Path = ROOT) -> tuple[str, ...]:
    """Device files that cards are opened through."""
    return tuple(f"/dev/{n}" for n in NODES if (root / "dev" / n).exists())


def closed_nodes(root: Path = ROOT) -> tuple[str, ...]:
    """Device files that are there and that this user may not open for reading and writing."""
    return tuple(n for n in device_nodes(root) if not os.access(root / n.lstrip("/"), os.R_OK | os.W_OK))


def secure_boot(root: Path = ROOT) -> bool | None:
    """The firmware's variable: four bytes of attributes, then 1 for on."""
    for file in (root / "sys/firmware/efi/efivars").glob("SecureBoot-*"):
        with suppress(OSError, IndexError):
            return file.read_bytes()[4] == 1
    return None


def wsl_library(environment: dict[str, str], root: Path = ROOT) -> str | None:
    """The libcuda.so.1 that comes first: LD_LIBRARY_PATH, a file of a Linux driver package, WSL's own folder."""
    folders = [f for f in environment.get("LD_LIBRARY_PATH", "").split(":") if f]
    for folder in [*folders, "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib/wsl/lib"]:
        file = root / folder.lstrip("/") / "libcuda.so.1"
        if file.exists():
            real = str(file.resolve())
            return f"/usr/lib/wsl/lib/{file.name}" if "/wsl/" in real else f"{folder}/{file.name}"
    return None


def rocm(root: Path = ROOT) -> str | None:
    """Version of ROCm on disk."""
    return text(root / "opt/rocm/.info/version").strip() or None


def toolkit(environment: dict[str, str], root: Path = ROOT) -> str | None:
    """Version of the CUDA toolkit on disk, from its version.json."""
    for folder in (environment.get("CUDA_HOME"), environment.get("CUDA_PATH"), "/usr/local/cuda"):
        if folder:
            file = root / folder.lstrip("/") if root != ROOT else Path(folder)
            found = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', text(file / "version.json"))
            if found:
                return found[1]
    return None


def cudnn_copies(environment: dict[str, str], packages: list[Path]) -> dict[str, int]:
    """cuDNN libraries that a loader may mix: folders of LD_LIBRARY_PATH first, then those of pip's packages."""
    found: dict[str, int] = {}
    folders = [Path(f) for f in environment.get("LD_LIBRARY_PATH", "").split(":") if f] + packages
    for folder in folders:
        for file in sorted(folder.glob("libcudnn.so.*")):
            major = file.name.removeprefix("libcudnn.so.").partition(".")[0]
            if major.isdigit():
                found.setdefault(str(folder), int(major))
    return found


def docker(programs: dict[str, str], root: Path = ROOT) -> Docker | None:
    """Docker of a host as its files show it; nothing is started."""
    where = programs.get("docker")
    if where is None:
        return None
    settings = text(root / "etc/docker/daemon.json")
    driver = re.search(r"native\.cgroupdriver=(\w+)", settings)
    cdi = any(list((root / f).glob("*nvidia*")) for f in ("etc/cdi", "var/run/cdi"))
    return Docker(
        snap=where.startswith("/snap/"),
        toolkit="nvidia-ctk" in programs or "nvidia-container-runtime" in programs,
        configured='"nvidia"' in settings or cdi,
        cgroup_driver=driver[1] if driver else None,
    )


def kernel_log(root: Path = ROOT) -> tuple[str, ...]:
    """Lines of this boot that matter, the newest 40; empty where the log may not be read."""
    return lines_that_matter(_ring_buffer(root / "dev/kmsg") or _log_file(root / "var/log"))


def kernel_log_readable(root: Path = ROOT) -> bool:
    """Whether this user may read the kernel's buffer or one of the files that it is copied to."""
    for file in (root / "dev/kmsg", *(root / "var/log" / name for name in LOG_FILES)):
        with suppress(OSError):
            os.close(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
            return True
    return False


def _ring_buffer(device: Path) -> str:
    """The kernel's own buffer: a record a read, "6,339,5140900,-;text"; it never ends, so it is read without waiting."""
    try:
        descriptor = os.open(device, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return ""
    records: list[str] = []
    try:
        for _ in range(20000):
            try:
                record = os.read(descriptor, 8192)
            except BrokenPipeError:
                continue  # overwritten while we were reading: the next read starts at the oldest that is left
            if not record:
                break
            records.append(record.decode("utf-8", "replace").partition(";")[2])
    except OSError:
        pass  # nothing more for now
    finally:
        os.close(descriptor)
    return "".join(records)


def _log_file(folder: Path) -> str:
    """This boot's part of the system's log file, where there is one."""
    for name in LOG_FILES:
        try:
            with (folder / name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LOG))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            continue
        return text[max(0, text.rfind("Linux version ")) :]
    return ""


def lines_that_matter(log: str) -> tuple[str, ...]:
    """Only what rules look for, without control characters, each at most 300 characters."""
    found = [line for line in log.splitlines() if any(w in line for w in LOG_WORDS)]
    return tuple(re.sub(r"[^\x20-\x7e]", "", line)[:300] for line in found[-40:])


def governor(root: Path = ROOT) -> str | None:
    """ "powersave (intel_pstate)": the word means another thing with each driver."""
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    name, driver = text(folder / "scaling_governor").strip(), text(folder / "scaling_driver").strip()
    return f"{name} ({driver})" if name else None


def on_battery(root: Path = ROOT) -> bool | None:
    """True: there is a battery and no mains; None: no battery."""
    supplies = list((root / "sys/class/power_supply").glob("*"))
    battery = any(text(p / "type").strip() == "Battery" and text(p / "scope").strip() != "Device" for p in supplies)
    mains = [text(p / "online").strip() for p in supplies if text(p / "type").strip() in ("Mains", "USB")]
    return "1" not in mains if battery and mains else None
