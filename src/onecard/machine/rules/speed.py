"""Speed: what holds a healthy machine back. Judged under load: at idle a slow link and low clocks are normal."""

from onecard.core.finding import NOTE, WARNING
from onecard.core.reading import Reading
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values

BUSY, SURELY = 0.3, 0.7
"""shares of busy time; between them a video keeps a card half asleep, with low clocks and a slow link"""


def busy(f: Facts) -> list[Reading]:
    """Readings taken while the card worked."""
    found = [r for r in f.readings if (r.utilization or 0) >= SURELY or _awake(r)]
    return [*found, f.deep.load] if f.deep is not None and f.deep.load is not None and f.deep.kind != "cpu" else found


def _awake(r: Reading) -> bool:
    """Somewhat busy, at clocks of work."""
    fast = r.clock is None or r.clock_max is None or r.clock >= 0.5 * r.clock_max
    return (r.utilization or 0) >= BUSY and fast


def heat(f: Facts) -> Values | None:
    for r in busy(f):
        why = [t for t in r.throttle or () if t.startswith("heat")]
        if why:
            degrees = "unknown" if r.temperature is None else f"{r.temperature:.0f} °C"
            return {"device": r.device, "why": ", ".join(why), "degrees": degrees, "clock": _clock(r)}
    return None


def power_brake(f: Facts) -> Values | None:
    for r in busy(f):
        why = [t for t in r.throttle or () if t in ("power brake", "hardware slowdown")]
        if why and not any(t.startswith("heat") for t in r.throttle or ()):
            return {"device": r.device, "why": ", ".join(why), "clock": _clock(r)}
    return None


def _clock(r: Reading) -> str:
    if r.clock is None or r.clock_max is None:
        return "clock unknown"
    return f"{r.clock / 1e6:.0f} of {r.clock_max / 1e6:.0f} MHz"


def power_limit(f: Facts) -> Values | None:
    for c in f.cards:
        # A laptop's maker and its firmware move the limit all the time.
        if "Laptop" in c.name or "Max-Q" in c.name:
            continue
        if c.power_limit and c.power_default and c.power_limit < 0.8 * c.power_default:
            return {"limit": f"{c.power_limit:.0f}", "default": f"{c.power_default:.0f}", "device": c.name}
    return None


def link_width(f: Facts) -> Values | None:
    for r in busy(f):
        if r.link_width and r.link_width_max and r.link_width < r.link_width_max:
            return {"device": r.device, "width": r.link_width, "most": r.link_width_max}
    return None


def link_speed(f: Facts) -> Values | None:
    for r in busy(f):
        if r.link_generation and r.link_generation_max and r.link_generation < r.link_generation_max:
            return {"device": r.device, "generation": r.link_generation, "most": r.link_generation_max}
    return None


def _share(f: Facts, name: str, found: float | None) -> float | None:
    expected = f.deep.expected.get(name) if f.deep is not None else None
    return found / expected if expected and found else None


def bandwidth(f: Facts) -> Values | None:
    d = f.deep
    share = _share(f, "bandwidth", d.bandwidth if d else None)
    # A copy reaches 80 to 93 % of the data sheet on healthy cards.
    if d is None or share is None or d.kind == "cpu" or share >= 0.72:
        return None
    return {"share": f"{share:.0%}", "name": d.expected_name or "this card", "found": f"{(d.bandwidth or 0) / 1e9:.0f}",
            "expected": f"{d.expected['bandwidth'] / 1e9:.0f}", "why": _why_slow(f)}  # fmt: skip


def _watts(f: Facts) -> str:
    found = power_limit(f) or {}
    return f"{found.get('limit')} of {found.get('default')} W"


def _why_slow(f: Facts) -> str:
    r = f.deep.load if f.deep is not None else None
    if r is not None and r.memory_clock and r.memory_clock_max and r.memory_clock < 0.9 * r.memory_clock_max:
        return f"its memory ran at {r.memory_clock / 1e6:.0f} of {r.memory_clock_max / 1e6:.0f} MHz"
    if r is not None and any(t.startswith("heat") for t in r.throttle or ()):
        return "it is too hot"
    if f.on_battery:
        return "the laptop runs on its battery"
    if power_limit(f):
        return f"its power limit is low: {_watts(f)}"
    if any(c.ecc for c in f.cards) and r is not None:
        return "error correction (ECC) takes a part of it"
    if any(h.kind != "graphics" for h in f.holders):
        return "another program uses it at the same time"
    return "another program uses it, it saves power, or the name is of a faster variant"


def arithmetic(f: Facts) -> Values | None:
    d = f.deep
    if d is None or d.kind == "cpu":
        return None
    for name in ("fp16", "bf16"):
        share = _share(f, name, d.flops.get(name))
        # Large square products reach 60 to 95 % of the dense peak.
        if share is not None and share < 0.4:
            return {"share": f"{share:.0%}", "type": name, "name": d.expected_name or "this card",
                    "found": f"{d.flops[name] / 1e12:.1f}", "expected": f"{d.expected[name] / 1e12:.1f}"}  # fmt: skip
    return None


def copies(f: Facts) -> Values | None:
    d = f.deep
    share = _share(f, "link", d.to_device if d else None)
    if d is None or share is None or d.kind == "cpu" or share >= 0.5 or link_width(f) or link_speed(f):
        return None
    return {
        "share": f"{share:.0%}",
        "found": f"{(d.to_device or 0) / 1e9:.1f}",
        "expected": f"{d.expected['link'] / 1e9:.1f}",
    }


def cpu_slower(f: Facts) -> Values | None:
    """The deep test of the CPU against what was measured on it before."""
    d = f.deep
    share = _share(f, "bandwidth", d.bandwidth if d else None)
    if d is None or d.kind != "cpu" or share is None or share >= 0.6:
        return None
    return {
        "share": f"{share:.0%}",
        "found": f"{(d.bandwidth or 0) / 1e9:.0f}",
        "expected": f"{d.expected['bandwidth'] / 1e9:.0f}",
    }


def launch_blocking(f: Facts) -> Values | None:
    return {} if f.environment.get("CUDA_LAUNCH_BLOCKING") not in (None, "", "0") else None


def battery(f: Facts) -> Values | None:
    return {} if f.on_battery else None


def too_many_threads(f: Facts) -> Values | None:
    wish, allowed = f.environment.get("OMP_NUM_THREADS", ""), f.allowed or f.processors
    if not wish.isdigit() or allowed is None or int(wish) <= allowed:
        return None
    return {"wish": wish, "allowed": allowed}


def share_of_processors(f: Facts) -> Values | None:
    if f.allowed is None or f.processors is None or f.environment.get("OMP_NUM_THREADS"):
        return None
    if f.processors < 4 or f.allowed > f.processors / 4:
        return None
    return {"allowed": f.allowed, "processors": f.processors, "why": f.limited_by or "unknown"}


def loaded(f: Facts) -> Values | None:
    if f.load is None or f.processors is None or f.load <= 1.5 * f.processors:
        return None
    return {"load": f"{f.load:.1f}", "processors": f.processors}


def no_avx2(f: Facts) -> Values | None:
    if (f.architecture or "").lower() not in ("x86_64", "amd64") or not f.sets or "avx2" in f.sets:
        return None
    return {"sets": ", ".join(f.sets)}


def governor(f: Facts) -> Values | None:
    # intel_pstate and amd_pstate call their normal, dynamic mode "powersave" too; the old drivers' one is slow.
    if f.governor is None or f.governor not in ("powersave (acpi-cpufreq)", "powersave (cppc_cpufreq)"):
        return None
    return {"governor": f.governor}


RULES = (
    Rule(
        id="throttled-by-heat", title="The card is held back by heat", severity=WARNING, check=heat,
        evidence="{device} at {degrees} under load: {why}; {clock}", cause="Cooling does not keep up: dust, fans, or a tight case.",
        next={"any": "onecard watch (while it works), then clean or open the case; sudo nvidia-smi -pl 80 % of the limit as a test"},
        looks_at="throttle reasons under load", source="https://github.com/intel/thermal_daemon/issues/300", date="2026-09-01",
    ),
    Rule(
        id="throttled-by-hardware", title="The card brakes itself", severity=WARNING, check=power_brake,
        evidence="{device} under load: {why}; {clock}",
        cause="The board asked for less power: a weak supply, a loose or shared cable, an adapter.",
        next={"any": "give the card its own power cables, then: nvidia-smi -q -d PERFORMANCE"}, looks_at="throttle reasons under load",
        source="https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html", date="2026-09-01",
    ),
    Rule(
        id="power-limit-low", title="The power limit is set low", severity=NOTE, check=power_limit,
        evidence="{device}: {limit} W of its normal {default} W",
        cause="Arithmetic slows down; reading memory hardly does, so chat loses little.",
        next={"any": "sudo nvidia-smi -pl {default}", "windows": "nvidia-smi -pl {default} (as administrator)"}, looks_at="NVML",
        source="https://docs.nvidia.com/deploy/nvidia-smi/", date="2026-09-01",
    ),
    Rule(
        id="link-narrow", title="The card's link uses too few lanes", severity=WARNING, check=link_width,
        evidence="{device} under load: x{width} of x{most}",
        cause="Wrong slot, a slot shared with an SSD, a riser, or a card that is not seated. Loading and offload suffer.",
        next={"any": "put the card in the slot next to the processor; check its seat and the board's manual"},
        looks_at="PCIe width under load", source="https://github.com/SJTU-IPADS/PowerInfer/issues/237", date="2026-09-01",
    ),
    Rule(
        id="link-slow", title="The card's link runs below its generation", severity=WARNING, check=link_speed,
        evidence="{device} under load: PCIe {generation} of {most}",
        cause="At idle that is normal, under load it is not: an older board or riser, or a setting of the firmware.",
        next={"any": "set the slot to its highest generation in the firmware; take a riser away"}, looks_at="PCIe generation under load",
        source="https://github.com/Syllo/nvtop/issues/6", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="bandwidth-low", title="The card's memory is slower than it should be", severity=WARNING, check=bandwidth,
        evidence="your bandwidth is {share} of a {name}'s: {found} of {expected} GB/s",
        cause="Likely because {why}.", next={"any": "onecard watch"}, looks_at="deep test against the catalogue",
        source="https://github.com/mlc-ai/mlc-llm/issues/502", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="arithmetic-low", title="The card computes slower than it should", severity=WARNING, check=arithmetic,
        evidence="{type} products reach {share} of a {name}'s: {found} of {expected} TFLOP/s",
        cause="A power or heat limit, another program, or a build without tuned kernels for this card.",
        next={"any": "onecard watch"}, looks_at="deep test against the catalogue",
        source="https://github.com/bmaltais/kohya_ss/issues/3296", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="copies-slow", title="Copies to the card are slow", severity=WARNING, check=copies,
        evidence="{found} GB/s to the card, {share} of what its link can do ({expected} GB/s)",
        cause="Host memory of one channel, a chipset slot, or WSL2; loading and offload suffer, resident work does not.",
        next={"any": "use pinned memory; check that RAM sits in both channels"}, looks_at="deep test",
        source="https://github.com/SJTU-IPADS/PowerInfer/issues/237", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="cpu-slower-than-before", title="The CPU's memory is slower than before", severity=WARNING, check=cpu_slower,
        evidence="{found} GB/s now, {expected} GB/s when it was measured: {share}",
        cause="Other programs, a power setting, or a neighbour on the same host take their share.",
        next={"any": "close other programs, then: onecard doctor --deep"}, looks_at="deep test against the remembered measurement",
        source="https://www.brendangregg.com/usemethod.html", date="2026-09-01", confidence="low",
    ),
    Rule(
        id="launches-blocked", title="Every kernel is waited for", severity=WARNING, check=launch_blocking,
        evidence="CUDA_LAUNCH_BLOCKING is set", cause="Meant for debugging: host and card no longer work at the same time.",
        next={"any": "unset CUDA_LAUNCH_BLOCKING", "windows": "setx CUDA_LAUNCH_BLOCKING \"\""}, looks_at="environment",
        source="https://docs.pytorch.org/docs/stable/cuda_environment_variables.html", date="2026-09-01",
    ),
    Rule(
        id="on-battery", title="The laptop runs on its battery", severity=NOTE, check=battery,
        evidence="no mains power", cause="Processor and card then run with a fraction of their power.",
        next={"any": "plug it in"}, looks_at="power supply", source="https://github.com/intel/thermal_daemon/issues/300",
        date="2026-09-01",
    ),
    Rule(
        id="too-many-threads", title="More threads than processors", severity=WARNING, check=too_many_threads,
        evidence="OMP_NUM_THREADS={wish}, and {allowed} processors may be used",
        cause="Threads wait for each other in turn; throughput can fall ten-fold and more.",
        next={"any": "export OMP_NUM_THREADS={allowed}", "windows": "setx OMP_NUM_THREADS {allowed}"},
        looks_at="environment, affinity, control group", source="https://github.com/ollama/ollama/issues/17916", date="2026-09-01",
    ),
    Rule(
        id="few-processors-allowed", title="Only a small share of the processors may be used", severity=WARNING,
        check=share_of_processors, evidence="{allowed} of {processors} ({why})",
        cause="Libraries that count the machine's processors start too many threads and stall each other.",
        next={"any": "export OMP_NUM_THREADS={allowed}"}, looks_at="affinity, control group",
        source="https://github.com/ollama/ollama/issues/17916", date="2026-09-01",
    ),
    Rule(
        id="machine-loaded", title="The machine is busy with other work", severity=WARNING, check=loaded,
        evidence="load {load} on {processors} processors", cause="Measurements taken now would be wrong.",
        next={"any": "wait, or end what runs (onecard watch)"}, looks_at="load average",
        source="https://www.brendangregg.com/blog/2017-08-08/linux-load-averages.html", date="2026-09-01",
    ),
    Rule(
        id="no-avx2", title="The processor has no AVX2", severity=WARNING, check=no_avx2, evidence="instruction sets: {sets}",
        cause="llama.cpp and PyTorch fall back to code several times slower; in a virtual machine the CPU type may hide it.",
        next={"any": "in a virtual machine: give it the host's CPU type"}, looks_at="/proc/cpuinfo",
        source="https://github.com/ggml-org/llama.cpp#description", date="2026-09-01",
    ),
    Rule(
        id="governor-powersave", title="The processor is held at its lowest clock", severity=WARNING, check=governor,
        evidence="cpufreq governor {governor}", cause="Work on the host (loading, tokenising, offloaded layers) slows down.",
        next={"any": "sudo cpupower frequency-set -g schedutil"}, looks_at="/sys/devices/system/cpu",
        source="https://www.kernel.org/doc/html/latest/admin-guide/pm/cpufreq.html", date="2026-09-01",
    ),
)  # fmt: skip
