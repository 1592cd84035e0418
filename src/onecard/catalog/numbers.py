"""A device given as numbers: "memory=12GiB,bandwidth=504GB/s,fp16=80TFLOPS", for a card that is in no table."""

from onecard.catalog.reserved import reserved
from onecard.core.device import Device
from onecard.core.errors import BadSetting, nearest
from onecard.core.units import parse_bandwidth, parse_flops, parse_size

_RATES = ("fp32", "fp16", "bf16", "fp16_acc16", "tf32", "int8", "fp8")
_KINDS = ("cuda", "rocm", "metal", "xpu", "cpu")
_KEYS = ("memory", "bandwidth", *_RATES, "link", "reserved", "l2", "kind", "name", "capability", "sms")
_EXAMPLE = "write it like memory=12GiB,bandwidth=504GB/s,fp16=80TFLOPS"
FP16_PER_BYTE = 111.0
"""FLOP at fp16 with fp32 accumulate for a byte of memory traffic: the median over the catalogue's NVIDIA cards with matrix
units. Three quarters of them lie within 0.6 of it, the others (H100, L40S) mostly above; a test recomputes both."""


def looks_like_numbers(text: str) -> bool:
    """Whether the text is meant as numbers rather than as a name."""
    return "=" in text


def device_from_numbers(text: str) -> Device:
    """The Device that numbers describe. memory and bandwidth are needed; a missing fp16 is guessed with a wide range.

    Raises BadSetting for an unknown or doubled key, a unit that does not fit, a zero, or a missing number.
    """
    given: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals or not value.strip():
            raise BadSetting(f'"{part}" is not a number of a device', why="it needs name=value", next=_EXAMPLE)
        if name not in _KEYS:
            close = nearest(name, _KEYS)
            known = f"did you mean {close[0]}?" if close else f"known are {', '.join(_KEYS)}"
            raise BadSetting(f'a device has no number "{name}"', why=known, next=_EXAMPLE)
        if name in given:
            raise BadSetting(f'"{name}" is given twice', next=_EXAMPLE)
        given[name] = value.strip()
    missing = [name for name in ("memory", "bandwidth") if name not in given]
    if missing:
        raise BadSetting(f"a device needs {' and '.join(missing)}", why=f'"{text}" does not say', next=_EXAMPLE)
    total = parse_size(given["memory"])
    bandwidth = parse_bandwidth(given["bandwidth"])
    flops = {rate: parse_flops(given[rate]) for rate in _RATES if rate in given}
    for name, number in {"memory": total, "bandwidth": bandwidth, **flops}.items():
        if number <= 0:
            raise BadSetting(f"{name} must be more than 0, not {given[name]}", next=_EXAMPLE)
    kind = given.get("kind", "cuda")
    if kind not in _KINDS:
        raise BadSetting(f'"{kind}" is not a kind of device', next=f"one of {', '.join(_KINDS)}")
    uncertainty = {}
    if "fp16" not in flops and "bf16" not in flops:
        flops["fp16"] = flops["tf32"] * 2 if "tf32" in flops else bandwidth * FP16_PER_BYTE
        uncertainty["flops"] = 0.6
    half = flops.get("fp16") or flops["bf16"]
    flops.setdefault("fp16", half)
    flops.setdefault("bf16", half)
    if "fp32" not in flops:
        flops["fp32"] = half / 2
        uncertainty.setdefault("flops", 0.5)
    unified = kind in ("metal", "cpu")
    use = "unified" if kind == "metal" else "server"
    kept = (
        parse_size(given["reserved"]) if "reserved" in given else (0 if kind == "cpu" else reserved(kind, use, total))
    )
    if kept >= total:
        raise BadSetting(
            f"reserved {given.get('reserved', kept)} leaves nothing of memory {given['memory']}", next=_EXAMPLE
        )
    return Device(
        name=given.get("name", text),
        kind=kind,
        compute_capability=given.get("capability"),
        memory_total=total,
        memory_reserved=kept,
        bandwidth=bandwidth,
        flops=flops,
        multiprocessors=_count(given["sms"]) if "sms" in given else None,
        l2=parse_size(given["l2"]) if "l2" in given else None,
        link=parse_bandwidth(given["link"]) if "link" in given else None,
        unified=unified,
        host_total=total if unified else None,
        sources={"*": "given as numbers"},
        uncertainty=uncertainty,
    )


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise BadSetting(f'sms must be a whole number, not "{text}"', next=_EXAMPLE)
    return int(text)
