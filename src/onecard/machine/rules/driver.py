"""The NVIDIA driver: is it there, loaded, of one version, allowed by Secure Boot, and does it still see its card."""

import re

from onecard.core.finding import ERROR, NOTE, WARNING
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values
from onecard.machine.rules.card_start import explained

XID = re.compile(r"Xid(?: \([^)]*\))?: (\d+)")
"""NVRM: Xid (PCI:0000:01:00): 79, pid=...: numbers in NVIDIA's Xid catalogue"""


REFUSED = ("Key was rejected", "unavailable key is rejected")
"""what modprobe and what the kernel itself say of a module that is not signed with a known key"""


def xids(f: Facts) -> dict[int, str]:
    """Xid numbers of the kernel log with their last line."""
    return {int(m[1]): line for line in f.kernel_log if "Xid" in line and (m := XID.search(line))}


def missing(f: Facts) -> Values | None:
    if f.wsl or f.container or not f.nvidia_adapters or f.nvml_library != "":
        return None
    if f.system == "linux" and (f.modules is None or {"nvidia", "nouveau"} & set(f.modules)):
        return None
    return {"adapter": f.nvidia_adapters[0]}


def mismatch(f: Facts) -> Values | None:
    said = f.nvml_error if "version mismatch" in (f.nvml_error or "").lower() else None
    if said is None and not f.cards:
        said = next((line for line in reversed(f.kernel_log) if "NVRM: API mismatch" in line), None)
    return {"error": said, "module": f.driver_module or "unknown"} if said else None


def refused_by_secure_boot(f: Facts) -> bool:
    """The kernel would not load an unsigned module."""
    said = f.module_signing_refused or any(word in line for line in f.kernel_log for word in REFUSED)
    return bool(f.secure_boot and said and not f.cards and "nvidia" not in (f.modules or ()))


def secure_boot(f: Facts) -> Values | None:
    return {} if refused_by_secure_boot(f) else None


def nouveau(f: Facts) -> Values | None:
    loaded = f.modules or ()
    if "nouveau" not in loaded or "nvidia" in loaded or f.wsl or not f.has_nvidia:
        return None
    return {}


def not_loaded(f: Facts) -> Values | None:
    said = "not loaded" in (f.nvml_error or "").lower()
    if (
        f.wsl
        or f.container
        or f.system != "linux"
        or f.cards
        or not (said or (f.nvml_library and f.modules is not None))
    ):
        return None
    if {"nvidia", "nouveau"} & set(f.modules or ()) or not (f.has_nvidia or said):
        return None
    if refused_by_secure_boot(f) or mismatch(f) or explained(f) or missing(f):
        return None
    return {"error": f.nvml_error or "no nvidia module is loaded"}


def sees_no_card(f: Facts) -> Values | None:
    """The driver answers, and what it says is none of the faults that have a rule of their own."""
    said = (f.nvml_error or "").lower()
    known = ("late", "lost", "not loaded", "blocked by the operating", "nvidia-ml-py")
    if not said or f.cards or f.container or not f.has_nvidia or any(word in said for word in known):
        return None
    if mismatch(f) or explained(f) or refused_by_secure_boot(f) or nouveau(f) or missing(f) or 79 in xids(f):
        return None
    return {"error": f.nvml_error, "adapters": ", ".join(f.nvidia_adapters) or "a card of Windows"}


def late(f: Facts) -> Values | None:
    return {} if f.nvml_error == "late" else None


def fallen_off(f: Facts) -> Values | None:
    if "lost" in (f.nvml_error or "").lower():
        return {"line": f.nvml_error}
    return {"line": xids(f)[79]} if 79 in xids(f) else None


def memory_faults(f: Facts) -> Values | None:
    found = xids(f)
    line = next((found[n] for n in (48, 63, 64, 92, 94, 95) if n in found), None)
    if line is None:
        card = next((c for c in f.cards if (c.ecc_errors or 0) > 0 or c.remap_pending), None)
        if card is None:
            return None
        line = f"{card.ecc_errors or 0} uncorrected memory errors, row remapping {'pending' if card.remap_pending else 'done'}"
    return {"line": line}


def firmware(f: Facts) -> Values | None:
    found = xids(f)
    line = next((found[n] for n in (119, 120, 74, 61, 62) if n in found), None)
    return {"line": line} if line else None


def program_faults(f: Facts) -> Values | None:
    found = xids(f)
    line = next((found[n] for n in (13, 31, 43, 45, 69) if n in found), None)
    return {"line": line} if line and not {79, 48, 94, 95, 119} & set(found) else None


def suspended(f: Facts) -> Values | None:
    slept = next((line for line in reversed(f.kernel_log) if "suspend exit" in line), None)
    blind = f.deep is not None and f.deep.available is False and f.torch is not None and bool(f.torch.cuda)
    return {"line": slept} if slept and blind and f.cards else None


def forgets_on_suspend(f: Facts) -> Values | None:
    slept = any("suspend exit" in line for line in f.kernel_log)
    if not slept or f.preserves_memory is not False or suspended(f) or not f.cards:
        return None
    return {}


def cannot_see(f: Facts) -> Values | None:
    d = f.deep
    if d is None or d.available is not False or not f.torch or not f.torch.cuda or not f.cards or suspended(f):
        return None
    if closed(f) or "forward compatibility" in (d.unavailable or d.error or ""):
        return None
    if f.environment.get("CUDA_VISIBLE_DEVICES") is not None or (f.driver_cuda or 0) // 1000 < int(
        f.torch.cuda.split(".")[0]
    ):
        return None
    return {"error": d.unavailable or d.error or "torch.cuda.is_available() is False"}


def hidden(f: Facts) -> Values | None:
    wish = f.environment.get("CUDA_VISIBLE_DEVICES")
    if wish is None or not f.cards:
        return None
    first = wish.split(",")[0].strip()
    known = {str(c.index) for c in f.cards}
    if first in known or (first.startswith(("GPU-", "MIG-"))):
        return None
    return {"wish": wish, "count": len(f.cards)}


def order(f: Facts) -> Values | None:
    """CUDA numbers the fastest card 0 unless told otherwise; the driver's tools number by slot."""
    wish = f.environment.get("CUDA_VISIBLE_DEVICES", "")
    if len({c.name for c in f.cards}) < 2 or not any(c.isdigit() for c in wish) or wish.startswith("GPU-"):
        return None
    if f.environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or hidden(f):
        return None
    return {"wish": wish, "names": ", ".join(f"{c.index} {c.name}" for c in f.cards)}


def closed(f: Facts) -> Values | None:
    found = [n for n in f.closed_nodes or () if n.startswith("/dev/nvidia")]
    return {"nodes": ", ".join(found), "groups": ", ".join(f.groups or ()) or "unknown"} if found else None


def persistence(f: Facts) -> Values | None:
    if f.system != "linux" or f.wsl or f.container:
        return None
    card = next((c for c in f.cards if c.persistence is False and c.display_active is False), None)
    return {} if card else None


def split(f: Facts) -> Values | None:
    return {} if any(c.mig for c in f.cards) else None


RULES = (
    Rule(
        id="driver-missing", title="No NVIDIA driver", severity=ERROR, check=missing,
        evidence="display adapter {adapter}, but neither the driver's module nor its library",
        cause="The card is on the bus, and nothing drives it.",
        next={"any": "{install_driver}"},
        looks_at="PCI bus, kernel modules, libnvidia-ml.so.1", source="https://ubuntu.com/server/docs/nvidia-drivers-installation",
        date="2026-09-01",
    ),
    Rule(
        id="driver-mismatch", title="Driver and library are of different versions", severity=ERROR, check=mismatch,
        evidence="{error}; loaded module: {module}",
        cause="The driver was updated and the old module is still loaded.", messages=("Driver/library version mismatch",),
        next={"any": "sudo reboot"},
        looks_at="NVML's answer, /proc/driver/nvidia/version",
        source="https://github.com/NVIDIA/ubuntu-packaging-nvidia-driver/issues/3", date="2026-09-01",
    ),
    Rule(
        id="secure-boot", title="Secure Boot refuses the driver", severity=ERROR, check=secure_boot,
        evidence='Secure Boot is on and the kernel said "Key was rejected by service"',
        cause="The driver's module is not signed with a key that the firmware knows.",
        messages=("Key was rejected by service",),
        next={"any": "sudo mokutil --import {signing_key} && sudo reboot"},
        looks_at="SecureBoot variable, kernel log, kernel modules",
        source="https://github.com/lcp/mokutil/issues/61", date="2026-09-01",
    ),
    Rule(
        id="nouveau-loaded", title="The nouveau driver holds the card", severity=ERROR, check=nouveau,
        evidence="kernel module nouveau is loaded, nvidia is not",
        cause="nouveau has no CUDA, and the two cannot share a card.",
        next={"any": "{install_driver} && sudo reboot"},
        looks_at="kernel modules", source="https://github.com/Oneflow-Inc/oneflow/issues/3106", date="2026-09-01",
    ),
    Rule(
        id="driver-not-loaded", title="The driver is installed but not loaded", severity=ERROR, check=not_loaded,
        evidence="{error}", cause='nvidia-smi "couldn\'t communicate": the module was not built for this kernel, or failed to load.',
        next={"any": "sudo modprobe nvidia || sudo dkms autoinstall"}, looks_at="NVML's answer, kernel modules",
        source="https://github.com/lcp/mokutil/issues/61", date="2026-09-01",
    ),
    Rule(
        id="driver-sees-no-card", title="The driver runs and finds no card", severity=ERROR, check=sees_no_card,
        evidence='NVML says "{error}"; on the bus: {adapters}',
        cause="The card did not start: power, seating, firmware, rights, or a driver that does not know it. The kernel's log says which.",
        messages=("No devices were found",),
        next={"any": "sudo dmesg | grep -iE 'nvrm|nvidia'", "windows": "pnputil /enum-devices /class Display /problem",
              "wsl": "wsl --shutdown (in Windows), and try nvidia-smi there"},
        looks_at="NVML's answer, PCI bus", source="https://github.com/NVIDIA/open-gpu-kernel-modules/issues/1151",
        date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="driver-late", title="The driver does not answer", severity=ERROR, check=late,
        evidence="NVML gave no answer within its time",
        cause="A card that hangs blocks all who ask it; programs that use it hang too.",
        next={"any": "sudo reboot", "windows": "restart Windows", "wsl": "wsl --shutdown (in Windows)"},
        looks_at="NVML", source="https://docs.nvidia.com/deploy/xid-errors/", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="gpu-lost", title="The card fell off the bus", severity=ERROR, check=fallen_off, evidence="{line}",
        cause="Power supply, cables, heat or seating; on some 50-series cards the driver. Lower clocks tell which.",
        messages=("fallen off the bus", "GPU is lost",),
        next={"any": "sudo nvidia-smi -lgc 0,1500 (after a restart; if it then holds, look at power and cooling)"},
        looks_at="kernel log, NVML's answer", source="https://github.com/NVIDIA/open-gpu-kernel-modules/issues/1151",
        date="2026-09-01",
    ),
    Rule(
        id="card-memory-errors", title="The card's memory has errors", severity=ERROR, check=memory_faults, evidence="{line}",
        cause="Uncorrectable memory errors: results may be wrong and programs are killed.",
        messages=("uncorrectable ECC error",),
        next={"any": "nvidia-smi -q -d ECC,ROW_REMAPPER"}, looks_at="kernel log (Xid 48, 63, 64, 92, 94, 95), ECC counters",
        source="https://docs.nvidia.com/deploy/xid-errors/", date="2026-09-01",
    ),
    Rule(
        id="card-firmware", title="The card's firmware or link failed", severity=ERROR, check=firmware, evidence="{line}",
        cause="The card's own processor stopped answering (GSP), or its link failed; a reset helps until the next time.",
        next={"any": "sudo reboot, then update the driver"}, looks_at="kernel log (Xid 61, 62, 74, 119, 120)",
        source="https://docs.nvidia.com/deploy/xid-errors/", date="2026-09-01",
    ),
    Rule(
        id="program-faults", title="A program crashed on the card", severity=NOTE, check=program_faults, evidence="{line}",
        cause="Usually a fault of that program (a bad address, an illegal instruction), seldom of the card.",
        next={"any": "sudo dmesg | grep -i xid"}, looks_at="kernel log (Xid 13, 31, 43, 45, 69)", confidence="low",
        source="https://docs.nvidia.com/deploy/xid-errors/", date="2026-09-01",
    ),
    Rule(
        id="blind-after-suspend", title="CUDA is blind since the machine slept", severity=ERROR, check=suspended,
        evidence="{line}; torch finds no device although the driver sees {card}",
        cause='The module nvidia_uvm lost its state ("CUDA unknown error").',
        next={"any": "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm"}, looks_at="kernel log, deep test",
        source="https://github.com/pytorch/pytorch/issues/49081", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="forgets-on-suspend", title="The card forgets its memory when the machine sleeps", severity=NOTE,
        check=forgets_on_suspend, evidence="the machine has slept, and NVreg_PreserveVideoMemoryAllocations is 0",
        cause="A run that was under way may end, and CUDA may be blind afterwards.",
        next={"any": "echo 'options nvidia NVreg_PreserveVideoMemoryAllocations=1' | sudo tee /etc/modprobe.d/nvidia-power.conf"},
        looks_at="kernel log, /proc/driver/nvidia/params", source="https://github.com/pytorch/pytorch/issues/88639",
        date="2026-09-01",
    ),
    Rule(
        id="torch-cannot-see", title="PyTorch does not find the card that the driver sees", severity=ERROR, check=cannot_see,
        evidence="{error}; the driver lists {card}",
        cause="The device nodes may be closed to this user, or nvidia_uvm is not loaded.",
        messages=("No CUDA GPUs are available",),
        next={"any": "sudo modprobe nvidia_uvm && ls -l /dev/nvidia*", "windows": "{install_torch}"},
        looks_at="deep test, NVML", source="https://github.com/pytorch/pytorch/issues/49081", date="2026-09-01",
        confidence="medium",
    ),
    Rule(
        id="card-closed", title="This user may not open the card", severity=ERROR, check=closed,
        evidence="{nodes} cannot be opened; your groups: {groups}",
        cause="Its device files belong to a group (often video) that you are not in; CUDA then finds no device.",
        next={"any": "sudo usermod -a -G video $LOGNAME (then log in again)"}, looks_at="device nodes",
        source="https://wiki.archlinux.org/title/NVIDIA/Troubleshooting", date="2026-09-01",
    ),
    Rule(
        id="card-hidden", title="CUDA_VISIBLE_DEVICES hides the card", severity=ERROR, check=hidden,
        evidence='CUDA_VISIBLE_DEVICES="{wish}", {count} in the machine',
        cause="An empty value, -1 or a number that does not exist leaves no device.",
        messages=("No CUDA GPUs are available",),
        next={"any": "unset CUDA_VISIBLE_DEVICES", "windows": "setx CUDA_VISIBLE_DEVICES 0"}, looks_at="environment, NVML",
        source="https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables", date="2026-09-01",
    ),
    Rule(
        id="device-order", title="The number may mean another card", severity=WARNING, check=order,
        evidence='CUDA_VISIBLE_DEVICES="{wish}" without CUDA_DEVICE_ORDER; the driver counts {names}',
        cause="CUDA numbers the fastest card 0, the driver and its tools number by slot.",
        next={"any": "export CUDA_DEVICE_ORDER=PCI_BUS_ID", "windows": "setx CUDA_DEVICE_ORDER PCI_BUS_ID"},
        looks_at="environment, NVML", date="2026-09-01", confidence="medium",
        source="https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables",
    ),
    Rule(
        id="persistence-off", title="The driver unloads between programs", severity=NOTE, check=persistence,
        evidence="persistence mode is off and no display is attached",
        cause="Each start then waits some seconds for the card.", next={"any": "sudo nvidia-smi -pm 1"},
        looks_at="NVML", source="https://docs.nvidia.com/deploy/driver-persistence/", date="2026-09-01",
    ),
    Rule(
        id="card-split", title="The card is split into instances", severity=NOTE, check=split,
        evidence="MIG is on for {card}", cause="A program sees one instance, with its share of memory and units.",
        next={"any": "nvidia-smi -L"}, looks_at="NVML", source="https://docs.nvidia.com/datacenter/tesla/mig-user-guide/",
        date="2026-09-01",
    ),
)  # fmt: skip
