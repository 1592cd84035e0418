"""Cards as Devices: rows of cards.csv, found by exact name, alias or the name that a driver reports, or given as numbers.

A wrong card is worse than none: "RTX 4070", "RTX 4070 Ti", "RTX 4070 Ti SUPER" and "RTX 4070 Laptop" are four cards, and a
name that is no row's is refused with the nearest ones. Where one name is sold with different memory, the name alone
either means the variant that it was first sold as (the row carries the alias: "RTX 3080" is the 10 GB card) or is refused with
all variants ("RTX 4060 Ti" could be 8 or 16 GB); a machine that has seen the card passes the memory that it saw.

A row of cards.csv: `source` has its numbers (benchmarks/check_cards.py compares them with a public database, `note` says
where a data sheet is followed instead); `memory_mib` is what the driver shows, by `memory_source`: nvidia-smi or rocm-smi
outputs in public reports, the nominal size, or by analogy with cards of the same chip; `rule` names the multiples of
FP32 in arithmetic.py, and a figure in `fp16_tflops`, `int8_tops` or `fp8_tflops` is read from a data sheet and wins. `use` decides
what is reserved (reserved.py).
"""

import csv
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from onecard.catalog.arithmetic import rates
from onecard.catalog.names import key
from onecard.catalog.reserved import reserved
from onecard.core.device import Device
from onecard.core.errors import UnknownName
from onecard.core.units import MiB

Row = dict[str, str]

_NUMBERS = "or give it as numbers: memory=12GiB,bandwidth=504GB/s,fp16=80TFLOPS"
MEANS_SEVERAL = {
    "rtx4000": ("Quadro RTX 4000", "RTX 4000 Ada", "RTX 4000 SFF Ada"),
    "rtx5000": ("Quadro RTX 5000", "RTX 5000 Ada"),
    "rtx6000": ("Quadro RTX 6000", "RTX 6000 Ada"),
    "v100sxm": ("Tesla V100 SXM2 16GB", "Tesla V100 SXM2 32GB"),
}
"""Names that several cards are called by although none is: refused, with those cards."""
_PCIE = {"1.0": 0.25e9, "2.0": 0.5e9, "3.0": 0.985e9, "4.0": 1.969e9, "5.0": 3.938e9}
"""bytes/s of one lane after line coding (PCI-SIG); what a copy reaches is less, and a machine measures it"""


@cache
def _rows() -> tuple[Row, ...]:
    text = (Path(__file__).parent / "cards.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


_MAKERS = {"cuda": "NVIDIA", "rocm": "AMD", "xpu": "Intel", "metal": "Apple"}
_BRANDS = ("GeForce ", "Radeon RX ", "Radeon ", "Apple ")


def names_of(row: Row) -> list[str]:
    """All names that are a row's own, without the maker: full, without brand ("RTX 4070 Ti", "4070 Ti"), aliases.

    What the driver says is apart: several cards can share it.
    """
    found = [row["name"], *filter(None, row["aliases"].split(";"))]
    for full in tuple(found):
        for brand in _BRANDS:
            if full.startswith(brand):
                short = full.removeprefix(brand)
                bare = short.removeprefix("RTX ").removeprefix("GTX ")
                found += [short, bare, f"{brand.split()[0]} {bare}"]
    return found


@cache
def _by_name() -> dict[str, Row]:
    table: dict[str, Row] = {}
    for row in _rows():
        maker = _MAKERS[row["kind"]].casefold()
        for name in names_of(row):
            bare = key(name)
            table.setdefault(bare, row)
            table.setdefault(maker + bare, row)
    return table


@cache
def _by_driver() -> dict[str, tuple[Row, ...]]:
    table: dict[str, tuple[Row, ...]] = {}
    for row in _rows():
        for name in {key(row["driver"]), key(row["driver"].removeprefix("NVIDIA "))}:
            table[name] = (*table.get(name, ()), row)
    return table


def _row(name: str) -> Row:
    return next(row for row in _rows() if row["name"] == name)


@cache
def _device(name: str) -> Device:
    row = _row(name)
    fp32 = float(row["fp32_tflops"]) * 1e12
    read = {
        unit: float(row[column]) * 1e12
        for unit, column in (("fp16", "fp16_tflops"), ("int8", "int8_tops"), ("fp8", "fp8_tflops"))
        if row[column]
    }
    total = int(row["memory_mib"]) * MiB
    laptop, unified = row["use"] == "laptop", row["use"] == "unified"
    uncertainty = {}
    if laptop:  # the maker of the laptop chooses the power limit, from half to twice the usual one, and clocks follow
        uncertainty = {"flops": 0.35, "power": 0.5}
    elif unified:  # Apple publishes bandwidth but no clock
        uncertainty = {"flops": 0.15}
    generation, _, lanes = row["bus"].removeprefix("PCIe ").partition(" x")
    rule = (
        f"data sheet, else rule {row['rule']} of catalog/arithmetic.py"
        if read
        else f"rule {row['rule']} of catalog/arithmetic.py"
    )
    return Device(
        name=row["name"],
        kind=row["kind"],
        architecture=row["architecture"],
        compute_capability=row["compute_capability"] or None,
        memory_total=total,
        memory_reserved=reserved(row["kind"], row["use"], total),
        memory_kind=row["memory_kind"] or None,
        bandwidth=float(row["bandwidth_gb_s"]) * 1e9,
        flops=rates(row["rule"], fp32, read),
        multiprocessors=int(row["multiprocessors"]),
        clock=float(row["clock_mhz"]) * 1e6,
        l2=int(float(row["l2_mib"]) * MiB) if row["l2_mib"] else None,
        power=float(row["power_w"]) if row["power_w"] else None,
        link=_PCIE[generation] * int(lanes) if lanes else None,
        unified=unified,
        host_total=total if unified else None,
        sources={
            "*": row["source"],
            "memory_total": row["memory_source"],
            "memory_reserved": "rule of catalog/reserved.py",
            "flops": rule,
            **({"note": row["note"]} if row["note"] else {}),
        },
        uncertainty=uncertainty,
        laptop=laptop,
        release=row["release"] or None,
    )


def _nearest_memory(rows: Iterable[Row], memory: int) -> Row:
    return min(rows, key=lambda row: abs(int(row["memory_mib"]) * MiB - memory))


_SIZE = re.compile(r"(\d+coregpu)?\d+gb")


def _variants(wanted: str) -> tuple[Row, ...]:
    """Rows whose name is the wanted one and only a size behind it ("RTX 4060 Ti" -> 8GB, 16GB), in order."""
    found = {
        row["name"]: row
        for name, row in _by_name().items()
        if name.startswith(wanted) and _SIZE.fullmatch(name.removeprefix(wanted))
    }
    return tuple(found.values())


_SOLD = (2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 18, 20, 24, 32, 36, 40, 48, 64, 72, 80, 94, 96, 128, 141, 192, 256, 512)
"""GB that memory is sold in: the driver shows up to 6 % less."""


def _with_its_size(wanted: str) -> Row | None:
    """The row of a name with its own memory behind it: "RTX 4090 24GB" is the RTX 4090, "RTX 4090 48GB" is no card."""
    found = re.fullmatch(r"(.*?)(\d+)g(?:i?b)?", wanted)
    if found is None:
        return None
    for length in range(1, min(3, len(found[2])) + 1):
        base, size = found[1] + found[2][:-length], int(found[2][-length:])
        row = _by_name().get(base)
        if row is not None and next(sold for sold in _SOLD if sold * 1024 >= int(row["memory_mib"])) == size:
            return row
    return None


def card(name: str, *, memory: int | None = None) -> Device:
    """The card of exactly this name. `memory`: bytes that were seen on a real one, to tell its variants apart.

    An Apple chip with its cores and without memory is the one with the least that it is sold with.
    Raises UnknownName, with the nearest names or all variants of an ambiguous one.
    """
    wanted = key(name)
    if not wanted:
        raise UnknownName("card", name, (), next='name one, like "RTX 4070 Ti", ' + _NUMBERS)
    row = _by_name().get(wanted) or _with_its_size(wanted)
    drivers = _by_driver().get(wanted, ())
    if memory is not None:
        # The driver's name and the plain name may each stand for several cards: all of them compete.
        known = {each["name"]: each for each in (*drivers, *_variants(wanted), *([row] if row else ()))}
        if known:
            return _device(_nearest_memory(known.values(), memory)["name"])
    if row is None and len(drivers) == 1:
        row = drivers[0]
    if row is None:
        variants = [_row(each) for each in MEANS_SEVERAL.get(wanted, ())] or drivers or _variants(wanted)
        if variants and "coregpu" in wanted:
            row = min(variants, key=lambda each: int(each["memory_mib"]))
    if row is not None:
        return _device(row["name"])
    if variants:
        raise _ambiguous(name, [each["name"] for each in variants])
    raise UnknownName(
        "card", name, (each["name"].removeprefix("GeForce ").removeprefix("Radeon ") for each in _rows()), next=_NUMBERS
    )


def _ambiguous(name: str, variants: list[str]) -> UnknownName:
    error = UnknownName("card", name, variants, next=f"say which one: {', '.join(variants)}")
    error.what, error.why = f'"{name}" is the name of {len(variants)} cards', ""
    return error


def cards() -> tuple[Device, ...]:
    """Every card of the catalogue, in the order of the file."""
    return tuple(_device(row["name"]) for row in _rows())


def card_names() -> tuple[str, ...]:
    """Names of all cards, without making Devices of them."""
    return tuple(row["name"] for row in _rows())
