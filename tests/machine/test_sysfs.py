"""AMD and Intel cards from a made-up sysfs."""

import pytest

from onecard.machine.sysfs import adapters, generation, reading

CARD = {
    "vendor": "0x1002", "device": "0x744c", "revision": "0xc8", "mem_info_vram_total": "25753026560", "mem_info_vram_used": "943718400",
    "gpu_busy_percent": "37", "current_link_width": "16", "max_link_width": "16", "current_link_speed": "16.0 GT/s PCIe",
    "max_link_speed": "16.0 GT/s PCIe", "hwmon/hwmon3/power1_average": "211000000", "hwmon/hwmon3/power1_cap": "339000000",
    "hwmon/hwmon3/temp1_input": "63000", "hwmon/hwmon3/freq1_input": "2304000000",
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    def put(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    for name, text in CARD.items():
        put(f"sys/class/drm/card1/device/{name}", text)
    put("sys/class/drm/card1-HDMI-A-1/status", "connected")
    put("sys/class/drm/card0/device/vendor", "0x8086")
    put("sys/class/drm/card0/device/device", "0x56a0")
    put(
        "usr/share/libdrm/amdgpu.ids",
        "1.0.0\n744C,\tC4,\tAMD Radeon Pro W7900 Dual Slot\n744C,\tC8,\tAMD Radeon RX 7900 XTX",
    )
    put("sys/class/kfd/kfd/topology/nodes/0/properties", "simd_count 0\ngfx_target_version 0\ndevice_id 0")
    put("sys/class/kfd/kfd/topology/nodes/1/properties", "simd_count 192\ngfx_target_version 110000\ndevice_id 29772")
    return tmp_path


def test_cards_and_their_names(root):
    arc, radeon = adapters(root)
    assert arc.name == "Intel Arc A770" and arc.memory_total is None
    assert radeon.name == "AMD Radeon RX 7900 XTX" and radeon.memory_total == 25753026560
    assert radeon.target == "gfx1100"


def test_what_a_card_does_now(root):
    found = reading(adapters(root)[1], 0)
    assert found.kind == "rocm" and found.utilization == 0.37 and found.power == 211 and found.power_limit == 339
    assert found.temperature == 63 and found.clock == 2304e6 and found.link_generation == 4
    assert found.holders is None and found.throttle is None  # not told, so not zero


def test_no_graphics_at_all(tmp_path):
    assert adapters(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "number"), [("2.5 GT/s PCIe", 1), ("32.0 GT/s PCIe", 5), ("Unknown", None), ("", None)]
)
def test_pcie_generations(text, number):
    assert generation(text) == number
