"""AMD and Intel cards on Linux, read from sysfs: no vendor tool and no vendor library is needed.

The amdgpu driver publishes memory, busy share, link and sensors below /sys/class/drm/card*/device; names come from
libdrm's own list, amdgpu.ids, by PCI device and revision. Intel's drivers publish less: a discrete Arc card is known by
its PCI device number, and its free memory is unknown.
"""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from onecard.core.reading import Reading
from onecard.machine.patience import ask

ROOT = Path("/")
AMD, INTEL, NVIDIA = "0x1002", "0x8086", "0x10de"

ARC = {
    "0x56a0": "Intel Arc A770", "0x56a1": "Intel Arc A750", "0x56a2": "Intel Arc A580", "0x56a5": "Intel Arc A380",
    "0x56a6": "Intel Arc A310", "0xe20b": "Intel Arc B580", "0xe20c": "Intel Arc B570",
}  # fmt: skip
"""PCI device numbers of Intel's discrete desktop cards: https://dgpu-docs.intel.com/devices/hardware-table.html"""


class Adapter(NamedTuple):
    """A graphics adapter of the PCI bus. Bytes; None where the driver does not tell."""

    vendor: str
    device: str
    """PCI device number, "0x744c" """
    folder: Path
    driver: str
    name: str | None
    memory_total: int | None
    memory_used: int | None
    link_width: int | None
    link_width_max: int | None
    link_speed: str
    link_speed_max: str
    target: str | None
    """gfx1100 ...: AMD's name of the instruction set"""


def adapters(root: Path = ROOT, *, tools: bool = True) -> list[Adapter]:
    """All graphics adapters that have a kernel driver, whoever made them, in order of their card number.

    tools: where libdrm's list does not know a card, ask rocm-smi for its name.
    """
    found = []
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*")):
        if not re.fullmatch(r"card\d+", card.name):
            continue  # card0-HDMI-A-1 is a connector
        folder = card / "device"
        vendor, device = _text(folder / "vendor"), _text(folder / "device")
        if not vendor:
            continue
        found.append(
            Adapter(
                vendor=vendor,
                device=device,
                folder=folder,
                driver=_driver(folder),
                name=_name(root, folder, vendor, device, tools),
                memory_total=_number(folder / "mem_info_vram_total"),
                memory_used=_number(folder / "mem_info_vram_used"),
                link_width=_number(folder / "current_link_width"),
                link_width_max=_number(folder / "max_link_width"),
                link_speed=_text(folder / "current_link_speed"),
                link_speed_max=_text(folder / "max_link_speed"),
                target=_target(root, device) if vendor == AMD else None,
            )
        )
    return found


def reading(adapter: Adapter, index: int) -> Reading:
    """What an AMD (or, with less, an Intel) card does now."""
    folder = adapter.folder
    sensors = next(iter(sorted(folder.glob("hwmon/hwmon*"))), folder / "hwmon/none")
    busy = _number(folder / "gpu_busy_percent")
    power = _number(sensors / "power1_average") or _number(sensors / "power1_input")
    cap, heat, clock = (_number(sensors / n) for n in ("power1_cap", "temp1_input", "freq1_input"))
    memory_clock = _number(sensors / "freq2_input")
    return Reading(
        time=time.time(),
        device=adapter.name or f"{adapter.vendor}:{adapter.device}",
        kind="rocm" if adapter.vendor == AMD else "xpu",
        index=index,
        memory_used=_number(folder / "mem_info_vram_used"),
        memory_total=adapter.memory_total,
        utilization=busy / 100 if busy is not None else None,
        clock=float(clock) if clock else None,
        memory_clock=float(memory_clock) if memory_clock else None,
        power=power / 1e6 if power else None,
        power_limit=cap / 1e6 if cap else None,
        temperature=heat / 1000 if heat else None,
        link_generation=generation(_text(folder / "current_link_speed")),
        link_generation_max=generation(adapter.link_speed_max),
        link_width=_number(folder / "current_link_width"),
        link_width_max=adapter.link_width_max,
    )


def generation(speed: str) -> int | None:
    """PCIe generation of "16.0 GT/s PCIe"."""
    found = re.match(r"([\d.]+) GT/s", speed)
    return {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}.get(float(found[1])) if found else None


def _name(root: Path, folder: Path, vendor: str, device: str, tools: bool) -> str | None:
    if vendor == INTEL:
        return ARC.get(device.lower())
    if vendor != AMD:
        return None
    own = _text(folder / "product_name")
    if own:
        return own
    revision = _text(folder / "revision")
    for line in _text(root / "usr/share/libdrm/amdgpu.ids").splitlines():
        parts = [p.strip() for p in line.split(",")]
        if len(parts) == 3 and parts[0].lower() == device[2:].lower() and parts[1].lower() == revision[2:].lower():
            return parts[2]
    return _rocm_name() if tools and root == ROOT else None


def _rocm_name() -> str | None:
    """From `rocm-smi --showproductname`, where libdrm's list is missing."""
    told = ask(["rocm-smi", "--showproductname"], 1.0)
    found = (
        re.search(r"Card [Ss]eries:\s*(AMD .+|Radeon .+|.*Instinct.+)", told.text) if told and told.code == 0 else None
    )
    return found[1].strip() if found else None


def _target(root: Path, device: str) -> str | None:
    """gfx name from the compute driver's topology: gfx_target_version 110000 is gfx1100, 90010 is gfx90a."""
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*")):
        fields = dict(p for line in _text(node / "properties").splitlines() if len(p := line.split(" ", 1)) == 2)
        version = int(fields.get("gfx_target_version", "0") or 0)
        if version and fields.get("device_id") == str(int(device, 16)):
            return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
    return None


def _driver(folder: Path) -> str:
    with suppress(OSError):
        return (folder / "driver").resolve(strict=True).name
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
